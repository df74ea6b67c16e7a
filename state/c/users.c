/* What is done for each user of a turn: read from the cache, folded, given the next timer. Whoever needs more than that
 * is left to streams.steps.fold, with how far it went. */
#include "users.h"

#include <math.h>

#include "fold.h"

#define AT_ONCE 2000 /* events, or as much work */

/* when a membership may next change without an event, for the rules of one plan */

typedef struct {
    PyObject *after, *of; /* keys of state.last */
    int covers;           /* the trigger is itself of the sort that is waited for */
    double wait, within;
} Absence;

typedef struct {
    PyObject *segment;
    Py_ssize_t spec_count, rising_count, absence_count;
    Spec *specs, *rising;
    Absence *absences;
} Rule;

typedef struct {
    PyObject_HEAD
    int may_rise;
    Py_ssize_t count;
    Rule *rules;
    PyObject *kept; /* what the rules point to */
} Due;

static void due_dealloc(Due *self)
{
    for (Py_ssize_t i = 0; i < self->count; i++) {
        PyMem_Free(self->rules[i].specs);
        PyMem_Free(self->rules[i].rising);
        PyMem_Free(self->rules[i].absences);
    }
    PyMem_Free(self->rules);
    Py_XDECREF(self->kept);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int read_windows(PyObject *tuple, Spec **specs, Py_ssize_t *count)
{
    *specs = PyMem_Calloc((size_t)PyTuple_GET_SIZE(tuple) + 1, sizeof(Spec));
    if (*specs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (*count = 0; *count < PyTuple_GET_SIZE(tuple); *count += 1) {
        Spec *spec = &(*specs)[*count];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(tuple, *count), "ULL", &spec->key, &spec->width, &spec->window))
            return -1;
    }
    return 0;
}

static int read_rule(PyObject *tuple, Rule *rule)
{
    PyObject *specs, *rising, *absences;
    if (!PyArg_ParseTuple(tuple, "UO!O!O!", &rule->segment, &PyTuple_Type, &specs, &PyTuple_Type, &rising,
                          &PyTuple_Type, &absences)
        || read_windows(specs, &rule->specs, &rule->spec_count) < 0
        || read_windows(rising, &rule->rising, &rule->rising_count) < 0)
        return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(absences);
    rule->absences = PyMem_Calloc((size_t)count + 1, sizeof(Absence));
    if (rule->absences == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Absence *absence = &rule->absences[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(absences, i), "UUpdd", &absence->after, &absence->of, &absence->covers,
                              &absence->wait, &absence->within))
            return -1;
    }
    rule->absence_count = count;
    return 0;
}

