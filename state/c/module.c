/* The module: its types and functions, and where the class of events has its fields. */
#include "area_type.h"
#include "forms.h"
#include "plan_type.h"
#include "reading.h"
#include "record_type.h"
#include <structmember.h>

Bound bound;
uint64_t name_seed;

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

#define BIND(place, name)                                                                                              \
    if ((place.name = offset_of(place.type, #name)) < 0)                                                               \
    return NULL

static int bind_kinds(Bound *new, PyObject *kinds)
{
    if (PyTuple_GET_SIZE(kinds) > MOST_KINDS) {
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
    Bound new;
    memset(&new, 0, sizeof(new));
    if (!PyArg_ParseTuple(args, "O!O!", &PyType_Type, &new.event.type, &PyTuple_Type, &kinds))
        return NULL;
    Py_INCREF(new.event.type);
    BIND(new.event, user);
    BIND(new.event, kind);
    BIND(new.event, time);
    BIND(new.event, category);
    BIND(new.event, amount);
    BIND(new.event, dwell);
    BIND(new.event, anonymous);
    if (check_fields(new.event.type) < 0 || bind_kinds(&new, kinds) < 0)
        return NULL;
    if (memcmp(&bound, &new, sizeof(bound)) != 0) /* nearly always it is the same: others may read it just now */
        bound = new;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"bind", bind, METH_VARARGS, "bind(Event, kinds that only add to counts)"},
    {"bind_forms", bind_forms, METH_VARARGS,
     "bind_forms(fields of a call, {type of call: kind}, {track event: kind}, paths to items, to categories, to amounts, "
     "to dwells): how calls of the Segment Spec are read; after bind."},
    {"crc32c", crc32c_of, METH_O, "crc32c(bytes): their checksum; None where the processor has no instruction for it."},
    {"parse", parse_batches, METH_O,
     "parse([(batch, its records where they were compressed or None, least offset), ...]): (Records, how many batches "
     "were read whole, the least offset that is lost of the next one; -1: none)."},
    {"fitting", fitting_records, METH_VARARGS,
     "fitting(records, bytes): (how many of the first ones have no more bytes than that, their bytes)."},
    {"latest", latest_records, METH_O, "latest(records): {key: what the last record with it says; None deletes}."},
    {"load", load_records, METH_VARARGS,
     "load(batch, records, prefix): what is said last of each key, with users' timers; how many guards there were."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "state._fold",
    .m_doc = "Fetched records, their events, users' records and the quiet part of folding; see state/native.py.",
    .m_size = -1,
    .m_methods = methods,
};

/* Hashes of names are new in each process, as Python's own are. */
static int seed_names(void)
{
    PyObject *words = PyUnicode_FromString("nobody outside can choose names that all meet in one place");
    Py_hash_t hash = words == NULL ? -1 : PyObject_Hash(words);
    Py_XDECREF(words);
    name_seed = (uint64_t)hash;
    return hash == -1 ? -1 : 0;
}

PyMODINIT_FUNC PyInit__fold(void)
{
    PyTypeObject *inner[] = {&BlockType, &BatchUsersType, &ItemsType, &RecordType};
    PyTypeObject *types[] = {&ArenaType, &TableType, &AreaType, &PlanType, &BatchType, &RecordsType};
    for (size_t i = 0; i < sizeof(inner) / sizeof(*inner); i++)
        if (PyType_Ready(inner[i]) < 0)
            return NULL;
    PyObject *module = PyModule_Create(&definition);
    int done = module == NULL || seed_names() < 0 || record_ready(module) < 0 ? -1 : 0;
    for (size_t i = 0; done == 0 && i < sizeof(types) / sizeof(*types); i++)
        done = PyModule_AddType(module, types[i]);
    if (done < 0)
        Py_CLEAR(module);
    return module;
}
