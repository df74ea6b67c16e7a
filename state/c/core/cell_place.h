/* Where cells lie, and what tallies look like: for those files alone that work in the bytes of cells. */
#ifndef SEGMENTS_CELL_PLACE_H
#define SEGMENTS_CELL_PLACE_H

#include "cells.h"

/* a cell's place in its section; ``size`` 0: it would be there */
typedef struct {
    size_t at, size;
} CellPlace;

CellPlace cell_find(const UserBlock *block, uint64_t mark);
/* the same; size 0 if it is of another type */
CellPlace cell_find_type(const UserBlock *block, uint64_t mark, uint8_t type);
/* NULL: no room */
uint8_t *cell_resize(UserBlock *block, CellPlace place, size_t size);
void cell_put_head(uint8_t *cell, uint64_t mark, uint8_t type, uint8_t form, uint32_t head, size_t size);

/* a tally as it lies in a block */
typedef struct {
    const uint8_t *offsets, *values;
    double until; /* below 0: all is known */
    int64_t total;
    uint32_t head, count;
    unsigned width; /* of values, in powers of two */
} Tally;

static inline Tally tally_open(const uint8_t *cell)
{
    Tally tally;
    int unknown = cell[9] & CELL_UNKNOWN;
    const uint8_t *at = cell + CELL_HEAD + (unknown ? 8 : 0);
    tally.until = unknown ? get_f64(cell + CELL_HEAD) : -1.0;
    tally.total = get_i64(at);
    tally.head = get_u32(cell + 12);
    tally.count = get_u16(at + 8);
    tally.width = cell[9] & CELL_WIDTH;
    tally.offsets = at + TALLY_HEAD;
    tally.values = tally.offsets + 2 * (size_t)tally.count;
    return tally;
}

static inline int64_t tally_bucket(const Tally *tally, uint32_t i)
{
    return (int64_t)tally->head + get_u16(tally->offsets + 2 * (size_t)i);
}

static inline int64_t tally_value(const Tally *tally, uint32_t i)
{
    switch (tally->width) {
    case 0:
        return tally->values[i];
    case 1:
        return get_u16(tally->values + 2 * (size_t)i);
    case 2:
        return get_u32(tally->values + 4 * (size_t)i);
    default:
        return get_i64(tally->values + 8 * (size_t)i);
    }
}

/* when a bucket leaves the window */
static inline double tally_end(const TallySpec *spec, int64_t bucket)
{
    return (double)((bucket + 1) * spec->width + spec->window);
}

/* how many of its buckets are over, and what they held */
static inline uint32_t tally_over(const Tally *tally, const TallySpec *spec, double now, int64_t *held)
{
    uint32_t i = 0;
    *held = 0;
    while (i < tally->count && tally_end(spec, tally_bucket(tally, i)) <= now)
        *held += tally_value(tally, i++);
    return i;
}

/* the least power of two of bytes that a value has room in */
static inline unsigned tally_width(int64_t value)
{
    return value < 1 << 8 ? 0 : value < 1 << 16 ? 1 : value < INT64_C(1) << 32 ? 2 : 3;
}

#endif
