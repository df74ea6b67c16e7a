#include "fold_cells.h"

#include <math.h>

#include "cell_place.h"

static size_t tally_size(uint32_t lead, uint32_t count, unsigned width)
{
    return padded(lead + TALLY_HEAD + 2 * (size_t)count + ((size_t)count << width));
}

static void look_for_new_tally(CellStep *step, int64_t amount)
{
    step->how = STEP_TALLY;
    step->width = (uint8_t)tally_width(amount);
    step->count = 1;
    step->sum = step->total = amount;
    step->size = (uint32_t)tally_size(CELL_HEAD, 1, step->width);
}

/* the width that so many of its last values need */
static unsigned width_of(const Tally *tally, uint32_t from)
{
    int64_t most = 0;
    for (uint32_t i = from; tally->width > 0 && i < tally->count; i++) {
        int64_t value = tally_value(tally, i);
        most = value > most ? value : most;
    }
    return tally_width(most);
}

static void look_at_tally(CellStep *step, const uint8_t *cell, const TallySpec *spec, double now, int64_t amount)
{
    Tally tally = tally_open(cell);
    int64_t gone, held = 0;
    uint32_t over = tally_over(&tally, spec, now, &gone), at = tally.count;
    while (at > over && tally_bucket(&tally, at - 1) >= step->number) /* nearly always the last one, or behind it */
        at--;
    step->over = over;
    step->bucket = at - over;
    step->is_there = at < tally.count && tally_bucket(&tally, at) == step->number;
    if (step->is_there)
        held = tally_value(&tally, at);
    else {
        uint32_t kept = tally.count - over;
        int64_t first = at > over ? tally_bucket(&tally, over) : step->number;
        int64_t last = at < tally.count ? tally_bucket(&tally, tally.count - 1) : step->number;
        if (kept == MOST_BUCKETS || last - first > UINT16_MAX)
            return; /* no fold made this */
    }
    step->count = tally.count - over + !step->is_there;
    step->sum = amount > MOST_HELD - held ? MOST_HELD : held + amount;
    step->total = tally.total - gone + step->sum - held;
    unsigned needed = tally_width(step->sum), has = over ? width_of(&tally, over) : tally.width;
    step->width = (uint8_t)(needed > has ? needed : has);
    step->how = over == 0 && step->is_there && step->width == tally.width ? STEP_IN_PLACE : STEP_TALLY;
    step->size = (uint32_t)tally_size((uint32_t)(tally.offsets - TALLY_HEAD - cell), step->count, step->width);
}

size_t step_look(CellStep *step, const UserBlock *block, const PlanCell *cell, uint32_t place, double time, int64_t amount)
{
    const uint8_t *at = place ? section_at(block, CELLS) + place - 1 : NULL;
    uint32_t old = place ? 8 * (uint32_t)get_u16(at + 10) : 0;
    *step = (CellStep){.how = STEP_NOTHING, .place = place, .old = old, .size = old};
    if (cell->type == CELL_LATEST) {
        double latest = place && at[8] == CELL_LATEST ? get_f64(at + CELL_HEAD) : 0.0;
        if (!(time > fabs(latest)))
            return 0;
        step->how = latest != 0.0 ? STEP_IN_PLACE : STEP_LATEST;
        step->size = CELL_HEAD + 8;
    } else {
        step->number = (int64_t)((uint32_t)time / (uint32_t)cell->spec.width); /* below MOST_TIME, and WIDEST */
        if (place == 0)
            look_for_new_tally(step, amount);
        else if (at[8] == CELL_TALLY)
            look_at_tally(step, at, &cell->spec, time, amount);
    }
    return step->size > old ? step->size - old : 0;
}

static void put_value(uint8_t *values, size_t at, unsigned width, int64_t value)
{
    switch (width) {
    case 0:
        values[at] = (uint8_t)value;
        break;
    case 1:
        put_u16(values + 2 * at, (uint16_t)value);
        break;
    case 2:
        put_u32(values + 4 * at, (uint32_t)value);
        break;
    default:
        put_i64(values + 8 * at, value);
    }
}

