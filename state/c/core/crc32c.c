#include "crc32c.h"

#if defined(__x86_64__)

#include <nmmintrin.h>
#include <string.h>

int crc32c_is_there(void)
{
    return __builtin_cpu_supports("sse4.2") != 0;
}

__attribute__((target("sse4.2"))) uint32_t crc32c(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t crc = UINT32_MAX;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t eight;
        memcpy(&eight, at, sizeof eight);
        crc = _mm_crc32_u64(crc, eight);
    }
    uint32_t found = (uint32_t)crc;
    for (; size > 0; at++, size--)
        found = _mm_crc32_u8(found, *at);
    return ~found;
}

#else

int crc32c_is_there(void)
{
    return 0;
}

uint32_t crc32c(const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
    return 0;
}

#endif
