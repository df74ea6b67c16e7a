/* The events of one user in a turn, in order of arrival: (event, id hash, record, arrival in seconds), each made when
 * it is asked for. */
#include "forms.h"
#include "plan_type.h"

PyObject *items_of(Batch *batch, Py_ssize_t start, Py_ssize_t size)
{
    PyTypeObject *type = module_of(batch)->items_type;
    Items *items = (Items *)type->tp_alloc(type, 0);
    if (items == NULL)
        return NULL;
    Py_INCREF(batch);
    items->batch = batch;
    items->start = start;
    items->size = size;
    return (PyObject *)items;
}

static int items_visit(Items *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->batch);
    return 0;
}

static void items_dealloc(Items *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->batch);
    object_free(self);
}

static Py_ssize_t items_length(Items *self)
{
    return self->size;
}

static PyObject *made(Batch *batch, Py_ssize_t number)
{
    const Event *read = &batch->events[number];
    const Raw *raw = &batch->records->block->raws[batch->records->start + number];
    PyObject *event = read->call ? call_to_event(batch->plan->wire, raw, read) : NULL;
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
    return Py_BuildValue("Os#ddd", self->batch->plan->wire->kinds[event->kind], event->category, (Py_ssize_t)event->category_size,
                         event->time, event->amount, event->dwell);
}

static PyMethodDef items_methods[] = {
    {"time", (PyCFunction)items_time, METH_O, "time(number): of an event, which is not made for it."},
    {"plain", (PyCFunction)items_plain, METH_O,
     "plain(number): (kind, category, time, amount, dwell) as an event is folded; None: it is left to Python."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_traverse, items_visit},
    {Py_tp_doc, "The events of one user in a turn, in order of arrival."},
    {Py_sq_length, items_length},
    {Py_sq_item, items_item},
    {Py_tp_iter, PySeqIter_New},
    {Py_mp_length, items_length},
    {Py_mp_subscript, items_subscript},
    {Py_tp_methods, items_methods},
    {Py_tp_dealloc, items_dealloc},
    {0, NULL},
};

PyType_Spec items_spec = {
    .name = "state._fold.Items",
    .basicsize = sizeof(Items),
    .flags = MADE_HERE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_SEQUENCE,
    .slots = slots,
};
