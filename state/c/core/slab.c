#include "slab.h"

#include <string.h>

/* Bytes of a slot in units of 64: steps of one up to 1 KiB, then about an eighth more, as much as lets the same
 * number fit into a run; from 64 KiB on one slot has one to four whole runs. */
static const uint16_t UNITS[SLAB_CLASSES] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 21, 24, 27, 31, 35,
    40, 46, 53, 60, 68, 78, 85, 93, 102, 113, 128, 146, 170, 204, 256, 341, 512, 1024, 2048, 3072, 4096,
};
#define FULL (SLAB_LISTS - 1)

_Static_assert(UNIT_BYTES * RUN_UNITS == RUN_BYTES && RUN_UNITS <= 1024, "a handle has ten bits for a place in a run");
_Static_assert((uint64_t)MOST_RUNS * RUN_UNITS <= HANDLE_LARGE, "a handle reaches every run");

unsigned slab_class(size_t bytes)
{
    size_t units = (bytes + UNIT_BYTES - 1) / UNIT_BYTES;
    if (units <= 16)
        return units == 0 ? 0 : (unsigned)units - 1;
    unsigned low = 16, high = SLAB_CLASSES - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (UNITS[middle] < units)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t slab_class_bytes(unsigned class)
{
    return UNITS[class] * UNIT_BYTES;
}

static uint32_t slots_of(unsigned class)
{
    return UNITS[class] > RUN_UNITS ? 1 : (uint32_t)RUN_UNITS / UNITS[class];
}

static uint32_t runs_of(unsigned class)
{
    return UNITS[class] > RUN_UNITS ? UNITS[class] / (uint32_t)RUN_UNITS : 1;
}

static Handle first_slot(uint32_t number)
{
    return number * (uint32_t)RUN_UNITS;
}

void slabs_init(Slabs *slabs, Arena *arena)
{
    memset(slabs, 0, sizeof(*slabs));
    slabs->arena = arena;
}

/* lists of runs */

static void unlink_run(Slabs *slabs, Run *run)
{
    if (run->before != 0)
        arena_run(slabs->arena, run->before)->next = run->next;
    else
        slabs->classes[run->class].lists[run->list] = run->next;
    if (run->next != 0)
        arena_run(slabs->arena, run->next)->before = run->before;
}

static void link_run(Slabs *slabs, uint32_t number, Run *run, unsigned list)
{
    uint32_t *head = &slabs->classes[run->class].lists[list];
    run->list = (uint8_t)list;
    run->before = 0;
    run->next = *head;
    if (*head != 0)
        arena_run(slabs->arena, *head)->before = number;
    *head = number;
}

/* to the list for as many slots as are used */
static void relink_run(Slabs *slabs, uint32_t number, Run *run)
{
    unsigned list = run->used * (unsigned)FULL / slots_of(run->class);
    if (list != run->list) {
        unlink_run(slabs, run);
        link_run(slabs, number, run, list);
    }
}

static uint32_t take_run(Slabs *slabs, unsigned class)
{
    uint32_t runs = runs_of(class), number = arena_take(slabs->arena, runs);
    if (number == 0)
        return 0;
    Run *run = arena_run(slabs->arena, number);
    memset(run, 0, sizeof(*run));
    run->class = (uint8_t)class;
    uint32_t slots = slots_of(class);
    for (uint32_t slot = 0; slot < slots; slot += 64)
        run->free[slot / 64] = slots - slot >= 64 ? UINT64_MAX : ((uint64_t)1 << (slots - slot)) - 1;
    link_run(slabs, number, run, 0);
    slabs->classes[class].runs++;
    slabs->bytes += runs * RUN_BYTES;
    MEMORY_CLOSE(slab_at(slabs, first_slot(number)), runs * RUN_BYTES);
    return number;
}

static void give_run(Slabs *slabs, uint32_t number, Run *run)
{
    uint32_t runs = runs_of(run->class);
    unlink_run(slabs, run);
    slabs->classes[run->class].runs--;
    slabs->bytes -= runs * RUN_BYTES;
    MEMORY_OPEN(slab_at(slabs, first_slot(number)), runs * RUN_BYTES);
    arena_give(slabs->arena, number, runs);
}

/* blocks with pages of their own */

static Handle large_get(Slabs *slabs, size_t bytes)
{
    uint32_t at = 0;
    while (at < slabs->large_count && slabs->large[at].at != NULL)
        at++; /* there are few */
    if (at == slabs->large_count) {
        uint32_t count = slabs->large_count == 0 ? 4 : 2 * slabs->large_count;
        Large *large = memory_get(MEMORY_HEAP, count * sizeof(Large));
        if (large == NULL)
            return 0;
        if (at > 0)
            memcpy(large, slabs->large, at * sizeof(Large));
        memory_put(MEMORY_HEAP, slabs->large, at * sizeof(Large));
        slabs->large = large;
        slabs->large_count = count;
    }
    bytes = (bytes + 4095) / 4096 * 4096;
    uint8_t *pages = memory_get(MEMORY_PAGES, bytes);
    if (pages == NULL)
        return 0;
    slabs->large[at] = (Large){.at = pages, .bytes = bytes};
    slabs->bytes += bytes;
    arena_count(slabs->arena, (int64_t)bytes);
    return HANDLE_LARGE | at;
}

static void large_put(Slabs *slabs, Large *large)
{
    memory_put(MEMORY_PAGES, large->at, large->bytes);
    slabs->bytes -= large->bytes;
    arena_count(slabs->arena, -(int64_t)large->bytes);
    *large = (Large){0};
}

/* slots */

/* the fullest run with a free slot; 0: there is none */
static uint32_t fullest(const SlabClass *class)
{
    for (unsigned list = FULL; list-- > 0;)
        if (class->lists[list] != 0)
            return class->lists[list];
    return 0;
}

Handle slab_get(Slabs *slabs, size_t bytes)
{
    if (bytes > SLAB_LARGEST)
        return bytes > SLAB_MOST ? 0 : large_get(slabs, bytes);
    unsigned class = slab_class(bytes), word = 0;
    uint32_t number = fullest(&slabs->classes[class]);
    if (number == 0 && (number = take_run(slabs, class)) == 0)
        return 0;
    Run *run = arena_run(slabs->arena, number);
    while (run->free[word] == 0)
        word++;
    uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(run->free[word]);
    run->free[word] &= run->free[word] - 1;
    run->used++;
    slabs->classes[class].used++;
    relink_run(slabs, number, run);
    Handle handle = first_slot(number) + slot * UNITS[class];
    MEMORY_OPEN(slab_at(slabs, handle), slab_class_bytes(class));
    return handle;
}

void slab_put(Slabs *slabs, Handle handle)
{
    if (handle & HANDLE_LARGE) {
        large_put(slabs, &slabs->large[handle & ~HANDLE_LARGE]);
        return;
    }
    uint32_t number = handle / (uint32_t)RUN_UNITS;
    Run *run = arena_run(slabs->arena, number);
    uint32_t slot = handle % (uint32_t)RUN_UNITS / UNITS[run->class];
    MEMORY_CLOSE(slab_at(slabs, handle), slab_class_bytes(run->class));
    run->free[slot / 64] |= (uint64_t)1 << slot % 64;
    run->used--;
    slabs->classes[run->class].used--;
    if (run->used == 0)
        give_run(slabs, number, run);
    else
        relink_run(slabs, number, run);
}

size_t slab_room(const Slabs *slabs, Handle handle)
{
    if (handle & HANDLE_LARGE)
        return slabs->large[handle & ~HANDLE_LARGE].bytes;
    return slab_class_bytes(arena_run(slabs->arena, handle / (uint32_t)RUN_UNITS)->class);
}

int slab_needs_run(const Slabs *slabs, size_t bytes)
{
    return bytes > SLAB_LARGEST || fullest(&slabs->classes[slab_class(bytes)]) == 0;
}

/* whole runs */

/* moves what is in a run into others of its class, which have room for it */
static void empty_run(Slabs *slabs, uint32_t number, void (*moved)(void *, Handle, Handle), void *of)
{
    Run *run = arena_run(slabs->arena, number);
    unsigned class = run->class;
    unlink_run(slabs, run);
    link_run(slabs, number, run, FULL); /* so that none is moved to where it came from */
    for (uint32_t slot = 0; slot < slots_of(class); slot++) {
        if (run->free[slot / 64] >> slot % 64 & 1)
            continue;
        Handle from = first_slot(number) + slot * UNITS[class], to = slab_get(slabs, slab_class_bytes(class));
        memcpy(slab_at(slabs, to), slab_at(slabs, from), slab_class_bytes(class));
        moved(of, from, to);
    }
    slabs->classes[class].used -= run->used;
    give_run(slabs, number, run);
}

void slabs_compact(Slabs *slabs, uint32_t slack, void (*moved)(void *of, Handle from, Handle to), void *of)
{
    for (unsigned at = 0; at < SLAB_CLASSES; at++) {
        SlabClass *class = &slabs->classes[at];
        for (;;) {
            uint32_t all = class->runs * slots_of(at), free = all - class->used, number = 0;
            if (free < slots_of(at) || (slack != 0 && free < all / slack))
                break;
            for (unsigned list = 0; number == 0 && list < FULL; list++)
                number = class->lists[list];
            if (number == 0) /* only with slots of whole runs, which are given back when they are freed */
                break;
            empty_run(slabs, number, moved, of);
        }
    }
}

void slabs_scrub(Slabs *slabs)
{
    for (unsigned class = 0; class < SLAB_CLASSES; class++)
        for (unsigned list = 0; list < FULL; list++)
            for (uint32_t number = slabs->classes[class].lists[list]; number != 0;) {
                Run *run = arena_run(slabs->arena, number);
                for (uint32_t slot = 0; slot < slots_of(class); slot++) {
                    if (!(run->free[slot / 64] >> slot % 64 & 1))
                        continue;
                    uint8_t *at = slab_at(slabs, first_slot(number) + slot * UNITS[class]);
                    MEMORY_OPEN(at, slab_class_bytes(class));
                    memset(at, 0, slab_class_bytes(class));
                    MEMORY_CLOSE(at, slab_class_bytes(class));
                }
                number = run->next;
            }
}

void slabs_free(Slabs *slabs)
{
    for (unsigned class = 0; class < SLAB_CLASSES; class++)
        for (unsigned list = 0; list < SLAB_LISTS; list++)
            while (slabs->classes[class].lists[list] != 0) {
                uint32_t number = slabs->classes[class].lists[list];
                give_run(slabs, number, arena_run(slabs->arena, number));
            }
    for (uint32_t at = 0; at < slabs->large_count; at++)
        if (slabs->large[at].at != NULL)
            large_put(slabs, &slabs->large[at]);
    memory_put(MEMORY_HEAP, slabs->large, slabs->large_count * sizeof(Large));
    slabs_init(slabs, slabs->arena);
}
