#include "check.h"

#include "block.h"
#include "cells.h"
#include "counters.h"
#include "cursor.h"
#include "edges.h"
#include "ids.h"
#include "members.h"
#include "text.h"
#include "xxh3.h"

#define MOST_FINITE 1.7976931348623157e308

/* A part that ends before what it must have is of a bad size. */
#define NEED(taken)                                                                                                    \
    do {                                                                                                               \
        if (!(taken))                                                                                                  \
            return BLOCK_BAD_SIZE;                                                                                     \
    } while (0)
#define MUST(holds, fault)                                                                                             \
    do {                                                                                                               \
        if (!(holds))                                                                                                  \
            return fault;                                                                                              \
    } while (0)

static int is_time(double time)
{
    return time >= 0.0 && time < MOST_TIME;
}

/* one way or the other, but not at 0 */
static int is_signed_time(double time)
{
    return time != 0.0 && time < MOST_TIME && -time < MOST_TIME;
}

static int is_time_above_0(double time)
{
    return time > 0.0 && time < MOST_TIME;
}

static int is_moment(double time)
{
    return time >= 0.0 && time <= MOST_FINITE;
}

static int is_finite(double number)
{
    return number >= -MOST_FINITE && number <= MOST_FINITE;
}

static int is_sum(double number)
{
    return number >= 0.0 && number <= MOST_SUM;
}

static int is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return 0;
    return 1;
}

/* the padding of an entry or section that has so many bytes */
static enum BlockFault pad(Cursor *part, size_t size)
{
    const uint8_t *zeros;
    NEED(take(part, padded(size) - size, &zeros));
    MUST(is_zero(zeros, padded(size) - size), BLOCK_BAD_FORM);
    return BLOCK_SOUND;
}

static enum BlockFault check_name(Cursor *part, size_t size, const uint8_t **name)
{
    NEED(take(part, size, name));
    MUST(size && text_is_utf8(*name, size), BLOCK_BAD_NAME);
    return BLOCK_SOUND;
}

/* the last name, which the next one must be greater than */
typedef struct {
    const uint8_t *at;
    size_t size;
} Last;

static int is_later(Last *last, const uint8_t *name, size_t size)
{
    size_t both = last->size < size ? last->size : size;
    int order = both ? memcmp(last->at, name, both) : 0;
    int later = order < 0 || (order == 0 && last->size < size);
    *last = (Last){name, size};
    return later;
}

static enum BlockFault check_counters(Cursor part, size_t values)
{
    uint64_t bits;
    NEED(take_u64(&part, &bits));
    MUST(bits, BLOCK_BAD_FORM);
    values *= (size_t)__builtin_popcountll(bits);
    MUST(part.left == 8 * values, BLOCK_BAD_SIZE);
    double value;
    while (take_f64(&part, &value))
        MUST(is_sum(value), BLOCK_BAD_NUMBER);
    return BLOCK_SOUND;
}

static enum BlockFault check_tally(Cursor part, uint8_t form, uint32_t head)
{
    int unknown = form & CELL_UNKNOWN;
    unsigned width = form & CELL_WIDTH;
    MUST((form & ~(CELL_UNKNOWN | CELL_WIDTH)) == 0, BLOCK_NEWER);
    size_t before = part.left;
    double until;
    int64_t total, sum = 0;
    uint16_t count, offset, last = 0;
    if (unknown) {
        NEED(take_f64(&part, &until));
        MUST(is_time(until), BLOCK_BAD_NUMBER);
    }
    NEED(take_i64(&part, &total) && take_u16(&part, &count));
    MUST(count <= MOST_BUCKETS, BLOCK_BAD_NUMBER);
    MUST(count ? 1 : unknown && head == 0, BLOCK_BAD_FORM);
    for (uint16_t i = 0; i < count; i++, last = offset) {
        NEED(take_u16(&part, &offset));
        MUST(i ? offset > last : offset == 0, BLOCK_BAD_ORDER);
    }
    MUST(last <= UINT32_MAX - head, BLOCK_BAD_NUMBER);
    uint64_t most = 0;
    for (uint16_t i = 0; i < count; i++) {
        const uint8_t *from;
        uint64_t value = 0;
        NEED(take(&part, (size_t)1 << width, &from));
        memcpy(&value, from, (size_t)1 << width);
        MUST(value <= (uint64_t)MOST_HELD, BLOCK_BAD_NUMBER);
        most = value > most ? value : most;
        sum += (int64_t)value;
    }
    MUST(total == sum, BLOCK_BAD_NUMBER);
    MUST(width == 0 || most >> (8u << (width - 1)), BLOCK_BAD_FORM);
    enum BlockFault fault = pad(&part, before - part.left);
    return fault == BLOCK_SOUND && part.left ? BLOCK_BAD_SIZE : fault;
}

