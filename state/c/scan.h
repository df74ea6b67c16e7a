/* JSON's values, strictly: what is taken here is taken by msgspec as well. NULL and 0 mean: it is wrong, or not sure. */
#ifndef SCAN_H
#define SCAN_H

#include "reading.h"

#define DEEPEST 64 /* values within values; Python's own bound is its stack */

enum {
    ABSENT,
    NOTHING, /* null */
    NO,
    YES,
    LETTERS,
    ESCAPED, /* letters with escapes, at least one */
    WHOLE,   /* a number of digits only */
    NUMBER,  /* another one */
    UNSURE,  /* a number that only Python tells the value of */
    OBJECT,
    ARRAY,
};

typedef struct {
    const char *at; /* its bytes: those between the quotes, the digits */
    int32_t size;
    double number; /* of WHOLE and NUMBER */
} Value;

static inline const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

static inline int is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

/* the quote that ends the string which begins at ``at``; ``escaped`` is set if it has escapes */
const char *string_end(const char *at, const char *end, int *escaped);

/* what follows a number without a sign that begins at ``at``, its value, rounded as Python's, and WHOLE or NUMBER */
const char *number_end(const char *at, const char *end, double *found, uint8_t *sort);

/* what follows a value that is no object and no array, its sort, and what it is */
const char *scalar_end(const char *at, const char *end, uint8_t *sort, Value *value);

/* what follows any value, of which nothing is asked */
const char *value_end(const char *at, const char *end);

/* iso.c: 1: the seconds since the epoch that streams.wire.times.iso_seconds gives; 0: Python has to say */
int iso_seconds(const char *letters, Py_ssize_t size, double *seconds);

#endif
