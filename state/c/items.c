/* The events of one user in a turn, in order of arrival: (event, id hash, record, arrival in seconds), each made when
 * it is asked for. */
#include "reading.h"

PyObject *items_of(Batch *batch, Py_ssize_t start, Py_ssize_t size)
{
    Items *items = (Items *)ItemsType.tp_alloc(&ItemsType, 0);
    if (items == NULL)
        return NULL;
    Py_INCREF(batch);
    items->batch = batch;
    items->start = start;
    items->size = size;
    return (PyObject *)items;
}

static void items_dealloc(Items *self)
{
    Py_XDECREF(self->batch);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t items_length(Items *self)
{
    return self->size;
}

static PyObject *made(Batch *batch, Py_ssize_t number)
{
    const Event *read = &batch->events[number];
    const Raw *raw = &batch->records->block->raws[batch->records->start + number];
    PyObject *event = read->call ? call_to_event(raw, read) : NULL;
    if (event == NULL && !PyErr_Occurred()) {
        PyObject *value = PyBytes_FromStringAndSize(raw->value, raw->value_size);
        event = value == NULL ? NULL : PyObject_CallOneArg(batch->decode, value);
        Py_XDECREF(value);
    }
    PyObject *record = event == NULL ? NULL : record_at(batch->records, number);
    if (record == NULL) {
        Py_XDECREF(event);
        return NULL;
    }
    return Py_BuildValue("NKNd", event, (unsigned long long)read->id_hash, record, read->arrived);
}

static PyObject *items_item(Items *self, Py_ssize_t at)
{
    if (at < 0 || at >= self->size) {
        PyErr_SetString(PyExc_IndexError, "there is no such event");
        return NULL;
    }
    Py_ssize_t number = self->batch->order[self->start + at];
    PyObject *item = self->batch->events[number].item;
    if (item == NULL)
        return made(self->batch, number);
    Py_INCREF(item);
    return item;
}

static PyObject *items_subscript(Items *self, PyObject *key)
{
    if (PySlice_Check(key)) {
        Py_ssize_t start, stop, step;
        if (PySlice_Unpack(key, &start, &stop, &step) < 0)
            return NULL;
        Py_ssize_t size = PySlice_AdjustIndices(self->size, &start, &stop, step);
        if (step != 1) {
            PyErr_SetString(PyExc_ValueError, "a part of a user's events is in one piece");
            return NULL;
        }
        return items_of(self->batch, self->start + start, size);
    }
    Py_ssize_t at = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    return items_item(self, at < 0 ? at + self->size : at);
}

/* the event as it was read; NULL: there is none */
static const Event *read_at(const Items *items, PyObject *key)
{
    Py_ssize_t at = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    if (at < 0 || at >= items->size) {
        PyErr_SetString(PyExc_IndexError, "there is no such event");
        return NULL;
    }
    return &items->batch->events[items->batch->order[items->start + at]];
}

static PyObject *items_time(Items *self, PyObject *key)
{
    const Event *event = read_at(self, key);
    return event == NULL ? NULL : PyFloat_FromDouble(event->time);
}

static PyObject *items_plain(Items *self, PyObject *key)
{
    const Event *event = read_at(self, key);
    if (event == NULL)
        return NULL;
    if (event->kind < 0)
        Py_RETURN_NONE;
    return Py_BuildValue("Os#ddd", bound.kinds[event->kind], event->category, (Py_ssize_t)event->category_size,
                         event->time, event->amount, event->dwell);
}

static PySequenceMethods items_sequence = {
    .sq_length = (lenfunc)items_length,
    .sq_item = (ssizeargfunc)items_item,
};
static PyMappingMethods items_mapping = {
    .mp_length = (lenfunc)items_length,
    .mp_subscript = (binaryfunc)items_subscript,
};
static PyMethodDef items_methods[] = {
    {"time", (PyCFunction)items_time, METH_O, "time(number): of an event, which is not made for it."},
    {"plain", (PyCFunction)items_plain, METH_O,
     "plain(number): (kind, category, time, amount, dwell) as an event is folded; None: it is left to Python."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject ItemsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Items",
    .tp_doc = "The events of one user in a turn, in order of arrival.",
    .tp_basicsize = sizeof(Items),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_SEQUENCE,
    .tp_as_sequence = &items_sequence,
    .tp_iter = PySeqIter_New,
    .tp_as_mapping = &items_mapping,
    .tp_methods = items_methods,
    .tp_dealloc = (destructor)items_dealloc,
};
