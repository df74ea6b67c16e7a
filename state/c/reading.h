/* The compiled part's reading; docs/adr/0023 says why there is one, docs/adr/0041 what follows it.
 *
 * The way of an event: a fetch's bytes are cut into records (records.c); each record's JSON becomes an Event (json.c,
 * and scan.c, forms.c, iso.c, segment.c for it); a turn's events are gathered by user (read.c, names.c) into a batch,
 * which Python sees as a mapping of sequences (batch.c, items.c); those that stay quiet are folded into the users'
 * records (plan_fold.c, core/fold.c), by what the definitions say of their kind and category (plan_type.c). Whatever is
 * unusual becomes a Python object and takes Python's way.
 */
#ifndef SEGMENTS_READING_H
#define SEGMENTS_READING_H

#include "module.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/fold.h"
#include "core/xxh3.h"

/* forms.h: what events are, and how records say so */
typedef struct Wire Wire;

/* Who gives the GIL away may wait milliseconds for it: only for work that takes about as long. */
#define MANY 2000
#define WITHOUT_GIL(count)                                                                                             \
    {                                                                                                                  \
        PyThreadState *thread = (count) >= MANY ? PyEval_SaveThread() : NULL
#define WITH_GIL                                                                                                       \
    if (thread != NULL)                                                                                                \
        PyEval_RestoreThread(thread);                                                                                  \
    }

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

extern PyType_Spec block_spec, fetched_spec, records_spec;
Records *records_of(const Module *module, PyObject *sequence);
PyObject *record_at(const Records *records, Py_ssize_t at);
int next_header(const char **at, const char *end, const char **key, int32_t *key_size, const char **value,
                int32_t *value_size);
PyObject *parse_batches(PyObject *module, PyObject *batches);
PyObject *fitting_records(PyObject *module, PyObject *arguments);

/* checksum.c */
PyObject *crc32c_of(PyObject *module, PyObject *bytes);

/* load.c: into a store */
PyObject *latest_records(PyObject *module, PyObject *argument);
PyObject *load_records(PyObject *module, PyObject *arguments);
PyObject *put_records(PyObject *module, PyObject *arguments);

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
    int32_t kind;    /* of the wire's kinds; -1: another one, left to Python */
    int32_t number;  /* of the user, in order of appearance; -1: no event */
    int16_t anonymous; /* its user is an id that a device made up */
    int16_t call;      /* the record is a call of the Segment Spec */
    PyObject *item;  /* (event, id hash, record, arrival) of an event that Python read; else NULL */
} Event;

int is_utf8(const char *at, const char *end);
PyObject *call_to_event(const Wire *wire, const Raw *raw, const Event *read); /* segment.c */
int read_event(const Wire *wire, const char *value, Py_ssize_t size, double arrived, const Bounds *bounds, Event *event);

/* names.c: numbers for strings, in order of appearance */

typedef struct {
    uint64_t hash; /* seeded: what a partition's table knows a user by */
    const char *letters;
    int32_t size, kind;
    int32_t count, start; /* whoever uses it: of a user's events, of what a meaning stands for */
} Name;

typedef struct {
    Name *names;
    int32_t *places;
    int32_t count, room;
    size_t mask;
    uint64_t seed;
} Names;

static inline uint64_t name_hash(uint64_t seed, const char *letters, size_t size)
{
    return xxh3_seeded(letters, size, seed);
}

/* ``seed``: the module's. -1: no memory */
int names_begin(Names *names, uint64_t seed);
/* The number of a string; a new one where there is none yet. -1: no memory. */
int32_t names_number(Names *names, const char *letters, int32_t size, int32_t kind);
/* -1: there is none */
int32_t names_find(const Names *names, const char *letters, int32_t size, int32_t kind);
void names_end(Names *names);

/* batch.c: the events of one turn, by user */

typedef struct PlanObject PlanObject;

typedef struct {
    PyObject_HEAD
    Records *records;
    Event *events;   /* one for each record */
    FoldEvent *folds; /* the same as the core folds them; all three are in one memory */
    uint32_t *order; /* numbers of events: by user, each in order of arrival */
    size_t size;     /* of that memory */
    Py_ssize_t count;
    Names users;      /* by number, in order of appearance: where in the order each begins, and how many */
    PlanObject *plan; /* whose routes the events have */
    PyObject *decode; /* bytes to event */
    uint32_t *numbers; /* of the users in the turn of the area with this serial number; NULL: nobody asked yet */
    uint64_t area;
    int used; /* how many read the numbers without the interpreter's lock; below 0: somebody writes them */
} Batch;

extern PyType_Spec batch_spec, batch_users_spec;
Batch *batch_new(Records *records /* stolen */, PlanObject *plan, PyObject *decode);
/* RuntimeError: a batch is of one partition's turn. NULL. */
PyObject *batch_is_in_use(void);

/* read.c */
PyObject *plan_read(PlanObject *plan, PyObject *args);

/* items.c: the events of one user in a turn */

typedef struct {
    PyObject_HEAD
    Batch *batch;
    Py_ssize_t start, size; /* in the batch's order */
} Items;

extern PyType_Spec items_spec;
PyObject *items_of(Batch *batch, Py_ssize_t start, Py_ssize_t size);

#endif
