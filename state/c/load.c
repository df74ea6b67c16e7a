/* Records that were fetched: how many fit; and those of the changelog into a store, without an object of Python's for
 * what is not handed on: see state/loading.py, which has the twins. */
#include "reading.h"
#include "timers.h"

#define RECORD_BYTES 50 /* what a record counts beside its content */

/* latest(records): {key: what the last record with it says; None deletes it}. A null key is an empty one. */
PyObject *latest_records(PyObject *module, PyObject *argument)
{
    const Module *state = PyModule_GetState(module);
    if (Py_TYPE(argument) != state->records_type || ((Records *)argument)->block->objects != NULL) {
        PyErr_SetString(PyExc_TypeError, "latest(records), as parse gives them");
        return NULL;
    }
    const Records *records = (Records *)argument;
    const Raw *raws = records->block->raws + records->start;
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = records->size - 1; found != NULL && i >= 0; i--) { /* so what came before is not even made */
        const Raw *raw = &raws[i];
        PyObject *key = PyBytes_FromStringAndSize(raw->key, raw->key_size > 0 ? raw->key_size : 0);
        int known = key == NULL ? -1 : PyDict_Contains(found, key);
        if (known == 0) {
            PyObject *value = Py_None;
            if (raw->value_size < 0)
                Py_INCREF(value);
            else
                value = PyBytes_FromStringAndSize(raw->value, raw->value_size);
            known = value == NULL ? -1 : PyDict_SetItem(found, key, value);
            Py_XDECREF(value);
        }
        Py_XDECREF(key);
        if (known < 0)
            Py_CLEAR(found);
    }
    return found;
}

/* fitting(records, bytes): how many of the first ones have no more bytes than that, and their bytes */
PyObject *fitting_records(PyObject *module, PyObject *arguments)
{
    Records *records;
    long long room;
    if (!PyArg_ParseTuple(arguments, "O!L", ((Module *)PyModule_GetState(module))->records_type, &records, &room))
        return NULL;
    const Block *block = records->block;
    Py_ssize_t found = 0;
    long long bytes = 0;
    for (; found < records->size; found++) {
        const Raw *raw = &block->raws[records->start + found];
        long long more = (raw->key_size > 0 ? raw->key_size : 0) + (raw->value_size > 0 ? raw->value_size : 0);
        more += raw->headers_size + RECORD_BYTES;
        if (bytes + more > room)
            break;
        bytes += more;
    }
    return Py_BuildValue("(nL)", found, bytes);
}

/* in the order of keys: RocksDB puts what follows in its memtable's order there without searching, and has nothing to
 * sort when it writes that to a file */

typedef struct {
    uint64_t high, low; /* of a record: what its key begins with; of a timer: when it is */
    const Raw *raw;
} Place;

/* eight of them, zeros where there are fewer */
static uint64_t eight_bytes(const char *bytes, Py_ssize_t from, Py_ssize_t size)
{
    uint64_t found = 0;
    for (Py_ssize_t i = from; i < from + 8; i++)
        found = found << 8 | (i < size ? (unsigned char)bytes[i] : 0);
    return found;
}

static inline int key_size(const Raw *raw)
{
    return raw->key_size > 0 ? raw->key_size : 0;
}

/* below 0: one is before the other; 0: they have the same key */
static inline int compared(const Place *one, const Place *other)
{
    if (one->high != other->high)
        return one->high < other->high ? -1 : 1;
    if (one->low != other->low)
        return one->low < other->low ? -1 : 1;
    int size = key_size(one->raw), more = size - key_size(other->raw);
    int found = memcmp(one->raw->key, other->raw->key, (size_t)(more > 0 ? size - more : size));
    return found ? found : more;
}

/* what has the same key stays in its order; ``spare`` has room for as many */
static void sort_places(Place *places, Place *spare, Py_ssize_t count)
{
    for (Py_ssize_t half = 1; half < count; half *= 2) {
        for (Py_ssize_t start = 0; start + half < count; start += 2 * half) {
            Py_ssize_t middle = start + half, end = middle + half < count ? middle + half : count, to = start;
            if (compared(&places[middle - 1], &places[middle]) <= 0)
                continue;
            memcpy(spare, places + start, (size_t)half * sizeof(Place));
            Py_ssize_t left = 0, right = middle;
            while (left < half && right < end)
                places[to++] = compared(&spare[left], &places[right]) <= 0 ? spare[left++] : places[right++];
            memcpy(places + to, spare + left, (size_t)(half - left) * sizeof(Place));
        }
    }
}

