/* Users who are written to the store behind their turns, against plain arrays: what was dirty when a round began is in
 * the store at its end, whatever came in between, and nobody who is dirty leaves memory. */
#include "behind.h"

#include "expect.h"

#define USERS 3000
#define BYTES (BLOCK_HEADER + 8)

typedef struct {
    Cache *cache;
    uint64_t seed;
    uint32_t spread;
    /* by user; of the versions 0 is none */
    uint32_t committed[USERS], turned[USERS], stored[USERS];
    uint32_t owed[USERS]; /* what the round under way must put, or something newer */
    uint8_t dirty[USERS];
    uint32_t versions, dirty_count, puts, rounds, went, quarters;
    uint64_t hand;
} Partition;

static User user_at(const Partition *all, uint32_t at, char *name)
{
    return user_of(at, name, 600, all->spread);
}

static uint32_t version_in(const Prefix *prefix)
{
    uint32_t version;
    memcpy(&version, (const uint8_t *)prefix + prefix_bytes(prefix->name) + BLOCK_HEADER, sizeof(version));
    return version;
}

static int put(void *of, const Prefix *prefix)
{
    Partition *all = of;
    uint32_t at;
    char name[16] = "";
    memcpy(name, prefix + 1, prefix->name < 15 ? prefix->name : 15);
    EXPECT(sscanf(name, "user-%u", &at) == 1 && all->dirty[at]);
    EXPECT(version_in(prefix) == all->committed[at]); /* never what a turn has made of it */
    all->stored[at] = all->committed[at];
    all->dirty[at] = 0;
    all->dirty_count--;
    all->puts++;
    return 0;
}

static void turn(Partition *all, uint32_t users)
{
    char name[600];
    uint8_t block[BYTES] = {0};
    uint32_t picked[40], number, done, count = 1 + draw(&all->seed, 40);
    int commit = draw(&all->seed, 5) != 0, behind = draw(&all->seed, 4) != 0;
    EXPECT(turn_begin(all->cache, count) == 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = picked[i] = draw(&all->seed, users), version = ++all->versions;
        User user = user_at(all, at, name);
        EXPECT(turn_find(all->cache, &user, 1, &number, &done) == 0);
        if (number == TURN_MISSING || turn_is_gone(all->cache, number)) {
            UserBlock begun;
            block_begin(&begun, block, BYTES);
            EXPECT(number == TURN_MISSING ? !all->dirty[at] : 1);
            if (all->stored[at] != 0 && number == TURN_MISSING) {
                EXPECT(all->stored[at] == all->committed[at]);
                EXPECT(turn_admit(all->cache, &user, block, BYTES, NULL, 0, &number) == 0);
            } else {
                number = user_begins(all->cache, &user, BYTES);
            }
        }
        if (draw(&all->seed, 8) == 0) {
            turn_forget(all->cache, number, draw(&all->seed, 2) == 0);
            version = 0;
        } else {
            if (draw(&all->seed, 4) == 0)
                EXPECT(turn_grow(all->cache, number, BYTES + draw(&all->seed, 900)) == 0);
            Entry entry = turn_entry(all->cache, number);
            entry.prefix->size = BYTES;
            memcpy(entry.block + BLOCK_HEADER, &version, sizeof(version));
        }
        all->turned[at] = version;
    }
    if (!commit) {
        turn_drop(all->cache);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = picked[i];
        all->dirty_count -= all->dirty[at];
        all->dirty[at] = behind && all->turned[at] != 0;
        all->dirty_count += all->dirty[at];
        all->committed[at] = all->turned[at];
        if (!all->dirty[at]) { /* the store gets it with the turn, or that it is gone */
            all->stored[at] = all->turned[at];
            all->owed[at] = 0;
        }
    }
    turn_commit(all->cache, behind);
}

static void part_of_a_round(Partition *all)
{
    uint64_t step = BEHIND_END >> draw(&all->seed, 8), until = all->hand + 1 + draw(&all->seed, (uint32_t)(step - 1));
    until = until < BEHIND_END ? until : BEHIND_END;
    all->quarters += all->cache->table.old != NULL;
    EXPECT(behind_put(all->cache, all->hand, until, ENTRY_DIRTY, put, all) == 0);
    all->hand = until;
    if (until < BEHIND_END)
        return;
    for (uint32_t at = 0; at < USERS; at++) {
        EXPECT(all->stored[at] >= all->owed[at]);
        all->owed[at] = all->dirty[at] ? all->committed[at] : 0;
    }
    all->hand = 0;
    all->rounds++;
}

static void new_ones(Partition *all)
{
    EXPECT(behind_put(all->cache, 0, BEHIND_END, ENTRY_DIRTY | ENTRY_NEW, put, all) == 0);
    for (uint32_t at = 0; at < USERS; at++)
        EXPECT(all->committed[at] == 0 || all->stored[at] != 0);
}

