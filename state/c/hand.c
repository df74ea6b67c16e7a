/* Counters and tallies of a state as plain numbers; the arithmetic is that of state.decay and state.windows. */
#include "fold.h"
#include <math.h>

#define MOST (1LL << 50) /* state.windows.MOST */

static const double per_fast = -1.0 / 86400.0; /* state.decay: a day, and thirty */
static const double per_slow = -1.0 / (30 * 86400.0);

/* state.decay */

static int set_number(PyObject *list, Py_ssize_t at, double number)
{
    PyObject *value = PyFloat_FromDouble(number);
    return value == NULL ? -1 : PyList_SetItem(list, at, value);
}

static int number_at(PyObject *list, Py_ssize_t at, double *number)
{
    *number = PyFloat_AsDouble(PyList_GET_ITEM(list, at));
    return *number == -1.0 && PyErr_Occurred() ? -1 : 0;
}

/* add_slow of state.decay */
int add_slow(PyObject *counters, PyObject *key, double time, double weight)
{
    PyObject *counter = PyDict_GetItemWithError(counters, key);
    if (counter == NULL) {
        if (PyErr_Occurred())
            return -1;
        counter = Py_BuildValue("[dd]", time, weight);
        if (counter == NULL)
            return -1;
        int failed = PyDict_SetItem(counters, key, counter);
        Py_DECREF(counter);
        return failed;
    }
    if (!PyList_CheckExact(counter) || PyList_GET_SIZE(counter) != 2) {
        PyErr_SetString(PyExc_TypeError, "a slow counter is not a list of two numbers");
        return -1;
    }
    double then, slow;
    if (number_at(counter, 0, &then) < 0 || number_at(counter, 1, &slow) < 0)
        return -1;
    double ahead = time - then;
    if (ahead >= 0.0)
        return set_number(counter, 0, time) < 0 ? -1 : set_number(counter, 1, slow * exp2(ahead * per_slow) + weight);
    return set_number(counter, 1, slow + weight * exp2(-ahead * per_slow));
}

static int put_back_counter(CounterSlot *slot)
{
    PyObject *counter = slot->counter;
    slot->counter = NULL;
    return set_number(counter, 0, slot->time) < 0 || set_number(counter, 1, slot->fast) < 0
                   || set_number(counter, 2, slot->slow) < 0
               ? -1
               : 0;
}

/* add_pair of state.decay; ``key`` is what counter ``which`` is called in the state */
int add_pair(Hand *hand, int which, PyObject *key, double time, double weight)
{
    CounterSlot *slot = &hand->counters[which];
    if (slot->counter == NULL) {
        PyObject *counter = PyDict_GetItemWithError(hand->decayed, key);
        if (counter == NULL) {
            if (PyErr_Occurred())
                return -1;
            counter = Py_BuildValue("[ddd]", time, weight, weight);
            if (counter == NULL)
                return -1;
            int failed = PyDict_SetItem(hand->decayed, key, counter);
            Py_DECREF(counter);
            return failed;
        }
        if (!PyList_CheckExact(counter) || PyList_GET_SIZE(counter) != 3) {
            PyErr_SetString(PyExc_TypeError, "a counter is not a list of three numbers");
            return -1;
        }
        if (number_at(counter, 0, &slot->time) < 0 || number_at(counter, 1, &slot->fast) < 0
            || number_at(counter, 2, &slot->slow) < 0)
            return -1;
        slot->counter = counter;
    }
    double ahead = time - slot->time;
    if (ahead >= 0.0) {
        slot->time = time;
        slot->fast = slot->fast * exp2(ahead * per_fast) + weight;
        slot->slow = slot->slow * exp2(ahead * per_slow) + weight;
    }
    else {
        slot->fast = slot->fast + weight * exp2(-ahead * per_fast);
        slot->slow = slot->slow + weight * exp2(-ahead * per_slow);
    }
    return 0;
}

/* state.windows */

static int is_tally(PyObject *tally)
{
    return Py_TYPE(tally) == bound.tally.type && PyDict_CheckExact(FIELD(tally, bound.tally.buckets));
}

static int set_integer(PyObject *object, Py_ssize_t offset, long long value)
{
    PyObject *number = PyLong_FromLongLong(value);
    if (number == NULL)
        return -1;
    set_field(object, offset, number);
    return 0;
}

