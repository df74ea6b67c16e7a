/* UTF-8 as Python decodes it: no surrogates, nothing written longer than needed, nothing beyond U+10FFFF. */
#ifndef SEGMENTS_TEXT_H
#define SEGMENTS_TEXT_H

#include <stddef.h>
#include <stdint.h>

static inline int text_is_utf8(const uint8_t *at, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint8_t lead = at[i++];
        if (lead < 0x80)
            continue;
        size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || more > size - i)
            return 0;
        uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (; more; more--, i++, least = 0x80, most = 0xBF)
            if (at[i] < least || at[i] > most)
                return 0;
    }
    return 1;
}

#endif
