/* The sections that are lists: feedback that waits, and ids that were merged into this user. */
#include "record_parts.h"

#include <math.h>

/* bytes that grow */
typedef struct {
    uint8_t *at;
    size_t size, room;
} Bytes;

static uint8_t *append(Bytes *bytes, size_t size)
{
    if (bytes->size + size > bytes->room) {
        size_t room = 2 * bytes->room + size;
        uint8_t *at = PyMem_Realloc(bytes->at, room);
        if (at == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        bytes->at = at;
        bytes->room = room;
    }
    bytes->size += size;
    return bytes->at + bytes->size - size;
}

/* an entry of a name with so many bytes before it; gives where these are */
static uint8_t *append_entry(Bytes *bytes, PyObject *name, size_t before)
{
    const char *letters;
    size_t size;
    if (record_name(name, UINT16_MAX - before, &letters, &size) < 0)
        return NULL;
    uint8_t *entry = append(bytes, ENTRY_HEAD + before + size);
    if (entry == NULL)
        return NULL;
    put_u16(entry, (uint16_t)(before + size));
    memcpy(entry + ENTRY_HEAD + before, letters, size);
    return entry + ENTRY_HEAD;
}

static int append_alias(const Module *module, Bytes *bytes, PyObject *alias)
{
    return append_entry(bytes, alias, 0) == NULL ? -1 : 0;
}

static int append_label(const Module *module, Bytes *bytes, PyObject *label)
{
    const AttributeNames *names = &module->names;
    PyObject *segment = PyObject_GetAttr(label, names->segment);
    PyObject *member = segment == NULL ? NULL : PyObject_GetAttr(label, names->member);
    PyObject *weight = member == NULL ? NULL : PyObject_GetAttr(label, names->weight);
    double number = 0.0;
    int is_member = weight == NULL || record_number(weight, &number) < 0 ? -1 : PyObject_IsTrue(member), done = -1;
    if (is_member >= 0 && !isfinite(number)) {
        PyErr_Format(PyExc_ValueError, "%S cannot be in a record: its weight is no number", label);
    } else if (is_member >= 0) {
        uint8_t *at = append_entry(bytes, segment, LABEL_HEAD);
        if (at != NULL) {
            put_f64(at, number);
            at[8] = (uint8_t)is_member;
            done = 0;
        }
    }
    Py_XDECREF(segment);
    Py_XDECREF(member);
    Py_XDECREF(weight);
    return done;
}

static int put_section(UserRecord *record, enum Section which, const Bytes *bytes)
{
    int done;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, block_set(&opened.block, which, bytes->at, bytes->size), -1);
    return 0;
}

static int put_list(UserRecord *record, enum Section which, PyObject *list,
                    int (*append_one)(const Module *, Bytes *, PyObject *))
{
    if (list == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a record's attributes cannot be deleted");
        return -1;
    }
    PyObject *entries = PySequence_Tuple(list);
    if (entries == NULL)
        return -1;
    Bytes bytes = {NULL, 0, 0};
    int done = 0;
    for (Py_ssize_t i = 0; done == 0 && i < PyTuple_GET_SIZE(entries); i++)
        done = append_one(module_of(record), &bytes, PyTuple_GET_ITEM(entries, i));
    if (done == 0)
        done = put_section(record, which, &bytes);
    PyMem_Free(bytes.at);
    Py_DECREF(entries);
    return done;
}

static PyObject *text(const uint8_t *at, size_t size)
{
    return PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size, NULL);
}

static PyObject *alias_at(const Module *module, const uint8_t *at, size_t size)
{
    return text(at, size);
}

static PyObject *label_at(const Module *module, const uint8_t *at, size_t size)
{
    PyObject *segment = text(at + LABEL_HEAD, size - LABEL_HEAD), *weight = PyFloat_FromDouble(get_f64(at)), *label = NULL;
    if (segment != NULL && weight != NULL)
        label = PyObject_CallFunctionObjArgs(module->words.label, segment, at[8] ? Py_True : Py_False, weight, NULL);
    Py_XDECREF(segment);
    Py_XDECREF(weight);
    return label;
}

static PyObject *get_list(UserRecord *record, enum Section which,
                          PyObject *(*one)(const Module *, const uint8_t *at, size_t size))
{
    UserBlock block;
    if (record_copy(record, &block) < 0)
        return NULL;
    const uint8_t *section = section_at(&block, which);
    PyObject *found = PyList_New(0), *all = NULL;
    size_t end = section_size(&block, which), entry;
    for (size_t at = 0; found != NULL && at + ENTRY_HEAD <= end && (entry = get_u16(section + at)) != 0;
         at += ENTRY_HEAD + entry) {
        PyObject *object = one(module_of(record), section + at + ENTRY_HEAD, entry);
        if (object == NULL || PyList_Append(found, object) < 0)
            Py_CLEAR(found);
        Py_XDECREF(object);
    }
    PyMem_Free(block.at);
    if (found != NULL)
        all = PyList_AsTuple(found);
    Py_XDECREF(found);
    return all;
}

PyObject *record_labels(UserRecord *record, void *nothing)
{
    return get_list(record, LABELS, label_at);
}

int record_set_labels(UserRecord *record, PyObject *labels, void *nothing)
{
    return put_list(record, LABELS, labels, append_label);
}

PyObject *record_aliases(UserRecord *record, void *nothing)
{
    return get_list(record, ALIASES, alias_at);
}

int record_set_aliases(UserRecord *record, PyObject *aliases, void *nothing)
{
    return put_list(record, ALIASES, aliases, append_alias);
}
