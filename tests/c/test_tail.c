/* The memory of ids beyond the block, under the address and undefined-behaviour sanitizers. What is in them is held against
 * the twin by tests/properties/test_core_turns.py, and with failing memory against plain arrays by test_cache.c. */
#include "expect.h"
#include "tail.h"

#define KIB ((size_t)1024)

/* a user who has so many ids, in the turn under way */
static void begins_with_ids(Cache *cache, const User *user, uint32_t ids)
{
    uint32_t number;
    UserBlock block;
    IdsAt at;
    EXPECT(turn_new(cache, user, 700, &number) == 0);
    turn_open(cache, number, &block, &at);
    for (uint32_t id = 0; id < ids; id++)
        EXPECT(ids_remember(&at, mixed(id) | 1, 1000000000) == ID_NEW);
    turn_close(cache, number, &block);
}

static void no_id_is_left_of_who_goes(void)
{
    Arena *arena = arena_new(KIB * KIB, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    UserBlock block;
    IdsAt at;
    uint32_t number, done;
    User emma = {.hash = mixed(77), .name = "emma@example.org", .size = 16};
    EXPECT(turn_begin(cache, 1) == 0);
    begins_with_ids(cache, &emma, 1000);
    turn_commit(cache, 0);
    size_t bytes = cache->tails, before = arena_held(arena);
    EXPECT(bytes > 15 * IDS_RECORD_BYTES && bytes < 40 * IDS_RECORD_BYTES);
    EXPECT(turn_begin(cache, 1) == 0 && turn_find(cache, &emma, 1, &number, &done) == 0);
    size_t with_copy = arena_held(arena);
    turn_open(cache, number, &block, &at);
    EXPECT(ids_known(&at, mixed(3) | 1) && !ids_known(&at, 12));
    ids_clear(&at); /* the committed entry has it yet */
    EXPECT(arena_held(arena) == with_copy);
    turn_drop(cache);
    EXPECT(arena_held(arena) == before && cache->tails == bytes);
    EXPECT(turn_begin(cache, 1) == 0 && turn_find(cache, &emma, 1, &number, &done) == 0);
    turn_open(cache, number, &block, &at);
    EXPECT(ids_known(&at, mixed(3) | 1));
    ids_clear(&at);
    turn_close(cache, number, &block);
    memory_put(MEMORY_HEAP, memset(memory_get(MEMORY_HEAP, 8), 1, 8), 8);
    EXPECT(memory_left == 8);
    Tail *tail = prefix_at(&cache->slabs, turn_copy(cache, number)->was)->tail;
    turn_commit(cache, 0);
    EXPECT(tail != NULL && cache->tails == 0);
    uint8_t record[IDS_RECORD_BYTES];
    memset(record, 7, sizeof record);
    EXPECT(tail_make(&tail, 5, 6, &(IdsBytes){record, sizeof record}, 1, arena) == DONE);
    tail_free(tail, arena);
    EXPECT(memory_left == 0);
    cache_free(cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static void ids_count_in_the_bound(void)
{
    size_t bound = 4 * KIB * KIB;
    Arena *arena = arena_new(bound, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    char name[32];
    for (uint32_t round = 0; round < 100; round++) {
        EXPECT(turn_begin(cache, 20) == 0);
        for (uint32_t at = 0; at < 20; at++) {
            User user = user_of(20 * round + at, name, sizeof(name), 0);
            begins_with_ids(cache, &user, 30 * at);
        }
        turn_commit(cache, 0);
        cache_tidy(cache);
        EXPECT(arena_held(arena) <= bound + 4 * RUN_BYTES && arena_held(arena) == cache_bytes(cache));
    }
    EXPECT(arena_held(arena) > bound / 10 * 9 && cache->tails > bound / 3);
    EXPECT(cache_users(cache) < 2000 - 500);
    cache_free(cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static void a_turn_is_full_of_ids_that_come_from_the_store(void)
{
    size_t bound = 16 * KIB * KIB;
    Arena *arena = arena_new(bound, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    uint8_t record[IDS_RECORD_BYTES], bytes[BLOCK_HEADER + 16] = {0};
    IdsBytes records[16];
    UserBlock block;
    char name[32];
    uint32_t number, users = 0;
    memset(record, 7, sizeof record);
    for (unsigned at = 0; at < 16; at++)
        records[at] = (IdsBytes){record, sizeof record};
    block_begin(&block, bytes, sizeof bytes);
    uint8_t numbers[IDS_HEAD] = {0};
    put_u32(numbers + 4, 16);
    EXPECT(block_set(&block, IDS, numbers, sizeof numbers) == DONE);
    EXPECT(turn_begin(cache, 0) == 0);
    for (; !turn_is_full(cache); users++) {
        User user = user_of(users, name, sizeof(name), 0);
        EXPECT(turn_admit(cache, &user, bytes, block.size, records, 16, &number) == 0);
        EXPECT(turn_copy(cache, number)->stored == 16);
    }
    EXPECT(users > bound / 4 / (40 * IDS_RECORD_BYTES) && users < bound / 4 / (16 * IDS_RECORD_BYTES));
    turn_drop(cache);
    cache_free(cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

int main(void)
{
    a_turn_is_full_of_ids_that_come_from_the_store();
    no_id_is_left_of_who_goes();
    ids_count_in_the_bound();
    EXPECT(memory_live == 0);
    puts("well");
    return 0;
}
