/* Timers' keys, as state/timer_keys.py has them, from users' records of either format. */
#ifndef SEGMENTS_TIMERS_H
#define SEGMENTS_TIMERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>

#define DUE_END 9 /* of a user's record: one byte of format, then the due time */

/* Milliseconds of the timer that a user's record has, of DUE_END bytes or more; -1: it has none. */
static inline int timer_ms(const char *value, uint64_t *ms)
{
    const uint64_t most = 1ULL << 63; /* what is later, and what is no time, is then */
    uint64_t bits = 0;
    double due;
    for (int i = 1; i < DUE_END; i++)
        bits = bits << 8 | (unsigned char)value[i];
    memcpy(&due, &bits, sizeof(due));
    if (due == HUGE_VAL)
        return -1;
    if (due <= 0.0)
        *ms = 0;
    else if (due < (double)most / 1000.0) {
        double up = ceil(due * 1000.0);
        *ms = (uint64_t)up;
        *ms += up / 1000.0 < due; /* the product was rounded down */
    }
    else
        *ms = most;
    return 0;
}

/* The key of a user's timer. NULL: no memory. */
static inline PyObject *timer_key(uint64_t ms, const char *user, Py_ssize_t size)
{
    PyObject *key = PyBytes_FromStringAndSize(NULL, 1 + 8 + size);
    if (key == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(key);
    at[0] = 't';
    for (int i = 8; i > 0; i--, ms >>= 8)
        at[i] = (char)(ms & 0xff);
    memcpy(at + 9, user, (size_t)size);
    return key;
}

#endif
