/* How much memory it takes, by its own count and by the system's; without sanitizers, which have memory of their
 * own. */
#include <unistd.h>

#include "cache.h"
#include "expect.h"
#include "turn.h"

#define MIB ((size_t)1 << 20)
#define PARTITIONS 64
#define SIZES 20
#define AT_ONCE 400

static size_t resident(void)
{
    char text[128] = "";
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file != NULL && fgets(text, sizeof(text), file) != NULL);
    fclose(file);
    unsigned long all, pages;
    EXPECT(sscanf(text, "%lu %lu", &all, &pages) == 2);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* the bytes of a block that fills a slot of one of SIZES classes, with its prefix and name */
static uint32_t size_in(uint32_t class)
{
    return (uint32_t)slab_class_bytes(2 + class) - 40;
}

/* a turn of new users with these numbers, ``size`` bytes each or (0) of many classes */
static void come(Cache *cache, uint32_t from, uint32_t count, uint32_t size, uint64_t *seed)
{
    char name[64];
    EXPECT(turn_begin(cache, count) == 0);
    for (uint32_t user = from; user < from + count; user++) {
        User who = user_of(user, name, sizeof(name), 0);
        user_begins(cache, &who, size != 0 ? size : size_in(draw(seed, SIZES)));
    }
    turn_commit(cache, 0);
}

static void many_partitions_and_classes_keep_to_the_bound(size_t bound)
{
    static Cache *caches[PARTITIONS];
    size_t before = resident(), least = 0;
    uint64_t seed = 1;
    uint32_t user = 0;
    Arena *arena = arena_new(bound, MEMORY_HUGE);
    for (unsigned at = 0; at < PARTITIONS; at++)
        EXPECT((caches[at] = cache_new(arena)) != NULL);
    for (unsigned round = 0; round < 16; round++) {
        for (unsigned at = 0; at < PARTITIONS; at++, user += AT_ONCE) {
            come(caches[at], user, AT_ONCE, 0, &seed);
            cache_tidy(caches[at]);
            EXPECT(arena_held(arena) <= bound + bound / 10);
            EXPECT(resident() <= before + bound + bound / 10);
        }
        least = round == 8 ? arena_held(arena) : least; /* full by now */
    }
    size_t users = 0, classes = 0, slots = 0;
    for (unsigned at = 0; at < PARTITIONS; at++) {
        users += cache_users(caches[at]);
        for (unsigned class = 0; class < SLAB_CLASSES; class++) {
            classes += caches[at]->slabs.classes[class].used > 0;
            slots += caches[at]->slabs.classes[class].used * slab_class_bytes(class);
        }
    }
    printf("%u users came, %zu are in memory: %zu MiB held, %zu of %zu MiB resident\n", user, users,
           arena_held(arena) / MIB, (resident() - before) / MIB, bound / MIB);
    printf("%zu MiB of slots in use\n", slots / MIB);
    EXPECT(least > bound / 10 * 9 && arena_held(arena) > bound / 10 * 9); /* the bound is used */
    EXPECT(slots > bound / 4 * 3); /* by users: of 48 runs for 20 classes half a run of each is free */
    EXPECT(classes == PARTITIONS * SIZES);
    for (unsigned at = 0; at < PARTITIONS; at++)
        cache_free(caches[at]);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

static void leave(Cache *cache, uint32_t users, uint32_t stay)
{
    char name[64];
    uint32_t number, done, user = 0;
    for (uint32_t left = 0; left < users;) {
        EXPECT(turn_begin(cache, 20000) == 0);
        for (uint32_t end = left + 20000; left < end && left < users; left++) {
            user = (user + 612341) % users; /* in no order: a prime that does not divide it */
            User who = user_of(user, name, sizeof(name), 0);
            EXPECT(turn_find(cache, &who, 1, &number, &done) == 0 && number != TURN_MISSING);
            if (user % stay != 0)
                turn_forget(cache, number, 0);
        }
        turn_commit(cache, 0);
        cache_tidy(cache);
    }
}

static void a_million_come_and_go(uint32_t users)
{
    size_t before = resident();
    uint64_t seed = 1;
    Arena *arena = arena_new(1024 * MIB, MEMORY_HUGE);
    Cache *cache = cache_new(arena);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t user = 0; user < users; user += 10000)
            come(cache, user, 10000, 150, &seed);
        EXPECT(cache_users(cache) == users);
        size_t most = resident() - before;
        EXPECT(most > users * (size_t)192 && most < users * (size_t)240);
        leave(cache, users, 1000);
        EXPECT(cache_users(cache) == users / 1000);
        for (unsigned call = 0; call < 8; call++)
            cache_tidy(cache); /* as time goes by */
        printf("%u users came: %zu MiB; they left, but one in a thousand: %zu MiB\n", users, most / MIB,
               (resident() - before) / MIB);
        EXPECT(resident() <= before + 10 * MIB); /* the heap keeps what turns of 20,000 users have for their copies */
        EXPECT(arena_held(arena) <= users / 1000 * 192 * 2 + RUN_BYTES);
        cache_let_go(cache, SIZE_MAX, UINT32_MAX);
        EXPECT(cache_users(cache) == 0);
    }
    cache_free(cache);
    EXPECT(arena_held(arena) == 0);
    arena_free(arena);
}

int main(void)
{
    many_partitions_and_classes_keep_to_the_bound(192 * MIB);
    a_million_come_and_go(1000000);
    puts("well");
    return 0;
}
