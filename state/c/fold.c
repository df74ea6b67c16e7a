/* The quiet part of folding, for state/native.py: events that add to counts and can change no membership.
 *
 * It does to a UserState what state.user.fold does, in the same order and with the same arithmetic, and stops before
 * the first event that needs more than that: another kind, a late one, a duplicate, a timer that is due. It stops
 * behind an event after which a rule may hold or end: the caller evaluates it. All structures but the ids (seen.h) are
 * Python's own; fields of msgspec structs are reached by the offsets of their member descriptors.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

#include "pack.h"
#include "seen.h"

#define MOST (1LL << 50)     /* state.windows.MOST */
#define MILLISECONDS_FROM 1e11 /* streams.wire.times */
#define EXACT (1LL << 53)    /* beyond this a double is not exact: left to Python */
#define FAST_SECONDS 86400.0 /* state.decay */
#define SLOW_SECONDS (30 * 86400.0)

enum { COUNT, AMOUNT, DWELL };
enum { GE, GT, EQ, LE, LT };

/* fields by offset, filled by bind() */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t user, kind, time, id, category, amount, dwell, text;
} EventAt;
typedef struct {
    PyTypeObject *type;
    Py_ssize_t time, count, decayed, categories, tallies, seen, members, last;
} StateAt;
typedef struct {
    PyTypeObject *type;
    Py_ssize_t total, head, buckets;
} TallyAt;

static EventAt event_at;
static StateAt state_at;
static TallyAt tally_at;
static PyObject *spend_key, *dwell_key;
static double per_fast, per_slow;

#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

static void set_field(PyObject *object, Py_ssize_t offset, PyObject *value /* stolen */)
{
    PyObject *old = FIELD(object, offset);
    FIELD(object, offset) = value;
    Py_XDECREF(old);
}

/* what an event of one kind (and category) touches */

typedef struct {
    PyObject *key;
    long long width, window;
    double scale;
    int measure;
} Spec;

typedef struct {
    Spec spec;
    int op;
    double bound;
} Atom;

typedef struct {
    PyObject *segment;
    int can_end;
    Py_ssize_t count;
    Atom *atoms;
} Gate;

typedef struct {
    PyObject_HEAD
    double interest;
    Py_ssize_t spec_count, gate_count;
    Spec *specs;
    Gate *gates;
    PyObject *watched; /* tuple of str */
} Route;

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
    if (!PyArg_ParseTuple(tuple, "OLLid", &spec->key, &spec->width, &spec->window, &spec->measure, &spec->scale)) {
        spec->key = NULL;
        return -1;
    }
    Py_INCREF(spec->key);
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

static PyTypeObject RouteType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "state._fold.Route",
    .tp_doc = "Route(interest, specs, watched, gates): what an event of one kind and category touches.",
    .tp_basicsize = sizeof(Route),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = route_new,
    .tp_dealloc = (destructor)route_dealloc,
};

/* What one call of run() has in hand of the state. A user's events come together, so a counter or tally is read once,
 * added to as plain numbers, and written back at the end. */

typedef struct {
    PyObject *key, *counter; /* borrowed: the state has them, or the event */
    double time, fast, slow;
} CounterSlot;

typedef struct {
    PyObject *key, *tally; /* tally NULL: there is none */
    long long total, head, bucket, held;
    int changed, filled; /* bucket and held say what has not reached the dict; filled: it has buckets */
} TallySlot;

#define COUNTERS 6
#define TALLIES 16

typedef struct {
    PyObject *decayed, *tallies;
    CounterSlot counters[COUNTERS];
    TallySlot slots[TALLIES];
    int counter_count, slot_count;
} Hand;

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
static int add_slow(PyObject *counters, PyObject *key, double time, double weight)
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

/* Kinds and keys of tallies are mostly the same object each time. */
static int same(PyObject *one, PyObject *other)
{
    return one == other || PyUnicode_Compare(one, other) == 0;
}

static int put_back_counter(const CounterSlot *slot)
{
    return set_number(slot->counter, 0, slot->time) < 0 || set_number(slot->counter, 1, slot->fast) < 0
                   || set_number(slot->counter, 2, slot->slow) < 0
               ? -1
               : 0;
}

