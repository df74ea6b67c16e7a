/* The records of a turn to events by user. The usual ones are read, and all are gathered, without the GIL. */
#include "fold.h"

/* The memory of two batches is kept for the next ones: the kernel would clear megabytes for each. It is of the GIL. */

#define SPARES 2
#define MOST_SPARE (16 << 20)

static struct {
    Event *events;
    size_t size;
} spares[SPARES];

static Event *take_spare(size_t *size)
{
    for (int i = 0; i < SPARES; i++)
        if (spares[i].events != NULL && spares[i].size >= *size) {
            Event *events = spares[i].events;
            *size = spares[i].size;
            spares[i].events = NULL;
            return events;
        }
    return PyMem_RawMalloc(*size);
}

static void keep_spare(Event *events, size_t size)
{
    for (int i = 0; i < SPARES && size <= MOST_SPARE; i++)
        if (spares[i].events == NULL || spares[i].size < size) {
            Event *smaller = spares[i].events;
            spares[i].events = events;
            spares[i].size = size;
            events = smaller;
            break;
        }
    PyMem_RawFree(events);
}

static void batch_dealloc(Batch *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_XDECREF(self->events[i].item);
    if (self->events != NULL)
        keep_spare(self->events, self->size);
    PyMem_Free(self->meanings);
    Py_XDECREF(self->records);
    Py_XDECREF(self->kept);
    Py_XDECREF(self->decode);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

PyTypeObject BatchType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Batch",
    .tp_basicsize = sizeof(Batch),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)batch_dealloc,
};

static Batch *new_batch(Records *records /* stolen */, PyObject *decode)
{
    Batch *batch = (Batch *)BatchType.tp_alloc(&BatchType, 0);
    if (batch == NULL) {
        Py_DECREF(records);
        return NULL;
    }
    Py_ssize_t count = records->size;
    batch->records = records;
    Py_INCREF(decode);
    batch->decode = decode;
    batch->kept = PyList_New(0);
    batch->size = ((size_t)count + 1) * (sizeof(Event) + sizeof(uint32_t));
    batch->events = count < INT32_MAX ? take_spare(&batch->size) : NULL;
    if (batch->kept == NULL || batch->events == NULL) {
        Py_DECREF(batch);
        return (Batch *)PyErr_NoMemory();
    }
    batch->order = (uint32_t *)(batch->events + count);
    for (Py_ssize_t i = 0; i < count; i++)
        batch->events[i].item = NULL;
    batch->count = count;
    return batch;
}

/* the usual ones; ``number`` of the others is -1 */
static double read_usual(Batch *batch, const Bounds *bounds)
{
    const Raw *raws = batch->records->block->raws + batch->records->start;
    double latest = 0.0;
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        Event *event = &batch->events[i];
        event->number = read_event(raws[i].value, raws[i].value_size, (double)raws[i].timestamp / 1000.0, bounds, event) - 1;
        if (event->number == 0 && event->time > latest)
            latest = event->time;
    }
    return latest;
}

static int letters_of(PyObject *text, const char **letters, int32_t *size)
{
    Py_ssize_t length;
    *letters = PyUnicode_AsUTF8AndSize(text, &length);
    if (*letters != NULL && length > INT32_MAX)
        PyErr_SetString(PyExc_ValueError, "the text is too long");
    *size = (int32_t)length;
    return PyErr_Occurred() ? -1 : 0;
}

static int number_of(PyObject *object, double *number)
{
    *number = PyFloat_CheckExact(object) ? PyFloat_AS_DOUBLE(object) : -1.0;
    return PyFloat_CheckExact(object);
}

/* What Python read is folded like the others, if its kind only adds to counts. */
static int take_item(Event *event, PyObject *item /* stolen */)
{
    event->item = item;
    PyObject *object = PyTuple_CheckExact(item) && PyTuple_GET_SIZE(item) == 4 ? PyTuple_GET_ITEM(item, 0) : NULL;
    if (object == NULL || Py_TYPE(object) != bound.event.type || !PyUnicode_CheckExact(FIELD(object, bound.event.user))) {
        PyErr_SetString(PyExc_TypeError, "not (event, id hash, record, arrival)");
        return -1;
    }
    event->id_hash = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(item, 1));
    if (PyErr_Occurred() || letters_of(FIELD(object, bound.event.user), &event->user, &event->user_size) < 0)
        return -1;
    event->number = 0;
    event->kind = -1;
    event->call = 0;
    event->anonymous = FIELD(object, bound.event.anonymous) == Py_True;
    PyObject *kind = FIELD(object, bound.event.kind), *category = FIELD(object, bound.event.category);
    int numbers = number_of(FIELD(object, bound.event.time), &event->time)
                  & number_of(FIELD(object, bound.event.amount), &event->amount)
                  & number_of(FIELD(object, bound.event.dwell), &event->dwell)
                  & number_of(PyTuple_GET_ITEM(item, 3), &event->arrived);
    if (!numbers || !PyUnicode_CheckExact(kind) || !PyUnicode_CheckExact(category))
        return 0;
    if (letters_of(category, &event->category, &event->category_size) < 0)
        return -1;
    for (int i = 0; i < bound.kind_count && event->kind < 0; i++)
        if (kind == bound.kinds[i] || PyUnicode_Compare(kind, bound.kinds[i]) == 0)
            event->kind = i;
    return 0;
}

/* Asks ``slow`` about all others, in their order. */
static int read_others(Batch *batch, PyObject *slow)
{
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        if (batch->events[i].number >= 0)
            continue;
        PyObject *record = record_at(batch->records, i);
        PyObject *item = record == NULL ? NULL : PyObject_CallOneArg(slow, record);
        Py_XDECREF(record);
        if (item == NULL)
            return -1;
        if (item == Py_None)
            Py_DECREF(item);
        else if (take_item(&batch->events[i], item) < 0)
            return -1;
    }
    return 0;
}

