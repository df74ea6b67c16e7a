#include "plan_entered.h"

/* Room for ``more``; -1: no memory. */
static int grow(void **at, size_t *room, size_t count, size_t more, size_t size)
{
    if (*room - count >= more)
        return 0;
    size_t wanted = 2 * (count + more) + 64;
    void *moved = wanted > SIZE_MAX / size ? NULL : PyMem_RawRealloc(*at, wanted * size);
    if (moved == NULL)
        return -1;
    *at = moved;
    *room = wanted;
    return 0;
}

int entered_note(Entered *entered, const PlanImage *plan, const UserBlock *block, const FoldScratch *scratch,
                 uint32_t event)
{
    uint32_t count;
    const FoldEntry *entries = fold_entries(scratch, &count);
    size_t terms = 0;
    for (uint32_t i = 0; i < count; i++)
        terms += plan->rules[entries[i].rule].terms;
    void *began = entered->began, *values = entered->values;
    int done = grow(&began, &entered->room, entered->count, count, sizeof(Began));
    entered->began = began;
    if (done == 0)
        done = grow(&values, &entered->values_room, entered->values_count, terms, sizeof(double));
    entered->values = values;
    if (done < 0)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        const PlanRule *rule = &plan->rules[entries[i].rule];
        entered->began[entered->count++] = (Began){
            .time = block_time(block),
            .score = entries[i].score,
            .sequence = block_sequence(block) - (count - 1 - i),
            .event = event,
            .rule = entries[i].rule,
            .value = entered->values_count,
        };
        for (uint32_t j = 0; j < rule->terms; j++)
            entered->values[entered->values_count++] = fold_term(scratch, plan->links[rule->first + j] >> 1);
    }
    return 0;
}

void entered_free(Entered *entered)
{
    PyMem_RawFree(entered->began);
    PyMem_RawFree(entered->values);
}

static PyObject *numbers(const double *values, uint32_t count)
{
    PyObject *found = PyTuple_New((Py_ssize_t)count);
    for (uint32_t i = 0; found != NULL && i < count; i++) {
        PyObject *number = PyFloat_FromDouble(values[i]);
        if (number == NULL)
            Py_CLEAR(found);
        else
            PyTuple_SET_ITEM(found, (Py_ssize_t)i, number);
    }
    return found;
}

PyObject *entered_list(const Entered *entered, const PlanImage *plan, size_t first, size_t count)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const Began *began = &entered->began[first + i];
        PyObject *values = numbers(entered->values + began->value, plan->rules[began->rule].terms);
        PyObject *told = values == NULL ? NULL
                                        : Py_BuildValue("IIKddN", began->event, began->rule,
                                                        (unsigned long long)began->sequence, began->score, began->time,
                                                        values);
        if (told == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, told);
    }
    return list;
}