static enum BlockFault check_opaque(Cursor part, uint8_t form, uint32_t size)
{
    double next, until;
    const uint8_t *type, *bytes;
    MUST(form == 0, BLOCK_NEWER);
    NEED(take_f64(&part, &next) && take_f64(&part, &until) && take(&part, 8, &type));
    MUST(next >= 0.0 && is_time(until), BLOCK_BAD_NUMBER); /* next: may be infinite */
    MUST(is_zero(type + 2, 6), BLOCK_BAD_FORM);
    NEED(take(&part, size, &bytes));
    enum BlockFault fault = pad(&part, size);
    return fault == BLOCK_SOUND && part.left ? BLOCK_BAD_SIZE : fault;
}

static enum BlockFault check_latest(Cursor part, uint8_t form, uint32_t head)
{
    double time;
    MUST(form == 0, BLOCK_NEWER);
    MUST(head == 0, BLOCK_BAD_FORM);
    NEED(take_f64(&part, &time) && part.left == 0);
    MUST(is_signed_time(time), BLOCK_BAD_NUMBER);
    return BLOCK_SOUND;
}

static enum BlockFault check_cells(Cursor part, int *opaque)
{
    uint64_t mark, last = 0;
    for (int first = 1; part.left; first = 0, last = mark) {
        uint8_t type, form;
        uint16_t units;
        uint32_t head;
        Cursor cell;
        NEED(take_u64(&part, &mark) && take_u8(&part, &type) && take_u8(&part, &form) && take_u16(&part, &units)
             && take_u32(&part, &head) && 8 * (size_t)units >= CELL_HEAD
             && take_part(&part, 8 * (size_t)units - CELL_HEAD, &cell));
        MUST(first || mark > last, BLOCK_BAD_ORDER);
        MUST(type == CELL_TALLY || type == CELL_LATEST || type == CELL_OPAQUE, BLOCK_NEWER);
        enum BlockFault fault = type == CELL_TALLY    ? check_tally(cell, form, head)
                                : type == CELL_LATEST ? check_latest(cell, form, head)
                                                      : check_opaque(cell, form, head);
        if (fault != BLOCK_SOUND)
            return fault;
        *opaque |= type == CELL_OPAQUE;
    }
    return BLOCK_SOUND;
}

static enum BlockFault check_members(Cursor part)
{
    Last last = {NULL, 0};
    while (part.left) {
        uint32_t mark;
        uint16_t size, leaves;
        double since, score, leaving;
        const uint8_t *numbers, *name;
        NEED(take_u32(&part, &mark) && take_u16(&part, &size) && take_u16(&part, &leaves) && take_f64(&part, &since)
             && take_f64(&part, &score) && take_f64(&part, &leaving) && take(&part, 16, &numbers));
        MUST(leaves <= 1, BLOCK_NEWER);
        MUST(is_time(since) && is_finite(score) && is_finite(leaving), BLOCK_BAD_NUMBER);
        MUST(leaves || get_u64((const uint8_t *)&leaving) == 0, BLOCK_BAD_FORM);
        enum BlockFault fault = check_name(&part, size, &name);
        if (fault != BLOCK_SOUND || (fault = pad(&part, MEMBER_HEAD + (size_t)size)) != BLOCK_SOUND)
            return fault;
        MUST(is_later(&last, name, size), BLOCK_BAD_ORDER);
        MUST((uint32_t)xxh3(name, size) == mark, BLOCK_BAD_NAME);
    }
    return BLOCK_SOUND;
}

