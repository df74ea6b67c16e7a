/* The events of one turn as a mapping of users to their events. Names and sequences become objects when they are asked
 * for: most users of most turns are folded without any. */
#include "plan_type.h"

#define MOST_SPARE (16 << 20) /* bytes that are kept for another batch */

static void *take_spare(Spare *spares, size_t *size)
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

static void keep_spare(Spare *spares, void *at, size_t size)
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
    PyTypeObject *type = module_of(plan)->batch_type;
    Batch *batch = (Batch *)type->tp_alloc(type, 0);
    if (batch == NULL) {
        Py_DECREF(records);
        return NULL;
    }
    PyObject_GC_UnTrack(batch); /* it is filled without the interpreter's lock */
    Py_ssize_t count = records->size;
    batch->records = records;
    batch->plan = (PlanObject *)Py_NewRef(plan);
    batch->decode = Py_NewRef(decode);
    batch->size = ((size_t)count + 1) * (sizeof(Event) + sizeof(FoldEvent) + sizeof(uint32_t));
    batch->events = count < INT32_MAX ? take_spare(plan->spares, &batch->size) : NULL;
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

static int batch_visit(Batch *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->records);
    Py_VISIT(self->plan);
    Py_VISIT(self->decode);
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_VISIT(self->events[i].item);
    return 0;
}

static void batch_dealloc(Batch *self)
{
    PyObject_GC_UnTrack(self);
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_XDECREF(self->events[i].item);
    if (self->events != NULL)
        keep_spare(self->plan->spares, self->events, self->size);
    names_end(&self->users);
    PyMem_RawFree(self->numbers);
    Py_XDECREF(self->records);
    Py_XDECREF(self->plan);
    Py_XDECREF(self->decode);
    object_free(self);
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

static int users_visit(Users *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->batch);
    return 0;
}

static void users_dealloc(Users *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->batch);
    object_free(self);
}

static PyObject *users_next(Users *self)
{
    return self->at < self->batch->users.count ? name_at(self->batch, self->at++) : NULL;
}

static PyType_Slot users_slots[] = {
    {Py_tp_traverse, users_visit},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, users_next},
    {Py_tp_dealloc, users_dealloc},
    {0, NULL},
};

PyType_Spec batch_users_spec = {
    .name = "state._fold.BatchUsers",
    .basicsize = sizeof(Users),
    .flags = MADE_HERE | Py_TPFLAGS_HAVE_GC,
    .slots = users_slots,
};

static PyObject *batch_iter(Batch *self)
{
    PyTypeObject *type = module_of(self)->batch_users_type;
    Users *users = (Users *)type->tp_alloc(type, 0);
    if (users != NULL)
        users->batch = (Batch *)Py_NewRef(self);
    return (PyObject *)users;
}

/* a view, as every mapping has */
static PyObject *view_of(Batch *self, PyObject *view)
{
    PyObject *module = PyImport_ImportModule("collections.abc");
    PyObject *type = module == NULL ? NULL : PyObject_GetAttr(module, view);
    PyObject *made = type == NULL ? NULL : PyObject_CallOneArg(type, (PyObject *)self);
    Py_XDECREF(type);
    Py_XDECREF(module);
    return made;
}

static PyObject *batch_keys(Batch *self, PyObject *none)
{
    return view_of(self, module_of(self)->names.KeysView);
}

static PyObject *batch_items(Batch *self, PyObject *none)
{
    return view_of(self, module_of(self)->names.ItemsView);
}

static PyObject *batch_values(Batch *self, PyObject *none)
{
    return view_of(self, module_of(self)->names.ValuesView);
}

static PyMethodDef batch_methods[] = {
    {"get", (PyCFunction)(void (*)(void))batch_get, METH_FASTCALL, "get(user, default=None)"},
    {"keys", (PyCFunction)batch_keys, METH_NOARGS, "The users, in order of appearance."},
    {"items", (PyCFunction)batch_items, METH_NOARGS, "(user, events) each."},
    {"values", (PyCFunction)batch_values, METH_NOARGS, "The events of each user."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_traverse, batch_visit},
    {Py_tp_doc, "A mapping of users, in order of appearance, to their events of one turn: see Plan.read."},
    {Py_sq_contains, batch_contains},
    {Py_mp_length, batch_length},
    {Py_mp_subscript, batch_subscript},
    {Py_tp_iter, batch_iter},
    {Py_tp_methods, batch_methods},
    {Py_tp_dealloc, batch_dealloc},
    {0, NULL},
};

PyType_Spec batch_spec = {
    .name = "state._fold.Batch",
    .basicsize = sizeof(Batch),
    .flags = MADE_HERE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MAPPING,
    .slots = batch_slots,
};