static int put_bucket(PyObject *buckets, long long bucket, long long held)
{
    PyObject *key = PyLong_FromLongLong(bucket), *value = PyLong_FromLongLong(held);
    int failed = key == NULL || value == NULL || PyDict_SetItem(buckets, key, value) < 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

static int put_back_tally(TallySlot *slot)
{
    if (!slot->changed)
        return 0;
    slot->changed = 0;
    return set_integer(slot->tally, bound.tally.total, slot->total) < 0
                   || set_integer(slot->tally, bound.tally.head, slot->head) < 0
                   || put_bucket(FIELD(slot->tally, bound.tally.buckets), slot->bucket, slot->held) < 0
               ? -1
               : 0;
}

void take_in_hand(Hand *hand, PyObject *decayed, PyObject *tallies)
{
    hand->decayed = decayed;
    hand->tallies = tallies;
    for (int i = 0; i < COUNTERS; i++)
        hand->counters[i].counter = NULL;
    hand->slot_count = 0;
}

int put_back(Hand *hand)
{
    int failed = 0;
    for (int i = 0; i < COUNTERS; i++)
        if (hand->counters[i].counter != NULL)
            failed |= put_back_counter(&hand->counters[i]) < 0;
    for (int i = 0; i < hand->slot_count; i++)
        failed |= put_back_tally(&hand->slots[i]) < 0;
    hand->slot_count = 0;
    return failed ? -1 : 0;
}

/* NULL: an error */
TallySlot *slot_of(Hand *hand, PyObject *key)
{
    for (int i = 0; i < hand->slot_count; i++)
        if (hand->slots[i].key == key)
            return &hand->slots[i];
    if (hand->slot_count == TALLIES) {
        for (int i = 0; i < TALLIES; i++)
            if (put_back_tally(&hand->slots[i]) < 0)
                return NULL;
        hand->slot_count = 0;
    }
    TallySlot *slot = &hand->slots[hand->slot_count];
    memset(slot, 0, sizeof(*slot));
    slot->key = key;
    slot->bucket = -1;
    slot->tally = PyDict_GetItemWithError(hand->tallies, key);
    if (slot->tally == NULL) {
        if (PyErr_Occurred())
            return NULL;
    }
    else {
        if (!is_tally(slot->tally)) {
            PyErr_SetString(PyExc_TypeError, "not a tally");
            return NULL;
        }
        slot->total = PyLong_AsLongLong(FIELD(slot->tally, bound.tally.total));
        slot->head = PyLong_AsLongLong(FIELD(slot->tally, bound.tally.head));
        if ((slot->total == -1 || slot->head == -1) && PyErr_Occurred())
            return NULL;
        slot->filled = PyDict_GET_SIZE(FIELD(slot->tally, bound.tally.buckets)) > 0;
    }
    hand->slot_count += 1;
    return slot;
}

/* as total_at: buckets whose time ran out are dropped; what is in hand of the slot was put back before */
int trim(TallySlot *slot, const Spec *spec, double now)
{
    PyObject *buckets = FIELD(slot->tally, bound.tally.buckets);
    while (PyDict_GET_SIZE(buckets) && (double)((slot->head + 1) * spec->width + spec->window) <= now) {
        PyObject *head = PyLong_FromLongLong(slot->head);
        if (head == NULL)
            return -1;
        PyObject *held = PyDict_GetItemWithError(buckets, head);
        long long amount = held == NULL ? -1 : PyLong_AsLongLong(held);
        int failed = held == NULL || (amount == -1 && PyErr_Occurred()) || PyDict_DelItem(buckets, head) < 0;
        Py_DECREF(head);
        if (failed) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_KeyError, "a tally's head is none of its buckets");
            return -1;
        }
        slot->total -= amount;
        PyObject *key;
        Py_ssize_t place = 0;
        for (int first = 1; PyDict_Next(buckets, &place, &key, NULL); first = 0) {
            long long number = PyLong_AsLongLong(key);
            if (number == -1 && PyErr_Occurred())
                return -1;
            if (first || number < slot->head)
                slot->head = number;
        }
    }
    return 0;
}

/* add of state.windows; ``time`` is what the user is evaluated at, too */
int tally_add(Hand *hand, const Spec *spec, double time, long long amount)
{
    /* time // width of Python's floats: both are positive, the width is whole */
    long long bucket = (long long)time / spec->width;
    if ((double)((bucket + 1) * spec->width + spec->window) <= time)
        return 0;
    TallySlot *slot = slot_of(hand, spec->key);
    if (slot == NULL)
        return -1;
    if (slot->tally == NULL) {
        if (amount > MOST)
            amount = MOST;
        PyObject *tally = PyObject_CallFunction((PyObject *)bound.tally.type, "LL{}", amount, bucket);
        if (tally == NULL)
            return -1;
        int failed = PyDict_SetItem(hand->tallies, spec->key, tally);
        Py_DECREF(tally);
        if (failed < 0)
            return -1;
        slot->tally = tally;
        slot->total = slot->held = amount;
        slot->head = slot->bucket = bucket;
        slot->changed = slot->filled = 1;
        return 0;
    }
    if (bucket != slot->bucket) {
        if (put_back_tally(slot) < 0)
            return -1;
        PyObject *buckets = FIELD(slot->tally, bound.tally.buckets), *key = PyLong_FromLongLong(bucket);
        if (key == NULL)
            return -1;
        PyObject *held = PyDict_GetItemWithError(buckets, key);
        Py_DECREF(key);
        long long before = 0;
        if (held != NULL)
            before = PyLong_AsLongLong(held);
        if (PyErr_Occurred())
            return -1;
        if (held == NULL) {
            slot->bucket = -1;
            if (trim(slot, spec, time) < 0)
                return -1;
            if (bucket < slot->head || PyDict_GET_SIZE(buckets) == 0)
                slot->head = bucket;
        }
        slot->bucket = bucket;
        slot->held = before;
    }
    if (slot->held + amount > MOST)
        amount = MOST - slot->held;
    slot->held += amount;
    slot->total += amount;
    slot->changed = slot->filled = 1;
    return 0;
}

