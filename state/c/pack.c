/* Encoding of users: byte for byte what msgspec's msgpack encoder gives, for the types that a UserState is made of. What
 * is of another type is left to it. A property test holds both to the same bytes. */
#include "pack.h"

#include <stdint.h>
#include <string.h>
#include <structmember.h>

#include "seen.h"
#include "users.h"

#define FORMAT 1 /* state.layout */
#define MOST_FIELDS 64
#define MOST_TYPES 8
#define DEEPEST 8
#define AT_ONCE 128
#define FETCHED 64 /* parts of a dict that are asked for at once */
#define KEPT_BYTES (1 << 20) /* of the buffer, after a larger record */

typedef struct {
    PyTypeObject *type;
    int count;
    Py_ssize_t offsets[MOST_FIELDS];
} Layout;

static Layout layouts[MOST_TYPES]; /* the first is the user's */
static int layout_count;
static Py_ssize_t due_at, seen_at;

#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* binding */

static int bind_layout(PyTypeObject *type, Layout *layout)
{
    PyObject *names = PyObject_GetAttrString((PyObject *)type, "__struct_fields__");
    if (names == NULL)
        return -1;
    Py_ssize_t count = PyTuple_Check(names) ? PyTuple_GET_SIZE(names) : 0;
    int failed = count == 0 || count > MOST_FIELDS;
    for (Py_ssize_t i = 0; i < count && !failed; i++) {
        PyObject *descriptor = PyObject_GetAttr((PyObject *)type, PyTuple_GET_ITEM(names, i));
        failed = descriptor == NULL || !Py_IS_TYPE(descriptor, &PyMemberDescr_Type)
                 || ((PyMemberDescrObject *)descriptor)->d_member->type != T_OBJECT_EX
                 || ((PyMemberDescrObject *)descriptor)->d_common.d_type != type;
        if (!failed)
            layout->offsets[i] = ((PyMemberDescrObject *)descriptor)->d_member->offset;
        Py_XDECREF(descriptor);
    }
    Py_DECREF(names);
    if (failed) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError, "the fields of %s are no slots", type->tp_name);
        return -1;
    }
    layout->count = (int)count;
    layout->type = (PyTypeObject *)Py_NewRef(type);
    return 0;
}

static Py_ssize_t offset_in(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor == NULL)
        return -1;
    Py_ssize_t offset = ((PyMemberDescrObject *)descriptor)->d_member->offset; /* bind_layout has looked at it */
    Py_DECREF(descriptor);
    return offset;
}

PyObject *bind_records(PyObject *module, PyObject *args)
{
    PyTypeObject *user;
    PyObject *inner;
    if (!PyArg_ParseTuple(args, "O!O!", &PyType_Type, &user, &PyTuple_Type, &inner))
        return NULL;
    if (PyTuple_GET_SIZE(inner) >= MOST_TYPES) {
        PyErr_SetString(PyExc_TypeError, "too many types");
        return NULL;
    }
    layout_count = 0;
    if (bind_layout(user, &layouts[0]) < 0 || (due_at = offset_in(user, "due")) < 0
        || (seen_at = offset_in(user, "ids")) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(inner); i++) {
        PyObject *type = PyTuple_GET_ITEM(inner, i);
        if (!PyType_Check(type) || bind_layout((PyTypeObject *)type, &layouts[i + 1]) < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "not a type");
            return NULL;
        }
    }
    layout_count = (int)PyTuple_GET_SIZE(inner) + 1;
    Py_RETURN_NONE;
}

/* writing: 1 is done, 0 is unusual (what was written is to be thrown away), -1 an error */

static unsigned char *buffer, *cursor, *limit; /* nothing here gives the GIL away, so one buffer is enough */

static int grow(size_t size)
{
    size_t filled = (size_t)(cursor - buffer), wanted = 2 * (filled + size) + 4096;
    unsigned char *larger = PyMem_Realloc(buffer, wanted);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    buffer = larger;
    cursor = larger + filled;
    limit = larger + wanted;
    return 0;
}

static inline int room(size_t size)
{
    return (size_t)(limit - cursor) < size ? grow(size) : 0;
}

/* big-endian */
static inline void store(uint64_t value, int size)
{
    for (int byte = 0; byte < size; byte++)
        cursor[byte] = (unsigned char)(value >> 8 * (size - 1 - byte));
    cursor += size;
}

