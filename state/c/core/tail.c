#include "tail.h"

/* Behind it: for each record whether it is there, its ids' lowest bytes, then the records. Of many records there is a
 * filter as well: a hash table of fingerprints, of which ids of other turns and of records that went may be left. What has
 * no fingerprint in it is not there; what has is looked for. */
struct Tail {
    uint32_t room;   /* records */
    uint32_t filled; /* of the filter */
    uint64_t seed;   /* of the filter; odd */
};

enum { TAIL_HEAD = sizeof(struct Tail), FILTERED = 8 /* records: fewer are looked through as fast */ };

_Static_assert(TAIL_HEAD == 16, "the head of a tail has 16 bytes");

/* how many fingerprints a filter has room for: a power of two, at least half as many more as there are ids */
static uint32_t filter_room(uint32_t room)
{
    if (room < FILTERED)
        return 0;
    return (uint32_t)1 << (32 - __builtin_clz(room * (IDS_RECORD + IDS_RECORD / 2) - 1));
}

static size_t bytes_for(uint32_t room)
{
    return TAIL_HEAD + room * (1 + (size_t)IDS_RECORD + IDS_RECORD_BYTES) + filter_room(room) * sizeof(uint16_t);
}

static uint8_t *there(const Tail *tail, uint32_t slot)
{
    return (uint8_t *)(uintptr_t)tail + TAIL_HEAD + slot;
}

static uint8_t *tags_of(const Tail *tail, uint32_t slot)
{
    return there(tail, tail->room) + (size_t)slot * IDS_RECORD;
}

static uint8_t *record_of(const Tail *tail, uint32_t slot)
{
    return tags_of(tail, tail->room) + (size_t)slot * IDS_RECORD_BYTES;
}

static uint8_t *filter_of(const Tail *tail)
{
    return record_of(tail, tail->room);
}

size_t tail_bytes(const Tail *tail)
{
    return tail == NULL ? 0 : bytes_for(tail->room);
}

static void count(Arena *arena, int64_t bytes)
{
    if (arena != NULL)
        arena_count(arena, bytes);
}

void tail_free(Tail *tail, Arena *arena)
{
    if (tail == NULL)
        return;
    size_t bytes = bytes_for(tail->room);
    memset(tail, 0, bytes);
    __asm__ volatile("" : : "r"(tail) : "memory"); /* nobody reads it again, and it is to be written all the same */
    memory_put(MEMORY_HEAP, tail, bytes);
    count(arena, -(int64_t)bytes);
}

/* Room for so many records, and a quarter more for those to come. */
static Tail *make(uint32_t records, Arena *arena)
{
    uint32_t room = records + records / 4;
    Tail *tail = memory_get(MEMORY_HEAP, bytes_for(room));
    if (tail == NULL)
        return NULL;
    tail->room = room;
    tail->seed = (uintptr_t)tail * UINT64_C(0x9E3779B97F4A7C15) | 1; /* whoever chooses ids does not know it */
    count(arena, (int64_t)bytes_for(room));
    return tail;
}

/* Where the filter has the id, or the free place where it would be. */
static uint8_t *fingerprint(const Tail *tail, uint64_t hash, uint16_t *print)
{
    uint32_t last = filter_room(tail->room) - 1;
    uint64_t mixed = (hash & ID_MASK) * tail->seed;
    *print = (uint16_t)(mixed >> 8) | 1; /* 0 is a free place */
    uint8_t *filter = filter_of(tail);
    for (uint32_t place = (uint32_t)(mixed >> 40) & last;; place = (place + 1) & last) {
        uint8_t *at = filter + place * sizeof(uint16_t);
        uint16_t found = get_u16(at);
        if (found == *print || found == 0)
            return at;
    }
}

static void filter_slot(Tail *tail, uint32_t slot)
{
    for (uint32_t i = 0; i < IDS_RECORD; i++) {
        uint16_t print;
        uint8_t *at = fingerprint(tail, ids_hash(record_of(tail, slot), i), &print);
        tail->filled += get_u16(at) == 0;
        put_u16(at, print);
    }
}

/* Puts a record's ids into the filter; when that is three quarters full, only those that are there stay in it. */
static void filter(Tail *tail, uint32_t slot)
{
    uint32_t room = filter_room(tail->room);
    if (room == 0)
        return;
    if (tail->filled + IDS_RECORD <= room / 4 * 3) {
        filter_slot(tail, slot);
        return;
    }
    memset(filter_of(tail), 0, room * sizeof(uint16_t));
    tail->filled = 0;
    for (uint32_t each = 0; each < tail->room; each++)
        if (*there(tail, each))
            filter_slot(tail, each);
}

