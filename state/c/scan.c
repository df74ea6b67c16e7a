/* Strings, numbers and values of JSON, without the GIL. */
#include "scan.h"
#include <float.h>
#include <math.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define EXACT (1ULL << 53) /* whole numbers up to it are doubles */
#define SURE_DIGITS 60     /* a number of so many digits, and an exponent of two, is finite and no burden to anybody */

/* strings */

/* bytes of the UTF-8 sequence that begins with a byte of 0x80 or more; 0: it is none */
static int sequence(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0xc2 || first > 0xf4)
        return 0;
    int size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < (size_t)size)
        return 0;
    for (int i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* too long a form, a surrogate, beyond the last character */
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || (first == 0xf0 && at[1] < 0x90)
        || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

int is_utf8(const char *at, const char *end)
{
    while (at < end) {
        int size = (signed char)*at >= 0 ? 1 : sequence((const unsigned char *)at, (size_t)(end - at));
        if (size == 0)
            return 0;
        at += size;
    }
    return 1;
}

#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ONES 0x0101010101010101ULL
#define HIGHS 0x8080808080808080ULL

/* skips bytes that mean nothing in a string, sixteen or eight at a time */
static const char *skip_plain(const char *at, const char *end)
{
#ifdef __SSE2__
    for (const __m128i quotes = _mm_set1_epi8('"'), escapes = _mm_set1_epi8('\\'), spaces = _mm_set1_epi8(' ');
         end - at >= 16; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at);
        __m128i found = _mm_cmplt_epi8(bytes, spaces); /* signed: those of 0x80 and more are below as well */
        found = _mm_or_si128(found, _mm_or_si128(_mm_cmpeq_epi8(bytes, quotes), _mm_cmpeq_epi8(bytes, escapes)));
        int where = _mm_movemask_epi8(found);
        if (where)
            return at + __builtin_ctz((unsigned)where);
    }
#endif
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        uint64_t quote = word ^ (ONES * '"'), escape = word ^ (ONES * '\\');
        uint64_t found = ((quote - ONES) & ~quote) | ((escape - ONES) & ~escape) | ((word - ONES * 0x20) & ~word) | word;
        found &= HIGHS;
        if (found)
            return at + (__builtin_ctzll(found) >> 3); /* the lowest is right: borrows go upwards */
        at += 8;
    }
    return at;
}
#else
#define skip_plain(at, end) (at)
#endif

static int hex4(const char *at, const char *end)
{
    int found = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int letter = at[i] | 0x20;
        int digit = is_digit(at[i]) ? at[i] - '0' : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        found = found << 4 | digit;
    }
    return found;
}

/* what follows the escape whose backslash is at ``at``; halves of surrogate pairs are wrong */
static const char *escape_end(const char *at, const char *end)
{
    if (end - at < 2 || at[1] == '\0')
        return NULL;
    if (at[1] != 'u')
        return strchr("\"\\/bfnrt", at[1]) != NULL ? at + 2 : NULL;
    int unit = hex4(at + 2, end);
    at += 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return unit < 0 ? NULL : at;
    if (unit > 0xdbff || end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return NULL;
    unit = hex4(at + 2, end);
    return unit >= 0xdc00 && unit <= 0xdfff ? at + 6 : NULL;
}

const char *string_end(const char *at, const char *end, int *escaped)
{
    for (;;) {
        at = skip_plain(at, end);
        if (at >= end)
            return NULL;
        unsigned char byte = (unsigned char)*at;
        if (byte == '"')
            return at;
        if (byte < 0x20)
            return NULL;
        if (byte == '\\') {
            *escaped = 1;
            at = escape_end(at, end);
            if (at == NULL)
                return NULL;
            continue;
        }
        int size = byte < 0x80 ? 1 : sequence((const unsigned char *)at, (size_t)(end - at));
        if (size == 0)
            return NULL;
        at += size;
    }
}

/* numbers */

static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#ifdef __SIZEOF_INT128__
/* one / other, both above 0, rounded once, half to even */
static double quotient(uint64_t one, uint64_t other)
{
    int up = __builtin_clzll(one), down = __builtin_clzll(other);
    unsigned __int128 dividend = (unsigned __int128)(one << up) << 64;
    uint64_t divisor = other << down;
    unsigned __int128 found = dividend / divisor; /* 64 or 65 bits */
    int rest = found * divisor != dividend, spare = found >> 64 ? 12 : 11;
    uint64_t kept = (uint64_t)(found >> spare), tail = (uint64_t)found & ((1ULL << spare) - 1), half = 1ULL << (spare - 1);
    if (tail > half || (tail == half && (rest || kept & 1)))
        kept++;
    return ldexp((double)kept, spare - 64 + down - up);
}

static const uint64_t whole_tens[] = {1ULL,
                                      10ULL,
                                      100ULL,
                                      1000ULL,
                                      10000ULL,
                                      100000ULL,
                                      1000000ULL,
                                      10000000ULL,
                                      100000000ULL,
                                      1000000000ULL,
                                      10000000000ULL,
                                      100000000000ULL,
                                      1000000000000ULL,
                                      10000000000000ULL,
                                      100000000000000ULL,
                                      1000000000000000ULL,
                                      10000000000000000ULL,
                                      100000000000000000ULL,
                                      1000000000000000000ULL,
                                      10000000000000000000ULL};
#endif

static const char *digits(const char *at, const char *end, uint64_t *number)
{
    for (; at < end && is_digit(*at); at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return at;
}

const char *number_end(const char *at, const char *end, double *found, uint8_t *sort)
{
    uint64_t mantissa = 0, power = 0;
    const char *begin = at;
    at = digits(at, end, &mantissa);
    Py_ssize_t whole = at - begin, places = 0;
    *sort = WHOLE;
    if (whole == 0 || (whole > 1 && *begin == '0'))
        return NULL;
    if (at < end && *at == '.') {
        *sort = NUMBER;
        begin = ++at;
        at = digits(at, end, &mantissa);
        places = at - begin;
        if (places == 0)
            return NULL;
    }
    if (whole + places > 19) /* more may not fit into 64 bits */
        return NULL;
    int exponent = -(int)places;
    if (at < end && (*at == 'e' || *at == 'E')) {
        *sort = NUMBER;
        int negative = ++at < end && *at == '-';
        if (at < end && (*at == '-' || *at == '+'))
            at++;
        begin = at;
        at = digits(at, end, &power);
        if (at == begin || at - begin > 3 || mantissa == 0)
            return NULL;
        exponent += negative ? -(int)power : (int)power;
    }
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
    return NULL; /* it rounds twice here */
#endif
    if (mantissa <= EXACT && exponent >= -22 && exponent <= 22)
        *found = exponent < 0 ? (double)mantissa / tens[-exponent] : (double)mantissa * tens[exponent];
#ifdef __SIZEOF_INT128__
    else if (mantissa > 0 && exponent >= -19 && exponent < 0)
        *found = quotient(mantissa, whole_tens[-exponent]);
#endif
    else
        return NULL;
    return at;
}

/* what follows a number whose value nobody asks for; msgspec refuses those that are no finite double */
static const char *unsure_end(const char *at, const char *end)
{
    uint64_t ignored = 0;
    at += at < end && *at == '-';
    const char *begin = at;
    at = digits(at, end, &ignored);
    if (at == begin || (at - begin > 1 && *begin == '0'))
        return NULL;
    if (at < end && *at == '.') {
        const char *point = at++;
        at = digits(at, end, &ignored);
        if (at == point + 1)
            return NULL;
    }
    if (at - begin > SURE_DIGITS)
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '-' || *at == '+');
        begin = at;
        at = digits(at, end, &ignored);
        if (at == begin || at - begin > 2)
            return NULL;
    }
    return at;
}

