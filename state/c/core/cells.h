/* What the terms of rules keep of a user: cells, sorted by mark (xxh3 of the cell's key).
 *
 *   u64 mark, u8 type, u8 form, u16 units of 8 bytes (the cell with these 16 bytes), u32 head; then by type:
 *   CELL_TALLY   form: 2 bits of the values' width (1, 2, 4, 8 bytes, the least that holds all), 128 if not all is known;
 *                head: number of the oldest bucket, or 0. [f64 until, if not all is known], i64 total, u16 n, n u16 bucket
 *                less head, ascending; n values; padded to 8
 *   CELL_LATEST  f64: latest event time; below 0: none since that time, before which nobody watched
 *   CELL_OPAQUE  head: bytes of what only Python understands. f64 next change, f64 not known until (0: known), u16 its
 *                type, 6 bytes of 0; the bytes, padded to 8
 *
 * A cell that would be empty and known is not there. Reading changes nothing. */
#ifndef SEGMENTS_CELLS_H
#define SEGMENTS_CELLS_H

#include "block.h"

enum { CELL_TALLY = 0, CELL_LATEST = 1, CELL_OPAQUE = 255 };
enum { CELL_HEAD = 16, TALLY_HEAD = 10, OPAQUE_HEAD = 24, CELL_WIDTH = 3, CELL_UNKNOWN = 128 };
#define MOST_BUCKETS 4096            /* a window has fewer */
#define MOST_HELD (INT64_C(1) << 50) /* by a bucket: capped sums do not depend on their order either */

typedef struct {
    uint64_t mark;
    int64_t width, window; /* seconds */
} TallySpec;

/* The total at ``now``, as far as it is known. */
int64_t cells_total(const UserBlock *block, const TallySpec *spec, double now);
/* When the oldest bucket after ``now`` leaves the window; infinity: there is none. */
double cells_next_expiry(const UserBlock *block, const TallySpec *spec, double now);
/* Adds an amount (0 to MOST_HELD) at an event time; ``now``: the user's time, at which all that is over goes first. What
 * lies so far from the cell's buckets that no fold can have made them is not added. */
int cells_add(UserBlock *block, const TallySpec *spec, double time, int64_t amount, double now);
/* Nothing was counted up to ``until`` (event time, inclusive). */
int cells_mark_unknown(UserBlock *block, uint64_t mark, double until);
/* Up to when nothing was counted; below 0: all was. */
double cells_unknown_until(const UserBlock *block, uint64_t mark);
/* One bucket after the other, ascending, and what it holds, whether it is over or not: ``at`` begins as 0. 1, or 0 at the
 * end. */
int cells_next_bucket(const UserBlock *block, uint64_t mark, uint32_t *at, int64_t *bucket, int64_t *held);
/* When all that was not counted has left the window. */
double cells_known_from(const TallySpec *spec, double until);

/* As UserState.last has it; 0: none. */
double cells_latest(const UserBlock *block, uint64_t mark);
/* An event of that sort: the largest time wins. */
int cells_note(UserBlock *block, uint64_t mark, double time);
/* The number itself; 0: none. */
int cells_put_latest(UserBlock *block, uint64_t mark, double latest);

typedef struct {
    double next, until;
    uint16_t type;
    const uint8_t *bytes; /* NULL: there is no such cell */
    uint32_t size;
} Opaque;

Opaque cells_opaque(const UserBlock *block, uint64_t mark);
/* NO_ROOM also for more bytes than a cell can have (65,535 units). */
int cells_put_opaque(UserBlock *block, uint64_t mark, const Opaque *opaque);
/* The earliest change that an opaque cell says; infinity: none does. The user's timer is not later. */
double cells_next_change(const UserBlock *block);
/* When, after ``now``, the next opaque cell that is not known yet is; infinity: all are. */
double cells_opaque_known(const UserBlock *block, double now);

/* Whether there is a cell, of whatever type. */
int cells_has(const UserBlock *block, uint64_t mark);
/* Takes a cell out; nothing where there is none. */
void cells_drop(UserBlock *block, uint64_t mark);
/* Drops what is over at ``now`` of these tallies (ascending by mark): buckets, what is known by now, and cells that are
 * empty then. */
void cells_trim(UserBlock *block, const TallySpec *specs, size_t count, double now);
/* Drops all but the cells of these marks, ascending. */
void cells_keep_only(UserBlock *block, const uint64_t *marks, size_t count);

#endif
