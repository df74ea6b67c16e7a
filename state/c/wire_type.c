/* Wire: made of what Python says of its class of events, and of what producers write. */
#include "forms.h"
#include <structmember.h>

static Py_ssize_t offset_of(PyTypeObject *type, const char *name)
{
    PyObject *descriptor = module_attribute((PyObject *)type, name);
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

static int find_fields(EventAt *event)
{
    const struct {
        const char *name;
        Py_ssize_t *place;
    } fields[] = {
        {"user", &event->user},         {"kind", &event->kind},     {"time", &event->time},
        {"category", &event->category}, {"amount", &event->amount}, {"dwell", &event->dwell},
        {"anonymous", &event->anonymous},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        if ((*fields[i].place = offset_of(event->type, fields[i].name)) < 0)
            return -1;
    return check_fields(event->type);
}

static int add_kinds(Wire *wire, PyObject *kinds)
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
        wire->kinds[i] = kind;
        wire->kind_letters[i] = PyUnicode_AsUTF8AndSize(kind, &wire->kind_sizes[i]);
        if (wire->kind_letters[i] == NULL)
            return -1;
        wire->kind_count++;
    }
    return 0;
}

static PyObject *wire_make(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"event",  "kinds",      "fields",  "calls", "tracks",
                            "items",  "categories", "amounts", "dwells", NULL};
    PyObject *kinds, *fields, *calls, *tracks, *paths[4];
    PyTypeObject *event;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "O!O!O!O!O!O!O!O!O!", names, &PyType_Type, &event, &PyTuple_Type, &kinds,
                                     &PyTuple_Type, &fields, &PyDict_Type, &calls, &PyDict_Type, &tracks, &PyTuple_Type,
                                     &paths[0], &PyTuple_Type, &paths[1], &PyTuple_Type, &paths[2], &PyTuple_Type,
                                     &paths[3]))
        return NULL;
    Wire *self = (Wire *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->event.type = (PyTypeObject *)Py_NewRef(event);
    if (find_fields(&self->event) < 0 || add_kinds(self, kinds) < 0
        || forms_begin(self, fields, calls, tracks, paths) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int wire_visit(Wire *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->event.type);
    return 0;
}

static void wire_dealloc(Wire *self)
{
    PyObject_GC_UnTrack(self);
    for (int i = 0; i < MOST_KINDS; i++)
        Py_XDECREF(self->kinds[i]);
    Py_XDECREF(self->event.type);
    object_free(self);
}

static PyType_Slot slots[] = {
    {Py_tp_doc, "Wire(event, kinds, fields, calls, tracks, items, categories, amounts, dwells): the class of events, the "
                "kinds that only add to counts, and how calls of the Segment Spec are read: their fields, {type of call: "
                "kind}, {track event: kind}, paths to items, to categories, to amounts, to dwells."},
    {Py_tp_new, wire_make},
    {Py_tp_traverse, wire_visit},
    {Py_tp_dealloc, wire_dealloc},
    {0, NULL},
};

PyType_Spec wire_spec = {
    .name = "state._fold.Wire",
    .basicsize = sizeof(Wire),
    .flags = OF_MODULE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
