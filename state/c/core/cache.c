#include "cache.h"

#include <string.h>

#include "turn.h"

#define AHEAD 8  /* slots that the hand looks ahead, so that it waits for no entry */
#define SLACK 8  /* an eighth of the slots may be free before entries are moved */
#define MOST_ROUNDS (CACHE_MOST_AGE + 2)
#define PRESSED_TURNS 8

Cache *cache_new(Arena *arena)
{
    Cache *cache = memory_get(MEMORY_HEAP, sizeof(Cache));
    if (cache == NULL)
        return NULL;
    cache->arena = arena;
    slabs_init(&cache->slabs, arena);
    table_init(&cache->table, arena);
    return cache;
}

static void free_tails(Cache *cache)
{
    table_finish(&cache->table);
    for (size_t at = 0; cache->tails > 0 && at < (size_t)1 << cache->table.bits; at++) {
        Handle handle = cache->table.slots[at].handle;
        if (handle != 0)
            cache_free_tail(cache, prefix_at(&cache->slabs, handle));
    }
}

void cache_free(Cache *cache)
{
    if (cache == NULL)
        return;
    turn_drop(cache);
    free_tails(cache);
    table_free(&cache->table);
    slabs_free(&cache->slabs);
    memory_put(MEMORY_HEAP, cache, sizeof(Cache));
}

int cache_get(const Cache *cache, const User *user, Entry *entry)
{
    const Handle *found = table_find(&cache->table, &cache->slabs, user);
    if (found == NULL)
        return 0;
    Prefix *prefix = prefix_at(&cache->slabs, *found);
    if (prefix->turn != 0 && cache->turn.copies[prefix->turn - 1].was == 0)
        return 0; /* new in this turn */
    *entry = (Entry){
        .prefix = prefix,
        .block = (uint8_t *)prefix + prefix_bytes(prefix->name),
        .room = slab_room(&cache->slabs, *found) - prefix_bytes(prefix->name),
    };
    return 1;
}

uint32_t cache_users(const Cache *cache)
{
    return cache->table.used;
}

size_t cache_bytes(const Cache *cache)
{
    return slabs_bytes(&cache->slabs) + table_bytes(&cache->table) + cache->tails + cache->turn.room * sizeof(Copy);
}

size_t cache_free_tail(Cache *cache, Prefix *prefix)
{
    size_t bytes = tail_bytes(prefix->tail);
    tail_free(prefix->tail, cache->arena);
    prefix->tail = NULL;
    cache->tails -= bytes;
    return bytes;
}

size_t cache_let_go(Cache *cache, size_t bytes, uint32_t visits)
{
    Table *table = &cache->table;
    size_t freed = 0;
    uint32_t kept = 0; /* one after the other: once around there is nobody else */
    table_finish(table);
    cache->pressed = PRESSED_TURNS;
    while (freed < bytes && visits > 0 && kept < table->used) {
        uint32_t mask = ((uint32_t)1 << table->bits) - 1;
        TableSlot slot = table->slots[cache->hand & mask], ahead = table->slots[(cache->hand + AHEAD) & mask];
        if (ahead.handle != 0)
            __builtin_prefetch(slab_at(&cache->slabs, ahead.handle), 1);
        if (slot.handle == 0) {
            cache->hand++;
            continue;
        }
        visits--;
        Prefix *prefix = prefix_at(&cache->slabs, slot.handle);
        int stays = prefix->turn != 0 || prefix->flags & ENTRY_DIRTY;
        kept = stays ? kept + 1 : 0;
        if (!stays && prefix->age-- == 0) {
            freed += slab_room(&cache->slabs, slot.handle) + cache_free_tail(cache, prefix);
            table_remove(table, slot.hash, slot.handle);
            slab_put(&cache->slabs, slot.handle);
        } else {
            cache->hand++; /* else who stood behind may stand here now */
        }
    }
    return freed;
}

static void moved(void *of, Handle from, Handle to)
{
    Cache *cache = of;
    *table_at(&cache->table, prefix_at(&cache->slabs, to)->hash, from) = to;
}

/* The bytes that this partition should hold less: in proportion to what it has, or all of the excess where nobody
 * has come to it for a while. */
static size_t part_of_excess(const Cache *cache)
{
    size_t held = arena_held(cache->arena), bound = cache->arena->bound, own = cache_bytes(cache);
    if (held <= bound)
        return 0;
    size_t over = held - bound, part = (size_t)((double)over * (double)own / (double)held);
    if (!cache->turned)
        part = over < own / 4 ? over : own / 4;
    if (over > CACHE_EXCESS(bound) && part < over - CACHE_EXCESS(bound))
        part = over - CACHE_EXCESS(bound);
    return part < RUN_BYTES ? 0 : part;
}

void cache_tidy(Cache *cache)
{
    size_t part = part_of_excess(cache), own = cache_bytes(cache), wanted = part < own ? own - part : 0;
    cache->turned = 0;
    while (part > 0 && cache_bytes(cache) > wanted) {
        if (cache_let_go(cache, cache_bytes(cache) - wanted, MOST_ROUNDS * cache->table.used) == 0)
            break;
        slabs_compact(&cache->slabs, 0, moved, cache);
    }
    slabs_compact(&cache->slabs, SLACK, moved, cache);
    table_tidy(&cache->table);
}
