/* Users who rest: what is packed comes out as it was, it takes less, and only who has no turns is packed. Under the address
 * sanitizer, so not a byte beyond what is packed is read. */
#include "expect.h"
#include "pack.h"

#define KIB ((size_t)1024)
#define USERS 4000u
#define BYTES 800u

/* a byte as often zero as one in ``zeros`` + 1 is not */
static uint8_t byte_of(uint64_t *seed, uint32_t zeros)
{
    return draw(seed, zeros + 1) != 0 ? 0 : (uint8_t)draw(seed, 256);
}

static void what_is_packed_comes_out_as_it_was(void)
{
    static uint8_t packed[PACK_ROOM], block[PACK_LARGEST];
    uint64_t seed = 5;
    for (uint32_t round = 0; round < 20000; round++) {
        size_t size = BLOCK_HEADER + 8 * draw(&seed, round % 50 == 0 ? (PACK_LARGEST - BLOCK_HEADER) / 8 + 1 : 100);
        uint32_t zeros = draw(&seed, 8), rest = (uint32_t)(size - BLOCK_HEADER) / 8;
        for (size_t byte = 0; byte < size; byte++)
            block[byte] = byte_of(&seed, zeros);
        if (round % 4 != 0) { /* else sizes that no block has */
            uint32_t kinds = draw(&seed, rest + 1), categories = draw(&seed, rest - kinds + 1);
            put_u16(block + AT_SIZES + 2 * KINDS, (uint16_t)kinds);
            put_u16(block + AT_SIZES + 2 * CATEGORIES, (uint16_t)categories);
            put_u16(block + AT_SIZES + 2 * IDS, (uint16_t)draw(&seed, rest - kinds - categories + 1));
        }
        size_t bytes = block_pack(block, size, packed);
        EXPECT(bytes <= PACK_ROOM && bytes <= size + size / 8 + 3);
        uint8_t *there = malloc(bytes), *again = malloc(size);
        EXPECT(there != NULL && again != NULL);
        memcpy(there, packed, bytes);
        memset(again, 0xEE, size);
        packed_read(there, again);
        EXPECT(packed_size(there) == size && memcmp(again, block, size) == 0);
        double due = packed_due(there), wanted = get_f64_be(block + AT_DUE);
        EXPECT(memcmp(&due, &wanted, sizeof due) == 0);
        free(there);
        free(again);
    }
}

/* numbers as blocks have them: half of their bytes are zero */
static void fill(Entry entry, uint32_t user)
{
    for (uint32_t at = BLOCK_HEADER; at < BYTES; at += 8)
        put_u64(entry.block + at, (uint64_t)user * 7919 + at);
}

/* a turn of users with every ``step``-th number */
static void turn(Cache *cache, uint32_t from, uint32_t count, uint32_t step)
{
    char name[32];
    EXPECT(turn_begin(cache, count) == 0);
    for (uint32_t at = 0; at < count; at++) {
        uint32_t number, done, user = (from + at * step) % USERS;
        User who = user_of(user, name, sizeof name, 0);
        EXPECT(turn_find(cache, &who, 1, &number, &done) == 0);
        if (number == TURN_MISSING)
            fill(turn_entry(cache, user_begins(cache, &who, BYTES)), user);
    }
    turn_commit(cache, 0);
    cache_tidy(cache);
}

/* how many are packed; everybody is as they were */
static uint32_t packed_users(const Cache *cache)
{
    char name[32];
    uint8_t block[BYTES];
    uint32_t packed = 0;
    for (uint32_t user = 0; user < USERS; user++) {
        User who = user_of(user, name, sizeof name, 0);
        Entry entry;
        EXPECT(cache_get(cache, &who, &entry) && entry_size(entry.prefix) == BYTES);
        entry_read(entry.prefix, block);
        for (uint32_t at = BLOCK_HEADER; at < BYTES; at += 8)
            EXPECT(get_u64(block + at) == (uint64_t)user * 7919 + at);
        packed += (entry.prefix->flags & ENTRY_PACKED) != 0;
    }
    return packed;
}

static void who_has_no_turns_takes_less(void)
{
    Arena *arena = arena_new(64 * KIB * KIB, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    for (uint32_t user = 0; user < USERS; user += 1000)
        turn(cache, user, 1000, 1);
    size_t before = cache_bytes(cache);
    for (unsigned second = 0; second < 80; second++)
        cache_tidy(cache);
    EXPECT(packed_users(cache) == USERS);
    EXPECT(cache_bytes(cache) < before / 4 * 3);
    turn(cache, 0, 100, 3); /* whoever has a turn is as ever, and nobody else */
    EXPECT(packed_users(cache) == USERS - 100);
    uint32_t number, done;
    char name[32];
    User who = user_of(7, name, sizeof name, 0);
    EXPECT(turn_begin(cache, 1) == 0 && turn_find(cache, &who, 1, &number, &done) == 0);
    turn_drop(cache);
    EXPECT(packed_users(cache) == USERS - 100);
    cache_free(cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static void who_is_seen_as_often_as_others_is_not_packed(void)
{
    Arena *arena = arena_new(64 * KIB * KIB, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    uint64_t seed = 1;
    uint32_t packed = 0;
    for (uint32_t user = 0; user < USERS; user += 1000)
        turn(cache, user, 1000, 1);
    for (uint32_t round = 0; round < 100; round++) {
        turn(cache, draw(&seed, USERS), 2000, 1 + 2 * draw(&seed, USERS)); /* odd: nearly nobody twice */
        packed += packed_users(cache);
    }
    EXPECT(packed / 100 < USERS / 20);
    for (uint32_t round = 0; round < 40; round++) /* turns of a quarter: the others rest meanwhile */
        turn(cache, 0, 1000, 4);
    packed = packed_users(cache);
    EXPECT(packed > USERS / 10 * 7 && packed <= USERS / 4 * 3);
    cache_free(cache);
    arena_free(arena);
}

/* Who comes takes other slots than those that are free when others who rest are let go. */
static void turns_keep_to_the_bound_where_many_rest(void)
{
    size_t bound = 2 * KIB * KIB;
    Arena *arena = arena_new(bound, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    uint32_t turns = 0, least = UINT32_MAX;
    char name[32];
    for (uint32_t user = 0; user < 10 * USERS; turns++) {
        uint32_t first = user;
        EXPECT(turn_begin(cache, 0) == 0);
        for (; user < 10 * USERS && (user == first || !turn_is_full(cache)); user++) {
            User who = user_of(user, name, sizeof name, 0);
            fill(turn_entry(cache, user_begins(cache, &who, BYTES)), user);
            EXPECT(arena_held(arena) <= bound + CACHE_EXCESS(bound) + 2 * RUN_BYTES + cache->turn.room * sizeof(Copy));
        }
        least = user < 10 * USERS && user - first < least ? user - first : least;
        turn_commit(cache, 0);
        for (unsigned second = 0; second < 80; second++)
            cache_tidy(cache);
        EXPECT(arena_held(arena) <= bound + RUN_BYTES);
    }
    printf("%u turns, of %u users or more\n", turns, least);
    EXPECT(least > CACHE_EXCESS(bound) / 1000 && arena_held(arena) > bound / 10 * 9);
    cache_free(cache);
    arena_free(arena);
}

int main(void)
{
    what_is_packed_comes_out_as_it_was();
    who_has_no_turns_takes_less();
    who_is_seen_as_often_as_others_is_not_packed();
    turns_keep_to_the_bound_where_many_rest();
    puts("well");
    return 0;
}
