/* Slots for blocks of any size, for one partition: runs of the worker's arena, each of one size class. What is in a
 * slot is not looked at here. All calls belong to the thread of the partition's turn. */
#ifndef SEGMENTS_SLAB_H
#define SEGMENTS_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* Where a slot is: its place in the arena in units of 64 bytes, or the number of a block with pages of its own. 0:
 * nowhere. */
typedef uint32_t Handle;

#define SLAB_CLASSES 43
#define SLAB_LISTS 5                           /* runs by how many slots are used: in quarters, and all */
#define SLAB_LARGEST ((size_t)4 * RUN_BYTES)   /* above it a block has pages of its own */
#define SLAB_MOST ((size_t)1 << 30)
#define HANDLE_LARGE ((Handle)1 << 31)

typedef struct {
    uint32_t lists[SLAB_LISTS]; /* first run of each */
    uint32_t runs;
    uint32_t used; /* slots */
} SlabClass;

typedef struct {
    uint8_t *at; /* NULL: free */
    size_t bytes;
} Large;

typedef struct {
    Arena *arena;
    SlabClass classes[SLAB_CLASSES];
    Large *large;
    uint32_t large_count; /* places */
    size_t bytes;         /* of runs and large blocks */
} Slabs;

/* Makes empty slabs of it; takes no memory. */
void slabs_init(Slabs *slabs, Arena *arena);
/* Gives all runs and pages back: all slots are gone. */
void slabs_free(Slabs *slabs);

/* A slot for so many bytes (what is in it is anything); of those there are, one in the fullest run. 0: no memory. */
Handle slab_get(Slabs *slabs, size_t bytes);
/* Frees it. What was in it stays until somebody else writes over it or slabs_scrub comes by. */
void slab_put(Slabs *slabs, Handle handle);
/* Bytes that fit into it. */
size_t slab_room(const Slabs *slabs, Handle handle);
/* Whether slab_get(bytes) needs more memory from the arena. */
int slab_needs_run(const Slabs *slabs, size_t bytes);

/* Where it lies, until it is freed or moved by slabs_compact. */
static inline uint8_t *slab_at(const Slabs *slabs, Handle handle)
{
    if (handle & HANDLE_LARGE)
        return slabs->large[handle & ~HANDLE_LARGE].at;
    return slabs->arena->base + handle * UNIT_BYTES;
}

/* What is held from the arena for it. */
static inline size_t slabs_bytes(const Slabs *slabs)
{
    return slabs->bytes;
}

/* Empties runs that are used least into those used most, and gives them back, while a class has a free run's worth
 * of slots and more than one in ``slack`` of its slots is free (0: no matter how few). ``moved`` is told of each
 * block, which then lies at ``to``. Every slot may move: nobody may hold an address or handle that ``moved`` does
 * not put right. */
void slabs_compact(Slabs *slabs, uint32_t slack, void (*moved)(void *of, Handle from, Handle to), void *of);
/* Zeroes every free slot: no byte of a block that was freed is left in memory, nor of those that were moved. */
void slabs_scrub(Slabs *slabs);

/* The class for so many bytes, up to SLAB_LARGEST, and the bytes of a slot of a class. For tests and statistics. */
unsigned slab_class(size_t bytes);
size_t slab_class_bytes(unsigned class);

#endif
