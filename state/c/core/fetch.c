#include "fetch.h"

/* how many users before its turn comes a user's slot, prefix and block are asked for */
#define SLOT_AHEAD 24
#define PREFIX_AHEAD 16
#define BLOCK_AHEAD 8
#define MOST_LINES 32

static void fetch_rest(const Prefix *prefix)
{
    size_t lines = (prefix_bytes(prefix->name) + prefix->size + 63) / 64;
    for (size_t line = 1; line < lines && line < MOST_LINES; line++)
        __builtin_prefetch((const uint8_t *)prefix + line * 64);
}

void fetch_user(const Cache *cache, const User *users, uint32_t count, uint32_t at)
{
    if (count - at > SLOT_AHEAD)
        table_prefetch(&cache->table, users[at + SLOT_AHEAD].hash);
    if (count - at > PREFIX_AHEAD) {
        Handle handle = table_peek(&cache->table, users[at + PREFIX_AHEAD].hash);
        if (handle != 0)
            __builtin_prefetch(slab_at(&cache->slabs, handle));
    }
    if (count - at > BLOCK_AHEAD) {
        Handle handle = table_peek(&cache->table, users[at + BLOCK_AHEAD].hash);
        if (handle != 0)
            fetch_rest(prefix_at(&cache->slabs, handle));
    }
}

void fetch_copy(const Cache *cache, uint32_t number)
{
    if (number < cache->turn.count)
        __builtin_prefetch(slab_at(&cache->slabs, cache->turn.copies[number].now), 1);
}

void fetch_copy_rest(const Cache *cache, uint32_t number)
{
    if (number < cache->turn.count)
        fetch_rest(prefix_at(&cache->slabs, cache->turn.copies[number].now));
}

void fetch_committed(const Cache *cache, uint32_t at)
{
    if (cache->turn.count - at > BLOCK_AHEAD)
        table_prefetch(&cache->table, (uint64_t)cache->turn.copies[at + BLOCK_AHEAD].hash << 32);
    fetch_copy(cache, at + BLOCK_AHEAD);
}
