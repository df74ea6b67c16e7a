#include "murmur2.h"

#include "bytes.h"

#define SEED UINT32_C(0x9747B28C)
#define FACTOR UINT32_C(0x5BD1E995)

uint32_t murmur2(const char *key, size_t size)
{
    const uint8_t *at = (const uint8_t *)key, *whole = at + (size & ~(size_t)3);
    uint32_t hash = SEED ^ (uint32_t)size, rest = 0;
    for (; at < whole; at += 4) {
        uint32_t word = get_u32(at) * FACTOR;
        hash = hash * FACTOR ^ (word ^ word >> 24) * FACTOR;
    }
    for (size_t i = size & 3; i-- > 0;)
        rest = rest << 8 | at[i];
    if (size & 3)
        hash = (hash ^ rest) * FACTOR;
    hash = (hash ^ hash >> 13) * FACTOR;
    return hash ^ hash >> 15;
}
