/* The view Ids: ids in the block and beyond it. */
#include "record_parts.h"

#include <math.h>

int record_chunk_is_wrong(Module *module)
{
    if (record_bind(module) == 0)
        PyErr_Format(module->words.format_error,
                     "a record of a user's ids has neither %d nor %d bytes: restore the store from the changelog, or "
                     "replay into fresh topics if the changelog has it so",
                     IDS_RECORD_BYTES, OLD_RECORD_BYTES);
    return -1;
}

IdsBytes *record_chunks(PyObject *chunks)
{
    Py_ssize_t count = PyTuple_GET_SIZE(chunks);
    IdsBytes *all = PyMem_New(IdsBytes, (size_t)count + 1);
    if (all == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *chunk = PyTuple_GET_ITEM(chunks, i);
        if (chunk == Py_None) {
            all[i] = (IdsBytes){NULL, 0};
        } else if (PyBytes_Check(chunk)) {
            all[i] = (IdsBytes){(const uint8_t *)PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk)};
        } else {
            PyErr_Format(PyExc_TypeError, "a record of ids is bytes or None, and no %s", Py_TYPE(chunk)->tp_name);
            PyMem_Free(all);
            return NULL;
        }
    }
    return all;
}

/* remembers one more; those before it stay */
static int append(UserRecord *record, Opened *opened, uint64_t hash, uint32_t second, int may_be_known)
{
    int done;
    CHANGE(record, *opened, done,
           may_be_known ? ids_remember(&opened->ids, hash, second) : ids_append(&opened->ids, hash, second), -1);
    if (done != ID_NO_MEMORY)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static PyObject *add(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"id_hash", "arrived"};
    PyObject *found[2];
    double arrived;
    if (record_args("add", names, 2, args, given, kwnames, found) < 0 || record_number(found[1], &arrived) < 0)
        return NULL;
    uint64_t hash = PyLong_AsUnsignedLongLongMask(found[0]);
    if (hash == UINT64_MAX && PyErr_Occurred())
        return NULL;
    uint32_t second = !(arrived > 0.0) ? 0 : arrived < UINT32_MAX ? (uint32_t)arrived : UINT32_MAX;
    OPEN(view->record, opened, NULL);
    return append(view->record, &opened, hash, second, 1) < 0 ? NULL : Py_NewRef(Py_None);
}

static int contains(RecordView *view, PyObject *id_hash)
{
    if (!PyLong_Check(id_hash))
        return 0;
    uint64_t hash = PyLong_AsUnsignedLongLongMask(id_hash);
    if (hash == UINT64_MAX && PyErr_Occurred())
        return -1;
    OPEN(view->record, opened, -1);
    return ids_known(&opened.ids, hash);
}

static Py_ssize_t length(RecordView *view)
{
    OPEN(view->record, opened, -1);
    return (Py_ssize_t)ids_total(&opened.ids);
}

typedef struct {
    uint64_t hash;
    uint32_t second;
} Entry;

/* all of them, in memory for PyMem_Free; NULL: an exception */
static Entry *gather(UserRecord *record, Py_ssize_t *count)
{
    OPEN(record, opened, NULL);
    size_t room = ids_total(&opened.ids), used = 0;
    Entry *all = PyMem_New(Entry, room + 1);
    if (all == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (uint64_t at = 0; used < room && ids_next(&opened.ids, &at, &all[used].hash, &all[used].second);)
        used++;
    *count = (Py_ssize_t)used;
    return all;
}

static PyObject *items(RecordView *view, PyObject *nothing)
{
    Py_ssize_t count;
    Entry *all = gather(view->record, &count);
    if (all == NULL)
        return NULL;
    PyObject *found = PyList_New(count);
    for (Py_ssize_t i = 0; found != NULL && i < count; i++) {
        PyObject *hash = PyLong_FromUnsignedLongLong(all[i].hash), *second = PyLong_FromUnsignedLong(all[i].second);
        PyObject *entry = hash == NULL || second == NULL ? NULL : PyTuple_Pack(2, hash, second);
        Py_XDECREF(hash);
        Py_XDECREF(second);
        if (entry == NULL)
            Py_CLEAR(found);
        else
            PyList_SET_ITEM(found, i, entry);
    }
    PyMem_Free(all);
    return found;
}

static int read_entry(PyObject *entry, Entry *into)
{
    uint64_t second;
    if (!PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) != 2) {
        PyErr_SetString(PyExc_TypeError, "an id comes as a pair with its second of arrival");
        return -1;
    }
    into->hash = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(entry, 0));
    if ((into->hash == UINT64_MAX && PyErr_Occurred())
        || record_whole(PyTuple_GET_ITEM(entry, 1), UINT32_MAX, &second) < 0)
        return -1;
    into->second = (uint32_t)second;
    return 0;
}

static int replace_by(UserRecord *record, const Entry *entries, Py_ssize_t count)
{
    OPEN(record, opened, -1);
    ids_clear(&opened.ids);
    record->home->close(record, &opened);
    for (Py_ssize_t i = 0; i < count; i++)
        if (append(record, &opened, entries[i].hash, entries[i].second, 0) < 0)
            return -1;
    return 0;
}

