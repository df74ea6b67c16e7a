/* The compiled part, for state/native.py; docs/adr/0023 says why there is one.
 *
 * The way of an event: a fetch's bytes are cut into records (records.c); each record's JSON becomes an Event
 * (json.c, and scan.c, forms.c, iso.c, segment.c for it); a turn's events are gathered by user (read.c, names.c) and handed to Python as sequences (items.c);
 * those of one user are folded while they are quiet (run.c), into what a hand holds of the state (hand.c), by what
 * the definitions say of their kind and category (route.c). Whatever is unusual becomes a Python object and takes
 * Python's way.
 */
#ifndef FOLD_H
#define FOLD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/xxh3.h"

#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* what bind() was told (module.c): classes and where their fields are */

#define KINDS 8 /* at most so many kinds only add to counts */

typedef struct {
    PyTypeObject *type;
    Py_ssize_t user, kind, time, category, amount, dwell, anonymous;
} EventAt;
typedef struct {
    PyTypeObject *type;
    Py_ssize_t time, count, decayed, categories, tallies, seen, members, last, due, erased, plan, queued, encode_at, scored,
        known_at, identified, pending, labels, aliases;
} StateAt;
typedef struct {
    PyTypeObject *type;
    Py_ssize_t total, head, buckets;
} TallyAt;
typedef struct {
    PyTypeObject *type;
    Py_ssize_t leaving;
} MemberAt;

typedef struct {
    EventAt event;
    StateAt state;
    TallyAt tally;
    MemberAt member;
    PyObject *spend, *dwell;
    PyObject *kinds[KINDS]; /* interned */
    const char *kind_letters[KINDS];
    Py_ssize_t kind_sizes[KINDS];
    int kind_count;
    uint64_t seed; /* of names, so that nobody can make them collide */
} Bound;

extern Bound bound;

/* Who gives the GIL away may wait milliseconds for it: only for work that takes about as long. */
#define MANY 2000
#define WITHOUT_GIL(count)                                                                                             \
    {                                                                                                                  \
        PyThreadState *thread = (count) >= MANY ? PyEval_SaveThread() : NULL
#define WITH_GIL                                                                                                       \
    if (thread != NULL)                                                                                                \
        PyEval_RestoreThread(thread);                                                                                  \
    }

/* module.c */
void set_field(PyObject *object, Py_ssize_t offset, PyObject *value /* stolen */);

/* records.c, record.c: fetched records */

typedef struct {
    int64_t offset, timestamp;
    const char *key, *value, *headers;
    int32_t key_size, value_size; /* negative: null */
    int32_t headers_size;
    int32_t timestamp_type;
} Raw;

typedef struct {
    PyObject_HEAD
    Py_ssize_t count, room;
    Raw *raws;
    PyObject *kept;    /* list of what the raws point into */
    PyObject *objects; /* list of the records themselves, where they are Python's; else NULL */
} Block;

typedef struct {
    PyObject_HEAD
    Block *block;
    Py_ssize_t start, size;
} Records;

extern PyTypeObject BlockType, RecordType, RecordsType;
Records *records_of(PyObject *sequence);
PyObject *record_at(const Records *records, Py_ssize_t at);
int next_header(const char **at, const char *end, const char **key, int32_t *key_size, const char **value,
                int32_t *value_size);
PyObject *parse_batches(PyObject *module, PyObject *batches);
PyObject *fitting_records(PyObject *module, PyObject *arguments);

/* load.c: into a store */
PyObject *latest_records(PyObject *module, PyObject *argument);
PyObject *load_records(PyObject *module, PyObject *arguments);

/* json.c: the events in records, of both forms */

typedef struct {
    Py_ssize_t most_bytes, most_name;
    double from, ahead, most_amount, most_dwell;
} Bounds;

