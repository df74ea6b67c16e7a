/* Who is in memory: a hash table from users' names to handles, for one partition (ADR 0041, section 2). Slots are eight
 * bytes: 32 bits of the name's hash and the handle of the entry, which begins with a Prefix and the name. Linear
 * probing, at most three quarters full, in order of the hash, so that another size is filled in order too: a quarter of
 * the old slots at a time. The hash is the caller's; it must be seeded, or a producer could choose names that all meet.
 *
 * All calls belong to the thread of the partition's turn. */
#ifndef SEGMENTS_TABLE_H
#define SEGMENTS_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "slab.h"

/* What precedes name and block in memory; it is in no store. */
typedef struct {
    uint32_t hash; /* as the table has it: where the table has the entry follows from it */
    uint32_t size; /* bytes of the block */
    uint32_t turn; /* its copy in the turn under way, counted from 1; 0: none. See turn.h */
    uint16_t name; /* bytes of the name, which is padded to eight */
    uint8_t age;   /* how often the clock hand still passes by */
    uint8_t flags; /* the caller's: see cache.h */
    struct Tail *tail; /* the user's ids beyond the block; NULL: there are none. See tail.h */
} Prefix;

_Static_assert(sizeof(Prefix) == 24, "the prefix has 24 bytes");

typedef struct {
    uint64_t hash; /* of the name; the upper half is used */
    const char *name;
    uint16_t size; /* bytes of the name */
} User;

typedef struct {
    uint32_t hash;
    Handle handle; /* 0: the slot is free */
} TableSlot;

typedef struct {
    Arena *arena;
    TableSlot *slots, *old; /* old: being moved, by quarters; NULL: there is none */
    uint32_t bits, old_bits; /* there are 2**bits slots */
    uint32_t used;  /* in both */
    uint32_t moved; /* slots of old that have been gone over */
    uint32_t added; /* since the last quarter */
} Table;

/* An empty table; takes no memory. */
void table_init(Table *table, Arena *arena);
void table_free(Table *table);

/* Where the handle of a user stands, until the table is next changed; NULL: not in memory. */
Handle *table_find(const Table *table, const Slabs *slabs, const User *user);
/* The same of an entry that is there. */
Handle *table_at(const Table *table, uint32_t hash, Handle handle);
/* Room for so many more. 0, or -1: no memory, and nothing has changed. */
int table_reserve(Table *table, uint32_t more);
/* Adds who is not there, where table_reserve made room. */
void table_add(Table *table, uint32_t hash, Handle handle);
/* Takes out an entry that is there. */
void table_remove(Table *table, uint32_t hash, Handle handle);
/* For when nothing else is to do: moves a quarter where a move is under way, else begins one to fewer slots when the
 * table is mostly empty. That there is no memory for that is no error. */
void table_tidy(Table *table);
/* Moves all that is left in the old slots. */
void table_finish(Table *table);
/* Calls ``each`` for all entries whose hash is ``from`` to ``until`` - 1 (at most 1 << 32), in any order, until it gives
 * something below 0, which is given back; 0 at the end. ``each`` changes neither the table nor where entries are. */
int table_each(const Table *table, const Slabs *slabs, uint64_t from, uint64_t until,
               int (*each)(void *of, Prefix *prefix), void *of);
/* What it holds. */
size_t table_bytes(const Table *table);

static inline uint32_t table_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

/* Asks for the slot before table_peek or table_find. */
static inline void table_prefetch(const Table *table, uint64_t hash)
{
    if (table->slots != NULL)
        __builtin_prefetch(table->slots + (table_hash(hash) >> (32 - table->bits)));
}

/* An entry that is likely the user's (the 32 bits are the same), without a look at it; 0: none. */
Handle table_peek(const Table *table, uint64_t hash);

static inline size_t prefix_bytes(uint16_t name)
{
    return sizeof(Prefix) + ((size_t)name + 7) / 8 * 8;
}

static inline Prefix *prefix_at(const Slabs *slabs, Handle handle)
{
    return (Prefix *)(void *)slab_at(slabs, handle);
}

#endif
