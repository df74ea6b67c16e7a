/* A block's sections: where they are, and how they grow and shrink. */
#include "block.h"

#include <math.h>

static uint32_t lead_of(size_t size)
{
    return size > (size_t)8 * (SECTION_LARGE - 1) ? SECTION_LEAD : 0;
}

void block_open(UserBlock *block, uint8_t *bytes, size_t size, size_t room)
{
    block->at = bytes;
    block->size = (uint32_t)size;
    block->room = (uint32_t)(room < BLOCK_MOST ? room : BLOCK_MOST);
    uint32_t at = BLOCK_HEADER;
    for (size_t section = 0; section < SECTIONS; section++) {
        block->start[section] = at;
        uint32_t units = get_u16(bytes + AT_SIZES + 2 * section);
        at += units == SECTION_LARGE ? get_u32(bytes + at) : 8 * units;
    }
    block->start[SECTIONS] = at;
}

void block_begin(UserBlock *block, uint8_t *bytes, size_t room)
{
    memset(bytes, 0, BLOCK_HEADER);
    bytes[0] = BLOCK_FORMAT;
    block_open(block, bytes, BLOCK_HEADER, room);
    block_put_due(block, INFINITY);
}

void block_move(UserBlock *block, uint8_t *bytes, size_t room)
{
    block->at = bytes;
    block->room = (uint32_t)(room < BLOCK_MOST ? room : BLOCK_MOST);
}

int64_t block_growth(const UserBlock *block, enum Section which, size_t old, size_t new)
{
    size_t before = section_size(block, which), after = before - old + new;
    return (int64_t)(after + lead_of(after)) - (int64_t)(before + lead_of(before));
}

uint8_t *block_splice(UserBlock *block, enum Section which, size_t at, size_t old, size_t new)
{
    size_t before = section_size(block, which), after = before - old + new, kept = old < new ? old : new;
    uint32_t lead = section_lead(block, which), now_lead = lead_of(after);
    int64_t size = block->size + block_growth(block, which, old, new);
    if (size > block->room)
        return NULL;
    uint8_t *section = block->at + block->start[which], *head = section + now_lead;
    uint8_t *from = section + lead, *tail = from + at + old, *end = block->at + block->size;
    if (now_lead <= lead) { /* what comes first moves to the left, or stays */
        memmove(head, from, at + kept);
        memmove(head + at + new, tail, (size_t)(end - tail));
    } else {
        memmove(head + at + new, tail, (size_t)(end - tail));
        memmove(head, from, at + kept);
    }
    memset(head + at + kept, 0, new - kept);
    uint32_t by = (uint32_t)(size - block->size); /* modulo 2**32 */
    for (size_t section_ = (size_t)which + 1; section_ <= SECTIONS; section_++)
        block->start[section_] += by;
    block->size = (uint32_t)size;
    put_u16(block->at + AT_SIZES + 2 * (size_t)which, (uint16_t)(now_lead ? SECTION_LARGE : after / 8));
    if (now_lead)
        put_u64(section, after + now_lead);
    return head + at;
}

int block_set(UserBlock *block, enum Section which, const uint8_t *bytes, size_t size)
{
    uint8_t *at = block_splice(block, which, 0, section_size(block, which), padded(size));
    if (at == NULL)
        return NO_ROOM;
    if (size) {
        memcpy(at, bytes, size);
        memset(at + size, 0, padded(size) - size);
    }
    return DONE;
}

/* a section that is one number, and is there where that is not ``none`` */
static int put_number(UserBlock *block, enum Section which, double number, double none)
{
    uint8_t bytes[8];
    put_f64(bytes, number);
    return block_set(block, which, bytes, number == none ? 0 : sizeof bytes);
}

double block_known_at(const UserBlock *block)
{
    return section_size(block, KNOWN) ? get_f64(section_at(block, KNOWN)) : (double)INFINITY;
}

int block_put_known_at(UserBlock *block, double known_at)
{
    if (put_number(block, KNOWN, known_at, (double)INFINITY) != DONE)
        return NO_ROOM;
    block_flag(block, FLAG_UNKNOWN, section_size(block, KNOWN) != 0);
    return DONE;
}

double block_erased(const UserBlock *block)
{
    return section_size(block, ERASED) ? get_f64(section_at(block, ERASED)) : 0.0;
}

int block_put_erased(UserBlock *block, double erased)
{
    return put_number(block, ERASED, erased, 0.0);
}

Lane block_lane(const UserBlock *block)
{
    if (section_size(block, LANE) == 0)
        return (Lane){0, 0, 0, 0};
    const uint8_t *at = section_at(block, LANE);
    return (Lane){get_u64(at), get_u32(at + 8), get_u32(at + 12), get_u32(at + 16)};
}

int block_put_lane(UserBlock *block, Lane lane)
{
    uint8_t bytes[LANE_BYTES] = {0};
    put_u64(bytes, lane.dirty);
    put_u32(bytes + 8, lane.texts);
    put_u32(bytes + 12, lane.texts_put);
    put_u32(bytes + 16, lane.texts_taken);
    int there = lane.dirty || lane.texts || lane.texts_put || lane.texts_taken;
    return block_set(block, LANE, bytes, there ? sizeof bytes : 0);
}
