/* Area.admit, Area.admit_whole and Area.take: users whom the store has. */
#include "area_type.h"
#include "core/ids.h"
#include "record_type.h"

/* As user_of, of somebody who is to be in memory. */
int user_to_be(const Module *module, PyObject *name, User *user)
{
    int right = user_of(module, name, user);
    if (right < 0 || (right > 0 && user->size > 0))
        return right < 0 ? -1 : 0;
    PyErr_Format(PyExc_ValueError, "a user's name has 1 to %d bytes", UINT16_MAX);
    return -1;
}

PyObject *area_is_there(PyObject *name)
{
    PyErr_Format(PyExc_RuntimeError, "the user %R is in memory already", name);
    return NULL;
}

/* A user of whom there is a block, and the bytes of the records of ids. */
static int admit(AreaObject *area, PyObject *name, PyObject *block, PyObject *chunks, uint32_t *number)
{
    Module *module = module_of(area);
    User user;
    PyObject *all = PySequence_Tuple(chunks);
    IdsBytes *records = all == NULL ? NULL : record_chunks(all);
    Cache *cache = records == NULL ? NULL : area_open(area); /* after all that may run Python's code */
    int done = -1;
    if (cache == NULL || user_to_be(module, name, &user) < 0)
        goto end;
    if (!PyBytes_Check(block)) {
        PyErr_SetString(PyExc_TypeError, "a block is bytes");
        goto end;
    }
    const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(block);
    size_t size = (size_t)PyBytes_GET_SIZE(block), count = (size_t)PyTuple_GET_SIZE(all);
    if (record_check(module, bytes, size) < 0)
        goto end;
    Ids ids = ids_peek(bytes, size);
    if (count != ids.stored - ids.first) {
        PyErr_Format(PyExc_ValueError, "the block has %u records of ids, not %zu", ids.stored - ids.first, count);
        goto end;
    }
    done = turn_admit(cache, &user, bytes, (uint32_t)size, records, count, number);
    if (done == TURN_BAD_IDS)
        record_chunk_is_wrong(module);
    else if (done > 0)
        area_is_there(name);
    else if (done < 0)
        PyErr_NoMemory();
    else
        area_has_more(area);
end:
    PyMem_Free(records);
    Py_XDECREF(all);
    return done == 0 ? 0 : -1;
}

PyObject *area_admit(AreaObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    uint32_t number;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "admit(user, block, chunks)");
        return NULL;
    }
    return admit(self, args[0], args[1], args[2], &number) < 0 ? NULL : area_record(self, args[0], number);
}

/* Somebody whose ids all lie in the block. 0; 1: that cannot be told, or it is not so; -1: an exception. */
static int admit_whole(AreaObject *area, PyObject *name, PyObject *block)
{
    Module *module = module_of(area);
    User user;
    uint32_t number;
    Cache *cache = area_open(area);
    if (cache == NULL || user_to_be(module, name, &user) < 0)
        return -1;
    const uint8_t *bytes = PyBytes_Check(block) ? (const uint8_t *)PyBytes_AS_STRING(block) : NULL;
    size_t size = bytes == NULL ? 0 : (size_t)PyBytes_GET_SIZE(block);
    if (size < BLOCK_HEADER || bytes[0] != BLOCK_FORMAT)
        return 1;
    if (record_check(module, bytes, size) < 0)
        return -1;
    Ids ids = ids_peek(bytes, size);
    if (ids.stored != ids.first)
        return 1;
    int done = turn_admit(cache, &user, bytes, (uint32_t)size, NULL, 0, &number);
    if (done == 0)
        area_has_more(area);
    else if (done > 0)
        area_is_there(name);
    else
        PyErr_NoMemory();
    return done == 0 ? 0 : -1;
}

PyObject *area_admit_whole(AreaObject *self, PyObject *blocks)
{
    PyObject *name, *block, *left = PyDict_CheckExact(blocks) ? PyList_New(0) : NULL;
    Py_ssize_t at = 0;
    if (!PyDict_CheckExact(blocks))
        PyErr_SetString(PyExc_TypeError, "admit_whole({user: block})");
    if (left != NULL && area_open(self) == NULL)
        Py_CLEAR(left);
    while (left != NULL && PyDict_Next(blocks, &at, &name, &block)) {
        int done = admit_whole(self, name, block);
        if (done < 0 || (done > 0 && PyList_Append(left, name) < 0))
            Py_CLEAR(left);
    }
    return left;
}

static int number_of(PyObject *of, PyObject *name, uint32_t *number)
{
    PyObject *found = PyObject_GetAttr(of, name);
    unsigned long long value = found == NULL ? 0 : PyLong_AsUnsignedLongLong(found);
    Py_XDECREF(found);
    if (PyErr_Occurred())
        return -1;
    if (value > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%U is %llu", name, value);
        return -1;
    }
    *number = (uint32_t)value;
    return 0;
}

/* What the store has of a record that was made in Python. */
static int stored_of(const AttributeNames *names, PyObject *ids, Copy *stored)
{
    PyObject *saved = PyObject_GetAttr(ids, names->saved);
    int done = saved == NULL || number_of(saved, names->start, &stored->first) < 0
                       || number_of(saved, names->stop, &stored->stored) < 0 || number_of(ids, names->cut, &stored->cut) < 0
                   ? -1
                   : 0;
    Py_XDECREF(saved);
    if (done == 0 && stored->stored < stored->first) {
        PyErr_SetString(PyExc_ValueError, "the store's records of ids end before they begin");
        return -1;
    }
    return done;
}

PyObject *area_take(AreaObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const AttributeNames *names = &module_of(self)->names;
    uint32_t number;
    Copy stored;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "take(record, due)");
        return NULL;
    }
    stored.timer = PyFloat_AsDouble(args[1]);
    PyObject *ids = PyErr_Occurred() ? NULL : PyObject_GetAttr(args[0], names->ids);
    PyObject *name = ids == NULL ? NULL : PyObject_GetAttr(args[0], names->user);
    PyObject *block = name == NULL ? NULL : PyObject_CallMethodNoArgs(args[0], names->pack);
    PyObject *chunks = block == NULL ? NULL : PyObject_CallMethodNoArgs(ids, names->chunks);
    PyObject *record = NULL;
    if (chunks != NULL && stored_of(names, ids, &stored) == 0 && admit(self, name, block, chunks, &number) == 0) {
        Copy *copy = turn_copy(self->table->cache, number);
        copy->timer = stored.timer;
        copy->first = stored.first;
        copy->stored = stored.stored;
        copy->cut = stored.cut;
        turn_entry(self->table->cache, number).prefix->flags |= ENTRY_NEW; /* or the store may have nothing of it */
        record = area_record(self, name, number);
    }
    Py_XDECREF(ids);
    Py_XDECREF(name);
    Py_XDECREF(block);
    Py_XDECREF(chunks);
    return record;
}