/* Numbers users and meanings, and puts the events of each user together. */
static int gather(Batch *batch, Names *users, Names *meanings)
{
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        Event *event = &batch->events[i];
        if (event->number < 0)
            continue;
        event->number = names_number(users, event->user, event->user_size, 0);
        event->meaning = event->kind < 0 ? -1 : names_number(meanings, event->category, event->category_size, event->kind);
        if (event->number < 0 || (event->kind >= 0 && event->meaning < 0))
            return -1;
        users->names[event->number].count++;
    }
    Py_ssize_t start = 0;
    for (Py_ssize_t i = 0; i < users->count; i++) {
        users->names[i].start = start;
        start += users->names[i].count;
    }
    for (Py_ssize_t i = 0; i < batch->count; i++)
        if (batch->events[i].number >= 0)
            batch->order[users->names[batch->events[i].number].start++] = (uint32_t)i;
    return 0;
}

typedef struct {
    PyObject *routes, *special, *buckets, *bucket_of;
} Plan;

static Route *route_of(const Plan *plan, PyObject *kind, PyObject *category)
{
    PyObject *route = PyDict_GetItemWithError(plan->routes, kind);
    if (route != NULL && PyUnicode_GET_LENGTH(category)) {
        PyObject *of_kind = PyDict_GetItemWithError(plan->special, kind);
        PyObject *found = of_kind != NULL && PyDict_CheckExact(of_kind) ? PyDict_GetItemWithError(of_kind, category) : NULL;
        if (found != NULL)
            route = found;
    }
    return route != NULL && Py_TYPE(route) == &RouteType ? (Route *)route : NULL;
}

/* borrowed: the dict has it */
static PyObject *bucket_of(const Plan *plan, PyObject *category)
{
    PyObject *bucket = PyDict_GetItemWithError(plan->buckets, category);
    if (bucket != NULL || PyErr_Occurred())
        return bucket;
    bucket = PyObject_CallOneArg(plan->bucket_of, category);
    if (bucket != NULL && PyDict_SetItem(plan->buckets, category, bucket) < 0)
        Py_CLEAR(bucket);
    Py_XDECREF(bucket);
    return bucket;
}

/* What each kind and category of the batch stands for, found once. */
static int find_meanings(Batch *batch, const Names *names, const Plan *plan)
{
    batch->meanings = PyMem_Calloc((size_t)(names->count ? names->count : 1), sizeof(Meaning));
    if (batch->meanings == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < names->count; i++) {
        const Name *name = &names->names[i];
        Meaning *meaning = &batch->meanings[i];
        PyObject *category = PyUnicode_DecodeUTF8(name->letters, name->size, NULL);
        if (category == NULL)
            return -1;
        meaning->route = route_of(plan, bound.kinds[name->kind], category);
        if (meaning->route != NULL && meaning->route->interest != 0.0 && name->size)
            meaning->bucket = bucket_of(plan, category);
        Py_DECREF(category);
        if (PyErr_Occurred() || (meaning->route != NULL && PyList_Append(batch->kept, (PyObject *)meaning->route) < 0)
            || (meaning->bucket != NULL && PyList_Append(batch->kept, meaning->bucket) < 0))
            return -1;
    }
    return 0;
}

static PyObject *by_user(Batch *batch, const Names *users)
{
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = 0; found != NULL && i < users->count; i++) {
        const Name *name = &users->names[i];
        PyObject *user = PyUnicode_DecodeUTF8(name->letters, name->size, NULL);
        PyObject *items = user == NULL ? NULL : items_of(batch, name->start - name->count, name->count);
        if (items == NULL || PyDict_SetItem(found, user, items) < 0)
            Py_CLEAR(found);
        Py_XDECREF(user);
        Py_XDECREF(items);
    }
    return found;
}

/* read(records, decode, slow, bounds, routes, special, buckets, bucket_of) -> (items by user, latest time or 0) */
PyObject *read_records(PyObject *module, PyObject *args)
{
    PyObject *sequence, *decode, *slow;
    Bounds bounds;
    Plan plan;
    if (!PyArg_ParseTuple(args, "OOO(nndddd)O!O!O!O", &sequence, &decode, &slow, &bounds.most_bytes,
                          &bounds.most_name, &bounds.from, &bounds.ahead, &bounds.most_amount, &bounds.most_dwell,
                          &PyDict_Type, &plan.routes, &PyDict_Type, &plan.special, &PyDict_Type, &plan.buckets, &plan.bucket_of))
        return NULL;
    Records *records = records_of(sequence);
    Batch *batch = records == NULL ? NULL : new_batch(records, decode);
    if (batch == NULL)
        return NULL;
    PyObject *found = NULL;
    Names users = {0}, meanings = {0};
    double latest;
    int failed;
    WITHOUT_GIL(batch->count);
    latest = read_usual(batch, &bounds);
    WITH_GIL
    if (read_others(batch, slow) < 0)
        goto done;
    WITHOUT_GIL(batch->count);
    failed = names_begin(&users) < 0 || names_begin(&meanings) < 0 || gather(batch, &users, &meanings) < 0;
    WITH_GIL
    if (failed)
        PyErr_NoMemory();
    else if (find_meanings(batch, &meanings, &plan) == 0)
        found = by_user(batch, &users);
done:
    names_end(&users);
    names_end(&meanings);
    Py_DECREF(batch);
    return found == NULL ? NULL : Py_BuildValue("Nd", found, latest);
}
