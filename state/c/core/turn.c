#include "turn.h"

#include <string.h>

#define GONE 1u   /* forgotten, and not begun again */
#define ERASED 2u /* forgotten for good at least once */

#define VISITS 2048 /* entries that the hand looks at for one run at most: a fraction of a millisecond */
/* how many users before its turn comes a user's slot, prefix and block are asked for */
#define SLOT_AHEAD 24
#define PREFIX_AHEAD 16
#define BLOCK_AHEAD 8
#define MOST_LINES 32

static int room_for_copies(Cache *cache, uint32_t count)
{
    Turn *turn = &cache->turn;
    if (count <= turn->room)
        return 0;
    uint32_t room = count > 2 * turn->room ? count : 2 * turn->room;
    Copy *copies = memory_get(MEMORY_HEAP, room * sizeof(Copy));
    if (copies == NULL)
        return -1;
    if (turn->count > 0)
        memcpy(copies, turn->copies, turn->count * sizeof(Copy));
    memory_put(MEMORY_HEAP, turn->copies, turn->room * sizeof(Copy));
    arena_count(cache->arena, (int64_t)((room - turn->room) * sizeof(Copy)));
    turn->copies = copies;
    turn->room = room;
    return 0;
}

static void end(Cache *cache)
{
    memory_put(MEMORY_HEAP, cache->turn.copies, cache->turn.room * sizeof(Copy));
    arena_count(cache->arena, -(int64_t)(cache->turn.room * sizeof(Copy)));
    cache->turn = (Turn){0};
    cache->turned = 1;
}

int turn_begin(Cache *cache, uint32_t users)
{
    return room_for_copies(cache, users);
}

int turn_is_full(const Cache *cache)
{
    size_t bound = cache->arena->bound;
    return cache->turn.bytes > bound / 4
           || (cache->turn.count > 0 && arena_held(cache->arena) > bound + CACHE_EXCESS(bound));
}

/* A slot for a copy, with the ``filled`` bytes of ``from`` (NULL: zeros) and zeros behind: nothing is left in it of
 * who had it. Others are let go first where it would take more memory than the worker should have. */
static Handle take(Cache *cache, size_t bytes, const void *from, size_t filled)
{
    size_t bound = cache->arena->bound;
    if (arena_held(cache->arena) + RUN_BYTES > bound + CACHE_EXCESS(bound) && slab_needs_run(&cache->slabs, bytes))
        cache_let_go(cache, bytes > RUN_BYTES ? bytes : RUN_BYTES, VISITS);
    Handle handle = slab_get(&cache->slabs, bytes);
    if (handle == 0)
        return 0;
    uint8_t *at = slab_at(&cache->slabs, handle);
    size_t room = slab_room(&cache->slabs, handle);
    cache->turn.bytes += room;
    if (from != NULL)
        memcpy(at, from, filled);
    if (!(handle & HANDLE_LARGE)) /* new pages are zero */
        memset(at + filled, 0, room - filled);
    return handle;
}

static void give(Cache *cache, Handle handle)
{
    cache->turn.bytes -= slab_room(&cache->slabs, handle);
    slab_put(&cache->slabs, handle);
}

/* the number of the copy of an entry that is in the table */
static int copy(Cache *cache, Handle was, uint32_t *number)
{
    Turn *turn = &cache->turn;
    Prefix *from = prefix_at(&cache->slabs, was);
    if (from->turn != 0) {
        *number = from->turn - 1;
        return 0;
    }
    if (room_for_copies(cache, turn->count + 1) < 0)
        return -1;
    from->turn = turn->count + 1; /* so that the hand passes it by */
    size_t bytes = prefix_bytes(from->name) + from->size;
    Handle now = take(cache, bytes, from, bytes);
    if (now == 0) {
        from->turn = 0;
        return -1;
    }
    Prefix *to = prefix_at(&cache->slabs, now);
    if (to->age < CACHE_MOST_AGE)
        to->age++;
    *number = turn->count;
    turn->copies[turn->count++] = (Copy){.was = was, .now = now, .hash = from->hash};
    return 0;
}

/* asks for memory before it is needed: the slot, then the entry's first line, then the others */
static void fetch(const Cache *cache, const User *users, uint32_t count, uint32_t at)
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
        if (handle == 0)
            return;
        const Prefix *prefix = prefix_at(&cache->slabs, handle);
        size_t lines = (prefix_bytes(prefix->name) + prefix->size + 63) / 64;
        for (size_t line = 1; line < lines && line < MOST_LINES; line++)
            __builtin_prefetch((const uint8_t *)prefix + line * 64);
    }
}

