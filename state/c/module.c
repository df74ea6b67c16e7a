/* The module: its types and functions, and where the classes of Python have their fields. */
#include "fold.h"
#include "forms.h"
#include "pack.h"
#include "seen.h"
#include "users.h"
#include <structmember.h>

Bound bound;

void set_field(PyObject *object, Py_ssize_t offset, PyObject *value /* stolen */)
{
    PyObject *old = FIELD(object, offset);
    FIELD(object, offset) = value;
    Py_XDECREF(old);
}

static Py_ssize_t offset_of(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, name);
    if (descriptor == NULL)
        return -1;
    Py_ssize_t offset = -1;
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
        PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        if (member->type == T_OBJECT_EX && ((PyMemberDescrObject *)descriptor)->d_common.d_type == type)
            offset = member->offset;
    }
    Py_DECREF(descriptor);
    if (offset < 0)
        PyErr_Format(PyExc_TypeError, "%s.%s is not a slot", type->tp_name, name);
    return offset;
}

#define BIND_AS(place, name, field)                                                                                    \
    if ((place.name = offset_of(place.type, field)) < 0)                                                               \
    return NULL
#define BIND(place, name) BIND_AS(place, name, #name)

static int bind_kinds(Bound *new, PyObject *kinds)
{
    if (PyTuple_GET_SIZE(kinds) > KINDS) {
        PyErr_SetString(PyExc_TypeError, "these are too many kinds");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kinds); i++) {
        PyObject *kind = PyTuple_GET_ITEM(kinds, i);
        if (!PyUnicode_CheckExact(kind)) {
            PyErr_SetString(PyExc_TypeError, "a kind is a str");
            return -1;
        }
        Py_INCREF(kind);
        PyUnicode_InternInPlace(&kind);
        new->kinds[i] = kind;
        new->kind_letters[i] = PyUnicode_AsUTF8AndSize(kind, &new->kind_sizes[i]);
        if (new->kind_letters[i] == NULL)
            return -1;
        new->kind_count++;
    }
    return 0;
}

/* What is bound lives as long as the process: classes and words of modules. */
static PyObject *bind(PyObject *module, PyObject *args)
{
    PyObject *kinds;
    unsigned long long seed;
    Bound new;
    memset(&new, 0, sizeof(new));
    if (!PyArg_ParseTuple(args, "O!O!O!O!UUO!K", &PyType_Type, &new.event.type, &PyType_Type, &new.state.type,
                          &PyType_Type, &new.tally.type, &PyType_Type, &new.member.type, &new.spend, &new.dwell,
                          &PyTuple_Type, &kinds, &seed))
        return NULL;
    Py_INCREF(new.event.type);
    Py_INCREF(new.state.type);
    Py_INCREF(new.tally.type);
    Py_INCREF(new.member.type);
    Py_INCREF(new.spend);
    Py_INCREF(new.dwell);
    BIND(new.event, user);
    BIND(new.event, kind);
    BIND(new.event, time);
    BIND(new.event, category);
    BIND(new.event, amount);
    BIND(new.event, dwell);
    BIND(new.event, anonymous);
    BIND(new.state, time);
    BIND(new.state, count);
    BIND_AS(new.state, decayed, "_decayed");
    BIND_AS(new.state, categories, "_categories");
    BIND_AS(new.state, tallies, "_tallies");
    BIND_AS(new.state, seen, "ids");
    BIND_AS(new.state, members, "_members");
    BIND_AS(new.state, last, "_last");
    BIND(new.state, due);
    BIND(new.state, erased);
    BIND(new.state, plan);
    BIND(new.state, queued);
    BIND(new.state, encode_at);
    BIND(new.state, scored);
    BIND(new.state, known_at);
    BIND(new.state, identified);
    BIND(new.state, pending);
    BIND(new.state, labels);
    BIND(new.state, aliases);
    BIND(new.member, leaving);
    BIND(new.tally, total);
    BIND(new.tally, head);
    BIND(new.tally, buckets);
    if (check_fields(new.event.type) < 0 || bind_kinds(&new, kinds) < 0)
        return NULL;
    new.seed = seed;
    if (memcmp(&bound, &new, sizeof(bound)) != 0) /* nearly always it is the same: others may read it just now */
        bound = new;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"bind", bind, METH_VARARGS,
     "bind(Event, UserState, Tally, Membership, spend, dwell, kinds, seed)"},
    {"bind_forms", bind_forms, METH_VARARGS,
     "bind_forms(fields of a call, {type of call: kind}, {track event: kind}, paths to items, to categories, to amounts, "
     "to dwells): how calls of the Segment Spec are read; after bind."},
    {"parse", parse_batches, METH_O,
     "parse([(batch, its records where they were compressed or None, least offset), ...]): (Records, how many batches "
     "were read whole, the least offset that is lost of the next one; -1: none)."},
    {"fitting", fitting_records, METH_VARARGS,
     "fitting(records, bytes): (how many of the first ones have no more bytes than that, their bytes)."},
    {"latest", latest_records, METH_O, "latest(records): {key: what the last record with it says; None deletes}."},
    {"load", load_records, METH_VARARGS,
     "load(batch, {key: value or None}): all of them into the batch, with users' timers; how many guards there were."},
    {"read", read_records, METH_VARARGS,
     "read(records, decode, slow, (most bytes, most bytes of a name, from, ahead, most amount, most dwell), routes, "
     "special, buckets, bucket_of): (items by user, latest time)"},
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Fold events while they are quiet; (next, opened)."},
    PACK_METHODS,
    USERS_METHODS,
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "state._fold",
    .m_doc = "Fetched records, their events, and the quiet part of folding; see state/native.py.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__fold(void)
{
    PyTypeObject *inner[] = {&BlockType, &BatchType, &ItemsType, &RecordType};
    for (size_t i = 0; i < sizeof(inner) / sizeof(*inner); i++)
        if (PyType_Ready(inner[i]) < 0)
            return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddType(module, &RouteType) < 0 || PyModule_AddType(module, &RecordsType) < 0
        || PyModule_AddType(module, &DueType) < 0
        || seen_ready(module) < 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
