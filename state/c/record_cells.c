/* The view Cells: what the terms of rules keep. */
#include "record_parts.h"

#include <math.h>
#include <stdlib.h>

double record_unknown_until(const UserBlock *block, uint64_t mark)
{
    double latest = cells_latest(block, mark), until = cells_unknown_until(block, mark);
    if (latest < 0.0)
        return -latest;
    if (until >= 0.0)
        return until;
    Opaque opaque = cells_opaque(block, mark);
    return opaque.bytes != NULL && opaque.until > 0.0 ? opaque.until : -1.0;
}

static int contains(RecordView *view, PyObject *key)
{
    uint64_t mark;
    if (!PyUnicode_Check(key))
        return 0;
    if (record_mark(key, &mark) < 0)
        return -1;
    OPEN(view->record, opened, -1);
    return cells_has(&opened.block, mark);
}

/* (spec, now) of a verb that reads */
static int read_spec(RecordView *view, const char *verb, PyObject *const *args, Py_ssize_t given, PyObject *kwnames,
                     TallySpec *spec, double *now)
{
    static const char *const names[] = {"spec", "now"};
    PyObject *found[2];
    if (record_args(verb, names, 2, args, given, kwnames, found) < 0
        || record_spec(module_of(view), found[0], spec) < 0)
        return -1;
    return record_number(found[1], now);
}

