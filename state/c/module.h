/* What the module state._fold has in each interpreter: its types, and what it knows of Python's side. None of it is a
 * global, so that the module may be there more than once.
 *
 * Functions are given the module; verbs find it by their object's type (module_of): none of the types can be derived
 * from. Whoever goes through many records or users finds it once, before that.
 *
 * An object keeps its type, and that the module. Types whose objects keep what anybody gave them are known to the
 * collector. The others are not: a record, its parts, Area, Table and Arena keep each other one way, and names. */
#ifndef SEGMENTS_MODULE_H
#define SEGMENTS_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/counters.h"

/* How functions and verbs are called and what they give, as a number that state/compiled.py has as well: one more with
 * each change with which the sources of one side and the module of another would not go together. */
#define MODULE_INTERFACE 3

#define MODULE_TYPES(TYPE)                                                                                             \
    TYPE(arena) TYPE(table) TYPE(area) TYPE(wire) TYPE(plan) TYPE(batch) TYPE(batch_users) TYPE(items) TYPE(block)     \
    TYPE(records) TYPE(fetched) TYPE(record) TYPE(members) TYPE(edges) TYPE(cells) TYPE(ids)

/* attributes that are asked of Python's objects, and the names of methods that are called; interned */
#define MODULE_NAMES(NAME)                                                                                             \
    NAME(key) NAME(width) NAME(window) NAME(since) NAME(score) NAME(version) NAME(sequence) NAME(leaving)              \
    NAME(segment) NAME(member) NAME(weight) NAME(type) NAME(data) NAME(next_change) NAME(unknown_until)                \
    NAME(next_sure) NAME(value) NAME(timestamp) NAME(ids) NAME(user) NAME(saved) NAME(start) NAME(stop) NAME(cut)      \
    NAME(pack) NAME(chunks) NAME(KeysView) NAME(ItemsView) NAME(ValuesView)

/* What Python's side has of records, from record_bind() on: FormatError, TooLargeError, Membership, PendingLabel,
 * Opaque; {counter: row}, the counters by row, {kind: what an event says of its category}, category_bucket. */
#define RECORD_WORDS(WORD)                                                                                             \
    WORD(format_error) WORD(too_large_error) WORD(membership) WORD(label) WORD(opaque) WORD(rows) WORD(counters)       \
    WORD(interest) WORD(bucket_of)

#define OBJECT(name) PyObject *name;
#define TYPE(name) PyTypeObject *name##_type;

typedef struct {
    MODULE_NAMES(OBJECT)
} AttributeNames;

typedef struct {
    RECORD_WORDS(OBJECT)
    /* the places of features, by row (-1: it is none), and others */
    int fast_at[ROWS], slow_at[ROWS];
    int followees, groups, texts, categories, features;
} RecordWords;

typedef struct {
    MODULE_TYPES(TYPE)
    AttributeNames names;
    RecordWords words;
    uint64_t name_seed; /* of names' hashes, so that nobody can choose names that all meet in one place */
    uint64_t areas;     /* how many there were: each has a number of its own */
} Module;

#undef OBJECT
#undef TYPE

static inline Module *module_of(const void *object)
{
    return PyType_GetModuleState(Py_TYPE((PyObject *)object));
}

/* The last that tp_dealloc does. */
static inline void object_free(void *object)
{
    PyTypeObject *type = Py_TYPE((PyObject *)object);
    type->tp_free(object);
    Py_DECREF(type);
}

/* module_state.c */

#define OF_MODULE (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE) /* flags of all types */
#define MADE_HERE (OF_MODULE | Py_TPFLAGS_DISALLOW_INSTANTIATION) /* of those that are not called */

/* As PyObject_GetAttrString, of a name that the object has. The name is not made anew: the interpreter's cache of methods
 * keeps each that it has not seen. */
PyObject *module_attribute(PyObject *of, const char *name);
/* 0, or -1 with an exception. */
int module_add_names(PyObject *module);
int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **into);
/* slots of the module */
int module_visit(PyObject *module, visitproc visit, void *arg);
int module_clear(PyObject *module);
void module_free(void *module);

#endif
