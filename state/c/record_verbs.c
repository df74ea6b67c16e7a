/* Verbs of the whole record: events, features, the end of a visit, its bytes. */
#include "record_parts.h"

#include <math.h>

#include "core/settle.h"

PyObject *record_enter(UserRecord *record, PyObject *given)
{
    double time;
    if (record_number(given, &time) < 0)
        return NULL;
    OPEN(record, opened, NULL);
    if (time > block_time(&opened.block)) {
        if (!is_time(time)) {
            PyErr_Format(PyExc_ValueError, "%S cannot be the time of a record: it must be below 2^32 seconds", given);
            return NULL;
        }
        counters_enter(&opened.block, time);
    }
    Py_RETURN_NONE;
}

/* what a dict of Python's says of a word; NULL: nothing, or an exception */
static PyObject *look_up(PyObject *dict, PyObject *word)
{
    if (PyUnicode_Check(word))
        return PyDict_GetItemWithError(dict, word);
    PyErr_Format(PyExc_TypeError, "a kind is a str, and no %s", Py_TYPE(word)->tp_name);
    return NULL;
}

/* the bucket of an event's category, and what it says of that */
static int read_category(const RecordWords *words, PyObject *kind, PyObject *category, Counted *event)
{
    int there = PyObject_IsTrue(category);
    PyObject *interest = there > 0 ? PyDict_GetItemWithError(words->interest, kind) : NULL;
    if (there < 0 || (interest == NULL && PyErr_Occurred()))
        return -1;
    if (interest == NULL)
        return 0;
    PyObject *bucket = PyObject_CallOneArg(words->bucket_of, category);
    long number = bucket == NULL ? -1 : PyLong_AsLong(bucket);
    Py_XDECREF(bucket);
    if (number < 0 || number >= ROWS) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a category has a bucket that there is not");
        return -1;
    }
    event->category = (int)number;
    return record_number(interest, &event->interest);
}

static int read_event(const RecordWords *words, PyObject *const *given, Counted *event)
{
    PyObject *row = look_up(words->rows, given[0]);
    if (row == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "there is no counter of %R: give it a row in state/kinds.py", given[0]);
        return -1;
    }
    *event = (Counted){.kind = (int)PyLong_AsLong(row), .category = -1};
    if (read_category(words, given[0], given[1], event) < 0 || record_time(given[2], &event->time) < 0
        || record_number(given[3], &event->amount) < 0 || record_number(given[4], &event->dwell) < 0)
        return -1;
    if (event->amount >= 0.0 && event->amount <= MOST_SUM && event->dwell >= 0.0 && event->dwell <= MOST_SUM)
        return 0;
    PyErr_Format(PyExc_ValueError, "an event with the amount %S and the dwell %S cannot be in a record", given[3], given[4]);
    return -1;
}

PyObject *record_count_event(UserRecord *record, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"kind", "category", "time", "amount", "dwell"};
    PyObject *found[5];
    Counted event;
    int done;
    if (record_args("count_event", names, 5, args, given, kwnames, found) < 0
        || read_event(&module_of(record)->words, found, &event) < 0)
        return NULL;
    OPEN(record, opened, NULL);
    CHANGE(record, opened, done, counters_add(&opened.block, &event), NULL);
    Py_RETURN_NONE;
}

