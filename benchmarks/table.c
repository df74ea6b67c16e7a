/* How long it takes to find users in memory and copy their blocks for a turn, and to commit; see table.py.
 *
 * table USERS BYTES huge|small AT_ONCE TURNS, where AT_ONCE is how many users are looked for with one call: with
 * one, nothing is asked for before it is needed. Prints JSON: nanoseconds a user of this thread's processor time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "cache.h"
#include "drawing.h"
#include "turn.h"

#define A_TURN 2000
#define NAME 16
#define SIZE_OF_ALIASES (80 + 2 * ALIASES) /* where a block has that section's size, u16 in units of 8 bytes */

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static User user_of(uint32_t number, char *name)
{
    char text[32];
    snprintf(text, sizeof(text), "customer%08u", number);
    memcpy(name, text, NAME);
    uint64_t hash = (number + 1) * 0x9E3779B97F4A7C15u; /* in place of the reader's, which is no part of this */
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9u;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EBu;
    return (User){.hash = hash ^ hash >> 31, .name = name, .size = NAME};
}

/* A block of so many bytes: what it has beyond a new one's lies in a section that no turn looks at unasked. */
static void grow(Entry entry, int with, uint32_t bytes)
{
    uint32_t units = (bytes - entry.prefix->size) / 8;
    memset(entry.block + entry.prefix->size, with, units * 8);
    entry.block[SIZE_OF_ALIASES] = (uint8_t)units;
    entry.block[SIZE_OF_ALIASES + 1] = (uint8_t)(units >> 8);
    entry.prefix->size += units * 8;
}

static void come(Cache *cache, uint32_t users, uint32_t bytes)
{
    char name[NAME];
    uint32_t number;
    uint64_t step = 2654435761u % users | 1; /* in no order, so that neighbours in the table are none in memory */
    while (step % 5 == 0)
        step += 2;
    for (uint64_t user = 0; user < users;) {
        if (turn_begin(cache, A_TURN) < 0)
            fail("no memory");
        for (uint32_t at = 0; at < A_TURN && user < users; at++, user++) {
            User who = user_of((uint32_t)(user * step % users), name);
            int made = turn_new(cache, &who, bytes, &number);
            if (made != 0)
                fail(made < 0 ? "no memory" : "a user came twice: USERS must be 10 times a product of 2 and 5");
            grow(turn_entry(cache, number), (int)user, bytes);
        }
        turn_commit(cache, 0);
    }
}

int main(int count, char **words)
{
    static User users[A_TURN];
    static char names[A_TURN][NAME];
    static uint32_t numbers[A_TURN];
    if (count != 6)
        fail("table USERS BYTES huge|small AT_ONCE TURNS");
    uint32_t all = (uint32_t)atoi(words[1]), bytes = (uint32_t)atoi(words[2]), at_once = (uint32_t)atoi(words[4]);
    int turns = atoi(words[5]);
    if (all == 0 || bytes < BLOCK_HEADER || bytes > 65536 || at_once == 0 || turns <= 0)
        fail("all numbers are at least 1, and a block has 112 to 65,536 bytes");
    Arena *arena = arena_new((size_t)4 << 30, strcmp(words[3], "huge") == 0 ? MEMORY_HUGE : MEMORY_PAGES);
    Cache *cache = arena == NULL ? NULL : cache_new(arena);
    if (cache == NULL)
        fail("no memory");
    come(cache, all, bytes);
    double find = 0, commit = 0;
    size_t held = arena_held(arena), visited = 0;
    for (int turn = -turns / 4; turn < turns; turn++) { /* a quarter more to get warm */
        for (uint32_t at = 0; at < A_TURN; at++)
            users[at] = user_of(draw(all), names[at]);
        double begun = now();
        if (turn_begin(cache, A_TURN) < 0)
            fail("no memory");
        for (uint32_t from = 0, done; from < A_TURN; from += done) {
            uint32_t next = A_TURN - from < at_once ? A_TURN - from : at_once;
            if (turn_find(cache, users + from, next, numbers + from, &done) < 0)
                fail("no memory");
        }
        double found = now();
        for (uint32_t at = 0; at < A_TURN; at++)
            if (numbers[at] == TURN_MISSING)
                fail("a user is missing");
        double folded = now();
        turn_commit(cache, 0);
        double ended = now();
        if (turn < 0)
            continue;
        find += found - begun;
        commit += ended - folded;
        visited += A_TURN;
    }
    printf("{\"users\": %u, \"bytes\": %u, \"pages\": \"%s\", \"at_once\": %u, \"find_and_copy_ns\": %.1f, "
           "\"commit_ns\": %.1f, \"bytes_a_user\": %.1f}\n",
           all, bytes, words[3], at_once, find / (double)visited, commit / (double)visited,
           (double)held / (double)all);
    cache_free(cache);
    arena_free(arena);
    return 0;
}
