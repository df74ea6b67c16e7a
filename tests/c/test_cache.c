/* The users in memory against plain arrays, under the address and undefined-behaviour sanitizers. */
#include "model.h"

#define KIB ((size_t)1024)

static void classes_hold_what_is_asked_and_waste_an_eighth(void)
{
    EXPECT(slab_class_bytes(SLAB_CLASSES - 1) == SLAB_LARGEST);
    for (size_t bytes = 1; bytes <= SLAB_LARGEST; bytes++) {
        unsigned class = slab_class(bytes);
        EXPECT(class < SLAB_CLASSES && slab_class_bytes(class) >= bytes);
        EXPECT(class == 0 || slab_class_bytes(class - 1) < bytes); /* the smallest that does */
        if (bytes > 1 && bytes <= 8 * KIB)
            EXPECT(slab_class_bytes(class) <= bytes + bytes / 7 + UNIT_BYTES); /* larger ones: as a run is divided */
    }
    for (unsigned class = 0; class < SLAB_CLASSES; class++) {
        size_t bytes = slab_class_bytes(class), slots = RUN_BYTES / bytes;
        EXPECT(bytes % UNIT_BYTES == 0);
        EXPECT(slots == 0 || slots * (bytes + UNIT_BYTES) > RUN_BYTES || class < 16);
    }
}

static void slots_do_not_overlap_and_runs_go_back(void)
{
    Arena *arena = arena_new(KIB * KIB, MEMORY_HUGE);
    Slabs slabs;
    Handle handles[3000];
    uint8_t *at[3000];
    size_t sizes[3000];
    uint64_t seed = 1;
    slabs_init(&slabs, arena);
    for (unsigned i = 0; i < 3000; i++) {
        sizes[i] = 1 + draw(&seed, i % 100 == 0 ? 600000 : i % 10 == 0 ? 20000 : 1000);
        handles[i] = slab_get(&slabs, sizes[i]);
        EXPECT(handles[i] != 0 && slab_room(&slabs, handles[i]) >= sizes[i]);
        at[i] = slab_at(&slabs, handles[i]);
        memset(at[i], (int)(i % 251), sizes[i]);
    }
    EXPECT(arena_held(arena) == slabs_bytes(&slabs) && arena_resident(arena) <= arena_held(arena) + HUGE_BYTES);
    for (unsigned i = 0; i < 3000; i++) {
        EXPECT(at[i] == slab_at(&slabs, handles[i]));
        for (size_t byte = 0; byte < sizes[i]; byte++)
            EXPECT(at[i][byte] == i % 251);
        if (i % 3 != 0)
            slab_put(&slabs, handles[i]);
    }
    for (unsigned i = 0; i < 3000; i += 3)
        slab_put(&slabs, handles[i]);
    EXPECT(slabs_bytes(&slabs) == 0 && arena_held(arena) == 0);
    EXPECT(arena_resident(arena) <= HUGE_BYTES);
    slabs_free(&slabs);
    arena_free(arena);
}

static void a_run_is_zero_whoever_had_it(void)
{
    Arena *arena = arena_new(KIB * KIB, MEMORY_HUGE);
    uint32_t runs[200];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 200; i++) {
            runs[i] = arena_take(arena, 1 + i % 5);
            uint8_t *at = arena->base + runs[i] * RUN_BYTES;
            EXPECT(runs[i] != 0 && runs[i] / CHUNK_RUNS == (runs[i] + i % 5) / CHUNK_RUNS); /* within one chunk */
            for (size_t byte = 0; byte < (1 + i % 5) * RUN_BYTES; byte += 509)
                EXPECT(at[byte] == 0);
            memset(at, 0xEE, (1 + i % 5) * RUN_BYTES);
        }
        for (unsigned i = 0; i < 200; i++)
            arena_give(arena, runs[(i * 7) % 200], 1 + (i * 7) % 200 % 5);
        EXPECT(arena_held(arena) == 0 && arena_resident(arena) <= HUGE_BYTES);
    }
    arena_free(arena);
}