static inline int write_tagged(unsigned char tag, uint64_t value, int size) /* size: a constant, so that it is one store */
{
    if (room(9) < 0)
        return -1;
    *cursor++ = tag;
    store(value, size);
    return 1;
}

static inline int write_byte(unsigned char byte)
{
    return write_tagged(byte, 0, 0);
}

static inline int write_double(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return write_tagged(0xcb, bits, 8);
}

static inline int write_whole(uint64_t value)
{
    if (value < 128)
        return write_byte((unsigned char)value);
    if (value < 1 << 8)
        return write_tagged(0xcc, value, 1);
    if (value < 1 << 16)
        return write_tagged(0xcd, value, 2);
    return value < (uint64_t)1 << 32 ? write_tagged(0xce, value, 4) : write_tagged(0xcf, value, 8);
}

static int write_int(PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow > 0) {
        unsigned long long large = PyLong_AsUnsignedLongLong(number);
        if (large == (unsigned long long)-1 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        return write_whole(large);
    }
    if (overflow < 0)
        return 0;
    if (value >= 0)
        return write_whole((uint64_t)value);
    if (value >= -32)
        return write_byte((unsigned char)value);
    if (value >= -128)
        return write_tagged(0xd0, (uint64_t)value, 1);
    if (value >= -32768)
        return write_tagged(0xd1, (uint64_t)value, 2);
    return value >= -2147483648LL ? write_tagged(0xd2, (uint64_t)value, 4) : write_tagged(0xd3, (uint64_t)value, 8);
}

/* the head of what has a length: a short form for less than ``few``, then forms of 1 (0: there is none), 2, 4 bytes */
static int write_length(size_t size, unsigned char short_form, size_t few, unsigned char one, unsigned char two)
{
    if (size < few)
        return write_byte((unsigned char)(short_form | size));
    if (size < 1 << 8 && one)
        return write_tagged(one, size, 1);
    if (size < 1 << 16)
        return write_tagged(two, size, 2);
    return size < (size_t)1 << 32 ? write_tagged((unsigned char)(two + 1), size, 4) : 0;
}

static int write_text(PyObject *text)
{
    Py_ssize_t size;
    const char *letters = PyUnicode_AsUTF8AndSize(text, &size);
    if (letters == NULL) { /* a lone surrogate: msgspec says so */
        PyErr_Clear();
        return 0;
    }
    int done = write_length((size_t)size, 0xa0, 32, 0xd9, 0xda);
    if (done > 0 && room((size_t)size) < 0)
        done = -1;
    if (done > 0) {
        memcpy(cursor, letters, (size_t)size);
        cursor += size;
    }
    return done;
}

static int write_seen(const Seen *seen)
{
    int done = write_byte(0x93);
    done = done > 0 ? write_whole((uint64_t)seen->first) : done;
    done = done > 0 ? write_whole((uint64_t)seen->stored) : done;
    done = done > 0 ? write_length((size_t)seen_tail_size(seen), 0, 0, 0xc4, 0xc5) : done;
    if (done > 0 && room((size_t)seen_tail_size(seen)) < 0)
        done = -1;
    if (done > 0) {
        seen_write_tail(seen, cursor);
        cursor += seen_tail_size(seen);
    }
    return done;
}

/* A dict of lists of floats, such as the counters, lies in memory wherever its parts were made: what is not in the
 * processor's cache is asked for before it is needed, all at once, or each part would be waited for. */
static void fetch_lists(PyObject *dict)
{
    PyObject *values[FETCHED], *value;
    Py_ssize_t at = 0;
    int count = 0;
    while (count < FETCHED && PyDict_Next(dict, &at, NULL, &value)) {
        __builtin_prefetch(value);
        values[count++] = value;
    }
    if (count == 0 || !PyList_CheckExact(values[0]))
        return;
    for (int i = 0; i < count; i++)
        if (PyList_CheckExact(values[i]))
            __builtin_prefetch(((PyListObject *)values[i])->ob_item);
    for (int i = 0; i < count; i++)
        if (PyList_CheckExact(values[i]))
            for (Py_ssize_t j = 0; j < PyList_GET_SIZE(values[i]) && j < 3; j++)
                __builtin_prefetch(PyList_GET_ITEM(values[i], j));
}

static int write_value(PyObject *value, int depth);

