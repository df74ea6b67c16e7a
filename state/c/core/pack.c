#include "pack.h"

#define WORD ((size_t)8)

/* What lies in a block between ``dense`` and ``ids`` is squeezed, as the header is; what is before and behind is not. */
typedef struct {
    size_t dense, ids;
} Parts;

static Parts parts_of(const uint8_t *header, size_t size)
{
    const uint8_t *sizes = header + AT_SIZES;
    size_t dense = BLOCK_UNIT * ((size_t)get_u16(sizes + 2 * KINDS) + get_u16(sizes + 2 * CATEGORIES));
    size_t ids = BLOCK_UNIT * (size_t)get_u16(sizes + 2 * IDS);
    if (BLOCK_HEADER + dense + ids > size) /* it is not for this to say what is right */
        return (Parts){BLOCK_HEADER, size};
    return (Parts){BLOCK_HEADER + dense, size - ids};
}

/* No branches: which bytes are zero cannot be foretold. Up to a byte more is written, and read, than is used. */
static uint8_t *squeeze(const uint8_t *from, size_t size, uint8_t *to)
{
    for (const uint8_t *end = from + size; from < end; from += WORD) {
        uint8_t *there = to++;
        unsigned bits = 0;
        for (size_t byte = 0; byte < WORD; byte++) {
            unsigned bit = from[byte] != 0;
            *to = from[byte];
            to += bit;
            bits |= bit << byte;
        }
        *there = (uint8_t)bits;
    }
    return to;
}

static const uint8_t *swell(const uint8_t *from, uint8_t *to, size_t size)
{
    for (uint8_t *end = to + size; to < end; to += WORD) {
        unsigned bits = *from++;
        for (size_t byte = 0; byte < WORD; byte++) {
            unsigned bit = bits >> byte & 1;
            to[byte] = (uint8_t)(*from & (0 - bit));
            from += bit;
        }
    }
    return from;
}

size_t block_pack(const uint8_t *block, size_t size, uint8_t packed[PACK_ROOM])
{
    Parts parts = parts_of(block, size);
    put_u16(packed, (uint16_t)(size / BLOCK_UNIT));
    uint8_t *to = squeeze(block, BLOCK_HEADER, packed + 2);
    to = squeeze(block + parts.dense, parts.ids - parts.dense, to);
    memcpy(to, block + BLOCK_HEADER, parts.dense - BLOCK_HEADER);
    to += parts.dense - BLOCK_HEADER;
    memcpy(to, block + parts.ids, size - parts.ids);
    to += size - parts.ids;
    *to++ = 0;
    return (size_t)(to - packed);
}

size_t packed_size(const uint8_t *packed)
{
    return BLOCK_UNIT * (size_t)get_u16(packed);
}

void packed_read(const uint8_t *packed, uint8_t *block)
{
    size_t size = packed_size(packed);
    const uint8_t *from = swell(packed + 2, block, BLOCK_HEADER);
    Parts parts = parts_of(block, size);
    from = swell(from, block + parts.dense, parts.ids - parts.dense);
    memcpy(block + BLOCK_HEADER, from, parts.dense - BLOCK_HEADER);
    from += parts.dense - BLOCK_HEADER;
    memcpy(block + parts.ids, from, size - parts.ids);
}

double packed_due(const uint8_t *packed)
{
    uint8_t head[2 * WORD];
    swell(packed + 2, head, sizeof head);
    return get_f64_be(head + AT_DUE);
}
