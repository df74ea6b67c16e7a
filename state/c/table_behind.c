/* Table.dirty, tight, put_dirty, put_new: users who are written to the store behind their turns. */
#include "area_type.h"
#include "core/behind.h"

typedef struct {
    PyObject *batch;
    Py_ssize_t count;
} Filling;

static int put_user(void *of, const Prefix *prefix)
{
    Filling *filling = of;
    const char *name = (const char *)(prefix + 1), *block = (const char *)prefix + prefix_bytes(prefix->name);
    PyObject *key = PyBytes_FromStringAndSize(NULL, prefix->name + 1);
    PyObject *record = key == NULL ? NULL : PyBytes_FromStringAndSize(block, prefix->size);
    int done = -1;
    if (record != NULL) {
        PyBytes_AS_STRING(key)[0] = 'u';
        memcpy(PyBytes_AS_STRING(key) + 1, name, prefix->name);
        done = PyObject_SetItem(filling->batch, key, record);
    }
    Py_XDECREF(key);
    Py_XDECREF(record);
    filling->count += done == 0;
    return done;
}

/* How many were put; NULL: what the batch says against it. */
static PyObject *put(TableObject *table, PyObject *batch, uint64_t from, uint64_t until, uint32_t flags)
{
    Filling filling = {.batch = batch};
    if (table_is_between_turns(table) < 0)
        return NULL;
    int done = 0;
    if (table->cache != NULL) {
        table->busy = 1; /* the batch is not ours: entries must stay where they are whatever it does */
        done = behind_put(table->cache, from, until, flags, put_user, &filling);
        table->busy = 0;
    }
    return done < 0 ? NULL : PyLong_FromSsize_t(filling.count);
}

/* a part of a round as hashes: parts that meet have no hash between them, and none in common */
static uint64_t hash_at(double part)
{
    return (uint64_t)(part * (double)BEHIND_END);
}

PyObject *table_put_dirty(TableObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "put_dirty(batch, start, end)");
        return NULL;
    }
    double start = PyFloat_AsDouble(args[1]), end = PyFloat_AsDouble(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (!(0.0 <= start && start <= end && end <= 1.0)) {
        PyErr_SetString(PyExc_ValueError, "parts of a round are from 0 to 1");
        return NULL;
    }
    return put(self, args[0], hash_at(start), hash_at(end), ENTRY_DIRTY);
}

PyObject *table_put_new(TableObject *self, PyObject *batch)
{
    return put(self, batch, 0, BEHIND_END, ENTRY_DIRTY | ENTRY_NEW);
}

PyObject *table_dirty(TableObject *self, void *closure)
{
    return PyLong_FromUnsignedLong(self->cache == NULL ? 0 : self->cache->dirty);
}

PyObject *table_tight(TableObject *self, void *closure)
{
    return PyBool_FromLong(self->cache != NULL && behind_is_tight(self->cache));
}
