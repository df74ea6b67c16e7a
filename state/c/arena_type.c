/* Arena: the memory that the tables of all partitions of a worker share. */
#include "area_type.h"

static PyObject *arena_make(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"most_bytes", NULL};
    Py_ssize_t most;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "n", names, &most))
        return NULL;
    if (most <= 0) {
        PyErr_SetString(PyExc_ValueError, "an arena has at least one byte");
        return NULL;
    }
    ArenaObject *self = (ArenaObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->arena = arena_new((size_t)most, MEMORY_HUGE);
    if (self->arena == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void arena_dealloc(ArenaObject *self)
{
    if (self->arena != NULL)
        arena_free(self->arena);
    object_free(self);
}

static PyObject *arena_table(ArenaObject *self, PyObject *none)
{
    return (PyObject *)table_new(self);
}

static PyObject *arena_bytes(ArenaObject *self, void *closure)
{
    return PyLong_FromSize_t(arena_held(self->arena));
}

static PyGetSetDef arena_fields[] = {
    {"bytes_held", (getter)arena_bytes, NULL, "Of all tables.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMethodDef arena_methods[] = {
    {"table", (PyCFunction)arena_table, METH_NOARGS, "table(): an empty one, for a partition."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Arena(most_bytes): the memory of a worker's tables; see state.tables.Arena."},
    {Py_tp_new, arena_make},
    {Py_tp_dealloc, arena_dealloc},
    {Py_tp_methods, arena_methods},
    {Py_tp_getset, arena_fields},
    {0, NULL},
};

PyType_Spec arena_spec = {
    .name = "state._fold.Arena",
    .basicsize = sizeof(ArenaObject),
    .flags = OF_MODULE,
    .slots = slots,
};
