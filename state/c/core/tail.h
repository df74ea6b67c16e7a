/* All ids of a user, wherever they lie: the newest in the block (ids.h), and the records of 64 that were closed, whose
 * numbers are first to stored - 1, in a *tail* of the user's own in the heap. A tail is a ring, record n at n modulo its
 * room, and beside the records the lowest byte of each id, which is looked through first. Which records are kept:
 * docs/adr/0035; state/plain/ids.py says the same.
 *
 * The committed entry and the turn's copy have one tail together: a turn writes only where nothing of the committed
 * records lies, and gets another tail where that has no room. So nothing is copied, and drop takes nothing back.
 *
 * A record that is missing (the store had none, or its ids were not asked for) has no ids. Users without records have no
 * tail. In C an id may be the whole hash: the lower 56 bits count. */
#ifndef SEGMENTS_TAIL_H
#define SEGMENTS_TAIL_H

#include "arena.h"
#include "ids.h"

#define DEDUPE_SECONDS 86400
#define LAST_RECORDS 16 /* are kept whatever their age: with the block's the last 1,000 ids */

typedef struct Tail Tail;

/* Where a user's ids are; turn_open fills it in. Pointers hold until the turn's next turn_grow of any user. */
typedef struct {
    UserBlock *block;
    Tail **tail;
    Tail *kept;             /* the committed entry's: neither freed nor written over here; NULL: there is none */
    uint32_t first, stored; /* what the store has, and so the committed entry */
    uint32_t *cut;          /* ids forgotten though they were younger than DEDUPE_SECONDS: counted up */
    Arena *arena;           /* where the tail's bytes are counted; NULL: nowhere */
} IdsAt;

/* Bytes of a record of ids as a store or changelog has it: of 464 bytes, or 768 of format 1; none: it is missing. */
typedef struct {
    const uint8_t *at;
    size_t size;
} IdsBytes;

/* Whether the id is in the block or in a record. */
int ids_known(const IdsAt *ids, uint64_t hash);
/* Remembers an id that arrived at this second. ID_NEW, ID_KNOWN; ID_NO_ROOM: the block must grow by up to IDS_GROWTH;
 * ID_NO_MEMORY. After the last two nothing has changed. */
int ids_remember(IdsAt *ids, uint64_t hash, uint32_t second);
/* The same of an id that is not known. */
int ids_append(IdsAt *ids, uint64_t hash, uint32_t second);
/* By how many bytes one more id makes a block larger at most: by a section that begins, with a group. */
#define IDS_GROWTH 24

/* Forgets all: the records go with the next commit. */
void ids_clear(IdsAt *ids);
/* What the records first to stored - 1 of the block hold, the oldest first, instead of what the tail had. DONE,
 * ID_NO_MEMORY, or ID_BAD_SIZE: a record has another size. Unless DONE nothing has changed. */
int ids_restore(IdsAt *ids, const IdsBytes *records, size_t count);
/* IDS_RECORD_BYTES of a record of the block's numbers; NULL: it is missing. */
const uint8_t *ids_record(const IdsAt *ids, uint32_t number);

/* One after the other in order of arrival: ``at`` begins as 0. 1, or 0 at the end. */
int ids_next(const IdsAt *ids, uint64_t *at, uint64_t *hash, uint32_t *second);
/* How many there are. */
uint32_t ids_total(const IdsAt *ids);
/* The latest second of the last sixteen, in the block or the last record; 0: none. */
uint32_t ids_latest(const IdsAt *ids);

/* What the next commit changes of the store's records: ``gone`` to first - 1 go, ``put`` to stored - 1 are new. Those
 * that came and went within the turn are among neither. */
typedef struct {
    uint32_t gone, first;
    uint32_t put, stored;
} IdsChange;

IdsChange ids_change(const IdsAt *ids);

/* A tail of the records ``first`` to ``stored`` - 1, of which these are the oldest and those behind them missing; NULL where
 * all are. DONE, ID_NO_MEMORY, ID_BAD_SIZE. */
int tail_make(Tail **tail, uint32_t first, uint32_t stored, const IdsBytes *records, size_t count, Arena *arena);
/* Bytes of a tail; NULL has none. */
size_t tail_bytes(const Tail *tail);
/* Zeroes and frees it. NULL is nothing. */
void tail_free(Tail *tail, Arena *arena);

#endif