static PyObject *unite(UserRecord *record, const Py_buffer *data)
{
    uint8_t *bytes = PyMem_Malloc((size_t)data->len); /* it may be this very record's */
    if (bytes == NULL)
        return PyErr_NoMemory();
    memcpy(bytes, data->buf, (size_t)data->len);
    UserBlock other;
    block_open(&other, bytes, (size_t)data->len, (size_t)data->len);
    Opened opened;
    int done = record->home->open(record, &opened);
    if (done == 0 && block_time(&other) > block_time(&opened.block)) {
        PyErr_SetString(PyExc_ValueError, "the counters of a record that is ahead cannot be added: enter its time first");
        done = -1;
    }
    for (size_t more = 64; done == 0 && counters_unite(&opened.block, &other) == NO_ROOM; more *= 2)
        done = record->home->widen(record, more, &opened);
    if (done == 0)
        record->home->close(record, &opened);
    PyMem_Free(bytes);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *record_unite_counters(UserRecord *record, PyObject *block)
{
    Py_buffer data;
    if (PyObject_GetBuffer(block, &data, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *done = record_check(module_of(record), data.buf, (size_t)data.len) < 0 ? NULL : unite(record, &data);
    PyBuffer_Release(&data);
    return done;
}

PyObject *record_slow_counters(UserRecord *record, PyObject *given)
{
    double now, slow[ROWS];
    if (record_number(given, &now) < 0)
        return NULL;
    OPEN(record, opened, NULL);
    uint64_t bits = section_size(&opened.block, KINDS) ? get_u64(section_at(&opened.block, KINDS)) : 0;
    for (int row = 0; row < ROWS; row++)
        slow[row] = counters_kind(&opened.block, row, now).slow;
    const RecordWords *words = &module_of(record)->words;
    PyObject *found = PyDict_New();
    Py_ssize_t count = PyTuple_GET_SIZE(words->counters);
    for (Py_ssize_t row = 0; found != NULL && row < count && row < ROWS; row++) {
        if (!(bits >> row & 1))
            continue;
        PyObject *number = PyFloat_FromDouble(slow[row]);
        if (number == NULL || PyDict_SetItem(found, PyTuple_GET_ITEM(words->counters, row), number) < 0)
            Py_CLEAR(found);
        Py_XDECREF(number);
    }
    return found;
}

static void put_feature(const RecordWords *words, const Py_buffer *out, int at, double number)
{
    float value = (float)number;
    if (at >= 0 && at < words->features)
        memcpy((char *)out->buf + at * out->strides[0], &value, sizeof value);
}

static int fill(UserRecord *record, const RecordWords *words, const Py_buffer *out)
{
    OPEN(record, opened, -1);
    const UserBlock *block = &opened.block;
    double now = block_time(block);
    for (int at = 0; at < words->features; at++)
        put_feature(words, out, at, 0.0);
    for (int row = 0; row < ROWS; row++)
        if (words->slow_at[row] >= 0) {
            Decayed found = counters_kind(block, row, now);
            put_feature(words, out, words->fast_at[row], found.fast);
            put_feature(words, out, words->slow_at[row], found.slow);
        }
    put_feature(words, out, words->followees, edges_count(block, EDGES, 1));
    put_feature(words, out, words->groups, edges_count(block, GROUPS, 1));
    put_feature(words, out, words->texts, block_lane(block).texts);
    for (int bucket = 0; bucket < ROWS; bucket++)
        put_feature(words, out, words->categories + bucket, counters_category(block, bucket, now));
    return 0;
}

PyObject *record_features(UserRecord *record, PyObject *array)
{
    const RecordWords *words = &module_of(record)->words;
    Py_buffer out;
    if (PyObject_GetBuffer(array, &out, PyBUF_WRITABLE | PyBUF_FORMAT | PyBUF_STRIDES) < 0)
        return NULL;
    int done = -1;
    if (out.ndim != 1 || out.shape[0] != words->features || out.format == NULL || strcmp(out.format, "f") != 0)
        PyErr_Format(PyExc_ValueError, "features go into an array of float32 with the shape (%d,)", words->features);
    else
        done = fill(record, words, &out);
    PyBuffer_Release(&out);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

/* what is over at the record's time goes; ``known_at``: when, by tallies and opaque cells, the next is known */
static int trim(UserRecord *record, const TallySpec *specs, size_t count, double *now, double *known_at)
{
    OPEN(record, opened, -1);
    *now = block_time(&opened.block);
    cells_trim(&opened.block, specs, count, *now);
    record->home->close(record, &opened);
    *known_at = cells_opaque_known(&opened.block, *now);
    for (size_t i = 0; i < count; i++) {
        double until = record_unknown_until(&opened.block, specs[i].mark);
        *known_at = until < 0.0 ? *known_at : fmin(*known_at, cells_known_from(&specs[i], until));
    }
    return 0;
}

/* what a tuple of TallySpec says, by mark, in memory for PyMem_Free; NULL: an exception */
static TallySpec *read_specs(const Module *module, PyObject *specs)
{
    size_t count = (size_t)PyTuple_GET_SIZE(specs);
    TallySpec *all = PyMem_New(TallySpec, count + 1);
    if (all == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        if (record_spec(module, PyTuple_GET_ITEM(specs, (Py_ssize_t)i), &all[i]) < 0) {
            PyMem_Free(all);
            return NULL;
        }
    settle_sort(all, count);
    return all;
}

/* ``known_at`` becomes no later than what an absence says */
static int ask(const Module *module, PyObject *absence, PyObject *cells, PyObject *now, double *known_at)
{
    PyObject *found = PyObject_CallMethodObjArgs(absence, module->names.next_sure, cells, now, NULL);
    double sure = (double)INFINITY;
    int done = found == NULL ? -1 : record_number(found, &sure);
    Py_XDECREF(found);
    *known_at = fmin(*known_at, sure);
    return done;
}

static int ask_all(UserRecord *record, PyObject *absences, double time, double *known_at)
{
    const Module *module = module_of(record);
    PyObject *now = PyFloat_FromDouble(time);
    PyObject *cells = now == NULL ? NULL : record_view(module->cells_type, record, CELLS);
    PyObject *each = cells == NULL ? NULL : PyObject_GetIter(absences), *absence;
    int done = each == NULL ? -1 : 0;
    while (done == 0 && (absence = PyIter_Next(each)) != NULL) {
        done = ask(module, absence, cells, now, known_at);
        Py_DECREF(absence);
    }
    Py_XDECREF(now);
    Py_XDECREF(cells);
    Py_XDECREF(each);
    return PyErr_Occurred() ? -1 : done;
}

static int settle(UserRecord *record, PyObject *specs /* tuple */, PyObject *absences)
{
    TallySpec *all = read_specs(module_of(record), specs);
    double now, known_at;
    int done = all == NULL ? -1 : trim(record, all, (size_t)PyTuple_GET_SIZE(specs), &now, &known_at);
    PyMem_Free(all);
    if (done < 0 || ask_all(record, absences, now, &known_at) < 0)
        return -1;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, block_put_known_at(&opened.block, known_at), -1);
    return 0;
}

PyObject *record_settle(UserRecord *record, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"specs", "absences"};
    PyObject *found[2];
    if (record_args("settle", names, 2, args, given, kwnames, found) < 0)
        return NULL;
    PyObject *specs = PySequence_Tuple(found[0]);
    int done = specs == NULL ? -1 : settle(record, specs, found[1]);
    Py_XDECREF(specs);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

int record_may_be_written(const UserBlock *block)
{
    Lane lane = block_lane(block);
    if (lane.texts_taken <= lane.texts_put)
        return 0;
    PyErr_Format(PyExc_ValueError, "texts_taken %u of %u cannot be in a record", lane.texts_taken, lane.texts_put);
    return -1;
}

PyObject *record_pack(UserRecord *record, PyObject *nothing)
{
    OPEN(record, opened, NULL);
    if (record_may_be_written(&opened.block) < 0)
        return NULL;
    return PyBytes_FromStringAndSize((const char *)opened.block.at, opened.block.size);
}