static void look(Partition *all)
{
    char name[600];
    Entry entry;
    EXPECT(all->cache->dirty == all->dirty_count);
    for (uint32_t at = 0; at < USERS; at++) {
        User user = user_at(all, at, name);
        if (cache_get(all->cache, &user, &entry)) {
            EXPECT(version_in(entry.prefix) == all->committed[at]);
            EXPECT(((entry.prefix->flags & ENTRY_DIRTY) != 0) == all->dirty[at]);
        } else {
            EXPECT(!all->dirty[at]);
            all->went += all->committed[at] != 0;
        }
    }
}

static void rounds_leave_nothing_out(uint64_t seed, uint32_t spread)
{
    static Partition all;
    Arena *arena = arena_new((size_t)64 << 20, MEMORY_PAGES);
    memset(&all, 0, sizeof(all));
    all.cache = cache_new(arena);
    all.seed = seed;
    all.spread = spread;
    for (uint32_t step = 0; step < 6000; step++) {
        switch (draw(&all.seed, 8)) {
        case 0:
            cache_let_go(all.cache, 1 + draw(&all.seed, 20000), 1 + draw(&all.seed, 4000));
            break;
        case 1:
            cache_tidy(all.cache);
            break;
        case 2:
        case 3:
            part_of_a_round(&all);
            break;
        case 4:
            if (draw(&all.seed, 20) == 0)
                new_ones(&all);
            break;
        default: /* many come, then the table is nearly empty, and again */
            turn(&all, step % 3000 < 2000 ? 20 + step % 3000 : 20);
        }
        if (step % 50 == 0)
            look(&all);
    }
    EXPECT(all.rounds > 30 && all.puts > 2000 && all.went > 100 && (spread != 0 || all.quarters > 0));
    turn_begin(all.cache, 1);
    turn_drop(all.cache);
    cache_free(all.cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static int refused(void *of, const Prefix *prefix)
{
    (void)prefix;
    uint32_t *left = of;
    return (*left)-- == 0 ? -7 : 0;
}

static void who_is_refused_stays_dirty(void)
{
    char name[600];
    Arena *arena = arena_new((size_t)1 << 20, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    EXPECT(turn_begin(cache, 10) == 0);
    for (uint32_t at = 0; at < 10; at++) {
        User user = user_of(at, name, sizeof(name), 0);
        user_begins(cache, &user, BYTES);
    }
    turn_commit(cache, 1);
    uint32_t left = 3;
    EXPECT(cache->dirty == 10);
    EXPECT(behind_put(cache, 0, BEHIND_END, ENTRY_DIRTY, refused, &left) == -7 && cache->dirty == 7);
    left = 7;
    EXPECT(behind_put(cache, 5, 5, ENTRY_DIRTY, refused, &left) == 0 && cache->dirty == 7);
    EXPECT(behind_put(cache, 0, BEHIND_END, ENTRY_DIRTY, refused, &left) == 0 && cache->dirty == 0);
    cache_free(cache);
    arena_free(arena);
}

static void memory_is_tight_before_it_is_full_and_after_somebody_was_to_go(void)
{
    char name[600];
    size_t bound = (size_t)4 << 20;
    Arena *arena = arena_new(bound, MEMORY_PAGES);
    Cache *cache = cache_new(arena);
    uint32_t users = 0;
    while (!behind_is_tight(cache)) {
        EXPECT(arena_held(arena) <= bound - bound / 8);
        EXPECT(turn_begin(cache, 10) == 0);
        for (uint32_t at = 0; at < 10; at++, users++) {
            User user = user_of(users, name, 20, 0);
            user_begins(cache, &user, 700);
        }
        turn_commit(cache, 1);
    }
    EXPECT(cache->dirty == users && arena_held(arena) < bound);
    EXPECT(cache_let_go(cache, bound, UINT32_MAX) == 0 && cache_users(cache) == users); /* and it ends */
    uint32_t left = UINT32_MAX;
    EXPECT(behind_put(cache, 0, BEHIND_END, ENTRY_DIRTY, refused, &left) == 0);
    EXPECT(cache_let_go(cache, bound / 2, UINT32_MAX) >= bound / 2 && cache_users(cache) < users / 2);
    for (uint32_t turns = 0; behind_is_tight(cache); turns++) {
        EXPECT(turns < 8 && turn_begin(cache, 1) == 0);
        turn_commit(cache, 1);
    }
    cache_free(cache);
    arena_free(arena);
}

int main(void)
{
    rounds_leave_nothing_out(1, 0);
    rounds_leave_nothing_out(2, 300); /* many of one hash: they stand far from home */
    who_is_refused_stays_dirty();
    memory_is_tight_before_it_is_full_and_after_somebody_was_to_go();
    puts("well");
    return 0;
}
