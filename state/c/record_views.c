/* The views of a Record: what they have in common, and Members. */
#include "record_parts.h"

#include <math.h>

PyObject *record_view(PyTypeObject *type, UserRecord *record, enum Section which)
{
    RecordView *view = PyObject_New(RecordView, type);
    if (view == NULL)
        return NULL;
    view->record = (UserRecord *)Py_NewRef(record);
    view->which = which;
    return (PyObject *)view;
}

void record_view_dealloc(PyObject *view)
{
    Py_DECREF(((RecordView *)view)->record);
    object_free(view);
}

/* 1: the user is in the segment */
static int find(RecordView *view, PyObject *segment, Opened *opened, Member *member)
{
    const char *name;
    size_t size;
    int there = record_lookup(segment, &name, &size);
    if (there < 0 || view->record->home->open(view->record, opened) < 0)
        return -1;
    return there && members_get(&opened->block, name, size, member);
}

static PyObject *membership(const Module *module, const Member *member)
{
    PyObject *fields[5] = {PyFloat_FromDouble(member->since), PyFloat_FromDouble(member->score),
                           PyLong_FromUnsignedLongLong(member->version),
                           PyLong_FromUnsignedLongLong(member->sequence),
                           member->has_leaving ? PyFloat_FromDouble(member->leaving) : Py_NewRef(Py_None)};
    PyObject *made = NULL;
    if (fields[0] != NULL && fields[1] != NULL && fields[2] != NULL && fields[3] != NULL && fields[4] != NULL)
        made = PyObject_Vectorcall(module->words.membership, fields, 5, NULL);
    for (size_t i = 0; i < 5; i++)
        Py_XDECREF(fields[i]);
    return made;
}

static PyObject *members_get_method(RecordView *view, PyObject *segment)
{
    Opened opened;
    Member member;
    int there = find(view, segment, &opened, &member);
    if (there < 0)
        return NULL;
    return there ? membership(module_of(view), &member) : Py_NewRef(Py_None);
}

static int number_of(PyObject *object, PyObject *name, double *number)
{
    PyObject *found = PyObject_GetAttr(object, name);
    int done = found == NULL ? -1 : record_number(found, number);
    Py_XDECREF(found);
    return done;
}

static int whole_of(PyObject *object, PyObject *name, uint64_t *number)
{
    PyObject *found = PyObject_GetAttr(object, name);
    int done = found == NULL ? -1 : record_whole(found, UINT64_MAX, number);
    Py_XDECREF(found);
    return done;
}

static int leaving_of(PyObject *leaving, Member *member)
{
    member->leaving = 0.0;
    member->has_leaving = leaving != Py_None;
    return member->has_leaving ? record_number(leaving, &member->leaving) : 0;
}

/* 0, or -1 with an exception */
static int is_right(const Member *member, PyObject *given)
{
    if (is_time(member->since) && isfinite(member->score) && isfinite(member->leaving))
        return 0;
    PyErr_Format(PyExc_ValueError, "%S cannot be in a record: it has numbers that are none, or too large", given);
    return -1;
}

static int read_member(const AttributeNames *names, PyObject *object, Member *member)
{
    PyObject *leaving = PyObject_GetAttr(object, names->leaving);
    int done = leaving == NULL ? -1 : leaving_of(leaving, member);
    Py_XDECREF(leaving);
    if (done < 0 || number_of(object, names->since, &member->since) < 0
        || number_of(object, names->score, &member->score) < 0)
        return -1;
    if (whole_of(object, names->sequence, &member->sequence) == 0
        && whole_of(object, names->version, &member->version) == 0)
        return is_right(member, object);
    if (PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        member->since = -1.0;
        is_right(member, object);
    }
    return -1;
}

static PyObject *members_put_method(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"segment", "member"};
    PyObject *found[2];
    const char *name;
    size_t size;
    Member member;
    int done;
    if (record_args("put", names, 2, args, given, kwnames, found) < 0
        || record_name(found[0], UINT16_MAX, &name, &size) < 0 || read_member(&module_of(view)->names, found[1], &member) < 0)
        return NULL;
    OPEN(view->record, opened, NULL);
    CHANGE(view->record, opened, done, members_put(&opened.block, name, size, &member), NULL);
    Py_RETURN_NONE;
}

