/* Reading bytes that anybody may have written: nobody else adds to a pointer into such bytes (ADR 0042). Each take gives 1,
 * or 0 where the bytes end before it; then nothing was taken. */
#ifndef SEGMENTS_CURSOR_H
#define SEGMENTS_CURSOR_H

#include "bytes.h"

typedef struct {
    const uint8_t *at;
    size_t left;
} Cursor;

/* so many bytes; ``taken`` points at them */
static inline int take(Cursor *cursor, size_t size, const uint8_t **taken)
{
    if (size > cursor->left)
        return 0;
    *taken = cursor->at;
    cursor->at += size;
    cursor->left -= size;
    return 1;
}

/* so many bytes as a cursor of their own */
static inline int take_part(Cursor *cursor, size_t size, Cursor *part)
{
    part->left = size;
    return take(cursor, size, &part->at);
}

#define TAKE_OF(type, name)                                                                                            \
    static inline int take_##name(Cursor *cursor, type *value)                                                         \
    {                                                                                                                  \
        const uint8_t *from;                                                                                           \
        if (!take(cursor, sizeof *value, &from))                                                                       \
            return 0;                                                                                                  \
        memcpy(value, from, sizeof *value);                                                                            \
        return 1;                                                                                                      \
    }

TAKE_OF(uint8_t, u8)
TAKE_OF(uint16_t, u16)
TAKE_OF(uint32_t, u32)
TAKE_OF(uint64_t, u64)
TAKE_OF(int64_t, i64)
TAKE_OF(double, f64)
#undef TAKE_OF

#endif
