/* Tallies: counts in sliding windows, in buckets of event time (state/windows.py). */
#include "cell_place.h"

#include <math.h>

int64_t cells_total(const UserBlock *block, const TallySpec *spec, double now)
{
    CellPlace place = cell_find_type(block, spec->mark, CELL_TALLY);
    if (place.size == 0)
        return 0;
    Tally tally = tally_open(section_at(block, CELLS) + place.at);
    int64_t held;
    tally_over(&tally, spec, now, &held);
    return tally.total - held;
}

double cells_next_expiry(const UserBlock *block, const TallySpec *spec, double now)
{
    CellPlace place = cell_find_type(block, spec->mark, CELL_TALLY);
    if (place.size == 0)
        return (double)INFINITY;
    Tally tally = tally_open(section_at(block, CELLS) + place.at);
    int64_t held;
    uint32_t first = tally_over(&tally, spec, now, &held);
    return first < tally.count ? tally_end(spec, tally_bucket(&tally, first)) : (double)INFINITY;
}

int cells_next_bucket(const UserBlock *block, uint64_t mark, uint32_t *at, int64_t *bucket, int64_t *held)
{
    CellPlace place = cell_find_type(block, mark, CELL_TALLY);
    if (place.size == 0)
        return 0;
    Tally tally = tally_open(section_at(block, CELLS) + place.at);
    if (*at >= tally.count)
        return 0;
    *bucket = tally_bucket(&tally, *at);
    *held = tally_value(&tally, (*at)++);
    return 1;
}

/* one that is being changed */
typedef struct {
    double until;
    int64_t total;
    uint32_t count;
    int64_t buckets[MOST_BUCKETS], values[MOST_BUCKETS];
} Loose;

/* one that is empty and known; what it has no buckets for is not touched */
static void begin(Loose *loose)
{
    loose->until = -1.0;
    loose->total = 0;
    loose->count = 0;
}

static void loosen(Loose *loose, const Tally *tally, uint32_t from)
{
    loose->until = tally->until;
    loose->total = 0;
    loose->count = tally->count - from;
    for (uint32_t i = 0; i < loose->count; i++) {
        loose->buckets[i] = tally_bucket(tally, from + i);
        loose->values[i] = tally_value(tally, from + i);
        loose->total += loose->values[i];
    }
}

static int write_tally(UserBlock *block, CellPlace place, uint64_t mark, const Loose *loose)
{
    int unknown = loose->until >= 0.0;
    if (loose->count == 0 && !unknown)
        return cell_resize(block, place, 0) == NULL ? NO_ROOM : DONE;
    int64_t most = 0;
    for (uint32_t i = 0; i < loose->count; i++)
        most = loose->values[i] > most ? loose->values[i] : most;
    unsigned width = tally_width(most);
    size_t lead = CELL_HEAD + (unknown ? 8 : 0), count = loose->count;
    size_t size = padded(lead + TALLY_HEAD + 2 * count + (count << width));
    uint8_t *cell = cell_resize(block, place, size);
    if (cell == NULL)
        return NO_ROOM;
    memset(cell, 0, size);
    int64_t head = count ? loose->buckets[0] : 0;
    cell_put_head(cell, mark, CELL_TALLY, (uint8_t)(width | (unknown ? CELL_UNKNOWN : 0)), (uint32_t)head, size);
    if (unknown)
        put_f64(cell + CELL_HEAD, loose->until);
    put_i64(cell + lead, loose->total);
    put_u16(cell + lead + 8, loose->count & 0xFFFF);
    uint8_t *offsets = cell + lead + TALLY_HEAD, *values = offsets + 2 * count;
    for (size_t i = 0; i < count; i++) {
        put_u16(offsets + 2 * i, (uint16_t)(loose->buckets[i] - head));
        memcpy(values + (i << width), &loose->values[i], (size_t)1 << width);
    }
    return DONE;
}

/* where the bucket is, or would be */
static uint32_t search(const Loose *loose, int64_t bucket)
{
    uint32_t at = loose->count;
    while (at > 0 && loose->buckets[at - 1] >= bucket)
        at--;
    return at;
}

