#include "table.h"

#include <string.h>

#define LEAST_BITS 6
#define MOST_BITS 31
#define AHEAD 8 /* entries that table_each asks memory for before it comes to them */
#define MOVED ((Handle)UINT32_MAX) /* of an old slot: it was taken, so go on; no block has this handle */

static size_t bytes_of(uint32_t bits)
{
    return sizeof(TableSlot) << bits;
}

static enum Memory kind_of(const Table *table, uint32_t bits)
{
    return bytes_of(bits) >= HUGE_BYTES ? table->arena->kind : MEMORY_HEAP;
}

static uint32_t slots_for(uint32_t bits)
{
    return (uint32_t)1 << bits;
}

static uint32_t home_of(uint32_t hash, uint32_t bits)
{
    return hash >> (32 - bits);
}

void table_init(Table *table, Arena *arena)
{
    memset(table, 0, sizeof(*table));
    table->arena = arena;
}

static void free_slots(Table *table, TableSlot *slots, uint32_t bits)
{
    if (slots == NULL)
        return;
    memory_put(kind_of(table, bits), slots, bytes_of(bits));
    arena_count(table->arena, -(int64_t)bytes_of(bits));
}

void table_free(Table *table)
{
    free_slots(table, table->slots, table->bits);
    free_slots(table, table->old, table->old_bits);
    table_init(table, table->arena);
}

/* looking */

static Handle *find_in(TableSlot *slots, uint32_t bits, const Slabs *slabs, uint32_t hash, const User *user)
{
    uint32_t mask = slots_for(bits) - 1;
    for (uint32_t at = home_of(hash, bits); slots[at].handle != 0; at = (at + 1) & mask) {
        if (slots[at].hash != hash || slots[at].handle == MOVED)
            continue;
        const Prefix *prefix = prefix_at(slabs, slots[at].handle);
        if (prefix->name == user->size && memcmp(prefix + 1, user->name, user->size) == 0)
            return &slots[at].handle;
    }
    return NULL;
}

Handle *table_find(const Table *table, const Slabs *slabs, const User *user)
{
    if (table->slots == NULL)
        return NULL;
    uint32_t hash = table_hash(user->hash);
    Handle *found = find_in(table->slots, table->bits, slabs, hash, user);
    if (found == NULL && table->old != NULL)
        found = find_in(table->old, table->old_bits, slabs, hash, user);
    return found;
}

Handle table_peek(const Table *table, uint64_t hash)
{
    if (table->slots == NULL)
        return 0;
    uint32_t wanted = table_hash(hash), mask = slots_for(table->bits) - 1;
    uint32_t at = home_of(wanted, table->bits);
    while (table->slots[at].handle != 0 && table->slots[at].hash != wanted)
        at = (at + 1) & mask;
    return table->slots[at].handle;
}

static TableSlot *slot_in(TableSlot *slots, uint32_t bits, uint32_t hash, Handle handle)
{
    uint32_t mask = slots_for(bits) - 1;
    for (uint32_t at = home_of(hash, bits); slots[at].handle != 0; at = (at + 1) & mask)
        if (slots[at].handle == handle)
            return &slots[at];
    return NULL;
}

Handle *table_at(const Table *table, uint32_t hash, Handle handle)
{
    TableSlot *slot = slot_in(table->slots, table->bits, hash, handle);
    if (slot == NULL)
        slot = slot_in(table->old, table->old_bits, hash, handle);
    return &slot->handle;
}

/* another size */

static void put(Table *table, TableSlot slot)
{
    uint32_t mask = slots_for(table->bits) - 1, at = home_of(slot.hash, table->bits);
    while (table->slots[at].handle != 0)
        at = (at + 1) & mask;
    table->slots[at] = slot;
}

static void move_quarter(Table *table)
{
    uint32_t all = slots_for(table->old_bits);
    for (uint32_t end = table->moved + all / 4; table->moved < end; table->moved++) {
        TableSlot *slot = &table->old[table->moved];
        if (slot->handle == 0 || slot->handle == MOVED)
            continue;
        put(table, *slot);
        slot->handle = MOVED;
    }
    table->added = 0;
    if (table->moved == all) {
        free_slots(table, table->old, table->old_bits);
        table->old = NULL;
    }
}

void table_finish(Table *table)
{
    while (table->old != NULL)
        move_quarter(table);
}