static PyObject *total(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    TallySpec spec;
    double now;
    if (read_spec(view, "total", args, given, kwnames, &spec, &now) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    return PyLong_FromLongLong(cells_total(&opened.block, &spec, now));
}

static PyObject *next_expiry(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    TallySpec spec;
    double now;
    if (read_spec(view, "next_expiry", args, given, kwnames, &spec, &now) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    return PyFloat_FromDouble(cells_next_expiry(&opened.block, &spec, now));
}

static PyObject *pair(int64_t bucket, int64_t held)
{
    PyObject *number = PyLong_FromLongLong(bucket), *amount = PyLong_FromLongLong(held), *both = NULL;
    if (number != NULL && amount != NULL)
        both = PyTuple_Pack(2, number, amount);
    Py_XDECREF(number);
    Py_XDECREF(amount);
    return both;
}

static PyObject *buckets(RecordView *view, PyObject *given)
{
    TallySpec spec;
    UserBlock block;
    if (record_spec(module_of(view), given, &spec) < 0 || record_copy(view->record, &block) < 0)
        return NULL;
    PyObject *found = PyList_New(0);
    int64_t bucket, held;
    for (uint32_t at = 0; found != NULL && cells_next_bucket(&block, spec.mark, &at, &bucket, &held);) {
        PyObject *entry = pair(bucket, held);
        if (entry == NULL || PyList_Append(found, entry) < 0)
            Py_CLEAR(found);
        Py_XDECREF(entry);
    }
    PyMem_Free(block.at);
    return found;
}

/* what may be counted: more than a bucket holds is as much as it holds */
static int read_amount(PyObject *object, int64_t *amount)
{
    int large;
    *amount = PyLong_AsLongLongAndOverflow(object, &large);
    if (*amount == -1 && PyErr_Occurred())
        return -1;
    if (large < 0 || (large == 0 && *amount < 0)) {
        PyErr_Format(PyExc_ValueError, "%S cannot be counted: it is less than nothing", object);
        return -1;
    }
    *amount = large || *amount > MOST_HELD ? MOST_HELD : *amount;
    return 0;
}

static PyObject *add(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"spec", "time", "amount", "now"};
    PyObject *found[4];
    TallySpec spec;
    double time, now;
    int64_t amount;
    int done;
    if (record_args("add", names, 4, args, given, kwnames, found) < 0
        || record_spec(module_of(view), found[0], &spec) < 0 || record_time(found[1], &time) < 0
        || read_amount(found[2], &amount) < 0 || record_number(found[3], &now) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    CHANGE(view->record, opened, done, cells_add(&opened.block, &spec, time, amount, now), NULL);
    Py_RETURN_NONE;
}

static PyObject *latest(RecordView *view, PyObject *sort)
{
    uint64_t mark;
    if (record_sort_mark(module_of(view), sort, &mark) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    return PyFloat_FromDouble(cells_latest(&opened.block, mark));
}

static PyObject *note(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"sort", "time"};
    PyObject *found[2];
    uint64_t mark;
    double time;
    int done;
    if (record_args("note", names, 2, args, given, kwnames, found) < 0
        || record_sort_mark(module_of(view), found[0], &mark) < 0
        || record_time(found[1], &time) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    CHANGE(view->record, opened, done, cells_note(&opened.block, mark, time), NULL);
    Py_RETURN_NONE;
}

static PyObject *unknown_until(RecordView *view, PyObject *key)
{
    uint64_t mark;
    if (record_mark(key, &mark) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    double until = record_unknown_until(&opened.block, mark);
    return until < 0.0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(until);
}

static int mark_sort(UserRecord *record, uint64_t mark, double until)
{
    int done;
    OPEN(record, opened, -1);
    if (until >= fabs(cells_latest(&opened.block, mark)))
        CHANGE(record, opened, done, cells_put_latest(&opened.block, mark, -until), -1);
    return 0;
}

static int mark_tally(UserRecord *record, uint64_t mark, double until)
{
    int done;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, cells_mark_unknown(&opened.block, mark, until), -1);
    return 0;
}

static PyObject *mark_unknown(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"key", "until"};
    PyObject *found[2];
    uint64_t mark;
    double until;
    if (record_args("mark_unknown", names, 2, args, given, kwnames, found) < 0 || record_mark(found[0], &mark) < 0
        || record_time(found[1], &until) < 0)
        return NULL;
    int is_sort = PyUnicode_GET_LENGTH(found[0]) > 0 && PyUnicode_READ_CHAR(found[0], 0) == '@';
    int done = (is_sort ? mark_sort : mark_tally)(view->record, mark, until);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *opaque(RecordView *view, PyObject *key)
{
    uint64_t mark;
    if (record_mark(key, &mark) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    Opaque found = cells_opaque(&opened.block, mark);
    if (found.bytes == NULL)
        Py_RETURN_NONE;
    PyObject *data = PyBytes_FromStringAndSize((const char *)found.bytes, found.size);
    return data == NULL ? NULL
                        : PyObject_CallFunction(module_of(view)->words.opaque, "iNdd", (int)found.type, data, found.next, found.until);
}

/* what an Opaque says; its bytes are ``data``'s, a new reference */
static int read_opaque(const AttributeNames *names, PyObject *object, Opaque *into, PyObject **data)
{
    uint64_t type;
    PyObject *number = PyObject_GetAttr(object, names->type);
    PyObject *next = number == NULL ? NULL : PyObject_GetAttr(object, names->next_change);
    PyObject *until = next == NULL ? NULL : PyObject_GetAttr(object, names->unknown_until);
    *data = until == NULL ? NULL : PyObject_GetAttr(object, names->data);
    int done = *data == NULL || record_number(next, &into->next) < 0 || record_number(until, &into->until) < 0
                       || record_whole(number, UINT16_MAX, &type) < 0
                   ? -1
                   : 0;
    Py_XDECREF(number);
    Py_XDECREF(next);
    Py_XDECREF(until);
    if (done < 0)
        return -1;
    if (!PyBytes_Check(*data)) {
        PyErr_Format(PyExc_TypeError, "what a cell keeps is bytes, and no %s", Py_TYPE(*data)->tp_name);
        return -1;
    }
    if (!(into->next >= 0.0 && is_time(into->until))) {
        PyErr_SetString(PyExc_ValueError, "a cell has times that no record can have: see state/plain/codec.py");
        return -1;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(*data);
    if (size > (size_t)8 * UINT16_MAX - CELL_HEAD - OPAQUE_HEAD) {
        PyErr_Format(PyExc_ValueError, "%zu bytes are too many for a cell: its term must keep less", size);
        return -1;
    }
    into->type = (uint16_t)type;
    into->bytes = (const uint8_t *)PyBytes_AS_STRING(*data);
    into->size = (uint32_t)size;
    return 0;
}

static int put_cell(UserRecord *record, uint64_t mark, const Opaque *cell)
{
    int done;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, cells_put_opaque(&opened.block, mark, cell), -1);
    return 0;
}

static PyObject *put_opaque(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"key", "opaque"};
    PyObject *found[2], *data = NULL;
    uint64_t mark;
    Opaque cell;
    if (record_args("put_opaque", names, 2, args, given, kwnames, found) < 0 || record_mark(found[0], &mark) < 0)
        return NULL;
    int done = read_opaque(&module_of(view)->names, found[1], &cell, &data);
    if (done == 0)
        done = put_cell(view->record, mark, &cell);
    Py_XDECREF(data);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *next_change(RecordView *view, PyObject *nothing)
{
    OPEN(view->record, opened, NULL);
    return PyFloat_FromDouble(cells_next_change(&opened.block));
}

static PyObject *drop(RecordView *view, PyObject *key)
{
    uint64_t mark;
    if (record_mark(key, &mark) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    cells_drop(&opened.block, mark);
    view->record->home->close(view->record, &opened);
    Py_RETURN_NONE;
}

static int compare(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static int keep_marks(UserRecord *record, uint64_t *marks, size_t count)
{
    qsort(marks, count, sizeof *marks, compare);
    OPEN(record, opened, -1);
    cells_keep_only(&opened.block, marks, count);
    record->home->close(record, &opened);
    return 0;
}

static PyObject *keep_only(RecordView *view, PyObject *given)
{
    PyObject *list = PySequence_Tuple(given);
    if (list == NULL)
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(list);
    uint64_t *marks = PyMem_New(uint64_t, (size_t)count + 1);
    int done = marks == NULL ? -1 : 0;
    if (marks == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; done == 0 && i < count; i++)
        done = record_whole(PyTuple_GET_ITEM(list, i), UINT64_MAX, &marks[i]);
    if (done == 0)
        done = keep_marks(view->record, marks, (size_t)count);
    PyMem_Free(marks);
    Py_DECREF(list);
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

#define MANY METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
    {"total", RECORD_VERB(total), MANY, "total(spec, now)"},
    {"next_expiry", RECORD_VERB(next_expiry), MANY, "next_expiry(spec, now)"},
    {"buckets", (PyCFunction)buckets, METH_O, "buckets(spec)"},
    {"add", RECORD_VERB(add), MANY, "add(spec, time, amount, now)"},
    {"latest", (PyCFunction)latest, METH_O, "latest(sort)"},
    {"note", RECORD_VERB(note), MANY, "note(sort, time)"},
    {"unknown_until", (PyCFunction)unknown_until, METH_O, "unknown_until(key)"},
    {"mark_unknown", RECORD_VERB(mark_unknown), MANY, "mark_unknown(key, until)"},
    {"opaque", (PyCFunction)opaque, METH_O, "opaque(key)"},
    {"put_opaque", RECORD_VERB(put_opaque), MANY, "put_opaque(key, opaque)"},
    {"next_change", (PyCFunction)next_change, METH_NOARGS, "next_change()"},
    {"drop", (PyCFunction)drop, METH_O, "drop(key)"},
    {"keep_only", (PyCFunction)keep_only, METH_O, "keep_only(marks)"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What the terms of rules keep: see state.record.Cells."},
    {Py_tp_dealloc, record_view_dealloc},
    {Py_sq_contains, contains},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec cells_spec = {
    .name = "state._fold.Cells",
    .basicsize = sizeof(RecordView),
    .flags = MADE_HERE,
    .slots = slots,
};
