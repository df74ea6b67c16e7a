/* A user's record: one block of bytes, the same in memory, store and changelog (format 2; ADR 0041, section 1).
 *
 *  at  size                                             at  size
 *   0  u8        2, the format                          40  u64       encode_at
 *   1  f64 BE    due                                    48  u64       sequence
 *   9  u8        0                                      56  u64       life
 *  10  u16       flags                                  64  u32       epoch
 *  12  u32       version: commits, modulo 2**32         68  u16       month: of 30 days, of time; u16 0
 *  16  f64       time                                   72  u64       scored
 *  24  f64       first                                  80  16 u16    size of each section, in units of 8 bytes
 *  32  u64       count                                 112            the sections, in this order, none between
 *
 * A section of more than 0xFFFE units has the size 0xFFFF and begins with 8 bytes more: u32 size of all of it in bytes,
 * these included, and u32 0. What is absent has no bytes. All padding is zeros; there is one way to write a state.
 *
 *   0 KINDS       u64 bitmap; for each bit f64 fast, f64 slow: by forward decay, see counters.h
 *   1 CATEGORIES  u64 bitmap; for each bit f64 slow
 *   2 CELLS       sorted by mark: see cells.h
 *   3 MEMBERS     sorted by segment: u32 mark (lower half of the segment's xxh3), u16 bytes of the segment, u16 1 if
 *                 leaving is there, f64 since, score, leaving (else 0), u64 sequence, version; the segment; padded to 8
 *   4 KNOWN       f64 known_at; there with the flag FLAG_UNKNOWN
 *   5 LANE        u64 dirty, u32 texts, texts_put, texts_taken, 0; where one is not 0
 *   6 ERASED      f64; where it is not 0
 *   7 LABELS      each u16 size; f64 weight, u8 member, the segment; the section is padded to 8
 *   8 EDGES       u32 count, u32 0; sorted by name: f64 signed time, u16 bytes of the name, the name, padded to 8
 *   9 GROUPS      the same
 *  10 ALIASES     each u16 size; the id; the section is padded to 8
 *  11 to 14       another release's
 *  15 IDS         u32 first, stored, n; groups of u32 second, up to 16 ids of 7 bytes; padded to 8: see ids.h
 *
 * Behind block_check (check.h) nothing is checked again. Verbs that make a block larger do that first, all at once, and
 * change it then: where there is no room they give NO_ROOM and have changed nothing. They never allocate. */
#ifndef SEGMENTS_BLOCK_H
#define SEGMENTS_BLOCK_H

#include "bytes.h"

#define BLOCK_FORMAT 2
#define BLOCK_HEADER 112
#define BLOCK_MOST ((size_t)8 << 20)
#define SECTIONS 16
#define BLOCK_UNIT 8
#define SECTION_LARGE 0xFFFF /* units: the size stands in the section, in a lead of so many bytes */
#define SECTION_LEAD 8
#define LANE_BYTES 24
#define ENTRY_HEAD 2 /* of a label or alias: its size */
#define LABEL_HEAD 9 /* of a label, before the segment */
#define MOST_TIME 4294967296.0 /* all times are below, in seconds since the epoch */

enum Section { KINDS, CATEGORIES, CELLS, MEMBERS, KNOWN, LANE, ERASED, LABELS, EDGES, GROUPS, ALIASES, IDS = 15 };

enum { FLAG_IDENTIFIED = 1, FLAG_QUEUED = 2, FLAG_UNKNOWN = 4, FLAG_OPAQUE = 8, FLAGS = 15 };

/* where the header has what */
enum {
    AT_DUE = 1,
    AT_FLAGS = 10,
    AT_VERSION = 12,
    AT_TIME = 16,
    AT_FIRST = 24,
    AT_COUNT = 32,
    AT_ENCODE_AT = 40,
    AT_SEQUENCE = 48,
    AT_LIFE = 56,
    AT_EPOCH = 64,
    AT_MONTH = 68,
    AT_SCORED = 72,
    AT_SIZES = 80
};

enum { DONE, NO_ROOM };