static void copy_values(uint8_t *to, const CellStep *step, size_t at, const Tally *tally, uint32_t from, uint32_t end)
{
    if (from >= end)
        return;
    if (step->width == tally->width)
        memcpy(to + (at << step->width), tally->values + ((size_t)from << tally->width), (size_t)(end - from) << step->width);
    else
        for (; from < end; from++, at++)
            put_value(to, at, step->width, tally_value(tally, from));
}

static void copy_offsets(uint8_t *to, const Tally *tally, uint32_t from, uint32_t end, int64_t by)
{
    if (by == 0 && from < end)
        memcpy(to, tally->offsets + 2 * (size_t)from, 2 * (size_t)(end - from));
    else
        for (; from < end; from++, to += 2)
            put_u16(to, (uint16_t)(get_u16(tally->offsets + 2 * (size_t)from) - by));
}

/* the tally as it is then; ``old``: NULL where there is none */
static void write_tally(const CellStep *step, const uint8_t *old, uint64_t mark, uint8_t *to)
{
    Tally tally = old ? tally_open(old) : (Tally){.until = -1.0};
    uint32_t split = step->over + step->bucket, rest = split + step->is_there;
    int64_t head = step->bucket ? tally_bucket(&tally, step->over) : step->number;
    size_t lead = old ? (size_t)(tally.offsets - TALLY_HEAD - old) : CELL_HEAD;
    uint8_t *offsets = to + lead + TALLY_HEAD, *values = offsets + 2 * (size_t)step->count;
    uint8_t *end = values + ((size_t)step->count << step->width);
    cell_put_head(to, mark, CELL_TALLY, (uint8_t)(step->width | (lead > CELL_HEAD ? CELL_UNKNOWN : 0)), (uint32_t)head,
                  step->size);
    if (lead > CELL_HEAD)
        put_f64(to + CELL_HEAD, tally.until);
    put_i64(to + lead, step->total);
    put_u16(to + lead + 8, (uint16_t)step->count);
    int64_t by = head - (int64_t)tally.head;
    copy_offsets(offsets, &tally, step->over, split, by);
    put_u16(offsets + 2 * (size_t)step->bucket, (uint16_t)(step->number - head));
    copy_offsets(offsets + 2 * ((size_t)step->bucket + 1), &tally, rest, tally.count, by);
    copy_values(values, step, 0, &tally, step->over, split);
    put_value(values, step->bucket, step->width, step->sum);
    copy_values(values, step, (size_t)step->bucket + 1, &tally, rest, tally.count);
    memset(end, 0, (size_t)(to + step->size - end));
}

static int do_in_place(const CellStep *step, uint8_t *cell, double time)
{
    if (cell[8] == CELL_LATEST)
        put_f64(cell + CELL_HEAD, time);
    else {
        Tally tally = tally_open(cell);
        put_value(cell + (tally.values - cell), step->bucket, step->width, step->sum);
        put_i64(cell + (tally.offsets - cell) - TALLY_HEAD, step->total);
    }
    return 0;
}

int step_do(const CellStep *step, UserBlock *block, const PlanCell *cell, double time, uint8_t *room)
{
    uint64_t mark = cell->spec.mark;
    uint8_t *old = step->place ? section_at(block, CELLS) + step->place - 1 : NULL;
    switch (step->how) {
    case STEP_NOTHING:
        return 0;
    case STEP_IN_PLACE:
        return do_in_place(step, old, time);
    case STEP_LATEST:
        cells_put_latest(block, mark, time);
        return 1;
    default:
        write_tally(step, old, mark, room);
    }
    if (step->size != step->old) {
        CellPlace place = old ? (CellPlace){step->place - 1, step->old} : cell_find(block, mark);
        old = cell_resize(block, place, step->size);
    }
    memcpy(old, room, step->size);
    return step->size != step->old;
}
