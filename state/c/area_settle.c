/* Area.settle: what a turn has to write. */
#include "area_type.h"
#include "core/fetch.h"
#include "core/settle.h"
#include "record_type.h"

#define NUMBER_BYTES 8

/* The tallies that definitions ask for, by mark; for PyMem_Free. NULL: an exception. */
static TallySpec *specs_of(const Module *module, PyObject *specs, size_t *count)
{
    PyObject *all = PySequence_Tuple(specs);
    if (all == NULL)
        return NULL;
    *count = (size_t)PyTuple_GET_SIZE(all);
    TallySpec *found = PyMem_Calloc(*count + 1, sizeof(*found));
    if (found == NULL)
        PyErr_NoMemory();
    for (size_t i = 0; found != NULL && i < *count; i++)
        if (record_spec(module, PyTuple_GET_ITEM(all, (Py_ssize_t)i), &found[i]) < 0) {
            PyMem_Free(found);
            found = NULL;
        }
    Py_DECREF(all);
    if (found != NULL)
        settle_sort(found, *count);
    return found;
}

/* The name, between what precedes it and ``behind`` bytes that are still to be written. */
static PyObject *key_of(const Entry *entry, int numbered)
{
    size_t size = entry->prefix->name, before = numbered ? 3 : 1;
    PyObject *key = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(before + size + (numbered ? NUMBER_BYTES : 0)));
    if (key == NULL)
        return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(key);
    to[0] = numbered ? 'd' : 'u';
    if (numbered) {
        to[1] = (uint8_t)(size >> 8);
        to[2] = (uint8_t)size;
    }
    memcpy(to + before, entry->prefix + 1, size);
    return key;
}

/* A record of ids, or that it is no longer wanted (NULL). */
static int put_ids(const Entry *entry, uint32_t number, const uint8_t *ids, PyObject *puts)
{
    PyObject *key = key_of(entry, 1);
    PyObject *value = ids == NULL ? Py_NewRef(Py_None) : PyBytes_FromStringAndSize((const char *)ids, IDS_RECORD_BYTES);
    if (key != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(key) + PyBytes_GET_SIZE(key) - NUMBER_BYTES;
        for (int byte = 0; byte < NUMBER_BYTES; byte++)
            to[byte] = (uint8_t)((uint64_t)number >> 8 * (NUMBER_BYTES - 1 - byte));
    }
    int done = key == NULL || value == NULL ? -1 : PyDict_SetItem(puts, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return done;
}

/* What changed of a user's records of ids, and whether the block may be written: most need not be opened for that. */
static int put_all_ids(Cache *cache, const Entry *entry, const Settled *settled, PyObject *puts)
{
    UserBlock block;
    IdsAt ids;
    int changed = settled->ids.gone != settled->ids.first || settled->ids.put != settled->ids.stored;
    if (!changed && get_u16(entry->block + AT_SIZES + 2 * (size_t)LANE) == 0)
        return 0;
    turn_open(cache, settled->number, &block, &ids);
    if (record_may_be_written(&block) < 0)
        return -1;
    for (uint32_t number = settled->ids.gone; number < settled->ids.first; number++)
        if (put_ids(entry, number, NULL, puts) < 0)
            return -1;
    for (uint32_t number = settled->ids.put; number < settled->ids.stored; number++)
        if (put_ids(entry, number, ids_record(&ids, number), puts) < 0)
            return -1;
    return 0;
}

static int put_user(Cache *cache, const Settled *settled, PyObject *puts, PyObject *timed)
{
    Entry entry = turn_entry(cache, settled->number);
    if (put_all_ids(cache, &entry, settled, puts) < 0)
        return -1;
    PyObject *key = key_of(&entry, 0);
    PyObject *record = PyBytes_FromStringAndSize((const char *)entry.block, entry.prefix->size);
    int done = key == NULL || record == NULL ? -1 : PyDict_SetItem(puts, key, record);
    if (done == 0 && settled->timed)
        done = PySet_Add(timed, key);
    Py_XDECREF(key);
    Py_XDECREF(record);
    return done;
}

PyObject *area_settle(AreaObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    size_t spec_count;
    if (nargs != 3 || !PyDict_CheckExact(args[1]) || !PySet_CheckExact(args[2])) {
        PyErr_SetString(PyExc_TypeError, "settle(specs, puts, timed): a sequence, a dict and a set");
        return NULL;
    }
    TallySpec *specs = specs_of(module_of(self), args[0], &spec_count);
    Cache *cache = specs == NULL ? NULL : area_open(self);
    Settled *settled = NULL;
    PyObject *result = NULL;
    uint32_t count;
    SettledAll all;
    if (cache == NULL)
        goto end;
    if (self->settled) {
        PyErr_SetString(PyExc_RuntimeError, "the turn is settled already");
        goto end;
    }
    settled = PyMem_Malloc(((size_t)cache->turn.count + 1) * sizeof(*settled));
    if (settled == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    self->settled = -1;
    AWAY(self->table, cache->turn.count)
    count = turn_settle(cache, specs, spec_count, settled, &all);
    BACK(self->table)
    self->table->busy = 1; /* to put bytes into a dict runs no code but that of bytes; and should it all the same */
    uint32_t done = 0;
    while (done < count && put_user(cache, &settled[done], args[1], args[2]) == 0) {
        done++;
        if (done + FETCH_AHEAD < count)
            fetch_copy(cache, settled[done + FETCH_AHEAD].number);
        if (done + FETCH_AHEAD_REST < count)
            fetch_copy_rest(cache, settled[done + FETCH_AHEAD_REST].number);
    }
    self->table->busy = 0;
    self->settled = done == count ? 1 : -1;
    if (done == count)
        result = Py_BuildValue("dKK", all.earliest, (unsigned long long)all.cut, (unsigned long long)all.bytes);
end:
    PyMem_Free(settled);
    PyMem_Free(specs);
    return result;
}