static void mark(Tail *tail, uint32_t slot)
{
    const uint8_t *record = record_of(tail, slot);
    uint8_t *tags = tags_of(tail, slot);
    for (uint32_t i = 0; i < IDS_RECORD; i++)
        tags[i] = (uint8_t)ids_hash(record, i);
    *there(tail, slot) = 1;
    filter(tail, slot);
}

int tail_make(Tail **tail, uint32_t first, uint32_t stored, const IdsBytes *records, size_t count_, Arena *arena)
{
    size_t found = 0;
    *tail = NULL;
    count_ = count_ < stored - first ? count_ : stored - first;
    for (size_t i = 0; i < count_; i++) {
        if (records[i].size != 0 && records[i].size != IDS_RECORD_BYTES && records[i].size != OLD_RECORD_BYTES)
            return ID_BAD_SIZE;
        found += records[i].size != 0;
    }
    if (found == 0)
        return DONE;
    *tail = make(stored - first, arena); /* each number has a place of its own, whether its record is told or not */
    if (*tail == NULL)
        return ID_NO_MEMORY;
    for (size_t i = 0; i < count_; i++) {
        uint32_t slot = (first + (uint32_t)i) % (*tail)->room;
        if (records[i].size == 0)
            continue;
        if (records[i].size == IDS_RECORD_BYTES)
            memcpy(record_of(*tail, slot), records[i].at, IDS_RECORD_BYTES);
        else
            ids_from_old(records[i].at, record_of(*tail, slot));
        mark(*tail, slot);
    }
    return DONE;
}

/* NULL: missing */
static const uint8_t *record_at(const Tail *tail, uint32_t number)
{
    return tail != NULL && *there(tail, number % tail->room) ? record_of(tail, number % tail->room) : NULL;
}

/* looking */

/* whether an id is in one of so many records from a slot on, none of them behind the last */
static int is_among(const Tail *tail, uint32_t slot, uint32_t records, uint64_t hash)
{
    const uint8_t *all = tags_of(tail, 0), *at = all + (size_t)slot * IDS_RECORD;
    const uint8_t *end = at + (size_t)records * IDS_RECORD;
    while (at < end && (at = memchr(at, (uint8_t)hash, (size_t)(end - at))) != NULL) {
        size_t place = (size_t)(at++ - all);
        uint32_t here = (uint32_t)(place / IDS_RECORD);
        if (ids_hash(record_of(tail, here), (uint32_t)(place % IDS_RECORD)) == hash && *there(tail, here))
            return 1;
    }
    return 0;
}

int ids_known(const IdsAt *ids, uint64_t hash)
{
    hash &= ID_MASK;
    const Tail *tail = *ids->tail;
    if (ids_has(ids->block, hash))
        return 1;
    if (tail == NULL)
        return 0;
    uint16_t print;
    if (tail->room >= FILTERED && get_u16(fingerprint(tail, hash, &print)) == 0)
        return 0;
    Ids now = ids_of(ids->block);
    uint32_t records = now.stored - now.first, slot = now.first % tail->room, before = tail->room - slot;
    if (records <= before)
        return is_among(tail, slot, records, hash);
    return is_among(tail, slot, before, hash) || is_among(tail, 0, records - before, hash);
}

const uint8_t *ids_record(const IdsAt *ids, uint32_t number)
{
    Ids now = ids_of(ids->block);
    return number >= now.first && number < now.stored ? record_at(*ids->tail, number) : NULL;
}

int ids_next(const IdsAt *ids, uint64_t *at, uint64_t *hash, uint32_t *second)
{
    Ids now = ids_of(ids->block);
    uint64_t in_records = (uint64_t)(now.stored - now.first) * IDS_RECORD;
    while (*at < in_records + now.count) {
        uint32_t place = (uint32_t)(*at < in_records ? *at % IDS_RECORD : *at - in_records);
        const uint8_t *groups = *at >= in_records ? section_at(ids->block, IDS) + IDS_HEAD
                                                  : record_at(*ids->tail, now.first + (uint32_t)(*at / IDS_RECORD));
        if (groups == NULL) {
            *at += IDS_RECORD; /* it stood at its beginning */
            continue;
        }
        *hash = ids_hash(groups, place);
        *second = ids_second(groups, place);
        *at += 1;
        return 1;
    }
    return 0;
}

