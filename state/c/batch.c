/* The events of one turn as a mapping of users to their events. Names and sequences become objects when they are asked
 * for: most users of most turns are folded without any. */
#include "reading.h"

/* The memory of two batches is kept for the next ones: the kernel would clear megabytes for each. It is of the GIL. */

#define SPARES 2
#define MOST_SPARE (16 << 20)

static struct {
    void *at;
    size_t size;
} spares[SPARES];

static void *take_spare(size_t *size)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].at != NULL && spares[i].size >= *size) {
            void *at = spares[i].at;
            *size = spares[i].size;
            spares[i].at = NULL;
            return at;
        }
    return PyMem_RawMalloc(*size);
}

static void keep_spare(void *at, size_t size)
{
    for (int i = 0; i < SPARES && size <= MOST_SPARE; i++)
        if (spares[i].at == NULL || spares[i].size < size) {
            void *smaller = spares[i].at;
            spares[i].at = at;
            spares[i].size = size;
            at = smaller;
            break;
        }
    PyMem_RawFree(at);
}

Batch *batch_new(Records *records, PlanObject *plan, PyObject *decode)
{
    Batch *batch = (Batch *)BatchType.tp_alloc(&BatchType, 0);
    if (batch == NULL) {
        Py_DECREF(records);
        return NULL;
    }
    Py_ssize_t count = records->size;
    batch->records = records;
    batch->plan = (PlanObject *)Py_NewRef(plan);
    batch->decode = Py_NewRef(decode);
    batch->size = ((size_t)count + 1) * (sizeof(Event) + sizeof(FoldEvent) + sizeof(uint32_t));
    batch->events = count < INT32_MAX ? take_spare(&batch->size) : NULL;
    if (batch->events == NULL) {
        Py_DECREF(batch);
        return (Batch *)PyErr_NoMemory();
    }
    batch->folds = (FoldEvent *)(batch->events + count);
    batch->order = (uint32_t *)(batch->folds + count);
    for (Py_ssize_t i = 0; i < count; i++)
        batch->events[i].item = NULL;
    batch->count = count;
    return batch;
}

PyObject *batch_is_in_use(void)
{
    PyErr_SetString(PyExc_RuntimeError, "another thread works on these events");
    return NULL;
}

static void batch_dealloc(Batch *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_XDECREF(self->events[i].item);
    if (self->events != NULL)
        keep_spare(self->events, self->size);
    names_end(&self->users);
    PyMem_RawFree(self->numbers);
    Py_XDECREF(self->records);
    Py_XDECREF(self->plan);
    Py_XDECREF(self->decode);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *name_at(const Batch *batch, int32_t number)
{
    const Name *name = &batch->users.names[number];
    return PyUnicode_DecodeUTF8(name->letters, name->size, NULL);
}

static PyObject *items_at(Batch *batch, int32_t number)
{
    const Name *name = &batch->users.names[number];
    return items_of(batch, name->start, name->count);
}

/* the number of a user; -1: nobody is called so, and no exception is left */
static int32_t number_of(const Batch *batch, PyObject *user)
{
    Py_ssize_t size;
    const char *letters = PyUnicode_CheckExact(user) ? PyUnicode_AsUTF8AndSize(user, &size) : NULL;
    if (letters == NULL || size > INT32_MAX) {
        PyErr_Clear(); /* what has no UTF-8 is nobody's name */
        return -1;
    }
    return names_find(&batch->users, letters, (int32_t)size, 0);
}

static Py_ssize_t batch_length(Batch *self)
{
    return self->users.count;
}

static PyObject *batch_subscript(Batch *self, PyObject *user)
{
    int32_t number = number_of(self, user);
    if (number >= 0)
        return items_at(self, number);
    PyErr_SetObject(PyExc_KeyError, user);
    return NULL;
}

static int batch_contains(Batch *self, PyObject *user)
{
    return number_of(self, user) >= 0;
}

static PyObject *batch_get(Batch *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "get(user, default=None)");
        return NULL;
    }
    int32_t number = number_of(self, args[0]);
    if (number >= 0)
        return items_at(self, number);
    return Py_NewRef(nargs == 2 ? args[1] : Py_None);
}

/* users, in order of appearance, one after the other */

typedef struct {
    PyObject_HEAD
    Batch *batch;
    int32_t at;
} Users;

static void users_dealloc(Users *self)
{
    Py_XDECREF(self->batch);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *users_next(Users *self)
{
    return self->at < self->batch->users.count ? name_at(self->batch, self->at++) : NULL;
}

PyTypeObject BatchUsersType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.BatchUsers",
    .tp_basicsize = sizeof(Users),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)users_next,
    .tp_dealloc = (destructor)users_dealloc,
};

static PyObject *batch_iter(Batch *self)
{
    Users *users = (Users *)BatchUsersType.tp_alloc(&BatchUsersType, 0);
    if (users != NULL)
        users->batch = (Batch *)Py_NewRef(self);
    return (PyObject *)users;
}

/* a view, as every mapping has */
static PyObject *view_of(Batch *self, const char *view)
{
    PyObject *module = PyImport_ImportModule("collections.abc");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttrString(module, view);
    PyObject *made = type == NULL ? NULL : PyObject_CallOneArg(type, (PyObject *)self);
    Py_XDECREF(type);
    Py_XDECREF(module);
    return made;
}

static PyObject *batch_keys(Batch *self, PyObject *none)
{
    return view_of(self, "KeysView");
}

static PyObject *batch_items(Batch *self, PyObject *none)
{
    return view_of(self, "ItemsView");
}

static PyObject *batch_values(Batch *self, PyObject *none)
{
    return view_of(self, "ValuesView");
}

static PySequenceMethods batch_sequence = {.sq_contains = (objobjproc)batch_contains};
static PyMappingMethods batch_mapping = {
    .mp_length = (lenfunc)batch_length,
    .mp_subscript = (binaryfunc)batch_subscript,
};
static PyMethodDef batch_methods[] = {
    {"get", (PyCFunction)(void (*)(void))batch_get, METH_FASTCALL, "get(user, default=None)"},
    {"keys", (PyCFunction)batch_keys, METH_NOARGS, "The users, in order of appearance."},
    {"items", (PyCFunction)batch_items, METH_NOARGS, "(user, events) each."},
    {"values", (PyCFunction)batch_values, METH_NOARGS, "The events of each user."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject BatchType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Batch",
    .tp_doc = "A mapping of users, in order of appearance, to their events of one turn: see Plan.read.",
    .tp_basicsize = sizeof(Batch),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_MAPPING,
    .tp_as_sequence = &batch_sequence,
    .tp_as_mapping = &batch_mapping,
    .tp_iter = (getiterfunc)batch_iter,
    .tp_methods = batch_methods,
    .tp_dealloc = (destructor)batch_dealloc,
};
