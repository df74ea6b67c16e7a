/* One fetched record, as streams.steps.effects.Record wants it. */
#include "reading.h"

typedef struct {
    PyObject_HEAD
    Block *block;
    const Raw *raw;
} Record;

/* a new reference: a view of the block's record, or the object itself */
PyObject *record_at(const Records *records, Py_ssize_t at)
{
    Block *block = records->block;
    if (block->objects != NULL) {
        PyObject *object = PyList_GET_ITEM(block->objects, records->start + at);
        Py_INCREF(object);
        return object;
    }
    PyTypeObject *type = module_of(records)->fetched_type;
    Record *record = (Record *)type->tp_alloc(type, 0);
    if (record == NULL)
        return NULL;
    Py_INCREF(block);
    record->block = block;
    record->raw = &block->raws[records->start + at];
    return (PyObject *)record;
}

static void record_dealloc(Record *self)
{
    Py_XDECREF(self->block);
    object_free(self);
}

static PyObject *bytes_or_none(const char *letters, int32_t size)
{
    if (size < 0)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(letters, size);
}

static PyObject *record_offset(Record *self, void *closure)
{
    return PyLong_FromLongLong(self->raw->offset);
}

static PyObject *record_timestamp(Record *self, void *closure)
{
    return PyLong_FromLongLong(self->raw->timestamp);
}

static PyObject *record_timestamp_type(Record *self, void *closure)
{
    return PyLong_FromLong(self->raw->timestamp_type);
}

static PyObject *record_key(Record *self, void *closure)
{
    return bytes_or_none(self->raw->key, self->raw->key_size);
}

static PyObject *record_value(Record *self, void *closure)
{
    return bytes_or_none(self->raw->value, self->raw->value_size);
}

static PyObject *record_headers(Record *self, void *closure)
{
    PyObject *headers = PyList_New(0);
    const char *at = self->raw->headers, *end = at + self->raw->headers_size;
    while (headers != NULL && at < end) {
        const char *key, *value;
        int32_t key_size, value_size;
        PyObject *header = NULL;
        if (next_header(&at, end, &key, &key_size, &value, &value_size) < 0)
            PyErr_SetString(PyExc_ValueError, "the headers were changed");
        else
            /* Kafka does not look at names: what is no UTF-8 in them is kept as lone surrogates */
            header = Py_BuildValue("(NN)", PyUnicode_DecodeUTF8(key, key_size, "surrogateescape"),
                                   bytes_or_none(value, value_size));
        if (header == NULL || PyList_Append(headers, header) < 0)
            Py_CLEAR(headers);
        Py_XDECREF(header);
    }
    return headers;
}

static PyObject *record_repr(Record *self)
{
    return PyUnicode_FromFormat("<Record %lld>", (long long)self->raw->offset);
}

static PyGetSetDef record_fields[] = {
    {"offset", (getter)record_offset, NULL, "Its place in the partition.", NULL},
    {"timestamp", (getter)record_timestamp, NULL, "Milliseconds since the epoch.", NULL},
    {"timestamp_type", (getter)record_timestamp_type, NULL, "0: the producer's time; 1: the broker's.", NULL},
    {"key", (getter)record_key, NULL, NULL, NULL},
    {"value", (getter)record_value, NULL, NULL, NULL},
    {"headers", (getter)record_headers, NULL, "(name, value) in order.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A fetched record."},
    {Py_tp_dealloc, record_dealloc},
    {Py_tp_getset, record_fields},
    {Py_tp_repr, record_repr},
    {0, NULL},
};

PyType_Spec fetched_spec = {
    .name = "state._fold.Record",
    .basicsize = sizeof(Record),
    .flags = MADE_HERE,
    .slots = slots,
};