static int write_struct(PyObject *value, const Layout *layout, int depth)
{
    int done = write_length((size_t)layout->count, 0x90, 16, 0, 0xdc);
    for (int i = 0; i < layout->count && done > 0; i++) {
        PyObject *field = FIELD(value, layout->offsets[i]);
        done = field == NULL ? 0 : write_value(field, depth + 1);
    }
    return done;
}

static int write_value(PyObject *value, int depth)
{
    PyTypeObject *type = Py_TYPE(value);
    int done;
    if (depth > DEEPEST)
        return 0;
    if (type == &PyFloat_Type)
        return write_double(PyFloat_AS_DOUBLE(value));
    if (type == &PyLong_Type)
        return write_int(value);
    if (type == &PyUnicode_Type)
        return write_text(value);
    if (type == &PyDict_Type) {
        PyObject *key, *content;
        Py_ssize_t at = 0;
        if (PyDict_GET_SIZE(value) > 2)
            fetch_lists(value);
        done = write_length((size_t)PyDict_GET_SIZE(value), 0x80, 16, 0, 0xde);
        while (done > 0 && PyDict_Next(value, &at, &key, &content)) {
            done = PyUnicode_CheckExact(key) ? write_text(key) : PyLong_CheckExact(key) ? write_int(key) : 0;
            if (done > 0)
                done = write_value(content, depth + 1);
        }
        return done;
    }
    if (type == &PyList_Type) {
        done = write_length((size_t)PyList_GET_SIZE(value), 0x90, 16, 0, 0xdc);
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value) && done > 0; i++)
            done = write_value(PyList_GET_ITEM(value, i), depth + 1);
        return done;
    }
    for (int i = 0; i < layout_count; i++)
        if (type == layouts[i].type)
            return write_struct(value, &layouts[i], depth);
    if (value == Py_None)
        return write_byte(0xc0);
    if (type == &PyBool_Type)
        return write_byte(value == Py_True ? 0xc3 : 0xc2);
    return type == &SeenType ? write_seen((Seen *)value) : 0;
}

/* a new reference; NULL: an error, if one is set, else unusual */
static PyObject *record_of(PyObject *state)
{
    if (layout_count == 0 || Py_TYPE(state) != layouts[0].type)
        return NULL;
    PyObject *due = FIELD(state, due_at);
    if (due == NULL || !PyFloat_CheckExact(due))
        return NULL;
    cursor = buffer;
    if (write_double(PyFloat_AS_DOUBLE(due)) < 0)
        return NULL;
    buffer[0] = FORMAT; /* in the place of the double's tag */
    if (write_value(state, 0) <= 0)
        return NULL;
    PyObject *record = PyBytes_FromStringAndSize((char *)buffer, cursor - buffer);
    if (limit - buffer > KEPT_BYTES) {
        PyMem_Free(buffer);
        buffer = cursor = limit = NULL;
    }
    return record;
}

