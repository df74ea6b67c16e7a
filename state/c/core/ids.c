#include "ids.h"

uint64_t ids_hash(const uint8_t *groups, uint32_t i)
{
    uint64_t id = 0;
    memcpy(&id, groups + i / IDS_GROUP * IDS_GROUP_BYTES + SECOND_BYTES + i % IDS_GROUP * ID_BYTES, ID_BYTES);
    return id;
}

uint32_t ids_second(const uint8_t *groups, uint32_t i)
{
    return get_u32(groups + i / IDS_GROUP * IDS_GROUP_BYTES);
}

/* its group begins with it, or has its second where that is later */
static void put_id(uint8_t *groups, uint32_t i, uint64_t hash, uint32_t second)
{
    uint8_t *group = groups + i / IDS_GROUP * IDS_GROUP_BYTES;
    if (i % IDS_GROUP == 0 || second > get_u32(group))
        put_u32(group, second);
    memcpy(group + SECOND_BYTES + i % IDS_GROUP * ID_BYTES, &hash, ID_BYTES);
}

static size_t groups_size(uint32_t count)
{
    return (size_t)SECOND_BYTES * ((count + IDS_GROUP - 1) / IDS_GROUP) + (size_t)ID_BYTES * count;
}

size_t ids_size(uint32_t count)
{
    return IDS_HEAD + groups_size(count);
}

Ids ids_of(const UserBlock *block)
{
    if (section_size(block, IDS) == 0)
        return (Ids){0, 0, 0};
    const uint8_t *at = section_at(block, IDS);
    return (Ids){get_u32(at), get_u32(at + 4), get_u32(at + 8)};
}

int ids_has(const UserBlock *block, uint64_t hash)
{
    uint32_t left = ids_of(block).count, low = (uint32_t)hash;
    if (left == 0)
        return 0;
    for (const uint8_t *group = section_at(block, IDS) + IDS_HEAD;; group += IDS_GROUP_BYTES) {
        uint32_t count = left < IDS_GROUP ? left : IDS_GROUP;
        for (uint32_t i = 0; i < count; i++) /* four bytes tell nearly always */
            if (get_u32(group + SECOND_BYTES + i * ID_BYTES) == low && ids_hash(group, i) == (hash & ID_MASK))
                return 1;
        if ((left -= count) == 0)
            return 0;
    }
}

static uint8_t *resize(UserBlock *block, size_t size)
{
    return block_splice(block, IDS, 0, section_size(block, IDS), padded(size));
}

Ids ids_peek(const uint8_t *block, size_t size)
{
    size_t units = size < BLOCK_HEADER ? 0 : get_u16(block + AT_SIZES + 2 * (size_t)IDS);
    if (units == 0)
        return (Ids){0, 0, 0};
    const uint8_t *at = block + size - 8 * units; /* the last section, and never a large one */
    return (Ids){get_u32(at), get_u32(at + 4), get_u32(at + 8)};
}

int ids_put(UserBlock *block, uint64_t hash, uint32_t second, uint8_t closed[IDS_RECORD_BYTES])
{
    Ids ids = ids_of(block);
    if (ids.count + 1 == IDS_RECORD) {
        if (ids.stored == UINT32_MAX)
            return ID_NO_ROOM; /* nor in any other block: no fold came so far */
        memcpy(closed, section_at(block, IDS) + IDS_HEAD, groups_size(ids.count));
        put_id(closed, ids.count, hash, second);
        uint8_t *at = resize(block, IDS_HEAD); /* less than there was */
        memset(at, 0, padded(IDS_HEAD));
        put_u32(at, ids.first);
        put_u32(at + 4, ids.stored + 1);
        return ID_CLOSED;
    }
    uint8_t *at = resize(block, ids_size(ids.count + 1));
    if (at == NULL)
        return ID_NO_ROOM;
    put_u32(at + 8, ids.count + 1);
    put_id(at + IDS_HEAD, ids.count, hash, second);
    return ID_NEW;
}

void ids_forget(UserBlock *block, uint32_t first)
{
    if (section_size(block, IDS))
        put_u32(section_at(block, IDS), first);
}

void ids_empty(UserBlock *block)
{
    uint32_t stored = ids_of(block).stored;
    uint8_t *at = resize(block, stored ? IDS_HEAD : 0); /* no more than there was */
    if (stored == 0)
        return;
    memset(at, 0, padded(IDS_HEAD));
    put_u32(at, stored);
    put_u32(at + 4, stored);
}

uint32_t ids_youngest(const uint8_t record[IDS_RECORD_BYTES])
{
    uint32_t second = 0;
    for (size_t at = 0; at < IDS_RECORD_BYTES; at += IDS_GROUP_BYTES)
        second = get_u32(record + at) > second ? get_u32(record + at) : second;
    return second;
}

void ids_from_old(const uint8_t old[OLD_RECORD_BYTES], uint8_t record[IDS_RECORD_BYTES])
{
    const uint8_t *seconds = old + IDS_RECORD * OLD_HASH_BYTES;
    for (uint32_t i = 0; i < IDS_RECORD; i++)
        put_id(record, i, get_u64(old + i * OLD_HASH_BYTES), get_u32(seconds + i * SECOND_BYTES));
}