static PyObject *due_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    PyObject *rules;
    int may_rise;
    if (!PyArg_ParseTuple(args, "O!p", &PyTuple_Type, &rules, &may_rise))
        return NULL;
    Due *self = (Due *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->may_rise = may_rise;
    self->kept = Py_NewRef(rules);
    self->rules = PyMem_Calloc((size_t)PyTuple_GET_SIZE(rules) + 1, sizeof(Rule));
    if (self->rules == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (; self->count < PyTuple_GET_SIZE(rules);) {
        Rule *rule = &self->rules[self->count++]; /* what is half read is freed as well */
        if (read_rule(PyTuple_GET_ITEM(rules, self->count - 1), rule) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

PyTypeObject DueType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Due",
    .tp_doc = "Due(((segment, windows, rising, absences), ...), may_rise): when a membership may next change.",
    .tp_basicsize = sizeof(Due),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = due_new,
    .tp_dealloc = (destructor)due_dealloc,
};

/* next_expiry of state.windows; ``due`` becomes the earlier one */
static int expiry(PyObject *tallies, const Spec *spec, double now, double *due)
{
    PyObject *tally = PyDict_GetItemWithError(tallies, spec->key);
    if (tally == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (Py_TYPE(tally) != bound.tally.type || !PyDict_CheckExact(FIELD(tally, bound.tally.buckets))) {
        PyErr_SetString(PyExc_TypeError, "not a tally");
        return -1;
    }
    if (PyDict_GET_SIZE(FIELD(tally, bound.tally.buckets)) == 0)
        return 0;
    TallySlot slot = {.key = spec->key, .tally = tally};
    slot.head = PyLong_AsLongLong(FIELD(tally, bound.tally.head));
    if (slot.head == -1 && PyErr_Occurred())
        return -1;
    double end = (double)((slot.head + 1) * spec->width + spec->window);
    if (end <= now) {
        slot.total = PyLong_AsLongLong(FIELD(tally, bound.tally.total));
        if ((slot.total == -1 && PyErr_Occurred()) || trim(&slot, spec, now) < 0)
            return -1;
        PyObject *total = PyLong_FromLongLong(slot.total), *head = PyLong_FromLongLong(slot.head);
        if (total == NULL || head == NULL) {
            Py_XDECREF(total);
            Py_XDECREF(head);
            return -1;
        }
        set_field(tally, bound.tally.total, total);
        set_field(tally, bound.tally.head, head);
        if (PyDict_GET_SIZE(FIELD(tally, bound.tally.buckets)) == 0)
            return 0;
        end = (double)((slot.head + 1) * spec->width + spec->window);
    }
    if (end < *due)
        *due = end;
    return 0;
}

static int time_of(PyObject *last, PyObject *key, double *time)
{
    PyObject *known = PyDict_GetItemWithError(last, key);
    *time = known == NULL ? 0.0 : PyFloat_AsDouble(known);
    return PyErr_Occurred() ? -1 : 0;
}

/* next_change of state.absence */
static int change_of(PyObject *last, const Absence *absence, double now, double *due)
{
    double after, done;
    if (time_of(last, absence->after, &after) < 0 || time_of(last, absence->of, &done) < 0)
        return -1;
    done = fabs(done);
    if (!(after > 0.0) || !(after > done || (after == done && absence->covers)))
        return 0;
    double begin = after + absence->wait, end = after + absence->within;
    double next = now < begin ? begin : now < end ? end : Py_HUGE_VAL;
    if (next < *due)
        *due = next;
    return 0;
}

/* 1: ``due`` is found; 0: it is left to Python; -1: an error */
static int find_due(const Due *plan, PyObject *state, double *due)
{
    PyObject *members = FIELD(state, bound.state.members), *tallies = FIELD(state, bound.state.tallies);
    PyObject *last = FIELD(state, bound.state.last), *member;
    if (!PyDict_CheckExact(members) || !PyDict_CheckExact(tallies) || !PyDict_CheckExact(last))
        return 0;
    *due = Py_HUGE_VAL;
    if (PyDict_GET_SIZE(members) == 0 && !plan->may_rise)
        return 1;
    *due = PyFloat_AsDouble(FIELD(state, bound.state.known_at)); /* what is not known yet */
    if (*due == -1.0 && PyErr_Occurred())
        return -1;
    double now = PyFloat_AsDouble(FIELD(state, bound.state.time));
    if (now == -1.0 && PyErr_Occurred())
        return -1;
    Py_ssize_t at = 0;
    while (PyDict_Next(members, &at, NULL, &member)) /* a minimum stay may end first */
        if (Py_TYPE(member) != bound.member.type || FIELD(member, bound.member.leaving) != Py_None)
            return 0;
    for (Py_ssize_t i = 0; i < plan->count; i++) {
        const Rule *rule = &plan->rules[i];
        int inside = PyDict_Contains(members, rule->segment);
        if (inside < 0)
            return -1;
        const Spec *specs = inside ? rule->specs : rule->rising;
        for (Py_ssize_t j = 0; j < (inside ? rule->spec_count : rule->rising_count); j++)
            if (expiry(tallies, &specs[j], now, due) < 0)
                return -1;
        for (Py_ssize_t j = 0; j < rule->absence_count; j++)
            if (change_of(last, &rule->absences[j], now, due) < 0)
                return -1;
    }
    return 1;
}

PyObject *next_due(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || Py_TYPE(args[0]) != &DueType || Py_TYPE(args[1]) != bound.state.type) {
        PyErr_SetString(PyExc_TypeError, "next_due(due, state)");
        return NULL;
    }
    double due;
    int found = find_due((Due *)args[0], args[1], &due);
    if (found < 0)
        return NULL;
    if (!found)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(due);
}

/* all users of a turn */

void let_others_run(void)
{
    PyEval_RestoreThread(PyEval_SaveThread());
}

static int number_in(PyObject *state, Py_ssize_t offset, long long *number)
{
    *number = PyLong_AsLongLong(FIELD(state, offset));
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

typedef struct {
    const Due *due;
    long long epoch, heads;
    int encodes;
} Wanted;

/* 1: all is done for the user; 0: Python goes on from what was folded; -1: an error */
static int fold_user(PyObject *state, const Items *items, const Wanted *wanted, Py_ssize_t *folded, int *opened)
{
    long long count, plan, scored, encode_at;
    if (number_in(state, bound.state.count, &count) < 0 || number_in(state, bound.state.plan, &plan) < 0
        || number_in(state, bound.state.scored, &scored) < 0
        || number_in(state, bound.state.encode_at, &encode_at) < 0)
        return -1;
    if (count == 0 || plan != wanted->epoch)
        return 0;
    double limit = PyFloat_AsDouble(FIELD(state, bound.state.due));
    double erased = PyFloat_AsDouble(FIELD(state, bound.state.erased));
    if (PyErr_Occurred() || fold_items(state, items, folded, limit, erased, opened) < 0)
        return -1;
    if (*folded < items->size || *opened || scored != wanted->heads)
        return 0;
    if (wanted->encodes && FIELD(state, bound.state.queued) != Py_True && count + *folded >= encode_at)
        return 0;
    double due;
    int found = find_due(wanted->due, state, &due);
    if (found <= 0)
        return found;
    PyObject *number = PyFloat_FromDouble(due);
    if (number == NULL)
        return -1;
    set_field(state, bound.state.due, number);
    return 1;
}

PyObject *fold_users(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 6 || !PyDict_CheckExact(args[0]) || !PyDict_CheckExact(args[1]) || Py_TYPE(args[2]) != &DueType) {
        PyErr_SetString(PyExc_TypeError, "fold_users(by_user, states, due, epoch, heads, encodes)");
        return NULL;
    }
    Wanted wanted = {(Due *)args[2], PyLong_AsLongLong(args[3]), PyLong_AsLongLong(args[4]), PyObject_IsTrue(args[5])};
    if (PyErr_Occurred())
        return NULL;
    PyObject *left = PyDict_New(), *user, *items;
    if (left == NULL)
        return NULL;
    long long counted = 0, busy = 0;
    Py_ssize_t at = 0;
    while (PyDict_Next(args[0], &at, &user, &items)) {
        PyObject *state = PyDict_GetItemWithError(args[1], user);
        Py_ssize_t folded = 0;
        int opened = 0, done = 0;
        if (state == NULL && PyErr_Occurred())
            goto fail;
        if (state != NULL && Py_TYPE(state) == bound.state.type && Py_TYPE(items) == &ItemsType) {
            done = fold_user(state, (Items *)items, &wanted, &folded, &opened);
            if (done < 0)
                goto fail;
        }
        if (done)
            counted += folded;
        else {
            PyObject *far = Py_BuildValue("nO", folded, opened ? Py_True : Py_False);
            int failed = far == NULL || PyDict_SetItem(left, user, far) < 0;
            Py_XDECREF(far);
            if (failed)
                goto fail;
        }
        if ((busy += folded + 8) >= AT_ONCE) {
            busy = 0;
            let_others_run();
        }
    }
    return Py_BuildValue("LN", counted, left);
fail:
    Py_DECREF(left);
    return NULL;
}

PyObject *take_cached(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyDict_CheckExact(args[0]) || !PyDict_CheckExact(args[1]) || !PyDict_CheckExact(args[2])
        || !PyDict_CheckExact(args[3])) {
        PyErr_SetString(PyExc_TypeError, "take_cached(users, cache, states, dues)");
        return NULL;
    }
    PyObject *missing = PyList_New(0), *user;
    Py_ssize_t at = 0;
    while (missing != NULL && PyDict_Next(args[0], &at, &user, NULL)) {
        int mine = PyDict_Contains(args[2], user);
        if (mine > 0)
            continue;
        PyObject *state = mine < 0 ? NULL : PyDict_GetItemWithError(args[1], user);
        int failed = mine < 0 || (state == NULL && PyErr_Occurred());
        if (!failed && state == NULL)
            failed = PyList_Append(missing, user) < 0;
        else if (!failed) {
            if (Py_TYPE(state) != bound.state.type) {
                PyErr_SetString(PyExc_TypeError, "what is cached is no user's state");
                failed = 1;
            }
            failed = failed || PyDict_SetItem(args[2], user, state) < 0
                     || PyDict_SetItem(args[3], user, FIELD(state, bound.state.due)) < 0;
        }
        if (failed)
            Py_CLEAR(missing);
    }
    return missing;
}
