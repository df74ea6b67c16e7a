/* The Python type of seen.c, with the methods of state.seen.PlainSeen. */
#include "seen.h"

#include <structmember.h>

#include <stdlib.h>
#include <string.h>

static int read_hash(PyObject *number, uint64_t *hash)
{
    if (!PyLong_Check(number)) {
        PyErr_SetString(PyExc_TypeError, "the hash of an id is an int");
        return -1;
    }
    *hash = PyLong_AsUnsignedLongLong(number);
    return *hash == (uint64_t)-1 && PyErr_Occurred() ? -1 : 0;
}

/* all of a dict: id hash -> second, clipped to 32 bits */
static int put_dict(Seen *seen, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    if (seen_reserve(seen, (size_t)seen->count + (size_t)PyDict_GET_SIZE(dict)) < 0)
        return -1;
    while (PyDict_Next(dict, &at, &key, &value)) {
        uint64_t hash;
        int overflow;
        if (read_hash(key, &hash) < 0)
            return -1;
        if (!PyLong_Check(value)) {
            PyErr_SetString(PyExc_TypeError, "a second of arrival is an int");
            return -1;
        }
        long long second = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (second == -1 && PyErr_Occurred())
            return -1;
        if (overflow > 0 || second > MAX_SECOND)
            second = MAX_SECOND;
        else if (overflow < 0 || second < 0)
            second = 0;
        if (seen_put(seen, hash, (uint32_t)second) < 0)
            return -1;
    }
    return 0;
}

static int put_bytes(Seen *seen, PyObject *bytes)
{
    size_t count = (size_t)PyBytes_GET_SIZE(bytes) / ENTRY_BYTES;
    const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(bytes);
    if (count == 0)
        return 0;
    if (seen_reserve(seen, (size_t)seen->count + count) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (seen_put(seen, seen_read_number(data + 8 * i, 8), (uint32_t)seen_read_number(data + 8 * count + 4 * i, 4)) < 0)
            return -1;
    return 0;
}

static PyObject *seen_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    PyObject *seconds = Py_None;
    static char *names[] = {"seconds", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "|O", names, &seconds))
        return NULL;
    if (seconds != Py_None && !PyDict_Check(seconds)) {
        PyErr_SetString(PyExc_TypeError, "Seen takes a dict or None");
        return NULL;
    }
    Seen *self = (Seen *)type->tp_alloc(type, 0);
    if (self != NULL && seconds != Py_None) {
        if (put_dict(self, seconds) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        self->tail = self->count;
    }
    return (PyObject *)self;
}

