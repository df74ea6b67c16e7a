/* Plan: made once of an image that Python wrote, then read by all partitions. */
#include "plan_type.h"

#include "forms.h"

int32_t plan_route(const PlanObject *plan, int32_t kind, const char *category, int32_t size)
{
    int32_t found = size > 0 ? names_find(&plan->routes, category, size, kind) : -1;
    if (found < 0)
        found = names_find(&plan->routes, "", 0, kind);
    return found < 0 ? -1 : plan->routes.names[found].count;
}

FoldScratch *plan_take_scratch(PlanObject *plan)
{
    FoldScratch *scratch = plan->scratch;
    plan->scratch = NULL;
    if (scratch == NULL && (scratch = fold_scratch_new(&plan->image)) == NULL)
        PyErr_NoMemory();
    if (scratch != NULL)
        fold_scratch_begin(scratch); /* a turn that ended for want of memory may come again at the same place */
    return scratch;
}

void plan_give_scratch(PlanObject *plan, FoldScratch *scratch)
{
    if (plan->scratch == NULL)
        plan->scratch = scratch;
    else
        fold_scratch_free(scratch);
}

static int plan_visit(PlanObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->wire);
    Py_VISIT(self->kept);
    return 0;
}

static void plan_dealloc(PlanObject *self)
{
    PyObject_GC_UnTrack(self);
    for (int i = 0; i < SPARES; i++)
        PyMem_RawFree(self->spares[i].at);
    fold_scratch_free(self->scratch);
    names_end(&self->routes);
    PyMem_Free(self->bytes);
    Py_XDECREF(self->wire);
    Py_XDECREF(self->kept);
    object_free(self);
}

static int open_image(PlanObject *plan, const char *bytes, Py_ssize_t size)
{
    plan->bytes = PyMem_Malloc((size_t)size + 1);
    if (plan->bytes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(plan->bytes, bytes, (size_t)size);
    enum PlanFault fault = plan_open(&plan->image, plan->bytes, (size_t)size);
    if (fault == PLAN_SOUND)
        return 0;
    PyErr_Format(PyExc_ValueError, "the image of the definitions cannot be used: %s", plan_fault_words(fault));
    return -1;
}

/* (kind, category, number of the route) */
static int add_route(PlanObject *plan, PyObject *tuple)
{
    PyObject *kind, *category;
    int number, place = 0;
    Py_ssize_t size;
    if (!PyTuple_Check(tuple) || !PyArg_ParseTuple(tuple, "UUi", &kind, &category, &number)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "a route is (kind, category, number)");
        return -1;
    }
    while (place < plan->wire->kind_count && PyUnicode_Compare(kind, plan->wire->kinds[place]) != 0)
        place++;
    if (place == plan->wire->kind_count || number < 0 || (uint32_t)number >= plan->image.head->routes) {
        PyErr_Format(PyExc_ValueError, "the route %d of %R does not go with kinds and image", number, kind);
        return -1;
    }
    const char *letters = PyUnicode_AsUTF8AndSize(category, &size);
    if (letters == NULL || PyList_Append(plan->kept, category) < 0)
        return -1;
    int32_t name = size > INT32_MAX ? -1 : names_number(&plan->routes, letters, (int32_t)size, place);
    if (name < 0) {
        PyErr_NoMemory();
        return -1;
    }
    plan->routes.names[name].count = number;
    return 0;
}

static PyObject *plan_make(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"wire", "image", "routes", NULL};
    const char *bytes;
    Py_ssize_t size;
    PyObject *wire, *routes;
    Module *module = PyType_GetModuleState(type);
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "O!y#O!", names, module->wire_type, &wire, &bytes, &size, &PyTuple_Type,
                                     &routes))
        return NULL;
    PlanObject *self = (PlanObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->wire = (Wire *)Py_NewRef(wire);
    self->kept = PyList_New(0);
    int done = self->kept == NULL ? -1 : open_image(self, bytes, size);
    if (done == 0 && names_begin(&self->routes, module->name_seed) < 0) {
        PyErr_NoMemory();
        done = -1;
    }
    for (Py_ssize_t i = 0; done == 0 && i < PyTuple_GET_SIZE(routes); i++)
        done = add_route(self, PyTuple_GET_ITEM(routes, i));
    if (done < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef plan_methods[] = {
    {"read", (PyCFunction)plan_read, METH_VARARGS,
     "read(records, decode, slow, (most bytes, most bytes of a name, from, ahead, most amount, most dwell)): (the batch, "
     "latest time)"},
    {"fold", FAST(plan_fold), METH_FASTCALL,
     "fold(area, batch, without, epoch, heads, encodes, newcomers, entered): (events counted, users begun, {user: (events folded, "
     "opened)})"},
    {"fold_on", FAST(plan_fold_on), METH_FASTCALL, "fold_on(record, items, at, limit, erased): (next, opened)"},
    {"next_due", (PyCFunction)plan_due, METH_O, "next_due(record): when a membership may next change by time alone."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_traverse, plan_visit},
    {Py_tp_doc, "Plan(wire, image, ((kind, category, route), ...)): what definitions say to the fold; see state.native."},
    {Py_tp_new, plan_make},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {0, NULL},
};

PyType_Spec plan_spec = {
    .name = "state._fold.Plan",
    .basicsize = sizeof(PlanObject),
    .flags = OF_MODULE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
