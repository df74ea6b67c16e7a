#include "turn.h"

#include <math.h>

#include "fetch.h"

#define GONE 1u    /* forgotten, and not begun again */
#define ERASED 2u  /* forgotten for good at least once */
#define TAILED 4u  /* what is committed has a tail */

#define SLACK 24 /* bytes that a copy has more room than it needs: most visits make a block no larger than that */
#define VISITS 2048 /* entries that the hand looks at for one run at most: a fraction of a millisecond */

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
    return cache->turn.bytes + cache->turn.tails > bound / 4
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

static uint8_t *block_of(Prefix *prefix)
{
    return (uint8_t *)prefix + prefix_bytes(prefix->name);
}

/* What the store has of a user, by the block that it has. */
static void know(Copy *own, const uint8_t *block, size_t size)
{
    Ids ids = ids_peek(block, size);
    own->timer = get_f64_be(block + AT_DUE);
    own->first = ids.first;
    own->stored = ids.stored;
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
    Handle now = take(cache, bytes + SLACK, from, bytes);
    if (now == 0) {
        from->turn = 0;
        return -1;
    }
    Prefix *to = prefix_at(&cache->slabs, now);
    if (to->age < CACHE_MOST_AGE)
        to->age++;
    *number = turn->count++;
    Copy *own = &turn->copies[*number];
    *own = (Copy){.was = was, .now = now, .hash = from->hash, .flags = from->tail != NULL ? TAILED : 0};
    know(own, block_of(to), to->size);
    return 0;
}

int turn_find(Cache *cache, const User *users, uint32_t count, uint32_t *numbers, uint32_t *done)
{
    for (*done = 0; *done < count && (*done == 0 || !turn_is_full(cache)); *done += 1) {
        fetch_user(cache, users, count, *done);
        const Handle *found = table_find(&cache->table, &cache->slabs, &users[*done]);
        if (found == NULL)
            numbers[*done] = TURN_MISSING;
        else if (copy(cache, *found, &numbers[*done]) < 0)
            return -1;
    }
    return 0;
}

uint32_t turn_number(const Cache *cache, const User *user)
{
    const Handle *found = table_find(&cache->table, &cache->slabs, user);
    return found == NULL ? TURN_MISSING : prefix_at(&cache->slabs, *found)->turn - 1; /* 0 - 1 is TURN_MISSING */
}

int turn_due(const Cache *cache, const User *user, double *due)
{
    const Handle *found = table_find(&cache->table, &cache->slabs, user);
    if (found == NULL)
        return 0;
    Prefix *prefix = prefix_at(&cache->slabs, *found);
    if (prefix->turn != 0) {
        const Copy *own = &cache->turn.copies[prefix->turn - 1];
        if (own->flags & GONE)
            return 0;
        prefix = prefix_at(&cache->slabs, own->now);
    }
    *due = get_f64_be(block_of(prefix) + AT_DUE);
    return 1;
}

static int add(Cache *cache, const User *user, size_t room, uint32_t *number)
{
    Turn *turn = &cache->turn;
    if (room_for_copies(cache, turn->count + 1) < 0 || table_reserve(&cache->table, 1) < 0)
        return -1;
    Handle now = take(cache, prefix_bytes(user->size) + room, NULL, 0);
    if (now == 0)
        return -1;
    Prefix *prefix = prefix_at(&cache->slabs, now);
    *prefix = (Prefix){.hash = table_hash(user->hash), .name = user->size, .age = 1, .turn = turn->count + 1};
    memcpy(prefix + 1, user->name, user->size);
    table_add(&cache->table, prefix->hash, now);
    *number = turn->count;
    turn->copies[turn->count++] = (Copy){.now = now, .hash = prefix->hash, .timer = (double)INFINITY};
    return 0;
}

/* An entry for who has none, with room for a block; 1: the user has one. */
static int bring(Cache *cache, const User *user, size_t room, uint32_t *number)
{
    const Handle *found = table_find(&cache->table, &cache->slabs, user);
    if (found == NULL)
        return add(cache, user, room, number);
    if (copy(cache, *found, number) < 0)
        return -1;
    if (!turn_is_gone(cache, *number))
        return 1;
    if (turn_grow(cache, *number, room) < 0)
        return -1;
    cache->turn.copies[*number].flags &= ~GONE;
    return 0;
}

int turn_new(Cache *cache, const User *user, size_t room, uint32_t *number)
{
    int brought = bring(cache, user, room > BLOCK_HEADER ? room : BLOCK_HEADER, number);
    if (brought == 0) {
        UserBlock block;
        Entry entry = turn_entry(cache, *number);
        block_begin(&block, entry.block, entry.room);
        entry.prefix->size = block.size;
        entry.prefix->flags |= ENTRY_NEW;
    }
    return brought;
}

