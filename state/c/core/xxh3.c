/* XXH3, 64 bits: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md. By the length of what is hashed there are
 * six ways; names of primes and steps are the specification's. */
#include "xxh3.h"

#include "bytes.h"

#define P32_1 0x9E3779B1u
#define P32_2 0x85EBCA77u
#define P32_3 0xC2B2AE3Du
#define P64_1 0x9E3779B185EBCA87u
#define P64_2 0xC2B2AE3D27D4EB4Fu
#define P64_3 0x165667B19E3779F9u
#define P64_4 0x85EBCA77C2B2AE63u
#define P64_5 0x27D4EB2F165667C5u
#define MX_1 0x165667919E3779F9u
#define MX_2 0x9FB21C651E98DF25u

#define SECRET 192
#define STRIPE 64
#define LANES 8
#define STRIPES ((SECRET - STRIPE) / 8) /* of a block */

static const uint8_t secret[SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint64_t turned(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}

/* both halves of the product of 128 bits, by exclusive or */
static inline uint64_t folded(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t low = (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu), high = (a >> 32) * (b >> 32);
    uint64_t left = (a >> 32) * (b & 0xFFFFFFFFu), right = (a & 0xFFFFFFFFu) * (b >> 32);
    uint64_t middle = (low >> 32) + (left & 0xFFFFFFFFu) + right;
    return (middle << 32 | (low & 0xFFFFFFFFu)) ^ (high + (left >> 32) + (middle >> 32));
#endif
}

static inline uint64_t avalanche(uint64_t hash)
{
    hash = (hash ^ hash >> 37) * MX_1;
    return hash ^ hash >> 32;
}

static inline uint64_t old_avalanche(uint64_t hash) /* XXH64's */
{
    hash = (hash ^ hash >> 33) * P64_2;
    hash = (hash ^ hash >> 29) * P64_3;
    return hash ^ hash >> 32;
}

static uint64_t up_to_3(const uint8_t *in, size_t size, uint64_t seed)
{
    if (size == 0)
        return old_avalanche(seed ^ get_u64(secret + 56) ^ get_u64(secret + 64));
    uint32_t all = (uint32_t)in[0] << 16 | (uint32_t)in[size >> 1] << 24 | in[size - 1] | (uint32_t)size << 8;
    return old_avalanche(all ^ ((get_u32(secret) ^ get_u32(secret + 4)) + seed));
}

static uint64_t from_4_to_8(const uint8_t *in, size_t size, uint64_t seed)
{
    seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
    uint64_t all = get_u32(in + size - 4) + ((uint64_t)get_u32(in) << 32);
    uint64_t hash = all ^ ((get_u64(secret + 8) ^ get_u64(secret + 16)) - seed);
    hash = (hash ^ turned(hash, 49) ^ turned(hash, 24)) * MX_2;
    hash = (hash ^ ((hash >> 35) + size)) * MX_2;
    return hash ^ hash >> 28;
}

static uint64_t from_9_to_16(const uint8_t *in, size_t size, uint64_t seed)
{
    uint64_t low = get_u64(in) ^ ((get_u64(secret + 24) ^ get_u64(secret + 32)) + seed);
    uint64_t high = get_u64(in + size - 8) ^ ((get_u64(secret + 40) ^ get_u64(secret + 48)) - seed);
    return avalanche(size + __builtin_bswap64(low) + high + folded(low, high));
}

static inline uint64_t mixed(const uint8_t *in, const uint8_t *key, uint64_t seed) /* 16 bytes */
{
    return folded(get_u64(in) ^ (get_u64(key) + seed), get_u64(in + 8) ^ (get_u64(key + 8) - seed));
}

static uint64_t from_17_to_128(const uint8_t *in, size_t size, uint64_t seed)
{
    uint64_t sum = size * P64_1;
    for (size_t pair = (size - 1) / 32 + 1; pair-- > 0;) { /* from both ends to the middle */
        sum += mixed(in + 16 * pair, secret + 32 * pair, seed);
        sum += mixed(in + size - 16 * (pair + 1), secret + 32 * pair + 16, seed);
    }
    return avalanche(sum);
}

static uint64_t from_129_to_240(const uint8_t *in, size_t size, uint64_t seed)
{
    uint64_t sum = size * P64_1;
    for (size_t at = 0; at < 8; at++)
        sum += mixed(in + 16 * at, secret + 16 * at, seed);
    sum = avalanche(sum);
    for (size_t at = 8; at < size / 16; at++)
        sum += mixed(in + 16 * at, secret + 16 * (at - 8) + 3, seed);
    return avalanche(sum + mixed(in + size - 16, secret + 136 - 17, seed));
}

static inline void add_stripe(uint64_t *lanes, const uint8_t *in, const uint8_t *key)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        uint64_t data = get_u64(in + 8 * lane), keyed = data ^ get_u64(key + 8 * lane);
        lanes[lane ^ 1] += data;
        lanes[lane] += (keyed & 0xFFFFFFFFu) * (keyed >> 32);
    }
}

static uint64_t from_241(const uint8_t *in, size_t size, const uint8_t *key)
{
    uint64_t lanes[LANES] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    size_t stripes = (size - 1) / STRIPE; /* but for the last, which may overlap the one before it */
    for (size_t stripe = 0; stripe < stripes; stripe++) {
        add_stripe(lanes, in + STRIPE * stripe, key + 8 * (stripe % STRIPES));
        if (stripe % STRIPES == STRIPES - 1)
            for (size_t lane = 0; lane < LANES; lane++)
                lanes[lane] = (lanes[lane] ^ lanes[lane] >> 47 ^ get_u64(key + SECRET - STRIPE + 8 * lane)) * P32_1;
    }
    add_stripe(lanes, in + size - STRIPE, key + SECRET - STRIPE - 7);
    uint64_t hash = size * P64_1;
    for (size_t pair = 0; pair < LANES / 2; pair++)
        hash += folded(lanes[2 * pair] ^ get_u64(key + 11 + 16 * pair), lanes[2 * pair + 1] ^ get_u64(key + 19 + 16 * pair));
    return avalanche(hash);
}

uint64_t xxh3_seeded(const void *bytes, size_t size, uint64_t seed)
{
    const uint8_t *in = bytes;
    if (size <= 16)
        return size > 8 ? from_9_to_16(in, size, seed) : size > 3 ? from_4_to_8(in, size, seed) : up_to_3(in, size, seed);
    if (size <= 128)
        return from_17_to_128(in, size, seed);
    if (size <= 240)
        return from_129_to_240(in, size, seed);
    if (seed == 0)
        return from_241(in, size, secret);
    uint8_t key[SECRET];
    for (size_t at = 0; at < SECRET; at += 16) {
        put_u64(key + at, get_u64(secret + at) + seed);
        put_u64(key + at + 8, get_u64(secret + at + 8) - seed);
    }
    return from_241(in, size, key);
}

uint64_t xxh3(const void *bytes, size_t size)
{
    return xxh3_seeded(bytes, size, 0);
}
