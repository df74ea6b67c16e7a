/* A record's value to an event of a kind that only adds to counts, without the GIL: our own form here, calls of the
 * Segment Spec in segment.c.
 *
 * It takes only what it is sure to read as Python does: of all else it says so, and Python looks at it. That is: a key
 * twice that is asked for, escapes in what is needed, null, a value of another type, numbers that are negative or have
 * many digits, uncommon times, other kinds, a text, bytes that are no UTF-8, and whatever is out of bounds or wrong.
 */
#include "forms.h"

#define MILLISECONDS_FROM 1e11 /* streams.wire.times */

int kind_of(const Wire *wire, const char *letters, Py_ssize_t size)
{
    for (int i = 0; i < wire->kind_count; i++)
        if (size == wire->kind_sizes[i] && memcmp(letters, wire->kind_letters[i], (size_t)size) == 0)
            return i;
    return -1;
}

/* whether each value is of a sort that is allowed at its place: bits */
int all_allowed(const Found *found, const uint16_t *allowed, int first, int last)
{
    for (int place = first; place < last; place++)
        if ((allowed[place] >> found->sorts[place] & 1) == 0)
            return 0;
    return 1;
}

/* wire_seconds of streams.wire.times; 0: Python has to say */
int wire_seconds(const Found *found, int place, double *seconds)
{
    const Value *value = &found->values[place];
    switch (found->sorts[place]) {
    case WHOLE:
    case NUMBER:
        *seconds = value->number >= MILLISECONDS_FROM ? value->number / 1000.0 : value->number;
        return 1;
    case LETTERS:
        return iso_seconds(value->at, value->size, seconds);
    }
    return 0;
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

static const uint16_t own_sorts[OWN] = {
    [USER] = 1 << LETTERS,
    [ID] = 1 << ABSENT | 1 << LETTERS,
    [ITEM] = 1 << ABSENT | 1 << LETTERS | 1 << ESCAPED,
    [CATEGORY] = 1 << ABSENT | 1 << LETTERS,
    [TARGET] = 1 << ABSENT | 1 << LETTERS | 1 << ESCAPED,
    [GROUP] = 1 << ABSENT | 1 << LETTERS | 1 << ESCAPED,
    [TEXT] = 1 << ABSENT | 1 << LETTERS,
    [KIND] = 1 << LETTERS,
    [TIME] = 1 << WHOLE | 1 << NUMBER | 1 << LETTERS,
    [SPENDING] = 1 << ABSENT | 1 << WHOLE | 1 << NUMBER,
    [DWELLING] = 1 << ABSENT | 1 << WHOLE | 1 << NUMBER,
    [ANONYMOUS] = 1 << ABSENT | 1 << NO | 1 << YES,
};

static int read_own(const Wire *wire, const Found *found, Event *event, Value *id)
{
    const Value *values = found->values;
    if (!all_allowed(found, own_sorts, 0, OWN) || (found->sorts[TEXT] == LETTERS && values[TEXT].size)
        || !wire_seconds(found, TIME, &event->time))
        return 0;
    event->kind = kind_of(wire, values[KIND].at, values[KIND].size);
    event->amount = found->sorts[SPENDING] == ABSENT ? 0.0 : values[SPENDING].number;
    event->dwell = found->sorts[DWELLING] == ABSENT ? 0.0 : values[DWELLING].number;
    event->anonymous = found->sorts[ANONYMOUS] == YES;
    event->user = values[USER].at;
    event->user_size = values[USER].size;
    event->category = found->sorts[CATEGORY] == ABSENT ? "" : values[CATEGORY].at;
    event->category_size = found->sorts[CATEGORY] == ABSENT ? 0 : values[CATEGORY].size;
    if (found->sorts[ID] == LETTERS)
        *id = values[ID];
    return event->kind >= 0;
}

/* whether every text that may become a name has at most so many bytes, so that it has no more characters */
static int are_short(const Forms *forms, const Found *found, Py_ssize_t most)
{
    for (int place = 0; place < forms->place_count; place++)
        if ((found->sorts[place] == LETTERS || found->sorts[place] == ESCAPED) && found->values[place].size > most)
            return 0;
    return 1;
}

/* 1: an event within bounds, of a kind that only adds to counts; 0: for Python to look at */
int read_event(const Wire *wire, const char *value, Py_ssize_t size, double arrived, const Bounds *bounds, Event *event)
{
    Found found;
    Value id = {.size = 0};
    if (size <= 0 || size > bounds->most_bytes || !find_values(&wire->forms, value, value + size, &found))
        return 0;
    int is_call = found.sorts[KIND] == ABSENT && found.sorts[TYPE] != ABSENT;
    if (!(is_call ? read_call(wire, &found, event, &id) : read_own(wire, &found, event, &id))
        || (size > bounds->most_name && !are_short(&wire->forms, &found, bounds->most_name)))
        return 0;
    if (!(event->time >= bounds->from && event->time <= arrived + bounds->ahead && event->time < MOST_TIME
          && event->amount <= bounds->most_amount && event->dwell <= bounds->most_dwell)
        || !is_seen(event->user, event->user_size))
        return 0;
    event->call = (int16_t)is_call;
    event->arrived = arrived;
    event->id_hash = id.size ? xxh3(id.at, (size_t)id.size) : xxh3(value, (size_t)size);
    event->item = NULL;
    return 1;
}
