/* One arena for the worker: the memory that the users' blocks of all partitions lie in (ADR 0041, section 2). Huge
 * pages of 2 MiB (chunks), cut into runs of 64 KiB, which partitions take and give back. It also keeps the sum of what
 * all partitions hold, which the worker's bound is compared with.
 *
 * Any thread may call anything here but arena_free, which wants all partitions' caches freed before. A run, its
 * bytes and its Run belong to the thread that took it until it gives it back. */
#ifndef SEGMENTS_ARENA_H
#define SEGMENTS_ARENA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

#define RUN_BYTES ((size_t)65536)
#define UNIT_BYTES ((size_t)64)               /* what the place of a slot is counted in */
#define RUN_UNITS (RUN_BYTES / UNIT_BYTES)    /* 1,024: ten bits of a handle */
#define CHUNK_RUNS (HUGE_BYTES / RUN_BYTES)   /* 32: the bits of a mask */
#define MOST_RUNS ((uint32_t)1 << 21)         /* 128 GiB */

/* What the partition that has a run keeps of it; see slab.c. */
typedef struct {
    uint64_t free[RUN_UNITS / 64]; /* for each slot of it, whether it is free */
    uint32_t next, before;         /* in the list of its class; 0: none */
    uint16_t used;                 /* slots */
    uint8_t class, list;
} Run;

typedef struct {
    uint32_t free; /* runs that nobody has */
    uint32_t cold; /* of these, those without pages */
    Run runs[CHUNK_RUNS];
} Chunk;

typedef struct {
    uint8_t *base;      /* of run 0, which there is not: its number says "none" */
    size_t bound;       /* bytes that all partitions together should hold at most */
    Chunk **chunks;     /* made when first needed, and kept */
    uint32_t count;     /* chunks that there is room for; the first is never used */
    enum Memory kind;   /* of the pages */
    pthread_mutex_t lock; /* over masks and the three below; held for microseconds, once for each 64 KiB */
    uint32_t first;     /* no chunk before this one has a free run */
    uint32_t used, warm; /* runs that partitions have; runs that have pages */
    _Atomic size_t held;
} Arena;

/* An arena for ``bound`` bytes in pages of ``kind`` (MEMORY_HUGE; MEMORY_PAGES for comparison). Addresses are
 * reserved for twice as much and 256 MiB: beyond that there is no memory. NULL: no memory. */
Arena *arena_new(size_t bound, enum Memory kind);
/* Gives everything back to the system. */
void arena_free(Arena *arena);

/* So many (1 to 32) runs in a row, all zeros; the number of the first. 0: no memory. */
uint32_t arena_take(Arena *arena, uint32_t runs);
/* Gives them back; their bytes are zeroed. Pages of up to 1/32 of what is in use are kept for whoever takes next. */
void arena_give(Arena *arena, uint32_t run, uint32_t runs);

/* Counts what a partition holds beside runs: tables, pages of large blocks. */
void arena_count(Arena *arena, int64_t bytes);
/* Bytes that all partitions hold: runs, free slots in them included, and what was counted. */
size_t arena_held(const Arena *arena);
/* Bytes of runs that have pages, whether somebody has them or not. */
size_t arena_resident(Arena *arena);

static inline Run *arena_run(const Arena *arena, uint32_t run)
{
    return &arena->chunks[run / CHUNK_RUNS]->runs[run % CHUNK_RUNS];
}

#endif