typedef struct {
    double time, amount, dwell, arrived;
    uint64_t id_hash;
    const char *user, *category;
    int32_t user_size, category_size;
    int32_t kind;    /* of bound.kinds; -1: another one, left to Python */
    int32_t number;  /* of the user, in order of appearance; -1: no event */
    int16_t anonymous; /* its user is an id that a device made up */
    int16_t call;      /* the record is a call of the Segment Spec */
    int32_t meaning; /* what its kind and category stand for; -1: left to Python */
    PyObject *item;  /* (event, id hash, record, arrival) of an event that Python read; else NULL */
} Event;

int is_utf8(const char *at, const char *end);
PyObject *call_to_event(const Raw *raw, const Event *read); /* segment.c */
int read_event(const char *value, Py_ssize_t size, double arrived, const Bounds *bounds, Event *event);

/* names.c: numbers for strings, in order of appearance */

typedef struct {
    uint64_t hash;
    const char *letters;
    int32_t size, kind;
    Py_ssize_t count, start;
} Name;

typedef struct {
    Name *names;
    int32_t *places;
    Py_ssize_t count, room;
    size_t mask;
} Names;

int names_begin(Names *names);
int32_t names_number(Names *names, const char *letters, int32_t size, int32_t kind);
void names_end(Names *names);

/* route.c: what an event of one kind (and category) touches */

enum { COUNT, AMOUNT, DWELL };
enum { GE, GT, EQ, LE, LT };

typedef struct {
    PyObject *key; /* interned: found by identity */
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

extern PyTypeObject RouteType;

/* read.c: the events of one turn */

typedef struct {
    Route *route;     /* borrowed of the batch's list */
    PyObject *bucket; /* of the category; NULL: it is not counted */
} Meaning;

typedef struct {
    PyObject_HEAD
    Records *records;
    Event *events;   /* one for each record */
    uint32_t *order; /* numbers of events: by user, each in order of arrival; in the same memory, behind them */
    size_t size;     /* of that memory */
    Py_ssize_t count;
    Meaning *meanings;
    PyObject *kept;   /* list of what the meanings point to */
    PyObject *decode; /* bytes to event */
} Batch;

extern PyTypeObject BatchType;
PyObject *read_records(PyObject *module, PyObject *args);

/* items.c: the events of one user in a turn */

typedef struct {
    PyObject_HEAD
    Batch *batch;
    Py_ssize_t start, size; /* in the batch's order */
} Items;

extern PyTypeObject ItemsType;
PyObject *items_of(Batch *batch, Py_ssize_t start, Py_ssize_t size);

/* hand.c: what one call of run() has in hand of the state. A user's events come together, so a counter or tally is
 * read once, added to as plain numbers, and written back at the end. */

typedef struct {
    PyObject *counter; /* borrowed: the state has it; NULL: not in hand */
    double time, fast, slow;
} CounterSlot;

typedef struct {
    PyObject *key, *tally; /* tally NULL: there is none */
    long long total, head, bucket, held;
    int changed, filled; /* bucket and held say what has not reached the dict; filled: it has buckets */
} TallySlot;

#define SPENT KINDS /* counters: one for each kind, and these two */
#define DWELT (KINDS + 1)
#define COUNTERS (KINDS + 2)
#define TALLIES 16

typedef struct {
    PyObject *decayed, *tallies;
    CounterSlot counters[COUNTERS];
    TallySlot slots[TALLIES];
    int slot_count;
} Hand;

void take_in_hand(Hand *hand, PyObject *decayed, PyObject *tallies);
int put_back(Hand *hand);
int add_pair(Hand *hand, int which, PyObject *key, double time, double weight);
int add_slow(PyObject *counters, PyObject *key, double time, double weight);
TallySlot *slot_of(Hand *hand, PyObject *key);
int trim(TallySlot *slot, const Spec *spec, double now);
int tally_add(Hand *hand, const Spec *spec, double time, long long amount);

/* run.c */
int fold_items(PyObject *state, const Items *items, Py_ssize_t *at, double limit, double erased, int *opened);
PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#endif