static void the_first_free_run_is_taken(void) /* so that the last chunks become empty */
{
    Arena *arena = arena_new(KIB * KIB, MEMORY_HUGE);
    uint32_t runs[100];
    for (unsigned i = 0; i < 100; i++)
        EXPECT((runs[i] = arena_take(arena, 1)) != 0 && (i == 0 || runs[i] == runs[i - 1] + 1));
    arena_give(arena, runs[50], 1);
    arena_give(arena, runs[3], 1);
    EXPECT(arena_take(arena, 2) == runs[99] + 1);
    EXPECT(arena_take(arena, 1) == runs[3] && arena_take(arena, 1) == runs[50]);
    arena_free(arena);
}

/* outside of the sanitizer's rules: free slots may not be touched by others */
__attribute__((no_sanitize("address"))) static int is_in_memory(const Arena *arena, const char *what, size_t size)
{
    for (uint32_t chunk = 1; chunk < arena->count; chunk++) {
        if (arena->chunks[chunk] == NULL)
            continue;
        const uint8_t *at = arena->base + chunk * HUGE_BYTES;
        for (size_t byte = 0; byte + size <= HUGE_BYTES; byte++) {
            size_t equal = 0;
            while (equal < size && at[byte + equal] == (uint8_t)what[equal])
                equal++;
            if (equal == size)
                return 1;
        }
    }
    return 0;
}

static void no_byte_of_who_was_erased_is_left(void)
{
    static const char secret[] = "what nobody may know of Emma";
    Arena *arena = arena_new(KIB * KIB, MEMORY_HUGE);
    Cache *cache = cache_new(arena);
    char name[32];
    uint32_t number, done;
    User emma = {.hash = mixed(77), .name = "emma@example.org", .size = 16};
    for (uint32_t round = 0; round < 50; round++) { /* her block grows and moves, beside others */
        EXPECT(turn_begin(cache, 2) == 0);
        for (uint32_t at = 0; at < 3; at++) { /* who stay, so that no run is given back */
            User other = user_of(3 * round + at, name, sizeof(name), 0);
            user_begins(cache, &other, BLOCK_HEADER + (round + 1) * (uint32_t)sizeof(secret));
        }
        EXPECT(turn_find(cache, &emma, 1, &number, &done) == 0);
        if (number == TURN_MISSING)
            EXPECT(turn_new(cache, &emma, 0, &number) == 0);
        EXPECT(turn_grow(cache, number, BLOCK_HEADER + (round + 1) * sizeof(secret)) == 0);
        Entry entry = turn_entry(cache, number);
        memcpy(entry.block + BLOCK_HEADER + round * sizeof(secret), secret, sizeof(secret));
        entry.prefix->size = BLOCK_HEADER + (round + 1) * (uint32_t)sizeof(secret);
        if (round % 5 == 4)
            turn_drop(cache);
        else
            turn_commit(cache, 0);
        if (round == 20)
            cache_tidy(cache);
    }
    EXPECT(is_in_memory(arena, secret, sizeof(secret) - 1) && is_in_memory(arena, emma.name, emma.size));
    for (int comes_back = 1; comes_back >= 0; comes_back--) {
        EXPECT(turn_begin(cache, 1) == 0 && turn_find(cache, &emma, 1, &number, &done) == 0);
        turn_entry(cache, number).prefix->size = BLOCK_HEADER; /* it has become smaller in this turn */
        turn_forget(cache, number, 1);
        EXPECT(!comes_back || turn_new(cache, &emma, 0, &number) == 0); /* in the same slot */
        turn_commit(cache, 0);
        EXPECT(!is_in_memory(arena, secret, sizeof(secret) - 1));
    }
    EXPECT(!is_in_memory(arena, emma.name, emma.size));
    EXPECT(cache_users(cache) > 0);
    cache_free(cache);
    arena_free(arena);
}

/* Handles of entries that are no more than a prefix, in a table that grows, shrinks and is asked for room at any
 * moment. */
