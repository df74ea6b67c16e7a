/* The ids of events that a user's state has counted: the compiled twin of state.seen.PlainSeen, which says what and why. */
#ifndef SEGMENTS_SEEN_H
#define SEGMENTS_SEEN_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#define CHUNK 64 /* state.seen */
#define DEDUPE_EVENTS 1000
#define DEDUPE_SECONDS 86400
#define MOST_IDS 65536
#define ENTRY_BYTES 12
#define MAX_SECOND 4294967295u

typedef struct {
    PyObject_HEAD
    uint64_t *hashes;  /* in order of arrival: those in records of their own, then the tail; NULL while there is none */
    uint32_t *seconds; /* of arrival, in the same block of memory */
    uint32_t begin;    /* places of that block that are free again, before the first of both: see forget */
    uint32_t *index;   /* open addressing, once there are more than a few: see seen.c */
    uint32_t count, capacity /* from the first place on */, tail;
    uint32_t base; /* of the positions in the index, which need not move when the oldest go */
    PyObject *unsaved; /* dict: record number -> bytes or None; NULL while there is none */
    long long first, stored;
    unsigned char *lost; /* for each record from ``first`` on, whether it was missing: its places hold no ids; or NULL */
    uint32_t lost_count;
    uint32_t cut;       /* ids forgotten since the last save though they were younger than DEDUPE_SECONDS */
    uint32_t accounted; /* of ``count``, what the cache has added up: see keep.c */
    uint8_t bits; /* the index has 2**bits slots */
} Seen;

extern PyTypeObject SeenType;

static inline uint64_t seen_mixed(uint64_t hash)
{
    return hash * 0x9E3779B97F4A7C15u; /* hashes are random, but nothing here may depend on it */
}

/* where the index is looked at first; there is one */
static inline uint32_t seen_home(const Seen *seen, uint64_t mix)
{
    return (uint32_t)(mix >> (64 - seen->bits));
}

/* 1: remembered; 0: it was known already, and keeps its place; -1: an error */
int seen_add(Seen *seen, uint64_t hash, uint32_t second);

/* a time of arrival in seconds, as far as 32 bits tell it */
uint32_t seen_second(double arrived);

/* ask for the tail before it is needed */
static inline void seen_fetch_tail(const Seen *seen)
{
    for (uint32_t at = seen->count - seen->tail; at < seen->count; at += 8)
        __builtin_prefetch(seen->hashes + at);
    for (uint32_t at = seen->count - seen->tail; at < seen->count; at += 16)
        __builtin_prefetch(seen->seconds + at);
}

/* ask for the place of an id in the index before it is looked up */
static inline void seen_fetch(const Seen *seen, uint64_t hash)
{
    if (seen->index != NULL)
        __builtin_prefetch(seen->index + seen_home(seen, seen_mixed(hash)));
}

/* the tail as a record has it */
Py_ssize_t seen_tail_size(const Seen *seen);
void seen_write_tail(const Seen *seen, unsigned char *to);

/* for the type: all that can fail gives -1 */
int64_t seen_find(const Seen *seen, uint64_t hash);                      /* the place of an id, or -1 */
int seen_is_lost(const Seen *seen, uint32_t place);                      /* it holds no id */
uint32_t seen_ids(const Seen *seen);                                     /* how many */
int seen_reserve(Seen *seen, size_t count);                              /* room for so many */
void seen_append(Seen *seen, uint64_t hash, uint32_t second);            /* where there is room */
int seen_put(Seen *seen, uint64_t hash, uint32_t second);                /* as a dict takes it */
uint32_t seen_begin(const Seen *seen, uint32_t *cut);                    /* the first place that is remembered of all */
int seen_close_chunks(Seen *seen);                                       /* full ones leave the tail */
int seen_change(Seen *seen, long long number, PyObject *value);          /* of a record: it is to be saved */
void seen_clear(Seen *seen);                                             /* free what it holds of ids */
void seen_take(Seen *seen, Seen *from);                                  /* hold the ids of ``from``, which is left empty */
uint64_t seen_read_number(const unsigned char *from, int size);
int seen_ready(PyObject *module);

#endif
