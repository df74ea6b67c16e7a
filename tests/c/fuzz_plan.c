/* Images of plans, damaged anyhow: plan_open refuses them, or a fold by them reads and writes nothing outside of what it
 * was given, and leaves a block that is right. The image comes by standard input; arguments: a seed, how many. It tells how
 * often each answer came up. With LIBFUZZER the bytes are the fuzzer's. */
#include "block.h"
#include "check.h"
#include "due.h"
#include "fold.h"
#include "memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EVENTS = 150, ROOM = 1 << 20, FAULTS = PLAN_BAD_ROUTE + 1 };

static uint64_t state = 1;

static uint32_t any(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(((state >> 33) * below) >> 31);
}

static void must(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

typedef struct {
    FoldEvent events[EVENTS];
    uint32_t order[EVENTS];
} Load;

static void load(const PlanImage *plan, Load *load)
{
    double time = 1.7e9;
    for (uint32_t i = 0; i < EVENTS; i++) {
        time += (double)any(1u << any(18));
        load->order[i] = i;
        load->events[i] = (FoldEvent){
            .time = time,
            .amount = any(2) ? 0.0 : (double)any(1u << any(31)),
            .dwell = any(2) ? 0.0 : (double)any(1u << any(31)),
            .id_hash = any(UINT32_MAX),
            .second = any(UINT32_MAX),
            .route = (int32_t)any(plan->head->routes + 1),
            .bucket = (int32_t)any(65) - 1,
            .anonymous = (uint8_t)any(2),
        };
    }
}

/* The bytes, moved to more room. */
static uint8_t *grow(UserBlock *block, uint8_t *bytes, size_t *room, size_t wanted)
{
    *room += any(2) ? 8 : wanted;
    must(*room <= ROOM, "the block grows without end");
    bytes = realloc(bytes, *room);
    must(bytes != NULL, "no memory");
    block_move(block, bytes, *room);
    return bytes;
}

/* Folds them into a block of nobody yet, which is to be freed, and begins the memberships of rules that surely hold.
 * ``harsh``: memory and room are missing again and again. */
static uint8_t *fold_all(const PlanImage *plan, const Load *load, size_t *size, int harsh)
{
    FoldScratch *scratch = fold_scratch_new(plan);
    size_t room = harsh ? BLOCK_HEADER : ROOM;
    uint8_t *bytes = malloc(room); /* never more than the block may use */
    must(scratch != NULL && bytes != NULL, "no memory");
    UserBlock block;
    Tail *tail = NULL;
    uint32_t cut = 0, at = 0;
    block_begin(&block, bytes, room);
    IdsAt ids = {.block = &block, .tail = &tail, .cut = &cut};
    while (at < EVENTS) {
        memory_fails_in = harsh ? any(2) : 0;
        enum FoldEnd end = fold_user(&ids, plan, load->events, load->order, EVENTS, &at, (double)INFINITY, 0.0, scratch);
        must(harsh || (end != FOLD_NO_MEMORY && end != FOLD_NO_ROOM), "it has both");
        at += end == FOLD_LEFT;
        if (end == FOLD_NO_ROOM)
            bytes = grow(&block, bytes, &room, fold_wanted(scratch));
        while (end == FOLD_OPENED && fold_enter(plan, &block, scratch) == FOLD_NO_ROOM) {
            must(harsh, "it has room");
            bytes = grow(&block, bytes, &room, fold_wanted(scratch));
        }
    }
    memory_fails_in = 0;
    block_put_due(&block, plan_next_due(plan, &block));
    must(block_check(bytes, block.size) == BLOCK_SOUND, "the block is not right any more");
    fold_scratch_free(scratch);
    tail_free(tail, NULL);
    *size = block.size;
    return bytes;
}

static void fold_some(const PlanImage *plan)
{
    Load given;
    size_t sizes[2];
    load(plan, &given);
    uint8_t *one = fold_all(plan, &given, &sizes[0], 0), *other = fold_all(plan, &given, &sizes[1], 1);
    must(sizes[0] == sizes[1] && memcmp(one, other, sizes[0]) == 0, "it depends on room or memory");
    free(one);
    free(other);
}

static enum PlanFault try(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* as large as it is, so that a step beyond it is seen */
    must(copy != NULL, "no memory");
    memcpy(copy, bytes, size);
    PlanImage plan;
    enum PlanFault fault = plan_open(&plan, copy, size);
    if (fault == PLAN_SOUND)
        fold_some(&plan);
    free(copy);
    return fault;
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    try(bytes, size);
    return 0;
}

#else

static void damage(uint8_t *bytes, size_t size)
{
    for (uint32_t times = 1 + any(3); times > 0; times--) {
        uint8_t *at = bytes + any((uint32_t)size / 4) * 4;
        switch (any(6)) {
        case 0:
            bytes[any((uint32_t)size)] ^= (uint8_t)(1u << any(8));
            break;
        case 1:
            put_u32(at, any(40));
            break;
        case 2:
            put_u32(at, get_u32(at) + any(5) - 2);
            break;
        case 3:
            memcpy(at, bytes + any((uint32_t)size / 4) * 4, 4);
            break;
        case 4:
            put_u32(at, UINT32_MAX - any(2));
            break;
        default:
            put_u32(at, 0);
        }
    }
}

int main(int count, char **arguments)
{
    static uint8_t sound[1 << 20], bytes[1 << 20];
    size_t size = fread(sound, 1, sizeof sound, stdin);
    must(count == 3 && size > 0, "fuzz_plan SEED COUNT < image");
    state = strtoull(arguments[1], NULL, 10);
    unsigned long found[FAULTS] = {0};
    must(try(sound, size) == PLAN_SOUND, "the image is not sound");
    for (unsigned long left = strtoul(arguments[2], NULL, 10); left > 0; left--) {
        memcpy(bytes, sound, size);
        damage(bytes, size);
        found[try(bytes, any(50) ? size : any((uint32_t)size))]++;
    }
    for (int fault = 0; fault < FAULTS; fault++)
        printf("%lu %s\n", found[fault], plan_fault_words((enum PlanFault)fault));
    return 0;
}

#endif
