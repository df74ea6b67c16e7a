#include "members.h"

#include "xxh3.h"

typedef struct {
    size_t at, size; /* size 0: it would be there */
} Place;

static Place find(const UserBlock *block, const char *segment, size_t size)
{
    const uint8_t *members = section_at(block, MEMBERS);
    size_t end = section_size(block, MEMBERS), at = 0;
    while (at < end) {
        size_t here = get_u16(members + at + 4), entry = padded(MEMBER_HEAD + here);
        int order = memcmp(members + at + MEMBER_HEAD, segment, here < size ? here : size);
        if (order > 0 || (order == 0 && here >= size))
            return (Place){at, order == 0 && here == size ? entry : 0};
        at += entry;
    }
    return (Place){at, 0};
}

static void read(const uint8_t *at, Member *member)
{
    member->has_leaving = get_u16(at + 6);
    member->since = get_f64(at + 8);
    member->score = get_f64(at + 16);
    member->leaving = get_f64(at + 24);
    member->sequence = get_u64(at + 32);
    member->version = get_u64(at + 40);
}

int members_get(const UserBlock *block, const char *segment, size_t size, Member *member)
{
    Place place = find(block, segment, size);
    if (place.size == 0)
        return 0;
    read(section_at(block, MEMBERS) + place.at, member);
    return 1;
}

int members_put(UserBlock *block, const char *segment, size_t size, const Member *member)
{
    Place place = find(block, segment, size);
    uint8_t *at = block_splice(block, MEMBERS, place.at, place.size, padded(MEMBER_HEAD + size));
    if (at == NULL)
        return NO_ROOM;
    put_u32(at, (uint32_t)xxh3(segment, size));
    put_u16(at + 4, (uint16_t)size);
    put_u16(at + 6, member->has_leaving != 0);
    put_f64(at + 8, member->since);
    put_f64(at + 16, member->score);
    put_f64(at + 24, member->has_leaving ? member->leaving : 0.0);
    put_u64(at + 32, member->sequence);
    put_u64(at + 40, member->version);
    memcpy(at + MEMBER_HEAD, segment, size);
    return DONE;
}

void members_remove(UserBlock *block, const char *segment, size_t size)
{
    Place place = find(block, segment, size);
    if (place.size)
        block_splice(block, MEMBERS, place.at, place.size, 0);
}

size_t members_next(const UserBlock *block, size_t *at, const char **segment, Member *member)
{
    if (*at >= section_size(block, MEMBERS))
        return 0;
    const uint8_t *entry = section_at(block, MEMBERS) + *at;
    size_t size = get_u16(entry + 4);
    read(entry, member);
    *segment = (const char *)entry + MEMBER_HEAD;
    *at += padded(MEMBER_HEAD + size);
    return size;
}