static enum BlockFault check_number(Cursor part, int (*is_right)(double))
{
    double number;
    NEED(take_f64(&part, &number) && part.left == 0);
    MUST(is_right(number), BLOCK_BAD_NUMBER);
    return BLOCK_SOUND;
}

static enum BlockFault check_lane(Cursor part)
{
    uint64_t dirty;
    uint32_t texts, put, taken, zero;
    NEED(take_u64(&part, &dirty) && take_u32(&part, &texts) && take_u32(&part, &put) && take_u32(&part, &taken)
         && take_u32(&part, &zero) && part.left == 0);
    MUST(zero == 0, BLOCK_NEWER);
    MUST(taken <= put, BLOCK_BAD_NUMBER);
    MUST(dirty || texts || put || taken, BLOCK_BAD_FORM);
    return BLOCK_SOUND;
}

/* Entries with their size before them. They end where what is left is no more than padding: no entry is empty. */
static enum BlockFault check_list(Cursor part, int labels)
{
    size_t all = part.left;
    while (part.left >= 2 && get_u16(part.at)) {
        uint16_t size;
        Cursor entry;
        const uint8_t *name;
        NEED(take_u16(&part, &size) && take_part(&part, size, &entry));
        if (labels) {
            double weight;
            uint8_t member;
            NEED(take_f64(&entry, &weight) && take_u8(&entry, &member));
            MUST(is_finite(weight) && member <= 1, BLOCK_BAD_NUMBER);
        }
        enum BlockFault fault = check_name(&entry, entry.left, &name);
        if (fault != BLOCK_SOUND)
            return fault;
    }
    size_t used = all - part.left;
    MUST(is_zero(part.at, part.left) && used && padded(used) == all, BLOCK_BAD_FORM);
    return BLOCK_SOUND;
}

static enum BlockFault check_edges(Cursor part)
{
    Last last = {NULL, 0};
    uint32_t count, zero, found = 0;
    NEED(take_u32(&part, &count) && take_u32(&part, &zero));
    MUST(zero == 0, BLOCK_NEWER);
    MUST(count, BLOCK_BAD_FORM);
    for (; part.left; found++) {
        double time;
        uint16_t size;
        const uint8_t *name;
        NEED(take_f64(&part, &time) && take_u16(&part, &size));
        MUST(is_signed_time(time), BLOCK_BAD_NUMBER);
        enum BlockFault fault = check_name(&part, size, &name);
        if (fault != BLOCK_SOUND || (fault = pad(&part, EDGE_HEAD + (size_t)size)) != BLOCK_SOUND)
            return fault;
        MUST(is_later(&last, name, size), BLOCK_BAD_ORDER);
    }
    MUST(found == count, BLOCK_BAD_NUMBER);
    return BLOCK_SOUND;
}

static enum BlockFault check_ids(Cursor part)
{
    uint32_t first, stored, count;
    size_t all = part.left;
    NEED(take_u32(&part, &first) && take_u32(&part, &stored) && take_u32(&part, &count));
    MUST(first <= stored && stored - first <= MOST_RECORDS && count < IDS_RECORD, BLOCK_BAD_NUMBER);
    MUST(stored || count, BLOCK_BAD_FORM);
    size_t size = ids_size(count);
    const uint8_t *groups;
    NEED(padded(size) == all && take(&part, size - IDS_HEAD, &groups));
    return pad(&part, size);
}

