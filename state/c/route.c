/* What an event of one kind (and category) touches: tallies, what rules about absence watch, and segments. */
#include "fold.h"

static void route_dealloc(Route *self)
{
    for (Py_ssize_t i = 0; i < self->spec_count; i++)
        Py_XDECREF(self->specs[i].key);
    for (Py_ssize_t i = 0; i < self->gate_count; i++) {
        Gate *gate = &self->gates[i];
        for (Py_ssize_t j = 0; j < gate->count; j++)
            Py_XDECREF(gate->atoms[j].spec.key);
        PyMem_Free(gate->atoms);
        Py_XDECREF(gate->segment);
    }
    PyMem_Free(self->specs);
    PyMem_Free(self->gates);
    Py_XDECREF(self->watched);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int read_spec(PyObject *tuple, Spec *spec)
{
    if (!PyArg_ParseTuple(tuple, "ULLid", &spec->key, &spec->width, &spec->window, &spec->measure, &spec->scale)) {
        spec->key = NULL;
        return -1;
    }
    if (spec->width <= 0) {
        spec->key = NULL;
        PyErr_SetString(PyExc_ValueError, "a tally's width must be positive");
        return -1;
    }
    Py_INCREF(spec->key);
    PyUnicode_InternInPlace(&spec->key);
    return 0;
}

static int read_gate(PyObject *tuple, Gate *gate)
{
    PyObject *segment, *atoms;
    if (!PyArg_ParseTuple(tuple, "UpO!", &segment, &gate->can_end, &PyTuple_Type, &atoms))
        return -1;
    Py_INCREF(segment);
    gate->segment = segment;
    Py_ssize_t count = PyTuple_GET_SIZE(atoms);
    gate->atoms = PyMem_Calloc(count ? count : 1, sizeof(Atom));
    if (gate->atoms == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *spec;
        Atom *atom = &gate->atoms[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(atoms, i), "O!id", &PyTuple_Type, &spec, &atom->op, &atom->bound)
            || read_spec(spec, &atom->spec) < 0)
            return -1;
        gate->count = i + 1;
    }
    return 0;
}

static PyObject *route_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    double interest;
    PyObject *specs, *watched, *gates;
    static char *names[] = {"interest", "specs", "watched", "gates", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "dO!O!O!", names, &interest, &PyTuple_Type, &specs, &PyTuple_Type,
                                     &watched, &PyTuple_Type, &gates))
        return NULL;
    Route *self = (Route *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->interest = interest;
    Py_INCREF(watched);
    self->watched = watched;
    Py_ssize_t spec_count = PyTuple_GET_SIZE(specs), gate_count = PyTuple_GET_SIZE(gates);
    self->specs = PyMem_Calloc(spec_count ? spec_count : 1, sizeof(Spec));
    self->gates = PyMem_Calloc(gate_count ? gate_count : 1, sizeof(Gate));
    if (self->specs == NULL || self->gates == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < spec_count; i++) {
        if (read_spec(PyTuple_GET_ITEM(specs, i), &self->specs[i]) < 0)
            goto fail;
        self->spec_count = i + 1;
    }
    for (Py_ssize_t i = 0; i < gate_count; i++) {
        self->gate_count = i + 1; /* what is half read is freed as well */
        if (read_gate(PyTuple_GET_ITEM(gates, i), &self->gates[i]) < 0)
            goto fail;
    }
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

PyTypeObject RouteType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Route",
    .tp_doc = "Route(interest, specs, watched, gates): what an event of one kind and category touches.",
    .tp_basicsize = sizeof(Route),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = route_new,
    .tp_dealloc = (destructor)route_dealloc,
};