static PyObject *members_set_leaving(RecordView *view, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"segment", "score"};
    PyObject *found[2];
    const char *name;
    size_t size;
    Member member, wanted;
    Opened opened;
    int done;
    if (record_args("set_leaving", names, 2, args, given, kwnames, found) < 0 || leaving_of(found[1], &wanted) < 0)
        return NULL;
    int there = find(view, found[0], &opened, &member);
    if (there <= 0) {
        if (there == 0)
            PyErr_SetObject(PyExc_KeyError, found[0]);
        return NULL;
    }
    member.leaving = wanted.leaving;
    member.has_leaving = wanted.has_leaving;
    if (is_right(&member, found[1]) < 0 || record_name(found[0], UINT16_MAX, &name, &size) < 0)
        return NULL;
    CHANGE(view->record, opened, done, members_put(&opened.block, name, size, &member), NULL);
    Py_RETURN_NONE;
}

static PyObject *members_remove_method(RecordView *view, PyObject *segment)
{
    const char *name;
    size_t size;
    Member member;
    Opened opened;
    int there = find(view, segment, &opened, &member);
    if (there < 0 || (there && record_name(segment, UINT16_MAX, &name, &size) < 0))
        return NULL;
    if (!there) {
        PyErr_SetObject(PyExc_KeyError, segment);
        return NULL;
    }
    members_remove(&opened.block, name, size);
    view->record->home->close(view->record, &opened);
    Py_RETURN_NONE;
}

/* a list of segments, or of these with their memberships */
static PyObject *all_of(RecordView *view, int with_members)
{
    const Module *module = module_of(view);
    UserBlock block;
    if (record_copy(view->record, &block) < 0)
        return NULL;
    PyObject *found = PyList_New(0);
    const char *name;
    Member member;
    size_t size, at = 0;
    while (found != NULL && (size = members_next(&block, &at, &name, &member)) != 0) {
        PyObject *segment = PyUnicode_DecodeUTF8(name, (Py_ssize_t)size, NULL), *entry = segment;
        if (with_members) {
            PyObject *value = segment == NULL ? NULL : membership(module, &member);
            entry = value == NULL ? NULL : PyTuple_Pack(2, segment, value);
            Py_XDECREF(value);
            Py_XDECREF(segment);
        }
        if (entry == NULL || PyList_Append(found, entry) < 0)
            Py_CLEAR(found);
        Py_XDECREF(entry);
    }
    PyMem_Free(block.at);
    return found;
}

static PyObject *members_segments(RecordView *view, PyObject *nothing)
{
    return all_of(view, 0);
}

static PyObject *members_items(RecordView *view, PyObject *nothing)
{
    return all_of(view, 1);
}

static Py_ssize_t members_length(RecordView *view)
{
    OPEN(view->record, opened, -1);
    const char *name;
    Member member;
    Py_ssize_t count = 0;
    for (size_t at = 0; members_next(&opened.block, &at, &name, &member);)
        count++;
    return count;
}

static int members_contains(RecordView *view, PyObject *segment)
{
    Opened opened;
    Member member;
    return PyUnicode_Check(segment) ? find(view, segment, &opened, &member) : 0;
}

static PyMethodDef methods[] = {
    {"get", (PyCFunction)members_get_method, METH_O, "get(segment)"},
    {"put", RECORD_VERB(members_put_method), METH_FASTCALL | METH_KEYWORDS, "put(segment, member)"},
    {"set_leaving", RECORD_VERB(members_set_leaving), METH_FASTCALL | METH_KEYWORDS, "set_leaving(segment, score)"},
    {"remove", (PyCFunction)members_remove_method, METH_O, "remove(segment)"},
    {"segments", (PyCFunction)members_segments, METH_NOARGS, "segments()"},
    {"items", (PyCFunction)members_items, METH_NOARGS, "items()"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Memberships by segment: see state.record.Members."},
    {Py_tp_dealloc, record_view_dealloc},
    {Py_sq_length, members_length},
    {Py_sq_contains, members_contains},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec members_spec = {
    .name = "state._fold.Members",
    .basicsize = sizeof(RecordView),
    .flags = MADE_HERE,
    .slots = slots,
};
