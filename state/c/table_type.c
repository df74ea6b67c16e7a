/* Table: who is in memory, of one partition. */
#include "area_type.h"
#include "reading.h"

TableObject *table_new(ArenaObject *arena)
{
    PyTypeObject *type = module_of(arena)->table_type;
    TableObject *table = (TableObject *)type->tp_alloc(type, 0);
    if (table != NULL)
        table->arena = (ArenaObject *)Py_NewRef(arena);
    return table;
}

static void table_dealloc(TableObject *self)
{
    cache_free(self->cache); /* an area has a reference: there is no turn */
    Py_XDECREF(self->arena);
    object_free(self);
}

int table_is_free(const TableObject *table)
{
    if (!table->busy)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "another thread works on this partition's users");
    return -1;
}

int table_is_between_turns(const TableObject *table)
{
    if (table_is_free(table) < 0)
        return -1;
    if (table->turn == NULL)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "another turn is under way");
    return -1;
}

int user_of(const Module *module, PyObject *name, User *user)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a user is a str, not %.100s", Py_TYPE(name)->tp_name);
        return -1;
    }
    const char *letters = PyUnicode_AsUTF8AndSize(name, &size);
    if (letters == NULL)
        return -1;
    if (size > UINT16_MAX)
        return 0;
    uint64_t hash = name_hash(module->name_seed, letters, (size_t)size);
    *user = (User){.hash = hash, .name = letters, .size = (uint16_t)size};
    return 1;
}

static PyObject *table_get(TableObject *self, PyObject *name)
{
    User user;
    Entry entry;
    if (table_is_between_turns(self) < 0)
        return NULL;
    int right = user_of(module_of(self), name, &user);
    if (right < 0)
        return NULL;
    if (right == 0 || self->cache == NULL || !cache_get(self->cache, &user, &entry))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)entry.block, entry.prefix->size);
}

static PyObject *table_begin(TableObject *self, PyObject *none)
{
    if (table_is_between_turns(self) < 0)
        return NULL;
    if (self->cache == NULL && (self->cache = cache_new(self->arena->arena)) == NULL)
        return PyErr_NoMemory();
    return (PyObject *)area_new(self);
}

static PyObject *table_let_go(TableObject *self, PyObject *none)
{
    if (self->cache != NULL && self->turn == NULL) {
        if (table_is_free(self) < 0)
            return NULL;
        AWAY(self, cache_users(self->cache))
        cache_tidy(self->cache);
        BACK(self)
    }
    Py_RETURN_NONE;
}

static PyObject *table_clear(TableObject *self, PyObject *none)
{
    if (table_is_free(self) < 0)
        return NULL;
    Cache *cache = self->cache;
    if (self->turn != NULL)
        area_end(self->turn);
    self->cache = NULL;
    cache_free(cache);
    Py_RETURN_NONE;
}

static PyObject *table_users(TableObject *self, void *closure)
{
    return PyLong_FromUnsignedLong(self->cache == NULL ? 0 : cache_users(self->cache));
}

static PyObject *table_bytes_held(TableObject *self, void *closure)
{
    return PyLong_FromSize_t(self->cache == NULL ? 0 : cache_bytes(self->cache));
}

static PyGetSetDef table_fields[] = {
    {"users", (getter)table_users, NULL, "How many are in memory.", NULL},
    {"bytes_held", (getter)table_bytes_held, NULL, "What is held for them.", NULL},
    {"dirty", (getter)table_dirty, NULL, "How many are newer here than in the store.", NULL},
    {"tight", (getter)table_tight, NULL, "Memory is nearly full: users should be written with their turns.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMethodDef table_methods[] = {
    {"get", (PyCFunction)table_get, METH_O, "get(user): the committed block; None: not in memory. Between turns."},
    {"begin", (PyCFunction)table_begin, METH_NOARGS, "begin(): the area of a new turn."},
    {"put_dirty", (PyCFunction)(void (*)(void))table_put_dirty, METH_FASTCALL,
     "put_dirty(batch, start, end): put the dirty of this part of a round; how many. Between turns."},
    {"put_new", (PyCFunction)table_put_new, METH_O,
     "put_new(batch): put those of whom the store has nothing; how many. Between turns."},
    {"tidy", (PyCFunction)table_let_go, METH_NOARGS, "tidy(): let go what is above the arena's bound; nothing during a turn."},
    {"clear", (PyCFunction)table_clear, METH_NOARGS, "clear(): all goes; a turn under way is dropped."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Who is in memory, of one partition; see state.tables.Table. Arena.table() makes one."},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_getset, table_fields},
    {0, NULL},
};

PyType_Spec table_spec = {
    .name = "state._fold.Table",
    .basicsize = sizeof(TableObject),
    .flags = MADE_HERE,
    .slots = slots,
};