static enum BlockFault check_section(enum Section which, Cursor part, int *opaque)
{
    switch (which) {
    case KINDS:
        return check_counters(part, 2);
    case CATEGORIES:
        return check_counters(part, 1);
    case CELLS:
        return check_cells(part, opaque);
    case MEMBERS:
        return check_members(part);
    case KNOWN:
        return check_number(part, is_moment);
    case LANE:
        return check_lane(part);
    case ERASED:
        return check_number(part, is_time_above_0);
    case LABELS:
        return check_list(part, 1);
    case EDGES:
    case GROUPS:
        return check_edges(part);
    case ALIASES:
        return check_list(part, 0);
    case IDS:
        return check_ids(part);
    default:
        return BLOCK_NEWER;
    }
}

/* one section of the bytes that are left, without what says its size */
static enum BlockFault take_section(Cursor *rest, uint16_t units, Cursor *part)
{
    if (units != SECTION_LARGE) {
        NEED(take_part(rest, (size_t)8 * units, part));
        return BLOCK_SOUND;
    }
    Cursor start = *rest;
    uint32_t size, zero;
    NEED(take_u32(&start, &size) && take_u32(&start, &zero));
    MUST(zero == 0, BLOCK_NEWER);
    MUST(size > 8 * (uint32_t)SECTION_LARGE, BLOCK_BAD_FORM); /* with the eight bytes before it */
    NEED(size % 8 == 0 && take_part(rest, size, part));
    part->at = start.at;
    part->left -= 8;
    return BLOCK_SOUND;
}

static enum BlockFault check_header(const uint8_t *header)
{
    MUST(header[0] == BLOCK_FORMAT, BLOCK_BAD_FORMAT);
    MUST(header[9] == 0 && (get_u16(header + AT_FLAGS) & ~FLAGS) == 0 && get_u16(header + AT_MONTH + 2) == 0, BLOCK_NEWER);
    MUST(get_f64_be(header + AT_DUE) >= 0.0 && is_time(get_f64(header + AT_TIME)) && is_time(get_f64(header + AT_FIRST))
             && get_u16(header + AT_MONTH) == (uint16_t)(get_f64(header + AT_TIME) / MONTH),
         BLOCK_BAD_NUMBER);
    return BLOCK_SOUND;
}

enum BlockFault block_check(const uint8_t *bytes, size_t size)
{
    Cursor rest = {bytes, size};
    const uint8_t *header;
    MUST(size && bytes[0] == BLOCK_FORMAT, size ? BLOCK_BAD_FORMAT : BLOCK_BAD_SIZE);
    NEED(size <= BLOCK_MOST && take(&rest, BLOCK_HEADER, &header));
    enum BlockFault fault = check_header(header);
    int opaque = 0;
    uint16_t flags = get_u16(header + AT_FLAGS);
    for (unsigned which = 0; which < SECTIONS && fault == BLOCK_SOUND; which++) {
        uint16_t units = get_u16(header + AT_SIZES + 2 * which);
        if (units == 0)
            continue;
        Cursor part;
        fault = take_section(&rest, units, &part);
        if (fault == BLOCK_SOUND)
            fault = check_section((enum Section)which, part, &opaque);
    }
    if (fault != BLOCK_SOUND)
        return fault;
    NEED(rest.left == 0);
    MUST(opaque == ((flags & FLAG_OPAQUE) != 0), BLOCK_BAD_FORM);
    MUST((get_u16(header + AT_SIZES + 2 * KNOWN) != 0) == ((flags & FLAG_UNKNOWN) != 0), BLOCK_BAD_FORM);
    return BLOCK_SOUND;
}

const char *block_fault_words(enum BlockFault fault)
{
    static const char *const words[BLOCK_FAULTS] = {
        "it is sound",          "it has another format",         "a later release wrote it",
        "its sizes are wrong",  "its entries are not in order", "it has a number that cannot be",
        "it has a wrong name",  "it is not written as it should be",
    };
    return fault < BLOCK_FAULTS ? words[fault] : "it is damaged";
}
