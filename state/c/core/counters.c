#include "counters.h"

#include <math.h>

#include "powers.h"

/* the place among the values of a bitmap's section that a bit has, or would have */
static size_t place_of(uint64_t bits, int bit)
{
    return (size_t)__builtin_popcountll(bits & ((UINT64_C(1) << bit) - 1));
}

static uint64_t bits_of(const UserBlock *block, enum Section which)
{
    return section_size(block, which) ? get_u64(section_at(block, which)) : 0;
}

static double landmark_of(const UserBlock *block)
{
    return get_u16(block->at + AT_MONTH) * MONTH;
}

/* a sum as it stands so many halvings later */
static double less(double sum, int halvings)
{
    double found = ldexp(sum, -halvings);
    return found < LEAST_SUM ? 0.0 : found;
}

static void multiply(uint8_t *value, int halvings)
{
    put_f64(value, less(get_f64(value), halvings));
}

void counters_enter(UserBlock *block, double time)
{
    if (!(time > block_time(block)))
        return;
    put_f64(block->at + AT_TIME, time);
    uint16_t month = get_u16(block->at + AT_MONTH), next = (uint16_t)(time / MONTH);
    if (month == next)
        return;
    put_u16(block->at + AT_MONTH, next);
    int months = next - month;
    uint8_t *at = section_at(block, KINDS);
    for (size_t size = section_size(block, KINDS), value = 8; value < size; value += 16) {
        multiply(at + value, 30 * months);
        multiply(at + value + 8, months);
    }
    at = section_at(block, CATEGORIES);
    for (size_t size = section_size(block, CATEGORIES), value = 8; value < size; value += 8)
        multiply(at + value, months);
}

/* room for the values of these bits, where there is none */
static void make(UserBlock *block, enum Section which, uint64_t wanted, size_t width)
{
    uint64_t bits = bits_of(block, which), new = wanted & ~bits;
    if (new && bits == 0)
        put_u64(block_splice(block, which, 0, 0, 8), 0);
    for (; new; new &= new - 1) {
        int bit = __builtin_ctzll(new);
        block_splice(block, which, 8 + width * place_of(bits, bit), 0, width);
        bits |= UINT64_C(1) << bit;
    }
    put_u64(section_at(block, which), bits);
}

static size_t missing(const UserBlock *block, enum Section which, uint64_t wanted, size_t width)
{
    uint64_t bits = bits_of(block, which), new = wanted & ~bits;
    return new == 0 ? 0 : (bits ? 0 : 8) + width * (size_t)__builtin_popcountll(new);
}

static void add(uint8_t *value, double weight, double power)
{
    double sum = get_f64(value) + weight * power;
    put_f64(value, sum > MOST_SUM ? MOST_SUM : sum);
}

static void add_pair(UserBlock *block, int row, double weight, double fast, double slow)
{
    uint8_t *at = section_at(block, KINDS);
    at += 8 + 16 * place_of(get_u64(at), row);
    add(at, weight, fast);
    add(at + 8, weight, slow);
}

static uint64_t rows_of(const Counted *event)
{
    return UINT64_C(1) << event->kind | (event->amount != 0.0 ? UINT64_C(1) << ROW_MONEY : 0)
           | (event->dwell != 0.0 ? UINT64_C(1) << ROW_DWELL : 0);
}

static uint64_t buckets_of(const Counted *event)
{
    return event->category < 0 ? 0 : UINT64_C(1) << event->category;
}

size_t counters_growth(const UserBlock *block, const Counted *event)
{
    return missing(block, KINDS, rows_of(event), 16) + missing(block, CATEGORIES, buckets_of(event), 8);
}

int counters_add(UserBlock *block, const Counted *event)
{
    uint64_t rows = rows_of(event), buckets = buckets_of(event);
    if (counters_growth(block, event) > block->room - block->size)
        return NO_ROOM;
    double ahead = event->time - landmark_of(block);
    double fast = power_of_two(ahead / DAY), slow = power_of_two(ahead / MONTH);
    make(block, KINDS, rows, 16);
    add_pair(block, event->kind, 1.0, fast, slow);
    if (event->amount != 0.0)
        add_pair(block, ROW_MONEY, event->amount, fast, slow);
    if (event->dwell != 0.0)
        add_pair(block, ROW_DWELL, event->dwell, fast, slow);
    if (buckets) {
        make(block, CATEGORIES, buckets, 8);
        uint8_t *at = section_at(block, CATEGORIES);
        add(at + 8 + 8 * place_of(get_u64(at), event->category), event->interest, slow);
    }
    return DONE;
}

/* adds another's section of so many sums a row: the slow one, or the fast one before it */
static void unite(UserBlock *block, const UserBlock *other, enum Section which, size_t width, int months)
{
    uint64_t theirs = bits_of(other, which);
    if (theirs == 0)
        return;
    make(block, which, theirs, 8 * width);
    uint8_t *mine = section_at(block, which);
    const uint8_t *from = section_at(other, which) + 8;
    for (uint64_t bits = get_u64(mine); theirs; theirs &= theirs - 1) {
        uint8_t *to = mine + 8 + 8 * width * place_of(bits, __builtin_ctzll(theirs));
        for (size_t i = 0; i < width; i++, from += 8) {
            double sum = get_f64(from);
            add(to + 8 * i, 1.0, months > 0 ? less(sum, i + 1 < width ? 30 * months : months) : sum);
        }
    }
}

int counters_unite(UserBlock *block, const UserBlock *other)
{
    size_t more = missing(block, KINDS, bits_of(other, KINDS), 16);
    more += missing(block, CATEGORIES, bits_of(other, CATEGORIES), 8);
    if (more > block->room - block->size)
        return NO_ROOM;
    int months = get_u16(block->at + AT_MONTH) - get_u16(other->at + AT_MONTH);
    unite(block, other, KINDS, 2, months);
    unite(block, other, CATEGORIES, 1, months);
    return DONE;
}

Decayed counters_kind(const UserBlock *block, int row, double now)
{
    uint64_t bits = bits_of(block, KINDS);
    if (!(bits >> row & 1))
        return (Decayed){0.0, 0.0};
    const uint8_t *at = section_at(block, KINDS) + 8 + 16 * place_of(bits, row);
    double behind = landmark_of(block) - now;
    return (Decayed){get_f64(at) * power_of_two(behind / DAY), get_f64(at + 8) * power_of_two(behind / MONTH)};
}

double counters_category(const UserBlock *block, int bucket, double now)
{
    uint64_t bits = bits_of(block, CATEGORIES);
    if (!(bits >> bucket & 1))
        return 0.0;
    const uint8_t *at = section_at(block, CATEGORIES) + 8 + 8 * place_of(bits, bucket);
    return get_f64(at) * power_of_two((landmark_of(block) - now) / MONTH);
}