/* A block that is open: ``size`` bytes are used of ``room``. Bytes of a section without those that say its size. */
typedef struct {
    uint8_t *at;
    uint32_t size, room;
    uint32_t start[SECTIONS + 1]; /* of each section; the last is ``size`` */
} UserBlock;

/* Opens bytes that block_check has found right. */
void block_open(UserBlock *block, uint8_t *bytes, size_t size, size_t room);
/* Opens room (at least BLOCK_HEADER bytes) as a block of nobody yet: all is zero, and due is never. */
void block_begin(UserBlock *block, uint8_t *bytes, size_t room);
/* The same block in other room, where the caller has copied it to. */
void block_move(UserBlock *block, uint8_t *bytes, size_t room);

/* Makes the ``old`` bytes from ``at`` on of a section ``new`` bytes, all multiples of 8: what is more is zeros, what is less
 * is cut from their end. Gives where they are; NULL: no room, and nothing has changed. */
uint8_t *block_splice(UserBlock *block, enum Section which, size_t at, size_t old, size_t new);
/* Bytes by which that makes the block larger. */
int64_t block_growth(const UserBlock *block, enum Section which, size_t old, size_t new);
/* Makes all of a section these bytes, which are as the section has them but for the padding at its end. */
int block_set(UserBlock *block, enum Section which, const uint8_t *bytes, size_t size);

/* Bytes that precede a section's content: 8 in one that is large. */
static inline uint32_t section_lead(const UserBlock *block, enum Section which)
{
    return get_u16(block->at + AT_SIZES + 2 * (size_t)which) == SECTION_LARGE ? SECTION_LEAD : 0;
}

static inline uint8_t *section_at(const UserBlock *block, enum Section which)
{
    return block->at + block->start[which] + section_lead(block, which);
}

static inline size_t section_size(const UserBlock *block, enum Section which)
{
    return block->start[which + 1] - block->start[which] - section_lead(block, which);
}

#define HEADER_OF(name, type, kind, at_)                                                                               \
    static inline type block_##name(const UserBlock *block)                                                            \
    {                                                                                                                  \
        return get_##kind(block->at + (at_));                                                                          \
    }                                                                                                                  \
    static inline void block_put_##name(UserBlock *block, type value)                                                  \
    {                                                                                                                  \
        put_##kind(block->at + (at_), value);                                                                          \
    }

HEADER_OF(due, double, f64_be, AT_DUE)
HEADER_OF(flags, uint16_t, u16, AT_FLAGS)
HEADER_OF(version, uint32_t, u32, AT_VERSION)
HEADER_OF(first, double, f64, AT_FIRST)
HEADER_OF(count, uint64_t, u64, AT_COUNT)
HEADER_OF(encode_at, uint64_t, u64, AT_ENCODE_AT)
HEADER_OF(sequence, uint64_t, u64, AT_SEQUENCE)
HEADER_OF(life, uint64_t, u64, AT_LIFE)
HEADER_OF(epoch, uint32_t, u32, AT_EPOCH)
HEADER_OF(scored, uint64_t, u64, AT_SCORED)
#undef HEADER_OF

static inline double block_time(const UserBlock *block)
{
    return get_f64(block->at + AT_TIME); /* set by counters_enter: the counters go with it */
}

static inline void block_flag(UserBlock *block, uint16_t flag, int on)
{
    uint16_t flags = block_flags(block);
    block_put_flags(block, (uint16_t)(on ? flags | flag : flags & ~flag));
}

/* When the next of what is not known is known; never (infinity) where all is. */
double block_known_at(const UserBlock *block);
int block_put_known_at(UserBlock *block, double known_at);

/* Event time of the erasure that ended the life before; 0: none did. */
double block_erased(const UserBlock *block);
int block_put_erased(UserBlock *block, double erased);

typedef struct {
    uint64_t dirty;
    uint32_t texts, texts_put, texts_taken;
} Lane;

Lane block_lane(const UserBlock *block);
int block_put_lane(UserBlock *block, Lane lane);

#endif
