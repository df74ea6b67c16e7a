/* The quiet part of folding: events that add to counts and can change no membership.
 *
 * It does to a UserState what state.user.fold does, in the same order and with the same arithmetic, and stops before
 * the first event that needs more than that: another kind, a late one, a duplicate, a timer that is due. It stops
 * behind an event after which a rule may hold or end: the caller evaluates it. All of the state but the ids (seen.h)
 * is Python's own; fields of msgspec structs are reached by the offsets of their member descriptors.
 */
#include "fold.h"
#include "seen.h"
#include <math.h>

#define EXACT (1LL << 53) /* beyond this a double is not exact: left to Python */
#define AHEAD 4           /* events: so far ahead memory is asked for */

/* rules */

/* 1: the comparison may hold at ``now``; 0: it does not. What ran out may still be in a total, so it is an upper bound.
 * Where not all was counted, the total is a lower bound: then a rule is to hold for every total from it on, so what does
 * not hold for it does not hold surely, and 0 is right all the same. */
static int may_hold(Hand *hand, const Atom *atom, double now)
{
    TallySlot *slot = slot_of(hand, atom->spec.key);
    if (slot == NULL)
        return -1;
    if (slot->total >= EXACT)
        return 1;
    int stale = slot->filled && (double)((slot->head + 1) * atom->spec.width + atom->spec.window) <= now;
    double value = (double)slot->total / atom->spec.scale;
    switch (atom->op) {
    case GE:
        return value >= atom->bound;
    case GT:
        return value > atom->bound;
    case EQ:
        return stale ? value >= atom->bound : value == atom->bound;
    case LE:
        return stale || value <= atom->bound;
    case LT:
        return stale || value < atom->bound;
    }
    return 1;
}

/* 1: a rule may hold or end by this event */
static int opens(Hand *hand, const Route *route, PyObject *members, double now)
{
    for (Py_ssize_t i = 0; i < route->gate_count; i++) {
        const Gate *gate = &route->gates[i];
        PyObject *member = PyDict_GET_SIZE(members) ? PyDict_GetItemWithError(members, gate->segment) : NULL;
        if (member != NULL) {
            if (gate->can_end)
                return 1;
            continue;
        }
        if (PyErr_Occurred())
            return -1;
        int open = 1;
        for (Py_ssize_t j = 0; j < gate->count && open; j++) {
            open = may_hold(hand, &gate->atoms[j], now);
            if (open < 0)
                return -1;
        }
        if (open)
            return 1;
    }
    return 0;
}

/* state.absence.note */
static int note(PyObject *last, PyObject *watched, double time)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(watched); i++) {
        PyObject *key = PyTuple_GET_ITEM(watched, i), *known = PyDict_GetItemWithError(last, key);
        double before = known == NULL ? 0.0 : PyFloat_AsDouble(known);
        if (PyErr_Occurred())
            return -1;
        if (time > fabs(before)) {
            PyObject *value = PyFloat_FromDouble(time);
            if (value == NULL)
                return -1;
            int failed = PyDict_SetItem(last, key, value);
            Py_DECREF(value);
            if (failed < 0)
                return -1;
        }
    }
    return 0;
}

