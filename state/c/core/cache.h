/* The users of one partition that are in memory: a table, and entries in slabs, each a Prefix, the user's name and the
 * user's block (block.h). Entries hold what is committed; a turn works on copies (turn.h). Ids beyond the block lie in
 * the heap, in a tail of the user's own (tail.h).
 *
 * All calls for one cache belong to the thread of its partition's turn; who reads (a page, the lane) asks between
 * turns. Caches of different partitions are used by different threads at the same time; they share the arena alone.
 *
 * The worker's bound is the arena's, in bytes, for all partitions: what is counted are runs, tables, pages of large
 * blocks, copies and tails. When it is passed, cache_tidy lets go as much as is the partition's part, and all of the excess
 * in one that had no turn since it was last tidied; when it is passed by more than 1/32, a turn that needs more
 * memory lets others of its own partition go first. So partitions without turns must be tidied as well, say each
 * second: nobody else may touch their entries. */
#ifndef SEGMENTS_CACHE_H
#define SEGMENTS_CACHE_H

#include "table.h"

#define CACHE_MOST_AGE 3 /* a new entry has 1, and each turn adds one */
/* Bytes above the bound that a turn may take as long as other partitions have not let go their part; from there on
 * its own must go, and turns are cut short. */
#define CACHE_EXCESS(bound) ((bound) / 32)

/* Of Prefix.flags. An entry is dirty when it is committed and newer than the store: it is written there behind its turn
 * (behind.h), and stays in memory until then. New: the store has nothing of the user; of whom a turn began, or of whom
 * is dirty. A copy has the flags of what it was copied from. */
#define ENTRY_DIRTY 1u
#define ENTRY_NEW 2u

/* One user of a turn. */
typedef struct {
    Handle was; /* what is committed; 0: nothing is in memory */
    Handle now; /* the copy */
    uint32_t hash;
    uint32_t flags; /* see turn.c */
    double timer;   /* that the store has for the user; infinity: none */
    uint32_t first, stored; /* of the user's records of ids the store has first to stored - 1 */
    uint32_t cut;   /* ids forgotten early in this turn */
} Copy;

typedef struct {
    Copy *copies;
    uint32_t count, room;
    size_t bytes; /* of the copies' slots */
    size_t tails; /* bytes of those that came with users from the store */
} Turn;

typedef struct {
    Arena *arena;
    Slabs slabs;
    Table table;
    uint32_t hand; /* of the clock: the next slot of the table that it comes to */
    size_t tails;  /* bytes of committed entries' tails */
    Turn turn;
    int turned; /* there was a turn since it was last tidied */
    uint32_t dirty;   /* entries */
    uint32_t pressed; /* turns that are still to be written with their users, since somebody was to be let go */
    int fresh; /* some who are dirty may be new */
} Cache;

/* An entry, until the next call for this cache that may change or move it. */
typedef struct {
    Prefix *prefix;
    uint8_t *block; /* prefix->size bytes, at a multiple of eight */
    size_t room;    /* bytes that the block may grow to where it is */
} Entry;

/* An empty cache; NULL: no memory. */
Cache *cache_new(Arena *arena);
/* Lets everything go, the turn under way included. */
void cache_free(Cache *cache);

/* 1 and what is committed of the user, to be read only; 0: not in memory. */
int cache_get(const Cache *cache, const User *user, Entry *entry);
/* How many users are in memory, and the bytes that are held for them, free slots included; of the tails those that are
 * committed. */
uint32_t cache_users(const Cache *cache);
size_t cache_bytes(const Cache *cache);

/* Frees a committed entry's tail, and gives its bytes. For cache.c and turn.c alone. */
size_t cache_free_tail(Cache *cache, Prefix *prefix);

/* The clock hand goes over at most so many entries until slots and tails of so many bytes are free: whose age is 0 is let go,
 * others' age becomes one less, users of the turn and dirty ones are passed by. Gives the bytes that were freed. */
size_t cache_let_go(Cache *cache, size_t bytes, uint32_t visits);

/* Between turns: keeps to the bound, fills runs from those that are nearly empty, and makes a table smaller that has
 * become too large. Entries move. Takes no longer than a look at 43 numbers when there is nothing to do. */
void cache_tidy(Cache *cache);

#endif
