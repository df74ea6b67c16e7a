/* What the tests in C share: a check that says where it failed, numbers from a seed, users by number. */
#ifndef SEGMENTS_EXPECT_H
#define SEGMENTS_EXPECT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "turn.h"

#define EXPECT(what)                                                                  \
    do {                                                                              \
        if (!(what)) {                                                                \
            fprintf(stderr, "%s:%d: it is not true that %s\n", __FILE__, __LINE__, #what); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

static inline uint64_t mixed(uint64_t x) /* splitmix64, public domain: Steele, Lea, Flood 2014 */
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static inline uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed += 1;
    return (uint32_t)(mixed(*seed) >> 32) % below;
}

/* The user of a number; ``name`` is where the name is written. Of ``spread`` hashes (0: as many as there are users). */
static inline User user_of(uint32_t number, char *name, size_t room, uint32_t spread)
{
    int size = snprintf(name, room, "user-%u", number);
    if (number % 7 == 0 && room >= 600) { /* some have long names */
        memset(name + size, 'x', number % 512);
        size += (int)(number % 512);
    }
    return (User){.hash = mixed(spread == 0 ? number : number % spread), .name = name, .size = (uint16_t)size};
}

/* A user who begins in the turn under way with so many bytes: to this test it is all the same what they are. */
static inline uint32_t user_begins(Cache *cache, const User *user, uint32_t size)
{
    uint32_t number;
    EXPECT(turn_new(cache, user, size, &number) == 0);
    Entry entry = turn_entry(cache, number);
    memset(entry.block + BLOCK_HEADER, 1, size - BLOCK_HEADER);
    entry.prefix->size = size;
    return number;
}

#endif
