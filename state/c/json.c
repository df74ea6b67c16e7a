/* Our compact JSON form, for events of the kinds that only add to counts, without the GIL.
 *
 * It takes only what it is sure to read as msgspec does: of all else it says so, and Python looks at it. That is: any
 * escape, a key twice, null, a value of a field with another type, nested values, negative numbers and those of many
 * digits, other kinds, a text, bytes that are no UTF-8, and whatever is out of bounds or wrong.
 */
#include "fold.h"
#include <float.h>
#include <math.h>

#define MILLISECONDS_FROM 1e11 /* streams.wire.times */
#define EXACT (1ULL << 53)     /* whole numbers up to it are doubles */

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

/* skips bytes that mean nothing in a string, eight at a time */
static const char *skip_plain(const char *at, const char *end)
{
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

/* the quote that ends the string which begins at ``at``; NULL: it has escapes or is wrong */
static const char *string_end(const char *at, const char *end)
{
    for (;;) {
        at = skip_plain(at, end);
        if (at >= end)
            return NULL;
        unsigned char byte = (unsigned char)*at;
        if (byte == '"')
            return at;
        if (byte < 0x20 || byte == '\\')
            return NULL;
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

static int is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

static const char *digits(const char *at, const char *end, uint64_t *number)
{
    for (; at < end && is_digit(*at); at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return at;
}

/* what follows a number that begins at ``at``; NULL: its value is not sure, or it is none */
static const char *number_end(const char *at, const char *end, double *found)
{
    uint64_t mantissa = 0, power = 0;
    const char *begin = at;
    at = digits(at, end, &mantissa);
    Py_ssize_t whole = at - begin, places = 0;
    if (whole == 0 || (whole > 1 && *begin == '0'))
        return NULL;
    if (at < end && *at == '.') {
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

/* events */

enum { USER, ID, ITEM, CATEGORY, TEXT, TARGET, GROUP, KIND, TIME, SPENDING, DWELLING, ANONYMOUS, FIELDS };
#define NEEDED (1u << USER | 1u << KIND | 1u << TIME)

static int field_of(const char *key, Py_ssize_t size)
{
#define IS(name, field)                                                                                                \
    if (memcmp(key, name, sizeof(name) - 1) == 0)                                                                      \
    return field
    switch (size) {
    case 2:
        IS("id", ID);
        break;
    case 4:
        IS("user", USER);
        IS("kind", KIND);
        IS("time", TIME);
        IS("item", ITEM);
        IS("text", TEXT);
        break;
    case 5:
        IS("dwell", DWELLING);
        IS("group", GROUP);
        break;
    case 6:
        IS("amount", SPENDING);
        IS("target", TARGET);
        break;
    case 8:
        IS("category", CATEGORY);
        break;
    case 9:
        IS("anonymous", ANONYMOUS);
        break;
    }
    return FIELDS;
}

int is_known(const char *name, Py_ssize_t size)
{
    return field_of(name, size) != FIELDS;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

static const char *word_end(const char *at, const char *end, const char *word, Py_ssize_t size)
{
    return end - at >= size && memcmp(at, word, (size_t)size) == 0 ? at + size : NULL;
}

/* what follows the value of a key that is none of ours; NULL: it is nested, or not sure to be right */
static const char *unknown_end(const char *at, const char *end)
{
    double ignored;
    if (at >= end)
        return NULL;
    switch (*at) {
    case '"':
        at = string_end(at + 1, end);
        return at == NULL ? NULL : at + 1;
    case 't':
        return word_end(at, end, "true", 4);
    case 'f':
        return word_end(at, end, "false", 5);
    case 'n':
        return word_end(at, end, "null", 4);
    }
    return number_end(at, end, &ignored);
}

static int kind_of(const char *letters, Py_ssize_t size)
{
    for (int i = 0; i < bound.kind_count; i++)
        if (size == bound.kind_sizes[i] && memcmp(letters, bound.kind_letters[i], (size_t)size) == 0)
            return i;
    return -1;
}

/* 1: something of the id can be seen; 0: Python has to say, which knows all characters (is_blank of streams.wire.decode) */
static int is_seen(const char *at, Py_ssize_t size)
{
    for (const char *end = at + size; at < end; at++) {
        unsigned char byte = (unsigned char)*at;
        if ((byte > 0x20 && byte < 0x7f) || (byte > 0xc2 && memchr("\xd8\xdb\xdc\xe0\xe1\xe2\xe3\xef\xf0\xf3", byte, 10) == NULL))
            return 1; /* ASCII, or the begin of one of those of which none is white space, control or format */
    }
    return 0;
}

/* 1: an event within bounds, of a kind that only adds to counts; 0: for Python to look at */
int read_json(const char *value, Py_ssize_t size, double arrived, const Bounds *bounds, Event *event)
{
    if (size <= 0 || size > bounds->most_bytes)
        return 0;
    const char *at = value, *end = value + size;
    const char *begins[TIME];
    Py_ssize_t sizes[TIME] = {0};
    double numbers[FIELDS - TIME] = {0.0};
    unsigned known = 0;
    int anonymous = 0;
    at = skip_space(at, end);
    if (at >= end || *at != '{')
        return 0;
    do {
        at = skip_space(at + 1, end);
        if (at >= end || *at != '"')
            return 0;
        const char *key = ++at;
        at = string_end(at, end);
        if (at == NULL)
            return 0;
        int field = field_of(key, at - key);
        at = skip_space(at + 1, end);
        if (at >= end || *at != ':')
            return 0;
        at = skip_space(at + 1, end);
        if (at >= end)
            return 0;
        if (field == FIELDS)
            at = unknown_end(at, end);
        else {
            if (known & 1u << field)
                return 0;
            known |= 1u << field;
            if (field == ANONYMOUS) {
                anonymous = *at == 't';
                at = anonymous ? word_end(at, end, "true", 4) : word_end(at, end, "false", 5);
            }
            else if (field >= TIME)
                at = number_end(at, end, &numbers[field - TIME]);
            else {
                if (*at != '"')
                    return 0;
                begins[field] = ++at;
                at = string_end(at, end);
                if (at == NULL)
                    return 0;
                sizes[field] = at++ - begins[field];
            }
        }
        if (at == NULL)
            return 0;
        at = skip_space(at, end);
    } while (at < end && *at == ',');
    if (at >= end || *at != '}' || skip_space(at + 1, end) != end || (known & NEEDED) != NEEDED)
        return 0;
    double time = numbers[0], amount = numbers[SPENDING - TIME], dwell = numbers[DWELLING - TIME];
    if (!(time < MILLISECONDS_FROM && time >= bounds->from && time <= arrived + bounds->ahead
          && amount <= bounds->most_amount && dwell <= bounds->most_dwell)
        || !is_seen(begins[USER], sizes[USER]) || sizes[TEXT] != 0)
        return 0;
    event->kind = kind_of(begins[KIND], sizes[KIND]);
    if (event->kind < 0)
        return 0;
    event->time = time;
    event->amount = amount;
    event->dwell = dwell;
    event->arrived = arrived;
    event->anonymous = anonymous;
    event->user = begins[USER];
    event->user_size = (int32_t)sizes[USER];
    event->category = sizes[CATEGORY] ? begins[CATEGORY] : "";
    event->category_size = (int32_t)sizes[CATEGORY];
    event->id_hash = sizes[ID] ? bound.digest(begins[ID], (size_t)sizes[ID]) : bound.digest(value, (size_t)size);
    event->item = NULL;
    return 1;
}