/* -1: an error. ``from`` becomes the number of the first event that was not folded. */
int fold_items(PyObject *state, const Items *items, Py_ssize_t *from, double limit, double erased, int *may_open)
{
    const Batch *batch = items->batch;
    const uint32_t *order = batch->order + items->start;
    Py_ssize_t start = *from, at = start;
    double latest = PyFloat_AsDouble(FIELD(state, bound.state.time));
    long long count = PyLong_AsLongLong(FIELD(state, bound.state.count));
    PyObject *decayed = FIELD(state, bound.state.decayed), *categories = FIELD(state, bound.state.categories);
    PyObject *tallies = FIELD(state, bound.state.tallies), *members = FIELD(state, bound.state.members);
    PyObject *last = FIELD(state, bound.state.last);
    PyObject *seen = FIELD(state, bound.state.seen);
    int identified = FIELD(state, bound.state.identified) == Py_True; /* Python notes the first event that does it */
    if (PyErr_Occurred())
        return -1;
    if (Py_TYPE(seen) != &SeenType) {
        PyErr_SetString(PyExc_TypeError, "the state's ids are not a Seen");
        return -1;
    }
    if (start < 0 || !PyDict_CheckExact(decayed) || !PyDict_CheckExact(categories) || !PyDict_CheckExact(tallies)
        || !PyDict_CheckExact(members) || !PyDict_CheckExact(last)) {
        PyErr_SetString(PyExc_TypeError, "a part of the state is not a dict");
        return -1;
    }
    Hand hand;
    take_in_hand(&hand, decayed, tallies);
    int opened = 0, failed = 0;
    while (at < items->size && !opened) {
        const Event *event = &batch->events[order[at]];
        double time = event->time, amount = event->amount, dwell = event->dwell;
        if (at + AHEAD < items->size)
            seen_fetch((Seen *)seen, batch->events[order[at + AHEAD]].id_hash);
        const Meaning *meaning = event->meaning < 0 ? NULL : &batch->meanings[event->meaning];
        if (meaning == NULL || meaning->route == NULL || !(identified || event->anonymous)
            || !(time >= latest && time < limit && time > erased && amount >= 0.0 && dwell >= 0.0))
            break;
        int remembered = seen_add((Seen *)seen, event->id_hash, seen_second(event->arrived));
        if (remembered <= 0) {
            failed = remembered < 0;
            break;
        }
        failed = 1;
        latest = time;
        count += 1;
        const Route *route = meaning->route;
        if (add_pair(&hand, event->kind, bound.kinds[event->kind], time, 1.0) < 0
            || (meaning->bucket != NULL && add_slow(categories, meaning->bucket, time, route->interest) < 0)
            || (amount != 0.0 && add_pair(&hand, SPENT, bound.spend, time, amount) < 0)
            || (dwell != 0.0 && add_pair(&hand, DWELT, bound.dwell, time, dwell) < 0))
            break;
        Py_ssize_t s = 0;
        for (; s < route->spec_count; s++) {
            const Spec *spec = &route->specs[s];
            double measured = spec->measure == COUNT ? 1.0 : spec->measure == AMOUNT ? amount : dwell;
            if (tally_add(&hand, spec, time, spec->measure == COUNT ? 1 : (long long)rint(measured * spec->scale)) < 0)
                break;
        }
        if (s < route->spec_count || note(last, route->watched, time) < 0)
            break;
        opened = opens(&hand, route, members, time);
        if (opened < 0)
            break;
        failed = 0;
        at += 1;
    }
    if (at > start || failed) {
        PyObject *error_type, *error, *trace;
        PyErr_Fetch(&error_type, &error, &trace);
        if (put_back(&hand) < 0 && error_type == NULL) {
            failed = 1;
            PyErr_Fetch(&error_type, &error, &trace);
        }
        PyErr_Clear();
        PyObject *new_time = PyFloat_FromDouble(latest), *new_count = PyLong_FromLongLong(count);
        if (new_time == NULL || new_count == NULL) {
            Py_XDECREF(new_time);
            Py_XDECREF(new_count);
            Py_XDECREF(error_type);
            Py_XDECREF(error);
            Py_XDECREF(trace);
            return -1;
        }
        set_field(state, bound.state.time, new_time);
        set_field(state, bound.state.count, new_count);
        PyErr_Restore(error_type, error, trace);
    }
    if (failed || PyErr_Occurred())
        return -1;
    *from = at;
    *may_open = opened;
    return 0;
}

/* run(state, items, start, limit, erased) -> (next, opened) */
PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 5 || Py_TYPE(args[0]) != bound.state.type || Py_TYPE(args[1]) != &ItemsType) {
        PyErr_SetString(PyExc_TypeError, "run(state, items, start, limit, erased)");
        return NULL;
    }
    Py_ssize_t at = PyLong_AsSsize_t(args[2]);
    double limit = PyFloat_AsDouble(args[3]), erased = PyFloat_AsDouble(args[4]);
    int opened = 0;
    if (PyErr_Occurred() || fold_items(args[0], (Items *)args[1], &at, limit, erased, &opened) < 0)
        return NULL;
    return Py_BuildValue("nO", at, opened ? Py_True : Py_False);
}