/* values */

static const char *word_end(const char *at, const char *end, const char *word, Py_ssize_t size)
{
    return end - at >= size && memcmp(at, word, (size_t)size) == 0 ? at + size : NULL;
}

const char *scalar_end(const char *at, const char *end, uint8_t *sort, Value *value)
{
    const char *after;
    value->at = at;
    switch (at < end ? *at : '\0') {
    case '"': {
        int escaped = 0;
        after = string_end(at + 1, end, &escaped);
        if (after == NULL)
            return NULL;
        value->at = at + 1;
        value->size = (int32_t)(after - at - 1);
        *sort = escaped ? ESCAPED : LETTERS;
        return after + 1;
    }
    case 't':
        *sort = YES;
        return word_end(at, end, "true", 4);
    case 'f':
        *sort = NO;
        return word_end(at, end, "false", 5);
    case 'n':
        *sort = NOTHING;
        return word_end(at, end, "null", 4);
    }
    after = number_end(at, end, &value->number, sort);
    if (after == NULL) {
        *sort = UNSURE;
        return unsure_end(at, end);
    }
    value->size = (int32_t)(after - at);
    return after;
}

/* what follows a key, which begins at ``at``, and its colon */
static const char *key_end(const char *at, const char *end)
{
    int ignored; /* nobody asks for it */
    if (at >= end || *at != '"' || (at = string_end(at + 1, end, &ignored)) == NULL)
        return NULL;
    at = skip_space(at + 1, end);
    return at < end && *at == ':' ? at + 1 : NULL;
}

static const char *ignored_end(const char *at, const char *end)
{
    Value ignored;
    uint8_t sort;
    int escaped;
    if (*at == '"')
        return (at = string_end(at + 1, end, &escaped)) == NULL ? NULL : at + 1;
    return *at == '-' || is_digit(*at) ? unsure_end(at, end) : scalar_end(at, end, &sort, &ignored);
}

const char *value_end(const char *at, const char *end)
{
    uint64_t objects = 0; /* a bit for each value around this one: 1: an object, 0: an array */
    int depth = 0;
    for (;;) {
        at = skip_space(at, end);
        if (at >= end)
            return NULL;
        int closed = 0;
        if (*at == '{' || *at == '[') {
            int object = *at == '{';
            if (++depth > DEEPEST)
                return NULL;
            objects = objects << 1 | (uint64_t)object;
            at = skip_space(at + 1, end);
            closed = at < end && *at == (object ? '}' : ']');
            if (!closed && object && (at = key_end(at, end)) == NULL)
                return NULL;
            if (!closed)
                continue;
        }
        else if ((at = ignored_end(at, end)) == NULL)
            return NULL;
        for (; depth > 0; depth--, objects >>= 1) {
            at = skip_space(at, end);
            if (at >= end)
                return NULL;
            if (*at == ',')
                break;
            if (*at != (objects & 1 ? '}' : ']'))
                return NULL;
            at++;
        }
        if (depth == 0)
            return at;
        at = skip_space(at + 1, end);
        if (objects & 1 && (at = key_end(at, end)) == NULL)
            return NULL;
    }
}
