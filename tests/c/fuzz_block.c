/* What block_check accepts can be read to its end and is written again as the same bytes; whatever else comes, it comes to
 * no harm. With clang's libFuzzer, or with the main below: blocks made by the verbs, and damaged.
 *
 *     fuzz_block SEED ROUNDS */
#include "block.h"
#include "cells.h"
#include "check.h"
#include "counters.h"
#include "edges.h"
#include "members.h"
#include "tail.h"

#include <stdio.h>
#include <stdlib.h>

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static void must(int done)
{
    if (done != DONE)
        fail("there is no room for what was there");
}

static void copy_cells(const UserBlock *from, UserBlock *to)
{
    const uint8_t *cell = section_at(from, CELLS), *end = cell + section_size(from, CELLS);
    for (; cell < end; cell += (size_t)8 * get_u16(cell + 10)) {
        uint64_t mark = get_u64(cell);
        if (cell[8] == CELL_LATEST) {
            must(cells_put_latest(to, mark, cells_latest(from, mark)));
            continue;
        }
        if (cell[8] == CELL_OPAQUE) {
            Opaque opaque = cells_opaque(from, mark);
            must(cells_put_opaque(to, mark, &opaque));
            continue;
        }
        TallySpec spec = {mark, 1, INT64_C(1) << 40}; /* nothing of it is over */
        double until = cells_unknown_until(from, mark), now = 0.0, end_of;
        if (until >= 0.0)
            must(cells_mark_unknown(to, mark, until));
        int64_t before = 0;
        while ((end_of = cells_next_expiry(from, &spec, now)) < MOST_TIME * 1e6) {
            if (!(end_of > now))
                fail("a bucket leaves the window twice");
            int64_t left = cells_total(from, &spec, end_of), total = cells_total(from, &spec, now);
            must(cells_add(to, &spec, end_of - 1.0 - (double)spec.window, total - left, 0.0));
            before += total - left;
            now = end_of;
        }
        if (before != cells_total(from, &spec, 0.0) || before != cells_total(to, &spec, 0.0))
            fail("a tally's total is not the sum of its buckets");
    }
}

static void copy_edges(const UserBlock *from, UserBlock *to, enum Section which)
{
    const char *name;
    double time;
    size_t size;
    for (size_t at = 0; (size = edges_next(from, which, &at, &name, &time)) != 0;) {
        must(edges_set(to, which, name, size, time > 0.0 ? time : -time, time > 0.0) == NO_ROOM ? NO_ROOM : DONE);
        if (edges_get(from, which, name, size) != time)
            fail("an edge is not found");
    }
    if (edges_count(to, which, 1) + edges_count(to, which, 0) != (section_size(to, which) ? get_u32(section_at(to, which)) : 0))
        fail("edges are counted wrongly");
}

