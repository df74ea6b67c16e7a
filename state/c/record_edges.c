/* The view Edges, of followees and of groups. */
#include "record_parts.h"

#include <math.h>
#include <stdlib.h>

static PyObject *set(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"target", "time", "present"};
    PyObject *found[3];
    const char *name;
    size_t size;
    double time;
    if (record_args("set", names, 3, args, given, kwnames, found) < 0
        || record_name(found[0], UINT16_MAX, &name, &size) < 0 || record_number(found[1], &time) < 0)
        return NULL;
    int done, present = PyObject_IsTrue(found[2]);
    if (present < 0)
        return NULL;
    if (!(time > 0.0 && is_time(time))) {
        PyErr_Format(PyExc_ValueError, "%S cannot be the time of an edge in a record: it must be above 0 and below 2^32",
                     found[1]);
        return NULL;
    }
    OPEN(view->record, opened, NULL);
    CHANGE(view->record, opened, done, edges_set(&opened.block, view->which, name, size, time, present), NULL);
    return PyBool_FromLong(done == EDGE_CHANGED);
}

static PyObject *get(RecordView *view, PyObject *target)
{
    const char *name;
    size_t size;
    int there = record_lookup(target, &name, &size);
    if (there < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    return PyFloat_FromDouble(there ? edges_get(&opened.block, view->which, name, size) : 0.0);
}

static PyObject *drop(RecordView *view, PyObject *target)
{
    const char *name;
    size_t size;
    int there = record_lookup(target, &name, &size);
    if (there < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    if (there) {
        edges_drop(&opened.block, view->which, name, size);
        view->record->home->close(view->record, &opened);
    }
    Py_RETURN_NONE;
}

/* one of those that are put in order */
typedef struct {
    double age; /* the time without its sign */
    const char *name;
    size_t size;
} Edge;

/* newest first, ties by name */
static int compare(const void *a, const void *b)
{
    const Edge *one = a, *other = b;
    if (one->age != other->age)
        return one->age > other->age ? -1 : 1;
    int order = memcmp(one->name, other->name, one->size < other->size ? one->size : other->size);
    return order != 0 ? order : one->size < other->size ? -1 : one->size > other->size;
}

/* Those that are present, or the removed ones, in order: memory for PyMem_Free that points into the block. NULL: none,
 * with an exception. */
static Edge *in_order(const UserBlock *block, enum Section which, int present, size_t *count)
{
    *count = edges_count(block, which, present);
    Edge *all = PyMem_New(Edge, *count + 1), *next = all;
    if (all == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    const char *name;
    double time;
    size_t size;
    for (size_t at = 0; (size = edges_next(block, which, &at, &name, &time)) != 0;)
        if ((time > 0.0) == (present != 0))
            *next++ = (Edge){fabs(time), name, size};
    qsort(all, *count, sizeof *all, compare);
    return all;
}

static PyObject *names_of(const Edge *edges, size_t count)
{
    PyObject *found = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; found != NULL && i < count; i++) {
        PyObject *name = PyUnicode_DecodeUTF8(edges[i].name, (Py_ssize_t)edges[i].size, NULL);
        if (name == NULL)
            Py_CLEAR(found);
        else
            PyList_SET_ITEM(found, (Py_ssize_t)i, name);
    }
    return found;
}

static PyObject *present(RecordView *view, PyObject *nothing)
{
    UserBlock block;
    size_t count;
    if (record_copy(view->record, &block) < 0)
        return NULL;
    Edge *all = in_order(&block, view->which, 1, &count);
    PyObject *found = all == NULL ? NULL : names_of(all, count);
    PyMem_Free(all);
    PyMem_Free(block.at);
    return found;
}

/* drops what comes after the first ``most`` */
static int keep_first(RecordView *view, int which_ones, const Edge *all, size_t most)
{
    Edge last = most ? all[most - 1] : (Edge){(double)INFINITY, "", 0};
    OPEN(view->record, opened, -1);
    edges_drop_after(&opened.block, view->which, which_ones, last.age, last.name, last.size);
    view->record->home->close(view->record, &opened);
    return 0;
}

static PyObject *bound_to(RecordView *view, PyObject *given, int which_ones)
{
    uint64_t most;
    if (record_whole(given, UINT32_MAX, &most) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    if (edges_count(&opened.block, view->which, which_ones) <= most)
        return PyList_New(0);
    UserBlock block;
    size_t count;
    if (record_copy(view->record, &block) < 0)
        return NULL;
    Edge *all = in_order(&block, view->which, which_ones, &count);
    PyObject *dropped = all == NULL ? NULL : names_of(all + most, count - (size_t)most);
    if (dropped != NULL && keep_first(view, which_ones, all, (size_t)most) < 0)
        Py_CLEAR(dropped);
    PyMem_Free(all);
    PyMem_Free(block.at);
    return dropped;
}

static PyObject *bound(RecordView *view, PyObject *most)
{
    return bound_to(view, most, 1);
}

static PyObject *bound_removed(RecordView *view, PyObject *most)
{
    return bound_to(view, most, 0);
}

static PyObject *items(RecordView *view, PyObject *nothing)
{
    UserBlock block;
    if (record_copy(view->record, &block) < 0)
        return NULL;
    PyObject *found = PyList_New(0);
    const char *name;
    double time;
    size_t size, at = 0;
    while (found != NULL && (size = edges_next(&block, view->which, &at, &name, &time)) != 0) {
        PyObject *target = PyUnicode_DecodeUTF8(name, (Py_ssize_t)size, NULL), *number = PyFloat_FromDouble(time);
        PyObject *entry = target == NULL || number == NULL ? NULL : PyTuple_Pack(2, target, number);
        Py_XDECREF(target);
        Py_XDECREF(number);
        if (entry == NULL || PyList_Append(found, entry) < 0)
            Py_CLEAR(found);
        Py_XDECREF(entry);
    }
    PyMem_Free(block.at);
    return found;
}

static PyObject *count_of(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    const UserBlock *block = &opened.block;
    return PyLong_FromUnsignedLong(section_size(block, view->which) ? get_u32(section_at(block, view->which)) : 0);
}

static PyObject *present_count(RecordView *view, void *nothing)
{
    OPEN(view->record, opened, NULL);
    return PyLong_FromUnsignedLong(edges_count(&opened.block, view->which, 1));
}

static PyMethodDef methods[] = {
    {"set", RECORD_VERB(set), METH_FASTCALL | METH_KEYWORDS, "set(target, time, present)"},
    {"get", (PyCFunction)get, METH_O, "get(target)"},
    {"drop", (PyCFunction)drop, METH_O, "drop(target)"},
    {"present", (PyCFunction)present, METH_NOARGS, "present()"},
    {"bound", (PyCFunction)bound, METH_O, "bound(most)"},
    {"bound_removed", (PyCFunction)bound_removed, METH_O, "bound_removed(most)"},
    {"items", (PyCFunction)items, METH_NOARGS, "items()"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"count", (getter)count_of, NULL, NULL, NULL},
    {"present_count", (getter)present_count, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Edges, or groups: see state.record.Edges."},
    {Py_tp_dealloc, record_view_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

PyType_Spec edges_spec = {
    .name = "state._fold.Edges",
    .basicsize = sizeof(RecordView),
    .flags = MADE_HERE,
    .slots = slots,
};