uint32_t ids_total(const IdsAt *ids)
{
    Ids now = ids_of(ids->block);
    uint32_t total = now.count;
    if (*ids->tail != NULL)
        for (uint32_t number = now.first; number < now.stored; number++)
            total += record_at(*ids->tail, number) != NULL ? IDS_RECORD : 0;
    return total;
}

uint32_t ids_latest(const IdsAt *ids)
{
    Ids now = ids_of(ids->block);
    if (now.count > 0)
        return ids_second(section_at(ids->block, IDS) + IDS_HEAD, now.count - 1);
    const uint8_t *last = now.stored > now.first ? record_at(*ids->tail, now.stored - 1) : NULL;
    return last == NULL ? 0 : ids_second(last, IDS_RECORD - 1);
}

IdsChange ids_change(const IdsAt *ids)
{
    Ids now = ids_of(ids->block);
    uint32_t first = now.first < ids->stored ? now.first : ids->stored;
    return (IdsChange){
        .gone = ids->first < first ? ids->first : first,
        .first = first,
        .put = ids->stored > now.first ? ids->stored : now.first,
        .stored = now.stored,
    };
}

/* changing */

static void put_tail(IdsAt *ids, Tail *tail)
{
    if (*ids->tail != ids->kept)
        tail_free(*ids->tail, ids->arena);
    *ids->tail = tail;
}

/* Room for one more record, beside all that are committed if they lie here. */
static int make_room(IdsAt *ids, Ids now)
{
    const Tail *old = *ids->tail;
    uint32_t from = old != NULL && old == ids->kept ? ids->first : now.first, needed = now.stored + 1 - from;
    if (old != NULL && needed <= old->room && old->room <= 4 * needed + LAST_RECORDS)
        return DONE;
    Tail *tail = make(now.stored + 1 - now.first, ids->arena);
    if (tail == NULL)
        return old != NULL && needed <= old->room ? DONE : ID_NO_MEMORY; /* it could have been smaller */
    for (uint32_t number = now.first; old != NULL && number < now.stored; number++) {
        uint32_t from_slot = number % old->room, to_slot = number % tail->room;
        memcpy(record_of(tail, to_slot), record_of(old, from_slot), IDS_RECORD_BYTES);
        if (*there(old, from_slot))
            mark(tail, to_slot);
    }
    put_tail(ids, tail);
    return DONE;
}

/* Of the oldest records those that are not wanted any more, now that another was closed. */
static void drop_old(IdsAt *ids)
{
    Ids now = ids_of(ids->block);
    int64_t horizon = (int64_t)ids_second(record_at(*ids->tail, now.stored - 1), IDS_RECORD - 1) - DEDUPE_SECONDS;
    uint32_t first = now.first;
    for (; now.stored - first > LAST_RECORDS; first++) {
        const uint8_t *record = record_at(*ids->tail, first);
        if ((record == NULL ? 0 : (int64_t)ids_youngest(record)) < horizon)
            continue;
        if (now.stored - first <= MOST_RECORDS)
            break;
        *ids->cut += IDS_RECORD;
    }
    ids_forget(ids->block, first);
}

int ids_append(IdsAt *ids, uint64_t hash, uint32_t second)
{
    Ids now = ids_of(ids->block);
    if (now.count + 1 < IDS_RECORD)
        return ids_put(ids->block, hash, second, NULL);
    if (make_room(ids, now) != DONE)
        return ID_NO_MEMORY;
    Tail *tail = *ids->tail;
    uint32_t slot = now.stored % tail->room;
    int put = ids_put(ids->block, hash, second, record_of(tail, slot));
    if (put != ID_CLOSED)
        return put;
    mark(tail, slot);
    drop_old(ids);
    return ID_NEW;
}

int ids_remember(IdsAt *ids, uint64_t hash, uint32_t second)
{
    return ids_known(ids, hash) ? ID_KNOWN : ids_append(ids, hash, second);
}

void ids_clear(IdsAt *ids)
{
    put_tail(ids, NULL);
    ids_empty(ids->block);
}

int ids_restore(IdsAt *ids, const IdsBytes *records, size_t count_)
{
    Ids now = ids_of(ids->block);
    Tail *tail;
    int made = tail_make(&tail, now.first, now.stored, records, count_, ids->arena);
    if (made == DONE)
        put_tail(ids, tail);
    return made;
}