static void copy(const UserBlock *from, UserBlock *to)
{
    static const enum Section whole[] = {KINDS, CATEGORIES, LABELS, ALIASES, IDS};
    const char *name;
    Member member, found;
    size_t size;
    copy_edges(from, to, GROUPS);
    for (size_t at = 0; (size = members_next(from, &at, &name, &member)) != 0;) {
        must(members_put(to, name, size, &member));
        if (!members_get(from, name, size, &found) || found.sequence != member.sequence)
            fail("a membership is not found");
    }
    copy_cells(from, to);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        must(block_set(to, whole[i], section_at(from, whole[i]), section_size(from, whole[i])));
    must(block_put_lane(to, block_lane(from)));
    must(block_put_erased(to, block_erased(from)));
    must(block_put_known_at(to, block_known_at(from)));
    copy_edges(from, to, EDGES);
    if ((block_flags(from) ^ block_flags(to)) & (FLAG_OPAQUE | FLAG_UNKNOWN))
        fail("flags that follow from sections differ");
    memcpy(to->at, from->at, AT_SIZES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (block_check(data, size) != BLOCK_SOUND)
        return 0;
    uint8_t *bytes = malloc(size), *again = malloc(size); /* as large as they are, so that a step beyond them is seen */
    if (bytes == NULL || again == NULL)
        abort();
    memcpy(bytes, data, size);
    UserBlock from, to;
    block_open(&from, bytes, size, size);
    block_begin(&to, again, size);
    copy(&from, &to);
    if (to.size != size || memcmp(again, data, size) != 0)
        fail("it is written as other bytes");
    free(bytes);
    free(again);
    return 0;
}

#ifndef LIBFUZZER
static uint64_t state;

static uint64_t draw(void) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static uint64_t below(uint64_t most)
{
    return draw() % most;
}

static size_t draw_name(char *name)
{
    static const char *const parts[] = {"a", "\xc3\xa9", "\xf0\x9f\x98\x80", "zz", "\xed\x9f\xbf"};
    size_t size = 0;
    do {
        const char *part = parts[below(5)];
        memcpy(name + size, part, strlen(part));
        size += strlen(part);
    } while (below(4) && size < 30);
    return size;
}

static double draw_time(void)
{
    return (double)(1600000000 + below(100000000)) + (double)below(4) / 4.0;
}

/* into a block whose records were not read: each 64th id makes a tail */
static void remember(UserBlock *block, uint64_t hash, uint32_t second)
{
    Tail *tail = NULL;
    uint32_t cut = 0;
    IdsAt ids = {.block = block, .tail = &tail, .cut = &cut};
    ids_remember(&ids, hash, second);
    tail_free(tail, NULL);
}

static void do_one(UserBlock *block)
{
    char name[40];
    size_t size = draw_name(name);
    double time = draw_time();
    TallySpec spec = {below(6), INT64_C(1) << below(17), 0};
    spec.window = spec.width * (int64_t)(24 + below(40));
    switch (below(12)) {
    case 0: {
        Counted event = {time, (int)below(11), (int)below(66) - 2, 2.0, (double)below(3) * 0.25, (double)below(3)};
        counters_enter(block, time);
        counters_add(block, &event);
        break;
    }
    case 1:
    case 2:
    case 3:
        cells_add(block, &spec, time - (double)below((uint64_t)spec.window * 2), (int64_t)below(UINT64_C(1) << below(52)), time);
        break;
    case 4:
        cells_mark_unknown(block, spec.mark, time);
        break;
    case 5:
        cells_note(block, 6 + below(3), time);
        break;
    case 6: {
        Opaque opaque = {time, below(2) ? 0.0 : time, (uint16_t)below(9), (const uint8_t *)name, (uint32_t)size};
        cells_put_opaque(block, 9 + below(3), &opaque);
        break;
    }
    case 7: {
        Member member = {time, 0.5, below(2) ? -0.5 : 0.25, draw(), draw(), (int)below(2)};
        members_put(block, name, size, &member);
        break;
    }
    case 8:
        edges_set(block, below(2) ? EDGES : GROUPS, name, size, time, (int)below(2));
        break;
    case 9:
        remember(block, draw(), (uint32_t)time);
        break;
    case 10:
        block_put_known_at(block, below(2) ? time : (double)__builtin_inf());
        block_put_erased(block, below(2) ? time : 0.0);
        block_put_lane(block, (Lane){below(2), 0, (uint32_t)below(3), 0});
        break;
    default:
        cells_trim(block, &spec, 1, time);
        cells_drop(block, below(12));
        members_remove(block, name, size);
        edges_drop(block, below(2) ? EDGES : GROUPS, name, size);
    }
}

/* a few bytes, numbers or sizes of it become others; it may end sooner */
static size_t damage(uint8_t *bytes, size_t size)
{
    static const uint64_t odd[] = {0, 1, 7, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FF0000000000000, 0x7FF8000000000001, UINT64_MAX};
    for (uint64_t times = 1 + below(3); times; times--) {
        size_t at = below(3) ? below(size) : 80 + 2 * below(SECTIONS), width = (size_t)1 << below(4);
        uint64_t value = below(2) ? odd[below(10)] : get_u64(bytes + below(size - 7)) + below(3) - 1;
        if (below(3))
            bytes[at] ^= (uint8_t)(1 << below(8));
        else if (at + width <= size)
            memcpy(bytes + at, &value, width);
    }
    return below(20) ? size : below(size);
}

int main(int count, char **arguments)
{
    state = count > 1 ? strtoull(arguments[1], NULL, 10) : 0;
    unsigned long rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 1000, sound = 0, faults[BLOCK_FAULTS] = {0};
    for (unsigned long round = 0; round < rounds; round++) {
        size_t room = BLOCK_HEADER + below(below(2) ? 400 : 4000);
        uint8_t *bytes = malloc(room);
        if (bytes == NULL)
            abort();
        UserBlock block;
        block_begin(&block, bytes, room);
        for (uint64_t verbs = below(60); verbs; verbs--)
            do_one(&block);
        if (block_check(bytes, block.size) != BLOCK_SOUND)
            fail(block_fault_words(block_check(bytes, block.size)));
        LLVMFuzzerTestOneInput(bytes, block.size);
        for (int times = 0; times < 20; times++) {
            uint8_t *copy_ = malloc(block.size);
            if (copy_ == NULL)
                abort();
            memcpy(copy_, bytes, block.size);
            size_t size = damage(copy_, block.size);
            enum BlockFault fault = block_check(copy_, size);
            faults[fault]++;
            sound += fault == BLOCK_SOUND;
            LLVMFuzzerTestOneInput(copy_, size);
            free(copy_);
        }
        free(bytes);
    }
    for (int fault = 0; fault < BLOCK_FAULTS; fault++)
        printf("%lu %s\n", faults[fault], block_fault_words((enum BlockFault)fault));
    return sound == 0;
}
#endif