PyObject *pack_user(PyObject *module, PyObject *state)
{
    PyObject *record = record_of(state);
    if (record == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return record;
}

/* a whole turn */

/* the user's records of ids that changed go into ``puts`` */
static int put_unsaved(PyObject *user, Seen *seen, PyObject *puts, long long *bytes)
{
    Py_ssize_t size, at = 0;
    const char *letters = PyUnicode_AsUTF8AndSize(user, &size);
    if (letters == NULL)
        return -1;
    if (size > 65535) {
        PyErr_SetString(PyExc_ValueError, "a user's id is too long");
        return -1;
    }
    PyObject *number, *record;
    while (PyDict_Next(seen->unsaved, &at, &number, &record)) {
        PyObject *key = PyBytes_FromStringAndSize(NULL, size + 11);
        if (key == NULL)
            return -1;
        unsigned long long value = PyLong_AsUnsignedLongLong(number);
        unsigned char *to = (unsigned char *)PyBytes_AS_STRING(key);
        to[0] = 'd';
        to[1] = (unsigned char)(size >> 8);
        to[2] = (unsigned char)size;
        memcpy(to + 3, letters, (size_t)size);
        for (int byte = 0; byte < 8; byte++)
            to[3 + size + byte] = (unsigned char)(value >> 8 * (7 - byte));
        int failed = PyErr_Occurred() || PyDict_SetItem(puts, key, record) < 0;
        *bytes += PyBytes_CheckExact(record) ? PyBytes_GET_SIZE(record) : 0;
        Py_DECREF(key);
        if (failed)
            return -1;
    }
    Py_CLEAR(seen->unsaved);
    return 0;
}

static PyObject *key_of(PyObject *user)
{
    Py_ssize_t size;
    const char *letters = PyUnicode_AsUTF8AndSize(user, &size);
    PyObject *key = letters == NULL ? NULL : PyBytes_FromStringAndSize(NULL, size + 1);
    if (key != NULL) {
        PyBytes_AS_STRING(key)[0] = 'u';
        memcpy(PyBytes_AS_STRING(key) + 1, letters, (size_t)size);
    }
    return key;
}

typedef struct {
    double earliest; /* timer */
    long long cut, bytes;
} Put;

static int put_user(PyObject *user, PyObject *state, PyObject *const *args, Put *all)
{
    PyObject *dues = args[1], *puts = args[2], *timed = args[3], *seen = FIELD(state, seen_at);
    if (seen != NULL && Py_TYPE(seen) == &SeenType && ((Seen *)seen)->unsaved != NULL) {
        all->cut += ((Seen *)seen)->cut;
        ((Seen *)seen)->cut = 0;
        if (put_unsaved(user, (Seen *)seen, puts, &all->bytes) < 0)
            return -1;
    }
    PyObject *key = key_of(user), *record = key == NULL ? NULL : record_of(state);
    if (record == NULL && key != NULL && !PyErr_Occurred())
        record = PyObject_CallOneArg(args[4], state);
    int failed = record == NULL || PyDict_SetItem(puts, key, record) < 0;
    all->bytes += record != NULL && PyBytes_CheckExact(record) ? PyBytes_GET_SIZE(record) : 0;
    Py_XDECREF(record);
    if (!failed) {
        double due = PyFloat_AsDouble(FIELD(state, due_at));
        PyObject *before = PyDict_GetItemWithError(dues, user);
        if (due < all->earliest)
            all->earliest = due;
        if (before != NULL && PyFloat_AsDouble(before) == due)
            failed = PySet_Add(timed, key) < 0;
        failed = failed || PyErr_Occurred() != NULL;
    }
    Py_XDECREF(key);
    return failed ? -1 : 0;
}

/* of a user who comes soon */
static void fetch_fields(PyObject *state)
{
    for (int i = 0; i < layouts[0].count; i++)
        __builtin_prefetch(FIELD(state, layouts[0].offsets[i]));
}

static void fetch_parts(PyObject *state)
{
    for (int i = 0; i < layouts[0].count; i++) {
        PyObject *field = FIELD(state, layouts[0].offsets[i]);
        if (field != NULL && PyDict_CheckExact(field) && PyDict_GET_SIZE(field)) {
            const char *keys = (const char *)((PyDictObject *)field)->ma_keys;
            for (Py_ssize_t line = 0; line <= PyDict_GET_SIZE(field) * 32 && line < 1024; line += 64)
                __builtin_prefetch(keys + line);
        }
        else if (field != NULL && Py_TYPE(field) == &SeenType)
            seen_fetch_tail((Seen *)field);
    }
}

PyObject *pack_users(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 5 || !PyDict_CheckExact(args[0]) || !PyDict_CheckExact(args[1]) || !PyDict_CheckExact(args[2])
        || !PySet_CheckExact(args[3]) || layout_count == 0) {
        PyErr_SetString(PyExc_TypeError, "pack_users(users, dues, puts, timed, slow)");
        return NULL;
    }
    Put all = {.earliest = Py_HUGE_VAL};
    PyObject *users[AT_ONCE], *states[AT_ONCE];
    Py_ssize_t at = 0;
    int count;
    do {
        for (count = 0; count < AT_ONCE && PyDict_Next(args[0], &at, &users[count], &states[count]); count++)
            if (!PyUnicode_CheckExact(users[count]) || Py_TYPE(states[count]) != layouts[0].type) {
                PyErr_SetString(PyExc_TypeError, "users are a dict of names and states");
                return NULL;
            }
        for (int i = 0; i < count; i++) {
            if (i + 2 < count)
                fetch_fields(states[i + 2]);
            if (i + 1 < count)
                fetch_parts(states[i + 1]);
            if (put_user(users[i], states[i], args, &all) < 0)
                return NULL;
        }
        let_others_run();
    } while (count == AT_ONCE);
    return Py_BuildValue("dLL", all.earliest, all.cut, all.bytes);
}