static void the_table_has_who_is_in_it(void)
{
    enum { USERS = 1000 };
    static Handle handles[USERS];
    Arena *arena = arena_new(4 * KIB * KIB, MEMORY_PAGES);
    Slabs slabs;
    Table table;
    char name[32];
    uint64_t seed = 3;
    uint32_t used = 0, most = USERS, moving = 0;
    slabs_init(&slabs, arena);
    table_init(&table, arena);
    for (uint32_t step = 0; step < 60000; step++) {
        if (step % 6000 == 0)
            most = step % 12000 == 0 ? USERS : 20;
        uint32_t at = draw(&seed, USERS), room = draw(&seed, 500) == 0 ? draw(&seed, 4 * USERS) : 1;
        User user = user_of(at, name, sizeof(name), 0);
        Handle *found = table_find(&table, &slabs, &user);
        EXPECT(found == NULL ? handles[at] == 0 : *found == handles[at]);
        EXPECT(found == NULL || table_at(&table, table_hash(user.hash), *found) == found);
        if (found != NULL && draw(&seed, most) < used) {
            table_remove(&table, table_hash(user.hash), *found);
            slab_put(&slabs, handles[at]);
            handles[at] = 0;
            used--;
        } else if (found == NULL && used < most) {
            EXPECT(table_reserve(&table, room) == 0);
            EXPECT((used + room) * 4 <= 3u << table.bits);
            handles[at] = slab_get(&slabs, sizeof(Prefix) + user.size);
            Prefix *prefix = prefix_at(&slabs, handles[at]);
            *prefix = (Prefix){.name = user.size};
            memcpy(prefix + 1, name, user.size);
            table_add(&table, table_hash(user.hash), handles[at]);
            used++;
        } else if (draw(&seed, 20) == 0) {
            table_tidy(&table);
        }
        EXPECT(table.used == used && arena_held(arena) == slabs_bytes(&slabs) + table_bytes(&table));
        moving += table.old != NULL;
    }
    EXPECT(moving > 1000);
    for (uint32_t call = 0; call < 12; call++) /* what has become too large gives back what it has too much */
        table_tidy(&table);
    EXPECT(table.old == NULL && used <= 20 && table.bits <= 7);
    for (uint32_t at = 0; at < USERS; at++) {
        User user = user_of(at, name, sizeof(name), 0);
        Handle *found = table_find(&table, &slabs, &user);
        EXPECT(found == NULL ? handles[at] == 0 : *found == handles[at]);
    }
    table_free(&table);
    slabs_free(&slabs);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static void a_turn_is_full_at_a_quarter_of_the_bound(void)
{
    Arena *arena = arena_new(KIB * KIB, MEMORY_HUGE);
    Cache *cache = cache_new(arena);
    char name[32], names[400][32];
    User users[400];
    uint32_t numbers[400], done, count = 0;
    EXPECT(turn_begin(cache, 0) == 0);
    while (!turn_is_full(cache)) {
        User user = user_of(count++, name, sizeof(name), 0);
        user_begins(cache, &user, 700);
    }
    EXPECT(count > 256 * KIB / 800 && count < 256 * KIB / 700);
    turn_commit(cache, 0);
    for (uint32_t at = 0; at < 400; at++)
        users[at] = user_of(at, names[at], sizeof(names[at]), 0);
    EXPECT(turn_begin(cache, 400) == 0 && turn_find(cache, users, 400, numbers, &done) == 0);
    EXPECT(done == count && turn_is_full(cache)); /* the rest is for another turn */
    EXPECT(turn_find(cache, users + done, 400 - done, numbers, &done) == 0 && done == 1);
    turn_drop(cache);
    cache_free(cache);
    arena_free(arena);
}

/* new users in turns of 50, as many as given */
static void come(Cache *cache, uint32_t from, uint32_t count)
{
    char name[32];
    for (uint32_t at = 0; at < count; at++) {
        if (at % 50 == 0)
            EXPECT(turn_begin(cache, 50) == 0);
        User user = user_of(from + at, name, sizeof(name), 0);
        user_begins(cache, &user, 700);
        if (at % 50 == 49) {
            turn_commit(cache, 0);
            cache_tidy(cache);
        }
    }
}

static void a_partition_without_turns_makes_room_for_one_that_has_some(void)
{
    size_t bound = 16 * KIB * KIB;
    Arena *arena = arena_new(bound, MEMORY_PAGES);
    Cache *still = cache_new(arena), *busy = cache_new(arena);
    come(still, 0, 24000);
    size_t alone = cache_bytes(still);
    EXPECT(alone > bound / 10 * 9 && alone <= bound + 2 * RUN_BYTES);
    come(busy, 20000, 2000); /* as long as it is not tidied there is some room above the bound */
    EXPECT(arena_held(arena) <= bound + CACHE_EXCESS(bound) + RUN_BYTES && cache_users(busy) > 400);
    EXPECT(cache_bytes(still) == alone);
    for (uint32_t round = 0; round < 100; round++) {
        cache_tidy(still);
        come(busy, 30000 + 1000 * round, 1000);
    }
    EXPECT(arena_held(arena) <= bound + 4 * RUN_BYTES);
    EXPECT(cache_bytes(still) < bound / 5 * 2 && cache_bytes(busy) > bound / 2);
    EXPECT(turn_begin(busy, 0) == 0); /* others go within a turn as well: this one's copies take two megabytes */
    for (uint32_t at = 0; at < 3000; at++) {
        char name[32];
        User user = user_of(500000 + at, name, sizeof(name), 0);
        user_begins(busy, &user, 700);
        EXPECT(arena_held(arena) <= bound + CACHE_EXCESS(bound) + RUN_BYTES + busy->turn.room * sizeof(Copy));
    }
    cache_free(still);
    cache_free(busy);
    arena_free(arena);
}

static void it_is_as_plain_arrays_are(uint64_t seed, uint32_t spread, size_t bound, uint32_t most, uint32_t steps)
{
    Arena *arena = arena_new(bound, seed % 2 ? MEMORY_HUGE : MEMORY_PAGES);
    static Model model;
    model_begin(&model, arena, seed << 32, most, spread);
    for (uint32_t step = 0; step < steps; step++) {
        EXPECT(model_step(&model, 0) == 0);
        if (step % 10 == 0)
            model_compare(&model);
        EXPECT(arena_held(arena) == cache_bytes(model.cache));
    }
    model_compare(&model);
    EXPECT(model.commits > steps / 3 && model.drops > steps / 20 && model.let_go > steps / 20 && model.faults == 0);
    model_end(&model);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
    EXPECT(memory_live == 0);
}

/* Each call for memory fails once, or from there on. 1: there were as many calls as that. */
static int one_call_fails(long call, int on)
{
    memory_fails_in = call;
    memory_fails_on = on;
    static Model model;
    Arena *arena = arena_new(3 * 64 * KIB, MEMORY_PAGES);
    int failed = arena == NULL;
    if (!failed) {
        model_begin(&model, arena, 5, 300000, 0); /* some with pages of their own */
        failed = model.cache == NULL;
        for (int step = 0; step < 40 && !failed; step++)
            failed = model_step(&model, on) < 0;
        if (model.cache != NULL) {
            model_compare(&model);
            failed = failed || (!on && memory_fails_in == 0);
        }
        model_end(&model);
        arena_free(arena);
    }
    failed = failed || (on && memory_fails_in == 1) || (!on && memory_fails_in == 0);
    memory_fails_in = 0;
    EXPECT(memory_live == 0);
    return failed;
}

static void every_call_for_memory_may_fail(void) /* of the first forty, and then of some of the later ones */
{
    for (int on = 0; on < 2; on++) {
        long call = 1, failed = 0;
        for (; one_call_fails(call, on); call += 1 + call / 40)
            failed++;
        printf("%ld of %ld calls for memory failed in turn\n", failed, call);
        EXPECT(failed > 80 && call > 400);
    }
}

int main(void)
{
    classes_hold_what_is_asked_and_waste_an_eighth();
    slots_do_not_overlap_and_runs_go_back();
    a_run_is_zero_whoever_had_it();
    the_first_free_run_is_taken();
    no_byte_of_who_was_erased_is_left();
    the_table_has_who_is_in_it();
    a_turn_is_full_at_a_quarter_of_the_bound();
    a_partition_without_turns_makes_room_for_one_that_has_some();
    for (uint64_t seed = 1; seed <= 4; seed++)
        it_is_as_plain_arrays_are(seed, 0, 4 * KIB * KIB, 20000, 150);
    it_is_as_plain_arrays_are(5, 3, 4 * KIB * KIB, 20000, 150);       /* three hashes for all */
    it_is_as_plain_arrays_are(6, 0, 1 * KIB * KIB, 20000, 300);       /* little memory */
    it_is_as_plain_arrays_are(7, 0, 8 * KIB * KIB, 700000, 100);      /* pages of their own */
    every_call_for_memory_may_fail();
    puts("well");
    return 0;
}
