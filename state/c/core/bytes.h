/* Numbers in bytes that may lie anywhere: little-endian, read and written by copies, which compilers make one instruction.
 * A machine of the other byte order gets no compiled module; Python writes the same bytes there (ADR 0041, section 1). */
#ifndef SEGMENTS_BYTES_H
#define SEGMENTS_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the compiled module is for little-endian machines; without it Python does its work"
#endif

#define BYTES_OF(type, name)                                                                                           \
    static inline type get_##name(const uint8_t *at)                                                                   \
    {                                                                                                                  \
        type value;                                                                                                    \
        memcpy(&value, at, sizeof value);                                                                              \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void put_##name(uint8_t *at, type value)                                                             \
    {                                                                                                                  \
        memcpy(at, &value, sizeof value);                                                                              \
    }

BYTES_OF(uint16_t, u16)
BYTES_OF(uint32_t, u32)
BYTES_OF(uint64_t, u64)
BYTES_OF(int64_t, i64)
BYTES_OF(double, f64)
#undef BYTES_OF

/* the one big-endian number: a record's timer, which format 1 has at the same place */
static inline double get_f64_be(const uint8_t *at)
{
    uint64_t bits = __builtin_bswap64(get_u64(at));
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void put_f64_be(uint8_t *at, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_u64(at, __builtin_bswap64(bits));
}

/* what an entry of so many bytes takes */
static inline size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

#endif