int turn_admit(Cache *cache, const User *user, const uint8_t *block, uint32_t size, const IdsBytes *records,
               size_t count, uint32_t *number)
{
    Tail *tail;
    Ids ids = ids_peek(block, size);
    int made = tail_make(&tail, ids.first, ids.stored, records, count, cache->arena);
    if (made != DONE)
        return made == ID_BAD_SIZE ? TURN_BAD_IDS : -1;
    int brought = bring(cache, user, size, number);
    if (brought != 0) {
        tail_free(tail, cache->arena);
        return brought;
    }
    Entry entry = turn_entry(cache, *number);
    memcpy(entry.block, block, size);
    entry.prefix->size = size;
    entry.prefix->tail = tail;
    cache->turn.tails += tail_bytes(tail);
    know(&cache->turn.copies[*number], block, size);
    return 0;
}

Copy *turn_copy(Cache *cache, uint32_t number)
{
    return &cache->turn.copies[number];
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

/* the committed entry's tail */
static Tail *kept_tail(const Cache *cache, const Copy *own)
{
    return own->flags & TAILED ? prefix_at(&cache->slabs, own->was)->tail : NULL;
}

void turn_open(Cache *cache, uint32_t number, UserBlock *block, IdsAt *ids)
{
    Entry entry = turn_entry(cache, number);
    Copy *own = &cache->turn.copies[number];
    block_open(block, entry.block, entry.prefix->size, entry.room);
    *ids = (IdsAt){
        .block = block,
        .tail = &entry.prefix->tail,
        .kept = kept_tail(cache, own),
        .first = own->first,
        .stored = own->stored,
        .cut = &own->cut,
        .arena = cache->arena,
    };
}

void turn_close(Cache *cache, uint32_t number, const UserBlock *block)
{
    turn_entry(cache, number).prefix->size = block->size;
}

int turn_widen(Cache *cache, uint32_t number, size_t more, UserBlock *block, IdsAt *ids)
{
    if (block->room >= BLOCK_MOST)
        return TURN_TOO_LARGE;
    size_t wanted = block->size + more > block->room ? block->size + more : (size_t)block->room + 1;
    turn_close(cache, number, block);
    if (turn_grow(cache, number, wanted < BLOCK_MOST ? wanted : BLOCK_MOST) < 0)
        return -1;
    turn_open(cache, number, block, ids);
    return 0;
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
    Copy *own = &cache->turn.copies[number];
    if (entry.prefix->tail != kept_tail(cache, own))
        tail_free(entry.prefix->tail, cache->arena);
    memset(entry.block, 0, entry.room); /* it may have been larger; whoever begins again has the same slot */
    entry.prefix->tail = NULL;
    entry.prefix->size = 0;
    entry.prefix->flags &= ENTRY_DIRTY; /* what is committed may be it */
    own->timer = (double)INFINITY;
    own->first = own->stored = own->cut = 0;
    own->flags |= erased ? GONE | ERASED : GONE;
}

/* What the store will have of this copy, which has the flags of what was committed before. */
static void mark(Cache *cache, const Copy *own, Prefix *now, int behind)
{
    int dirty = behind && !(own->flags & GONE);
    cache->dirty -= now->flags & ENTRY_DIRTY;
    now->flags = dirty ? (uint8_t)((now->flags & ENTRY_NEW) | ENTRY_DIRTY) : 0;
    cache->dirty += now->flags & ENTRY_DIRTY;
    cache->fresh |= (now->flags & ENTRY_NEW) != 0;
}

void turn_commit(Cache *cache, int behind)
{
    Turn *turn = &cache->turn;
    uint32_t flags = 0;
    for (uint32_t at = 0; at < turn->count; at++) {
        fetch_committed(cache, at);
        const Copy *own = &turn->copies[at];
        Prefix *now = prefix_at(&cache->slabs, own->now);
        flags |= own->flags;
        mark(cache, own, now, behind);
        Tail *kept = kept_tail(cache, own);
        if (now->tail != kept) {
            cache->tails += tail_bytes(now->tail);
            if (kept != NULL)
                cache_free_tail(cache, prefix_at(&cache->slabs, own->was));
        }
        if (own->flags & GONE) {
            table_remove(&cache->table, own->hash, own->was != 0 ? own->was : own->now);
            slab_put(&cache->slabs, own->now);
        } else {
            now->turn = 0;
            if (own->was != 0)
                *table_at(&cache->table, own->hash, own->was) = own->now;
        }
        if (own->was != 0)
            slab_put(&cache->slabs, own->was);
    }
    cache->pressed -= cache->pressed > 0;
    end(cache);
    if (flags & ERASED)
        slabs_scrub(&cache->slabs);
}

void turn_drop(Cache *cache)
{
    for (uint32_t at = 0; at < cache->turn.count; at++) {
        const Copy *own = &cache->turn.copies[at];
        Tail *tail = prefix_at(&cache->slabs, own->now)->tail;
        if (tail != kept_tail(cache, own))
            tail_free(tail, cache->arena);
        if (own->was != 0)
            prefix_at(&cache->slabs, own->was)->turn = 0;
        else
            table_remove(&cache->table, own->hash, own->now);
        slab_put(&cache->slabs, own->now);
    }
    end(cache);
}