/* add_pair of state.decay */
static int add_pair(Hand *hand, PyObject *key, double time, double weight)
{
    CounterSlot *slot = NULL;
    for (int i = 0; i < hand->counter_count && slot == NULL; i++)
        if (hand->counters[i].key == key)
            slot = &hand->counters[i];
    for (int i = 0; i < hand->counter_count && slot == NULL; i++)
        if (same(hand->counters[i].key, key))
            slot = &hand->counters[i];
    if (slot == NULL) {
        if (hand->counter_count == COUNTERS) {
            for (int i = 0; i < COUNTERS; i++)
                if (put_back_counter(&hand->counters[i]) < 0)
                    return -1;
            hand->counter_count = 0;
        }
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
        slot = &hand->counters[hand->counter_count];
        slot->key = key;
        slot->counter = counter;
        if (number_at(counter, 0, &slot->time) < 0 || number_at(counter, 1, &slot->fast) < 0
            || number_at(counter, 2, &slot->slow) < 0)
            return -1;
        hand->counter_count += 1;
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

/* time // width of Python's floats, both positive */
static long long bucket_of(double time, long long width)
{
    double by = (double)width, mod = fmod(time, by), div = (time - mod) / by, whole = floor(div);
    if (div - whole > 0.5)
        whole += 1.0;
    return (long long)whole;
}

static int is_tally(PyObject *tally)
{
    return Py_TYPE(tally) == tally_at.type && PyDict_CheckExact(FIELD(tally, tally_at.buckets));
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
    return set_integer(slot->tally, tally_at.total, slot->total) < 0
                   || set_integer(slot->tally, tally_at.head, slot->head) < 0
                   || put_bucket(FIELD(slot->tally, tally_at.buckets), slot->bucket, slot->held) < 0
               ? -1
               : 0;
}

static int put_back(Hand *hand)
{
    int failed = 0;
    for (int i = 0; i < hand->counter_count; i++)
        failed |= put_back_counter(&hand->counters[i]) < 0;
    for (int i = 0; i < hand->slot_count; i++)
        failed |= put_back_tally(&hand->slots[i]) < 0;
    hand->counter_count = hand->slot_count = 0;
    return failed ? -1 : 0;
}

/* NULL: an error */
static TallySlot *slot_of(Hand *hand, PyObject *key)
{
    for (int i = 0; i < hand->slot_count; i++)
        if (hand->slots[i].key == key)
            return &hand->slots[i];
    for (int i = 0; i < hand->slot_count; i++)
        if (same(hand->slots[i].key, key))
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
        slot->total = PyLong_AsLongLong(FIELD(slot->tally, tally_at.total));
        slot->head = PyLong_AsLongLong(FIELD(slot->tally, tally_at.head));
        if ((slot->total == -1 || slot->head == -1) && PyErr_Occurred())
            return NULL;
        slot->filled = PyDict_GET_SIZE(FIELD(slot->tally, tally_at.buckets)) > 0;
    }
    hand->slot_count += 1;
    return slot;
}

/* as total_at: buckets whose time ran out are dropped; what is in hand of the slot was put back before */
static int trim(TallySlot *slot, const Spec *spec, double now)
{
    PyObject *buckets = FIELD(slot->tally, tally_at.buckets);
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
static int tally_add(Hand *hand, const Spec *spec, double time, long long amount)
{
    long long bucket = bucket_of(time, spec->width);
    if ((double)((bucket + 1) * spec->width + spec->window) <= time)
        return 0;
    TallySlot *slot = slot_of(hand, spec->key);
    if (slot == NULL)
        return -1;
    if (slot->tally == NULL) {
        if (amount > MOST)
            amount = MOST;
        PyObject *tally = PyObject_CallFunction((PyObject *)tally_at.type, "LL{}", amount, bucket);
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
        PyObject *buckets = FIELD(slot->tally, tally_at.buckets), *key = PyLong_FromLongLong(bucket);
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

/* rules */

/* 1: the comparison may hold at ``now``; 0: it does not. What ran out may still be in a total, so it is an upper bound. */
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
        PyObject *member = PyDict_GetItemWithError(members, gate->segment);
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

static Route *route_of(PyObject *routes, PyObject *special, PyObject *kind, PyObject *category)
{
    PyObject *route = PyDict_GetItemWithError(routes, kind);
    if (route != NULL && special != Py_None && PyUnicode_GET_LENGTH(category)) {
        PyObject *of_kind = PyDict_GetItemWithError(special, kind);
        PyObject *found = of_kind != NULL ? PyDict_GetItemWithError(of_kind, category) : NULL;
        if (found != NULL)
            route = found;
    }
    return route != NULL && Py_TYPE(route) == &RouteType ? (Route *)route : NULL;
}

/* 1: the id is new and now known; 0: a duplicate; -1: an error */
static int remember(Seen *seen, PyObject *id_hash, double arrival)
{
    uint64_t hash = PyLong_AsUnsignedLongLong(id_hash);
    if (hash == (uint64_t)-1 && PyErr_Occurred())
        return -1;
    return seen_add(seen, hash, seen_second(arrival));
}

/* run(state, items, start, limit, erased, routes, special, buckets, bucket_of) -> (next, opened) */
static PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 9 || Py_TYPE(args[0]) != state_at.type || !PyList_CheckExact(args[1]) || !PyDict_CheckExact(args[5])
        || !PyDict_CheckExact(args[7])) {
        PyErr_SetString(PyExc_TypeError, "run(state, items, start, limit, erased, routes, special, buckets, bucket_of)");
        return NULL;
    }
    PyObject *state = args[0], *items = args[1], *routes = args[5], *special = args[6], *buckets = args[7];
    Py_ssize_t start = PyLong_AsSsize_t(args[2]), at = start, size = PyList_GET_SIZE(items);
    double limit = PyFloat_AsDouble(args[3]), erased = PyFloat_AsDouble(args[4]);
    double latest = PyFloat_AsDouble(FIELD(state, state_at.time));
    long long count = PyLong_AsLongLong(FIELD(state, state_at.count));
    PyObject *seen = FIELD(state, state_at.seen);
    if (PyErr_Occurred())
        return NULL;
    if (Py_TYPE(seen) != &SeenType) {
        PyErr_SetString(PyExc_TypeError, "the state's ids are not a Seen");
        return NULL;
    }
    PyObject *decayed = FIELD(state, state_at.decayed);
    PyObject *categories = FIELD(state, state_at.categories), *tallies = FIELD(state, state_at.tallies);
    PyObject *members = FIELD(state, state_at.members), *last = FIELD(state, state_at.last);
    if (!PyDict_CheckExact(decayed) || !PyDict_CheckExact(categories) || !PyDict_CheckExact(tallies)
        || !PyDict_CheckExact(members) || !PyDict_CheckExact(last)) {
        PyErr_SetString(PyExc_TypeError, "a part of the state is not a dict");
        return NULL;
    }
    Hand hand;
    hand.decayed = decayed;
    hand.tallies = tallies;
    hand.counter_count = hand.slot_count = 0;
    int opened = 0, failed = 0;
    while (at < size && !opened) {
        PyObject *item = PyList_GET_ITEM(items, at);
        PyObject *event = PyTuple_GET_ITEM(item, 0), *id_hash = PyTuple_GET_ITEM(item, 1);
        PyObject *arrived = PyTuple_GET_ITEM(item, 3);
        if (Py_TYPE(event) != event_at.type || !PyFloat_CheckExact(arrived))
            break;
        PyObject *number = FIELD(event, event_at.time), *kind = FIELD(event, event_at.kind);
        PyObject *category = FIELD(event, event_at.category);
        PyObject *paid = FIELD(event, event_at.amount), *spent = FIELD(event, event_at.dwell);
        double arrival = PyFloat_AS_DOUBLE(arrived);
        if (!PyFloat_CheckExact(number) || !PyFloat_CheckExact(paid) || !PyFloat_CheckExact(spent)
            || !(arrival >= 0.0 && arrival < 4294967295.0) || !PyUnicode_CheckExact(kind)
            || !PyUnicode_CheckExact(category))
            break;
        double time = PyFloat_AS_DOUBLE(number), amount = PyFloat_AS_DOUBLE(paid), dwell = PyFloat_AS_DOUBLE(spent);
        if (!(time >= latest && time < limit && time > erased && amount >= 0.0 && dwell >= 0.0))
            break;
        Route *route = route_of(routes, special, kind, category);
        if (route == NULL)
            break;
        failed = 1;
        int new = remember((Seen *)seen, id_hash, arrival);
        if (new <= 0) {
            failed = new;
            break;
        }
        latest = time;
        count += 1;
        if (add_pair(&hand, kind, time, 1.0) < 0)
            break;
        if (route->interest != 0.0 && PyUnicode_GET_LENGTH(category)) {
            PyObject *bucket = PyDict_GetItemWithError(buckets, category);
            if (bucket == NULL && !PyErr_Occurred()) {
                PyObject *made = PyObject_CallOneArg(args[8], category);
                if (made == NULL || PyDict_SetItem(buckets, category, made) < 0) {
                    Py_XDECREF(made);
                    break;
                }
                bucket = made;
                Py_DECREF(made); /* the dict has it */
            }
            if (bucket == NULL || add_slow(categories, bucket, time, route->interest) < 0)
                break;
        }
        if (amount != 0.0 && add_pair(&hand, spend_key, time, amount) < 0)
            break;
        if (dwell != 0.0 && add_pair(&hand, dwell_key, time, dwell) < 0)
            break;
        Py_ssize_t s = 0;
        for (; s < route->spec_count; s++) {
            const Spec *spec = &route->specs[s];
            long long value = spec->measure == COUNT ? 1
                                                     : (long long)rint((spec->measure == AMOUNT ? amount : dwell) * spec->scale);
            if (tally_add(&hand, spec, time, value) < 0)
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
            return NULL;
        }
        set_field(state, state_at.time, new_time);
        set_field(state, state_at.count, new_count);
        PyErr_Restore(error_type, error, trace);
    }
    if (failed || PyErr_Occurred())
        return NULL;
    return Py_BuildValue("nO", at, opened ? Py_True : Py_False);
}

/* reading: what streams.steps.fold does with each record, for those in which nothing is unusual */

typedef struct {
    double from, ahead, most_amount, most_dwell;
    Py_ssize_t most_bytes;
} Bounds;

/* 1: usual, ``event`` and ``id_hash`` are new references; 0: to be looked at by the slow way; -1: an error */
static int read_usual(PyObject *value, double arrived, const Bounds *bounds, PyObject *decode, PyObject *digest,
                      PyObject *plain, PyObject **event, PyObject **id_hash)
{
    if (!PyBytes_CheckExact(value) || PyBytes_GET_SIZE(value) == 0 || PyBytes_GET_SIZE(value) > bounds->most_bytes)
        return 0;
    PyObject *found = PyObject_CallOneArg(decode, value);
    if (found == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear(); /* the slow way says what is wrong */
        return 0;
    }
    int usual = 0;
    if (Py_TYPE(found) != event_at.type)
        goto done;
    PyObject *time = FIELD(found, event_at.time), *amount = FIELD(found, event_at.amount);
    PyObject *dwell = FIELD(found, event_at.dwell), *user = FIELD(found, event_at.user);
    PyObject *id = FIELD(found, event_at.id), *text = FIELD(found, event_at.text);
    if (!PyFloat_CheckExact(time) || !PyFloat_CheckExact(amount) || !PyFloat_CheckExact(dwell)
        || !PyUnicode_CheckExact(user) || !PyUnicode_CheckExact(id) || !PyUnicode_CheckExact(text))
        goto done;
    double at = PyFloat_AS_DOUBLE(time), paid = PyFloat_AS_DOUBLE(amount), spent = PyFloat_AS_DOUBLE(dwell);
    if (!(at < MILLISECONDS_FROM && at >= bounds->from && at <= arrived + bounds->ahead && paid >= 0.0 && paid <= bounds->most_amount
          && spent >= 0.0 && spent <= bounds->most_dwell)
        || PyUnicode_GET_LENGTH(user) == 0 || PyUnicode_GET_LENGTH(text) != 0)
        goto done;
    int contained = PySet_Contains(plain, FIELD(found, event_at.kind));
    if (contained <= 0) {
        usual = contained;
        goto done;
    }
    Py_ssize_t size;
    const char *letters = PyUnicode_AsUTF8AndSize(id, &size);
    if (letters == NULL) {
        usual = -1;
        goto done;
    }
    PyObject *marker = value;
    if (size) {
        marker = PyBytes_FromStringAndSize(letters, size);
        if (marker == NULL) {
            usual = -1;
            goto done;
        }
    }
    else
        Py_INCREF(marker);
    *id_hash = PyObject_CallOneArg(digest, marker);
    Py_DECREF(marker);
    if (*id_hash == NULL) {
        usual = -1;
        goto done;
    }
    *event = found;
    return 1;
done:
    Py_DECREF(found);
    return usual;
}

static PyObject *value_name, *timestamp_name;

/* read(records, by_user, decode, digest, plain, slow, bounds) -> the largest event time of the usual ones, or 0 */
static PyObject *read_records(PyObject *module, PyObject *args)
{
    PyObject *records, *by_user, *decode, *digest, *plain, *slow;
    Bounds bounds;
    if (!PyArg_ParseTuple(args, "O!O!OOO!O(ndddd)", &PyList_Type, &records, &PyDict_Type, &by_user, &decode, &digest,
                          &PyFrozenSet_Type, &plain, &slow, &bounds.most_bytes, &bounds.from, &bounds.ahead,
                          &bounds.most_amount, &bounds.most_dwell))
        return NULL;
    double watermark = 0.0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(records); i++) {
        PyObject *record = PyList_GET_ITEM(records, i), *event = NULL, *id_hash = NULL;
        PyObject *timestamp = PyObject_GetAttr(record, timestamp_name);
        if (timestamp == NULL)
            return NULL;
        double arrived = PyLong_AsDouble(timestamp) / 1000.0;
        Py_DECREF(timestamp);
        if (PyErr_Occurred())
            return NULL;
        PyObject *value = PyObject_GetAttr(record, value_name);
        if (value == NULL)
            return NULL;
        int usual = read_usual(value, arrived, &bounds, decode, digest, plain, &event, &id_hash);
        Py_DECREF(value);
        if (usual < 0)
            return NULL;
        if (!usual) {
            PyObject *nothing = PyObject_CallOneArg(slow, record);
            if (nothing == NULL)
                return NULL;
            Py_DECREF(nothing);
            continue;
        }
        double time = PyFloat_AS_DOUBLE(FIELD(event, event_at.time));
        if (time > watermark)
            watermark = time;
        PyObject *moment = PyFloat_FromDouble(arrived);
        PyObject *item = moment == NULL ? NULL : PyTuple_Pack(4, event, id_hash, record, moment);
        Py_XDECREF(moment);
        PyObject *user = FIELD(event, event_at.user);
        int failed = item == NULL;
        if (!failed) {
            PyObject *items = PyDict_GetItemWithError(by_user, user);
            if (items != NULL)
                failed = !PyList_CheckExact(items) || PyList_Append(items, item) < 0;
            else if (PyErr_Occurred())
                failed = 1;
            else {
                items = PyList_New(1);
                failed = items == NULL;
                if (!failed) {
                    Py_INCREF(item);
                    PyList_SET_ITEM(items, 0, item);
                    failed = PyDict_SetItem(by_user, user, items) < 0;
                    Py_DECREF(items);
                }
            }
        }
        if (item != NULL)
            PyObject_GC_UnTrack(item); /* it is in no cycle: the collector need not look at it */
        Py_XDECREF(item);
        Py_DECREF(event);
        Py_DECREF(id_hash);
        if (failed) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a user's events are not in a list");
            return NULL;
        }
    }
    return PyFloat_FromDouble(watermark);
}