int turn_find(Cache *cache, const User *users, uint32_t count, uint32_t *numbers, uint32_t *done)
{
    for (*done = 0; *done < count && (*done == 0 || !turn_is_full(cache)); *done += 1) {
        fetch(cache, users, count, *done);
        const Handle *found = table_find(&cache->table, &cache->slabs, &users[*done]);
        if (found == NULL)
            numbers[*done] = TURN_MISSING;
        else if (copy(cache, *found, &numbers[*done]) < 0)
            return -1;
    }
    return 0;
}

static int add(Cache *cache, const User *user, uint32_t size, uint32_t *number)
{
    Turn *turn = &cache->turn;
    if (room_for_copies(cache, turn->count + 1) < 0 || table_reserve(&cache->table, 1) < 0)
        return -1;
    Handle now = take(cache, prefix_bytes(user->size) + size, NULL, 0);
    if (now == 0)
        return -1;
    Prefix *prefix = prefix_at(&cache->slabs, now);
    *prefix = (Prefix){.hash = table_hash(user->hash), .size = size, .name = user->size, .age = 1};
    prefix->turn = turn->count + 1;
    memcpy(prefix + 1, user->name, user->size);
    table_add(&cache->table, prefix->hash, now);
    *number = turn->count;
    turn->copies[turn->count++] = (Copy){.now = now, .hash = prefix->hash};
    return 0;
}

int turn_new(Cache *cache, const User *user, uint32_t size, uint32_t *number)
{
    const Handle *found = table_find(&cache->table, &cache->slabs, user);
    if (found == NULL)
        return add(cache, user, size, number);
    if (copy(cache, *found, number) < 0)
        return -1;
    if (!turn_is_gone(cache, *number))
        return 1;
    if (turn_grow(cache, *number, size) < 0)
        return -1;
    Entry entry = turn_entry(cache, *number);
    memset(entry.block, 0, size);
    entry.prefix->size = size;
    cache->turn.copies[*number].flags &= ~GONE;
    return 0;
}

Entry turn_entry(const Cache *cache, uint32_t number)
{
    Handle now = cache->turn.copies[number].now;
    Prefix *prefix = prefix_at(&cache->slabs, now);
    size_t before = prefix_bytes(prefix->name);
    return (Entry){
        .prefix = prefix,
        .block = (uint8_t *)prefix + before,
        .room = slab_room(&cache->slabs, now) - before,
    };
}

int turn_is_gone(const Cache *cache, uint32_t number)
{
    return (cache->turn.copies[number].flags & GONE) != 0;
}

int turn_grow(Cache *cache, uint32_t number, size_t room)
{
    Entry entry = turn_entry(cache, number);
    if (room <= entry.room)
        return 0;
    size_t before = prefix_bytes(entry.prefix->name);
    Handle now = take(cache, before + room, entry.prefix, before + entry.prefix->size);
    if (now == 0)
        return -1;
    Copy *own = &cache->turn.copies[number];
    if (own->was == 0)
        *table_at(&cache->table, own->hash, own->now) = now;
    give(cache, own->now);
    own->now = now;
    return 0;
}

void turn_forget(Cache *cache, uint32_t number, int erased)
{
    Entry entry = turn_entry(cache, number);
    memset(entry.block, 0, entry.prefix->size);
    entry.prefix->size = 0;
    entry.prefix->flags = 0;
    entry.prefix->timer = 0.0;
    cache->turn.copies[number].flags |= erased ? GONE | ERASED : GONE;
}

void turn_commit(Cache *cache)
{
    Turn *turn = &cache->turn;
    uint32_t flags = 0;
    for (uint32_t at = 0; at < turn->count; at++) {
        if (turn->count - at > BLOCK_AHEAD)
            table_prefetch(&cache->table, (uint64_t)turn->copies[at + BLOCK_AHEAD].hash << 32);
        const Copy *own = &turn->copies[at];
        flags |= own->flags;
        if (own->flags & GONE) {
            table_remove(&cache->table, own->hash, own->was != 0 ? own->was : own->now);
            slab_put(&cache->slabs, own->now);
        } else {
            prefix_at(&cache->slabs, own->now)->turn = 0;
            if (own->was != 0)
                *table_at(&cache->table, own->hash, own->was) = own->now;
        }
        if (own->was != 0)
            slab_put(&cache->slabs, own->was);
    }
    end(cache);
    if (flags & ERASED)
        slabs_scrub(&cache->slabs);
}

void turn_drop(Cache *cache)
{
    for (uint32_t at = 0; at < cache->turn.count; at++) {
        const Copy *own = &cache->turn.copies[at];
        if (own->was != 0)
            prefix_at(&cache->slabs, own->was)->turn = 0;
        else
            table_remove(&cache->table, own->hash, own->now);
        slab_put(&cache->slabs, own->now);
    }
    end(cache);
}