static PyObject *replace(RecordView *view, PyObject *given)
{
    PyObject *entries = PySequence_Tuple(given);
    if (entries == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(entries);
    Entry *all = PyMem_New(Entry, (size_t)count + 1);
    int done = all == NULL ? -1 : 0;
    if (all == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; done == 0 && i < count; i++)
        done = read_entry(PyTuple_GET_ITEM(entries, i), &all[i]);
    if (done == 0)
        done = replace_by(view->record, all, count);
    PyMem_Free(all);
    Py_DECREF(entries);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static int restore_from(UserRecord *record, const IdsBytes *records, size_t count)
{
    OPEN(record, opened, -1);
    Ids ids = ids_of(&opened.block);
    if (count > ids.stored - ids.first) {
        PyErr_Format(PyExc_ValueError, "there are %u records of ids, and not %zu", ids.stored - ids.first, count);
        return -1;
    }
    switch (ids_restore(&opened.ids, records, count)) {
    case ID_BAD_SIZE:
        return record_chunk_is_wrong(module_of(record));
    case ID_NO_MEMORY:
        PyErr_NoMemory();
        return -1;
    default:
        record->home->close(record, &opened);
        return 0;
    }
}

static PyObject *restore(RecordView *view, PyObject *given)
{
    PyObject *chunks = PySequence_Tuple(given);
    IdsBytes *records = chunks == NULL ? NULL : record_chunks(chunks);
    int done = -1;
    if (records != NULL)
        done = restore_from(view->record, records, (size_t)PyTuple_GET_SIZE(chunks));
    PyMem_Free(records);
    Py_XDECREF(chunks);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *range_of(uint32_t first, uint32_t stop)
{
    return PyObject_CallFunction((PyObject *)&PyRange_Type, "kk", (unsigned long)first, (unsigned long)stop);
}

static PyObject *get_latest(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    return PyLong_FromUnsignedLong(ids_latest(&opened.ids));
}

static PyObject *get_numbers(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    Ids ids = ids_of(&opened.block);
    return range_of(ids.first, ids.stored);
}

static PyObject *get_saved(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    return range_of(opened.ids.first, opened.ids.stored);
}

/* puts a number's record; takes the bytes */
static int put_unsaved(PyObject *unsaved, uint32_t number, PyObject *bytes)
{
    PyObject *key = bytes == NULL ? NULL : PyLong_FromUnsignedLong(number);
    int done = key == NULL ? -1 : PyDict_SetItem(unsaved, key, bytes);
    Py_XDECREF(key);
    Py_XDECREF(bytes);
    return done;
}

/* Making a dict may run anybody's code, so each number is asked for anew. */
static PyObject *get_unsaved(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    IdsChange change = ids_change(&opened.ids);
    PyObject *unsaved = PyDict_New();
    for (uint32_t n = change.gone; unsaved != NULL && n < change.first; n++)
        if (put_unsaved(unsaved, n, Py_NewRef(Py_None)) < 0)
            Py_CLEAR(unsaved);
    for (uint32_t n = change.put; unsaved != NULL && n < change.stored; n++) {
        const uint8_t *record = NULL;
        if (view->record->home->open(view->record, &opened) == 0)
            record = ids_record(&opened.ids, n);
        if (PyErr_Occurred()
            || put_unsaved(unsaved, n,
                           record == NULL ? Py_NewRef(Py_None)
                                          : PyBytes_FromStringAndSize((const char *)record, IDS_RECORD_BYTES)) < 0)
            Py_CLEAR(unsaved);
    }
    return unsaved;
}

static PyObject *get_cut(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    return PyLong_FromUnsignedLong(*opened.ids.cut);
}

static int set_cut(RecordView *view, PyObject *value, void *nothing)
{
    uint64_t cut;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a record's attributes cannot be deleted");
        return -1;
    }
    if (record_whole(value, UINT32_MAX, &cut) < 0)
        return -1;
    OPEN(view->record, opened, -1);
    *opened.ids.cut = (uint32_t)cut;
    return 0;
}

static PyMethodDef methods[] = {
    {"add", RECORD_VERB(add), METH_FASTCALL | METH_KEYWORDS, "add(id_hash, arrived)"},
    {"items", (PyCFunction)items, METH_NOARGS, "items()"},
    {"replace", (PyCFunction)replace, METH_O, "replace(entries)"},
    {"restore", (PyCFunction)restore, METH_O, "restore(chunks)"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"latest", (getter)get_latest, NULL, NULL, NULL},
    {"numbers", (getter)get_numbers, NULL, NULL, NULL},
    {"saved", (getter)get_saved, NULL, NULL, NULL},
    {"unsaved", (getter)get_unsaved, NULL, NULL, NULL},
    {"cut", (getter)get_cut, (setter)set_cut, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The ids of counted events: see state.record.Ids."},
    {Py_tp_dealloc, record_view_dealloc},
    {Py_sq_length, length},
    {Py_sq_contains, contains},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

PyType_Spec ids_spec = {
    .name = "state._fold.Ids",
    .basicsize = sizeof(RecordView),
    .flags = MADE_HERE,
    .slots = slots,
};