/* binding to the classes */

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

static PyObject *bind(PyObject *module, PyObject *args)
{
    PyObject *spend, *dwell;
    if (!PyArg_ParseTuple(args, "O!O!O!UU", &PyType_Type, &event_at.type, &PyType_Type, &state_at.type, &PyType_Type,
                          &tally_at.type, &spend, &dwell))
        return NULL;
    BIND(event_at, user);
    BIND(event_at, id);
    BIND(event_at, text);
    BIND(event_at, kind);
    BIND(event_at, time);
    BIND(event_at, category);
    BIND(event_at, amount);
    BIND(event_at, dwell);
    BIND(state_at, time);
    BIND(state_at, count);
    BIND(state_at, decayed);
    BIND(state_at, categories);
    BIND(state_at, tallies);
    BIND(state_at, seen);
    BIND(state_at, members);
    BIND(state_at, last);
    BIND(tally_at, total);
    BIND(tally_at, head);
    BIND(tally_at, buckets);
    Py_INCREF(event_at.type); /* classes of modules: they live as long as the process */
    Py_INCREF(state_at.type);
    Py_INCREF(tally_at.type);
    Py_INCREF(spend);
    Py_INCREF(dwell);
    spend_key = spend;
    dwell_key = dwell;
    per_fast = -1.0 / FAST_SECONDS;
    per_slow = -1.0 / SLOW_SECONDS;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"bind", bind, METH_VARARGS, "bind(Event, UserState, Tally, spend, dwell): where the fields are."},
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Fold events while they are quiet; (next, opened)."},
    {"read", read_records, METH_VARARGS,
     "read(records, by_user, decode, digest, plain, slow, (most bytes, from, ahead, most amount, most dwell))"},
    PACK_METHODS,
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "state._fold",
    .m_doc = "The quiet part of folding; see state/native.py.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__fold(void)
{
    if (PyType_Ready(&RouteType) < 0)
        return NULL;
    value_name = PyUnicode_InternFromString("value");
    timestamp_name = PyUnicode_InternFromString("timestamp");
    if (value_name == NULL || timestamp_name == NULL)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (seen_ready(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    Py_INCREF(&RouteType);
    if (PyModule_AddObject(module, "Route", (PyObject *)&RouteType) < 0) {
        Py_DECREF(&RouteType);
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