typedef struct {
    Place *records, *timers, *spare; /* each has room for all records */
    Py_ssize_t count, timer_count, guards;
    int broken; /* what should be a user's record is none */
} Said;

/* what is said last of each key, and the timers of users, both in order */
static void put_in_order(Said *said, const Raw *raws, Py_ssize_t count, int are_states)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        const Raw *raw = &raws[i];
        int size = key_size(raw);
        said->guards += are_states && size && raw->key[0] == 'e' && raw->value_size >= 0;
        said->records[i] = (Place){eight_bytes(raw->key, 0, size), eight_bytes(raw->key, 8, size), raw};
    }
    sort_places(said->records, said->spare, count);
    for (Py_ssize_t i = 0; i < count; i++) {
        const Place *place = &said->records[i];
        if (i + 1 < count && compared(place, place + 1) == 0)
            continue;
        const Raw *raw = place->raw;
        said->records[said->count++] = *place;
        if (!are_states || raw->value_size < 0 || raw->key_size <= 0 || raw->key[0] != 'u')
            continue;
        uint64_t ms;
        if (raw->value_size < DUE_END)
            said->broken = 1;
        else if (timer_ms(raw->value, &ms) == 0)
            said->timers[said->timer_count++] = (Place){ms, 0, raw};
    }
    sort_places(said->timers, said->spare, said->timer_count);
}

static int put_timer(PyObject *batch, const Place *place, PyObject *empty)
{
    PyObject *key = timer_key(place->high, place->raw->key + 1, place->raw->key_size - 1);
    int failed = key == NULL ? -1 : PyObject_SetItem(batch, key, empty);
    Py_XDECREF(key);
    return failed;
}

static int put_record(PyObject *batch, const Raw *raw, const char *prefix, Py_ssize_t prefix_size)
{
    int size = key_size(raw), failed = -1;
    PyObject *key = PyBytes_FromStringAndSize(NULL, prefix_size + size);
    if (key == NULL)
        return -1;
    memcpy(PyBytes_AS_STRING(key), prefix, (size_t)prefix_size);
    memcpy(PyBytes_AS_STRING(key) + prefix_size, raw->key, (size_t)size);
    if (raw->value_size < 0)
        failed = PyObject_DelItem(batch, key);
    else {
        PyObject *value = PyBytes_FromStringAndSize(raw->value, raw->value_size);
        if (value != NULL)
            failed = PyObject_SetItem(batch, key, value);
        Py_XDECREF(value);
    }
    Py_DECREF(key);
    return failed;
}

/* load(batch, records, prefix): put, or delete, what is said last of each key; how many were erased */
PyObject *load_records(PyObject *module, PyObject *arguments)
{
    PyObject *batch, *empty = NULL, *answer = NULL;
    Records *records;
    const char *prefix;
    Py_ssize_t prefix_size;
    const Module *state = PyModule_GetState(module);
    if (!PyArg_ParseTuple(arguments, "OO!y#", &batch, state->records_type, &records, &prefix, &prefix_size))
        return NULL;
    if (records->block->objects != NULL) {
        PyErr_SetString(PyExc_TypeError, "load(batch, records, prefix), as parse gives them");
        return NULL;
    }
    const Raw *raws = records->block->raws + records->start;
    Py_ssize_t count = records->size;
    Place *room = PyMem_RawMalloc((size_t)(count ? count : 1) * 3 * sizeof(Place));
    if (room == NULL)
        return PyErr_NoMemory();
    Said said = {.records = room, .timers = room + count, .spare = room + 2 * count};
    WITHOUT_GIL(count);
    put_in_order(&said, raws, count, prefix_size == 0);
    WITH_GIL
    if (said.broken) {
        PyErr_SetString(PyExc_ValueError, "the record of a user is too short to be one");
        goto done;
    }
    empty = PyBytes_FromStringAndSize(NULL, 0);
    int failed = empty == NULL;
    for (Py_ssize_t i = 0; i < said.timer_count && !failed; i++)
        failed = put_timer(batch, &said.timers[i], empty) < 0;
    for (Py_ssize_t i = 0; i < said.count && !failed; i++)
        failed = put_record(batch, said.records[i].raw, prefix, prefix_size) < 0;
    if (!failed)
        answer = PyLong_FromSsize_t(said.guards);
done:
    Py_XDECREF(empty);
    PyMem_RawFree(room);
    return answer;
}
