#include "rest.h"

#include "pack.h"

#define AHEAD 8 /* slots that the hand looks ahead, so that it waits for no entry */
/* How far the hand goes: a slot for so many users who were in turns since. At most three quarters of the slots are taken,
 * so were all users the same, each would have five turns in a round or more. And somewhat further, or where turns are small
 * it would hardly come round: microseconds. */
#define FOR_USERS 4
#define LEAST 256
/* Where there were no turns (one call a second, then) so much of the table, and at most so many slots: milliseconds. */
#define IDLE_PART 32
#define IDLE_MOST 16384

static void pack_entry(Cache *cache, TableSlot *slot)
{
    Prefix *from = prefix_at(&cache->slabs, slot->handle);
    size_t before = prefix_bytes(from->name);
    uint8_t packed[PACK_ROOM];
    from->flags |= ENTRY_PLAIN;
    if (from->size > PACK_LARGEST)
        return;
    size_t size = block_pack((const uint8_t *)from + before, from->size, packed), bytes = before + size;
    if (slab_class_bytes(slab_class(bytes)) >= slab_room(&cache->slabs, slot->handle))
        return;
    Handle handle = slab_get(&cache->slabs, bytes);
    if (handle == 0)
        return;
    Prefix *to = prefix_at(&cache->slabs, handle);
    uint8_t *at = (uint8_t *)to;
    memcpy(at, from, before);
    memcpy(at + before, packed, size);
    memset(at + bytes, 0, slab_room(&cache->slabs, handle) - bytes); /* of who had the slot */
    to->size = (uint32_t)size;
    to->flags = ENTRY_PACKED;
    slab_put(&cache->slabs, slot->handle);
    slot->handle = handle;
}

void rest_go_on(Cache *cache)
{
    Table *table = &cache->table;
    if (table->slots == NULL)
        return;
    uint32_t mask = ((uint32_t)1 << table->bits) - 1, slots = cache->visited / FOR_USERS + LEAST;
    if (!cache->turned)
        slots = mask / IDLE_PART < IDLE_MOST ? mask / IDLE_PART + 1 : IDLE_MOST;
    cache->visited = 0;
    for (; slots > 0; slots--, cache->rest++) { /* the next round comes to those who are in old slots yet */
        TableSlot *slot = &table->slots[cache->rest & mask], ahead = table->slots[(cache->rest + AHEAD) & mask];
        if (ahead.handle != 0)
            __builtin_prefetch(slab_at(&cache->slabs, ahead.handle), 1);
        if (slot->handle == 0)
            continue;
        Prefix *prefix = prefix_at(&cache->slabs, slot->handle);
        if (!(prefix->flags & (ENTRY_SEEN | ENTRY_DIRTY | ENTRY_PACKED | ENTRY_PLAIN)))
            pack_entry(cache, slot);
        else
            prefix->flags &= (uint8_t)~ENTRY_SEEN;
    }
}