static int resize(Table *table, uint32_t bits)
{
    TableSlot *slots = memory_get(kind_of(table, bits), bytes_of(bits));
    if (slots == NULL)
        return -1;
    arena_count(table->arena, (int64_t)bytes_of(bits));
    table_finish(table);
    table->old = table->slots;
    table->old_bits = table->bits;
    table->moved = 0;
    table->slots = slots;
    table->bits = bits;
    if (table->old != NULL)
        move_quarter(table);
    return 0;
}

static int fits(uint64_t users, uint32_t bits)
{
    return users <= (uint64_t)slots_for(bits) / 4 * 3;
}

int table_reserve(Table *table, uint32_t more)
{
    uint64_t wanted = (uint64_t)table->used + more;
    uint32_t bits = table->slots == NULL ? LEAST_BITS : table->bits;
    while (bits < MOST_BITS && !fits(wanted, bits))
        bits++;
    if (!fits(wanted, bits))
        return -1;
    return table->slots != NULL && bits == table->bits ? 0 : resize(table, bits);
}

void table_tidy(Table *table)
{
    uint32_t bits = table->bits;
    while (bits > LEAST_BITS && (uint64_t)table->used * 4 <= slots_for(bits - 1))
        bits--;
    if (table->old != NULL)
        move_quarter(table);
    else if (bits + 2 <= table->bits) /* a quarter of the slots is enough, with room to grow */
        resize(table, bits);
}

size_t table_bytes(const Table *table)
{
    return (table->slots == NULL ? 0 : bytes_of(table->bits)) + (table->old == NULL ? 0 : bytes_of(table->old_bits));
}

/* all entries */

static int each_in(const TableSlot *slots, uint32_t bits, const Slabs *slabs, uint64_t from, uint64_t until,
                   int (*each)(void *of, Prefix *prefix), void *of)
{
    uint32_t mask = slots_for(bits) - 1, at = home_of((uint32_t)from, bits);
    uint32_t homes = home_of((uint32_t)(until - 1), bits) - at + 1;
    /* who stands behind the last home may belong there: up to the first free slot, which may be beyond the end */
    for (uint32_t left = slots_for(bits); left > 0 && (homes > 0 || slots[at].handle != 0); left--) {
        TableSlot slot = slots[at], ahead = slots[(at + AHEAD) & mask];
        if (ahead.handle != 0 && ahead.handle != MOVED)
            __builtin_prefetch(slab_at(slabs, ahead.handle), 1);
        if (slot.handle != 0 && slot.handle != MOVED && slot.hash >= from && slot.hash < until) {
            int done = each(of, prefix_at(slabs, slot.handle));
            if (done < 0)
                return done;
        }
        homes -= homes > 0;
        at = (at + 1) & mask;
    }
    return 0;
}

int table_each(const Table *table, const Slabs *slabs, uint64_t from, uint64_t until,
               int (*each)(void *of, Prefix *prefix), void *of)
{
    int done = 0;
    if (from >= until)
        return 0;
    if (table->slots != NULL)
        done = each_in(table->slots, table->bits, slabs, from, until, each, of);
    if (done >= 0 && table->old != NULL)
        done = each_in(table->old, table->old_bits, slabs, from, until, each, of);
    return done;
}

/* single entries */

void table_add(Table *table, uint32_t hash, Handle handle)
{
    put(table, (TableSlot){.hash = hash, .handle = handle});
    table->used++;
    /* the last quarter is moved long before three quarters are full again */
    if (table->old != NULL && ++table->added >= slots_for(table->bits) / 32)
        move_quarter(table);
}

/* Takes a slot out and closes the gap with those behind it that may stand nearer to their home. */
static void close_gap(Table *table, TableSlot *slot)
{
    uint32_t mask = slots_for(table->bits) - 1, gap = (uint32_t)(slot - table->slots);
    for (uint32_t at = (gap + 1) & mask; table->slots[at].handle != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(table->slots[at].hash, table->bits);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue;
        table->slots[gap] = table->slots[at];
        gap = at;
    }
    table->slots[gap] = (TableSlot){0};
}

void table_remove(Table *table, uint32_t hash, Handle handle)
{
    TableSlot *slot = slot_in(table->slots, table->bits, hash, handle);
    if (slot != NULL)
        close_gap(table, slot);
    else
        slot_in(table->old, table->old_bits, hash, handle)->handle = MOVED;
    table->used--;
}
