/* The Python type state._fold.Plan: what definitions say to the compiled fold (core/plan.h), which kind and category
 * has which of its routes, and the verbs that need both: state/native.py, QuietFold. */
#ifndef SEGMENTS_PLAN_TYPE_H
#define SEGMENTS_PLAN_TYPE_H

#include "reading.h"

/* The memory of two batches is kept for the next ones: the kernel would clear megabytes for each. */
#define SPARES 2

typedef struct {
    void *at; /* for PyMem_RawFree; NULL: there is none */
    size_t size;
} Spare;

struct PlanObject {
    PyObject_HEAD
    Wire *wire;
    uint8_t *bytes;
    PlanImage image; /* of these bytes; never changed */
    Names routes;    /* by category and kind: ``count`` is the route's number */
    PyObject *kept;  /* list of the categories' names */
    FoldScratch *scratch; /* for whoever takes it; NULL: somebody has it */
    Spare spares[SPARES]; /* of the interpreter's lock */
};

extern PyType_Spec plan_spec;

/* The route of an event: that of its kind and category, else that of its kind alone; -1: it is left to Python. */
int32_t plan_route(const PlanObject *plan, int32_t kind, const char *category, int32_t size);

static inline int plan_has_interest(const PlanObject *plan, int32_t route)
{
    return plan->image.routes[route].interest != 0.0;
}

/* NULL with MemoryError; to be given back, with the interpreter's lock. */
FoldScratch *plan_take_scratch(PlanObject *plan);
void plan_give_scratch(PlanObject *plan, FoldScratch *scratch);

/* plan_fold.c */
PyObject *plan_fold(PlanObject *plan, PyObject *const *args, Py_ssize_t nargs);
PyObject *plan_fold_on(PlanObject *plan, PyObject *const *args, Py_ssize_t nargs);
PyObject *plan_due(PlanObject *plan, PyObject *record);

#endif
