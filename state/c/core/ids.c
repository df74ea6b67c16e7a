#include "ids.h"

static uint64_t id_at(const uint8_t *groups, uint32_t i)
{
    uint64_t id = 0;
    memcpy(&id, groups + i / IDS_GROUP * IDS_GROUP_BYTES + 4 + i % IDS_GROUP * ID_BYTES, ID_BYTES);
    return id;
}

/* its group begins with it, or has its second where that is later */
static void put_id(uint8_t *groups, uint32_t i, uint64_t hash, uint32_t second)
{
    uint8_t *group = groups + i / IDS_GROUP * IDS_GROUP_BYTES;
    if (i % IDS_GROUP == 0 || second > get_u32(group))
        put_u32(group, second);
    memcpy(group + 4 + i % IDS_GROUP * ID_BYTES, &hash, ID_BYTES);
}

static size_t groups_size(uint32_t count)
{
    return (size_t)4 * ((count + IDS_GROUP - 1) / IDS_GROUP) + (size_t)ID_BYTES * count;
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
    uint32_t count = ids_of(block).count;
    const uint8_t *groups = section_at(block, IDS) + IDS_HEAD;
    for (uint32_t i = 0; i < count; i++)
        if (id_at(groups, i) == (hash & ID_MASK))
            return 1;
    return 0;
}

static uint8_t *resize(UserBlock *block, size_t size)
{
    return block_splice(block, IDS, 0, section_size(block, IDS), padded(size));
}

int ids_add(UserBlock *block, uint64_t hash, uint32_t second, uint8_t closed[IDS_RECORD_BYTES])
{
    if (ids_has(block, hash))
        return ID_KNOWN;
    Ids ids = ids_of(block);
    if (ids.count + 1 == IDS_RECORD) {
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

uint32_t ids_youngest(const uint8_t record[IDS_RECORD_BYTES])
{
    uint32_t second = 0;
    for (size_t at = 0; at < IDS_RECORD_BYTES; at += IDS_GROUP_BYTES)
        second = get_u32(record + at) > second ? get_u32(record + at) : second;
    return second;
}