static void seen_dealloc(Seen *self)
{
    seen_clear(self);
    Py_XDECREF(self->unsaved);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static Py_ssize_t seen_length(Seen *self)
{
    return seen_ids(self);
}

static int seen_contains(Seen *self, PyObject *id_hash)
{
    uint64_t hash;
    if (read_hash(id_hash, &hash) < 0) { /* what is no hash is not there */
        PyErr_Clear();
        return 0;
    }
    return seen_find(self, hash) >= 0;
}

static PyObject *listed(Seen *self, int with_seconds)
{
    PyObject *list = PyList_New(seen_ids(self));
    if (list == NULL)
        return NULL;
    Py_ssize_t at = 0;
    for (uint32_t place = 0; place < self->count; place++) {
        if (seen_is_lost(self, place))
            continue;
        PyObject *entry = PyLong_FromUnsignedLongLong(self->hashes[place]);
        if (entry != NULL && with_seconds)
            entry = Py_BuildValue("(NI)", entry, (unsigned int)self->seconds[place]);
        if (entry == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, at++, entry);
    }
    return list;
}

static PyObject *seen_iter(Seen *self)
{
    PyObject *list = listed(self, 0), *iterator = list == NULL ? NULL : PyObject_GetIter(list);
    Py_XDECREF(list);
    return iterator;
}

static PyObject *seen_items(Seen *self, PyObject *nothing)
{
    return listed(self, 1);
}

static PyObject *seen_compare(PyObject *one, PyObject *other, int operation)
{
    if ((operation != Py_EQ && operation != Py_NE) || Py_TYPE(one) != &SeenType || Py_TYPE(other) != &SeenType)
        Py_RETURN_NOTIMPLEMENTED;
    const Seen *a = (Seen *)one, *b = (Seen *)other;
    int equal = a->stored - a->first == b->stored - b->first && (a->stored == a->first || a->first == b->first)
                && seen_ids(a) == seen_ids(b);
    for (uint32_t i = 0, j = 0; equal; i++, j++) {
        while (i < a->count && seen_is_lost(a, i))
            i++;
        while (j < b->count && seen_is_lost(b, j))
            j++;
        if (i >= a->count || j >= b->count)
            break;
        equal = a->hashes[i] == b->hashes[j] && a->seconds[i] == b->seconds[j];
    }
    return PyBool_FromLong(equal == (operation == Py_EQ));
}

static PyObject *seen_add_method(Seen *self, PyObject *const *args, Py_ssize_t nargs)
{
    uint64_t hash;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "add(id_hash, arrived)");
        return NULL;
    }
    double arrived = PyFloat_AsDouble(args[1]);
    if ((arrived == -1.0 && PyErr_Occurred()) || read_hash(args[0], &hash) < 0
        || seen_add(self, hash, seen_second(arrived)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *seen_restore(Seen *self, PyObject *chunks)
{
    PyObject *list = PySequence_Fast(chunks, "restore takes the records, in order");
    if (list == NULL)
        return NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    Seen whole = {.first = self->first, .stored = self->stored};
    if (count != self->stored - self->first || self->count != self->tail) {
        PyErr_SetString(PyExc_ValueError, "not the records of the ids that a user's state has seen");
        goto fail;
    }
    if (seen_reserve(&whole, (size_t)count * CHUNK + self->count) < 0)
        goto fail;
    whole.lost = PyMem_Calloc((size_t)count + 1, 1);
    if (whole.lost == NULL) {
        PyErr_NoMemory();
        goto fail;
    }
    whole.lost_count = (uint32_t)count;
    int missing = 0;
    for (Py_ssize_t number = 0; number < count; number++) {
        PyObject *chunk = PySequence_Fast_GET_ITEM(list, number);
        if (chunk == Py_None || (PyBytes_Check(chunk) && PyBytes_GET_SIZE(chunk) == 0)) {
            /* places are counted, so they must be filled; they are not in the index */
            memset(whole.hashes + whole.count, 0, CHUNK * sizeof(uint64_t));
            memset(whole.seconds + whole.count, 0, CHUNK * sizeof(uint32_t));
            whole.count += CHUNK;
            whole.lost[number] = 1;
            missing = 1;
            continue;
        }
        if (!PyBytes_Check(chunk) || PyBytes_GET_SIZE(chunk) != CHUNK * ENTRY_BYTES) {
            PyErr_SetString(PyExc_ValueError, "not a record of the ids that a user's state has seen");
            goto fail;
        }
        const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(chunk);
        for (int i = 0; i < CHUNK; i++)
            seen_append(&whole, seen_read_number(data + 8 * i, 8), (uint32_t)seen_read_number(data + 8 * CHUNK + 4 * i, 4));
    }
    for (uint32_t place = 0; place < self->count; place++)
        seen_append(&whole, self->hashes[place], self->seconds[place]);
    if (!missing) {
        PyMem_Free(whole.lost);
        whole.lost = NULL;
        whole.lost_count = 0;
    }
    whole.tail = self->count;
    seen_take(self, &whole);
    Py_DECREF(list);
    Py_RETURN_NONE;
fail:
    Py_DECREF(list);
    seen_clear(&whole);
    return NULL;
}

/* what is remembered, without places that hold no ids, as the tail of another; -1: an error */
static int copy_ids(const Seen *from, Seen *to)
{
    if (seen_reserve(to, (size_t)to->count + seen_ids(from)) < 0)
        return -1;
    for (uint32_t place = 0; place < from->count; place++)
        if (!seen_is_lost(from, place) && seen_put(to, from->hashes[place], from->seconds[place]) < 0)
            return -1;
    to->tail = to->count;
    return 0;
}

static PyObject *seen_whole(Seen *self, PyObject *nothing)
{
    Seen *copy = (Seen *)SeenType.tp_alloc(&SeenType, 0);
    if (copy != NULL && copy_ids(self, copy) < 0)
        Py_CLEAR(copy);
    return (PyObject *)copy;
}

/* ``new`` (its ids, which are moved) instead of all that was remembered */
static int replace_by(Seen *self, Seen *new)
{
    for (long long number = self->first; number < self->stored; number++)
        if (seen_change(self, number, Py_None) < 0)
            return -1;
    new->tail = new->count;
    seen_take(self, new);
    self->first = self->stored;
    return seen_close_chunks(self);
}

static PyObject *seen_replace(Seen *self, PyObject *seconds)
{
    Seen new = {0};
    if (!PyDict_Check(seconds)) {
        PyErr_SetString(PyExc_TypeError, "replace takes a dict");
        return NULL;
    }
    int failed = put_dict(&new, seconds) < 0 || replace_by(self, &new) < 0;
    seen_clear(&new);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

typedef struct {
    uint64_t hash;
    uint32_t second, place;
} Entry;

static int by_arrival(const void *one, const void *other)
{
    const Entry *a = one, *b = other;
    if (a->second != b->second)
        return a->second < b->second ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

static PyObject *seen_unite(Seen *self, PyObject *other)
{
    if (Py_TYPE(other) != &SeenType) {
        PyErr_SetString(PyExc_TypeError, "unite takes a Seen");
        return NULL;
    }
    if (seen_ids((Seen *)other) == 0)
        Py_RETURN_NONE;
    Seen both = {0}, newest = {0};
    Entry *entries = NULL;
    int failed = copy_ids(self, &both) < 0 || copy_ids((Seen *)other, &both) < 0;
    if (!failed && (entries = PyMem_Malloc(both.count * sizeof(Entry))) == NULL) {
        PyErr_NoMemory();
        failed = 1;
    }
    if (!failed) {
        for (uint32_t i = 0; i < both.count; i++)
            entries[i] = (Entry){both.hashes[i], both.seconds[i], i};
        qsort(entries, both.count, sizeof(Entry), by_arrival);
        for (uint32_t i = 0; i < both.count; i++)
            both.seconds[i] = entries[i].second;
        uint32_t cut, begin = seen_begin(&both, &cut);
        self->cut += cut;
        failed = seen_reserve(&newest, both.count - begin) < 0;
        for (uint32_t i = begin; !failed && i < both.count; i++)
            seen_append(&newest, entries[i].hash, entries[i].second);
        failed = failed || replace_by(self, &newest) < 0;
    }
    PyMem_Free(entries);
    seen_clear(&both);
    seen_clear(&newest);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *seen_pack(Seen *self, PyObject *nothing)
{
    PyObject *tail = PyBytes_FromStringAndSize(NULL, seen_tail_size(self));
    if (tail == NULL)
        return NULL;
    seen_write_tail(self, (unsigned char *)PyBytes_AS_STRING(tail));
    return Py_BuildValue("(LLN)", self->first, self->stored, tail);
}

static int unpack_into(Seen *self, PyObject *packed)
{
    if (PyDict_Check(packed)) {
        if (put_dict(self, packed) < 0)
            return -1;
        self->tail = self->count;
        return 0;
    }
    if (!(PyList_Check(packed) || PyTuple_Check(packed)) || PySequence_Fast_GET_SIZE(packed) != 3)
        return -1;
    PyObject **parts = PySequence_Fast_ITEMS(packed);
    if (!PyLong_Check(parts[0]) || !PyLong_Check(parts[1]) || !PyBytes_Check(parts[2]))
        return -1;
    self->first = PyLong_AsLongLong(parts[0]);
    self->stored = PyLong_AsLongLong(parts[1]);
    if (PyErr_Occurred() || !(0 <= self->first && self->first <= self->stored) || PyBytes_GET_SIZE(parts[2]) % ENTRY_BYTES
        || put_bytes(self, parts[2]) < 0)
        return -1;
    self->tail = self->count;
    return 0;
}

static PyObject *seen_unpack(PyTypeObject *type, PyObject *packed)
{
    Seen *self = (Seen *)SeenType.tp_alloc(&SeenType, 0);
    if (self != NULL && unpack_into(self, packed) < 0) {
        Py_CLEAR(self);
        if (!PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_MemoryError))
            PyErr_SetString(PyExc_ValueError, "not the ids that a user's state has seen");
    }
    return (PyObject *)self;
}

static PyObject *seen_first(Seen *self, void *nothing)
{
    return PyLong_FromLongLong(self->first);
}

static PyObject *seen_stored(Seen *self, void *nothing)
{
    return PyLong_FromLongLong(self->stored);
}

static PyObject *seen_places(Seen *self, void *nothing)
{
    return PyLong_FromUnsignedLong(self->count);
}

static PyObject *seen_latest(Seen *self, void *nothing)
{
    return PyLong_FromUnsignedLong(self->count ? self->seconds[self->count - 1] : 0);
}

static PyObject *seen_numbers(Seen *self, void *nothing)
{
    return PyObject_CallFunction((PyObject *)&PyRange_Type, "LL", self->first, self->stored);
}

static PyObject *seen_unsaved(Seen *self, void *nothing)
{
    if (self->unsaved == NULL && (self->unsaved = PyDict_New()) == NULL)
        return NULL;
    return Py_NewRef(self->unsaved);
}

static int seen_set_unsaved(Seen *self, PyObject *value, void *nothing)
{
    if (value == NULL || !PyDict_CheckExact(value)) {
        PyErr_SetString(PyExc_TypeError, "unsaved is a dict");
        return -1;
    }
    PyObject *old = self->unsaved;
    self->unsaved = PyDict_GET_SIZE(value) ? Py_NewRef(value) : NULL; /* most users have none: nothing is kept then */
    Py_XDECREF(old);
    return 0;
}

static PyObject *seen_sizeof(Seen *self, PyObject *nothing)
{
    size_t index = self->index == NULL ? 0 : sizeof(uint32_t) << self->bits;
    return PyLong_FromSize_t(sizeof(Seen) + ((size_t)self->begin + self->capacity) * ENTRY_BYTES + index);
}

static PyMemberDef members[] = {
    {"cut", T_UINT, offsetof(Seen, cut), 0, "ids forgotten since the last save though they were young"},
    {"accounted", T_UINT, offsetof(Seen, accounted), 0, "of places, what the cache has added up"},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"add", (PyCFunction)(void (*)(void))seen_add_method, METH_FASTCALL, "add(id_hash, arrived)"},
    {"items", (PyCFunction)seen_items, METH_NOARGS, "[(id hash, second of arrival)], in order of arrival"},
    {"restore", (PyCFunction)seen_restore, METH_O, "restore(chunks)"},
    {"whole", (PyCFunction)seen_whole, METH_NOARGS, "A copy with all in the tail."},
    {"unite", (PyCFunction)seen_unite, METH_O, "unite(other)"},
    {"replace", (PyCFunction)seen_replace, METH_O, "replace(seconds)"},
    {"pack", (PyCFunction)seen_pack, METH_NOARGS, "(first, stored, the tail's bytes)"},
    {"unpack", (PyCFunction)seen_unpack, METH_O | METH_CLASS, "unpack(packed): what pack gave, or an earlier release's map"},
    {"__sizeof__", (PyCFunction)seen_sizeof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"first", (getter)seen_first, NULL, "number of the oldest record", NULL},
    {"stored", (getter)seen_stored, NULL, "number of the next record", NULL},
    {"latest", (getter)seen_latest, NULL, "second of arrival of the last id in memory, or 0", NULL},
    {"places", (getter)seen_places, NULL, "of ids in memory", NULL},
    {"numbers", (getter)seen_numbers, NULL, "of the records that there are", NULL},
    {"unsaved", (getter)seen_unsaved, (setter)seen_set_unsaved, "record number -> its bytes, or None", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PySequenceMethods sequence = {
    .sq_length = (lenfunc)seen_length,
    .sq_contains = (objobjproc)seen_contains,
};

PyTypeObject SeenType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Seen",
    .tp_doc = "The ids of events that a user's state has counted; state.seen.PlainSeen says what its methods do.",
    .tp_basicsize = sizeof(Seen),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = seen_new,
    .tp_dealloc = (destructor)seen_dealloc,
    .tp_hash = PyObject_HashNotImplemented,
    .tp_richcompare = seen_compare,
    .tp_iter = (getiterfunc)seen_iter,
    .tp_as_sequence = &sequence,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = attributes,
};

int seen_ready(PyObject *module)
{
    return PyType_Ready(&SeenType) < 0 ? -1 : PyModule_AddObjectRef(module, "Seen", (PyObject *)&SeenType);
}