/* Nearly always the bucket is there, nothing is over, and the sum fits where it lies. */
static int add_in_place(uint8_t *cell, const Tally *tally, int64_t bucket, int64_t amount)
{
    for (uint32_t i = tally->count; i-- > 0 && tally_bucket(tally, i) >= bucket;) {
        int64_t held = tally_value(tally, i), sum = amount > MOST_HELD - held ? MOST_HELD : held + amount;
        if (tally_bucket(tally, i) != bucket)
            continue;
        if (tally->width < 3 && sum >> (8 << tally->width))
            return 0;
        memcpy(cell + (tally->values - cell) + ((size_t)i << tally->width), &sum, (size_t)1 << tally->width);
        put_i64(cell + (tally->offsets - cell) - TALLY_HEAD, tally->total + sum - held);
        return 1;
    }
    return 0;
}

int cells_add(UserBlock *block, const TallySpec *spec, double time, int64_t amount, double now)
{
    int64_t bucket = (int64_t)time / spec->width;
    if (tally_end(spec, bucket) <= now)
        return DONE; /* its time in the window is over already */
    CellPlace place = cell_find(block, spec->mark);
    Loose loose;
    begin(&loose);
    if (place.size) {
        uint8_t *cell = section_at(block, CELLS) + place.at;
        if (cell[8] != CELL_TALLY)
            return DONE; /* no fold made this */
        Tally tally = tally_open(cell);
        int64_t held;
        uint32_t from = tally_over(&tally, spec, now, &held);
        if (from == 0 && add_in_place(cell, &tally, bucket, amount))
            return DONE;
        loosen(&loose, &tally, from);
    }
    uint32_t at = search(&loose, bucket);
    if (at == loose.count || loose.buckets[at] != bucket) {
        int64_t first = at ? loose.buckets[0] : bucket, last = at < loose.count ? loose.buckets[loose.count - 1] : bucket;
        if (loose.count == MOST_BUCKETS || last - first > UINT16_MAX)
            return DONE;
        memmove(loose.buckets + at + 1, loose.buckets + at, (loose.count - at) * sizeof *loose.buckets);
        memmove(loose.values + at + 1, loose.values + at, (loose.count - at) * sizeof *loose.values);
        loose.buckets[at] = bucket;
        loose.values[at] = 0;
        loose.count++;
    }
    int64_t held = loose.values[at], sum = amount > MOST_HELD - held ? MOST_HELD : held + amount;
    loose.values[at] = sum;
    loose.total += sum - held;
    return write_tally(block, place, spec->mark, &loose);
}

int cells_mark_unknown(UserBlock *block, uint64_t mark, double until)
{
    CellPlace place = cell_find(block, mark);
    Loose loose;
    begin(&loose);
    if (place.size) {
        uint8_t *cell = section_at(block, CELLS) + place.at;
        if (cell[8] != CELL_TALLY)
            return DONE;
        Tally tally = tally_open(cell);
        loosen(&loose, &tally, 0);
    }
    if (!(until > loose.until))
        return DONE;
    loose.until = until;
    return write_tally(block, place, mark, &loose);
}

double cells_unknown_until(const UserBlock *block, uint64_t mark)
{
    CellPlace place = cell_find_type(block, mark, CELL_TALLY);
    return place.size ? tally_open(section_at(block, CELLS) + place.at).until : -1.0;
}

double cells_known_from(const TallySpec *spec, double until)
{
    return tally_end(spec, (int64_t)until / spec->width);
}

/* drops what is over of a tally that lies at ``at`` */
static void trim(UserBlock *block, size_t at, size_t size, const TallySpec *spec, double now)
{
    Tally tally = tally_open(section_at(block, CELLS) + at);
    int64_t held;
    uint32_t from = tally_over(&tally, spec, now, &held);
    int known = tally.until >= 0.0 && cells_known_from(spec, tally.until) <= now;
    if (from == 0 && !known)
        return;
    Loose loose;
    loosen(&loose, &tally, from);
    if (known)
        loose.until = -1.0;
    write_tally(block, (CellPlace){at, size}, spec->mark, &loose); /* it becomes no larger */
}

void cells_trim(UserBlock *block, const TallySpec *specs, size_t count, double now)
{
    size_t end = section_size(block, CELLS);
    for (size_t at = 0, i = 0; at < end && i < count;) {
        const uint8_t *cell = section_at(block, CELLS) + at;
        uint64_t mark = get_u64(cell);
        size_t size = (size_t)8 * get_u16(cell + 10);
        while (i < count && specs[i].mark < mark)
            i++;
        if (i < count && specs[i].mark == mark && cell[8] == CELL_TALLY)
            trim(block, at, size, &specs[i], now);
        at += size - (end - section_size(block, CELLS)); /* less what it has become smaller by */
        end = section_size(block, CELLS);
    }
}
