/* The records of a turn to events by user. The usual ones are read, and all are gathered, without the GIL. */
#include "core/bucket.h"
#include "forms.h"
#include "plan_type.h"

#define MOST_SECOND 4294967295.0

/* the usual ones; ``number`` of the others is -1 */
static double read_usual(Batch *batch, const Bounds *bounds)
{
    const Raw *raws = batch->records->block->raws + batch->records->start;
    const Wire *wire = batch->plan->wire;
    double latest = 0.0;
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        Event *event = &batch->events[i];
        event->number =
            read_event(wire, raws[i].value, raws[i].value_size, (double)raws[i].timestamp / 1000.0, bounds, event) - 1;
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
static int take_item(const Wire *wire, Event *event, PyObject *item /* stolen */)
{
    event->item = item;
    PyObject *object = PyTuple_CheckExact(item) && PyTuple_GET_SIZE(item) == 4 ? PyTuple_GET_ITEM(item, 0) : NULL;
    if (object == NULL || Py_TYPE(object) != wire->event.type || !PyUnicode_CheckExact(FIELD(object, wire->event.user))) {
        PyErr_SetString(PyExc_TypeError, "not (event, id hash, record, arrival)");
        return -1;
    }
    event->id_hash = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(item, 1));
    if (PyErr_Occurred() || letters_of(FIELD(object, wire->event.user), &event->user, &event->user_size) < 0)
        return -1;
    event->number = 0;
    event->kind = -1;
    event->call = 0;
    event->anonymous = FIELD(object, wire->event.anonymous) == Py_True;
    PyObject *kind = FIELD(object, wire->event.kind), *category = FIELD(object, wire->event.category);
    int numbers = number_of(FIELD(object, wire->event.time), &event->time)
                  & number_of(FIELD(object, wire->event.amount), &event->amount)
                  & number_of(FIELD(object, wire->event.dwell), &event->dwell)
                  & number_of(PyTuple_GET_ITEM(item, 3), &event->arrived);
    if (!numbers || !PyUnicode_CheckExact(kind) || !PyUnicode_CheckExact(category))
        return 0;
    if (letters_of(category, &event->category, &event->category_size) < 0)
        return -1;
    for (int i = 0; i < wire->kind_count && event->kind < 0; i++)
        if (kind == wire->kinds[i] || PyUnicode_Compare(kind, wire->kinds[i]) == 0)
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
        else if (take_item(batch->plan->wire, &batch->events[i], item) < 0)
            return -1;
    }
    return 0;
}

/* What a kind and category stand for: found once, kept in the place of a name's numbers. */
static void find_meaning(const PlanObject *plan, Name *meaning)
{
    meaning->count = plan_route(plan, meaning->kind, meaning->letters, meaning->size);
    meaning->start = -1;
    if (meaning->count >= 0 && meaning->size > 0 && plan_has_interest(plan, meaning->count))
        meaning->start = (int32_t)category_bucket(meaning->letters, (size_t)meaning->size);
}

/* the event as the core folds it */
static void write_fold(FoldEvent *fold, const Event *event, const Name *meaning)
{
    double arrived = event->arrived;
    *fold = (FoldEvent){
        .time = event->time,
        .amount = event->amount,
        .dwell = event->dwell,
        .id_hash = event->id_hash,
        .second = arrived >= MOST_SECOND ? UINT32_MAX : arrived > 0.0 ? (uint32_t)arrived : 0,
        .route = meaning == NULL ? -1 : meaning->count,
        .bucket = meaning == NULL ? -1 : meaning->start,
        .anonymous = (uint8_t)(event->anonymous != 0),
    };
}

/* Numbers users and meanings, and puts the events of each user together. */
static int gather(Batch *batch, Names *meanings)
{
    Names *users = &batch->users;
    for (Py_ssize_t i = 0; i < batch->count; i++) {
        Event *event = &batch->events[i];
        const Name *meaning = NULL;
        if (event->number < 0)
            continue;
        event->number = names_number(users, event->user, event->user_size, 0);
        if (event->number < 0)
            return -1;
        users->names[event->number].count++;
        if (event->kind >= 0) {
            int32_t known = meanings->count;
            int32_t number = names_number(meanings, event->category, event->category_size, event->kind);
            if (number < 0)
                return -1;
            if (number == known)
                find_meaning(batch->plan, &meanings->names[number]);
            meaning = &meanings->names[number];
        }
        write_fold(&batch->folds[i], event, meaning);
    }
    int32_t start = 0;
    for (int32_t i = 0; i < users->count; i++) {
        users->names[i].start = start;
        start += users->names[i].count;
    }
    for (Py_ssize_t i = 0; i < batch->count; i++)
        if (batch->events[i].number >= 0)
            batch->order[users->names[batch->events[i].number].start++] = (uint32_t)i;
    for (int32_t i = 0; i < users->count; i++)
        users->names[i].start -= users->names[i].count;
    return 0;
}

/* read(records, decode, slow, bounds) -> (batch, latest time or 0) */
PyObject *plan_read(PlanObject *plan, PyObject *args)
{
    PyObject *sequence, *decode, *slow;
    Bounds bounds;
    if (!PyArg_ParseTuple(args, "OOO(nndddd)", &sequence, &decode, &slow, &bounds.most_bytes, &bounds.most_name,
                          &bounds.from, &bounds.ahead, &bounds.most_amount, &bounds.most_dwell))
        return NULL;
    const Module *module = module_of(plan);
    Records *records = records_of(module, sequence);
    Batch *batch = records == NULL ? NULL : batch_new(records, plan, decode);
    if (batch == NULL)
        return NULL;
    Names meanings = {0};
    double latest;
    int failed;
    WITHOUT_GIL(batch->count);
    latest = read_usual(batch, &bounds);
    WITH_GIL
    if (read_others(batch, slow) < 0) {
        Py_DECREF(batch);
        return NULL;
    }
    WITHOUT_GIL(batch->count);
    failed = names_begin(&batch->users, module->name_seed) < 0
             || names_begin(&meanings, module->name_seed) < 0 || gather(batch, &meanings) < 0;
    names_end(&meanings);
    WITH_GIL
    if (failed) {
        Py_DECREF(batch);
        return PyErr_NoMemory();
    }
    PyObject_GC_Track(batch);
    return Py_BuildValue("Nd", batch, latest);
}
