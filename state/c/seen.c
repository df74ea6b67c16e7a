/* Seen without Python around it: a set of ids in order of arrival, and its records. */
#include "seen.h"

#include <string.h>

#define LAST_CHUNKS ((DEDUPE_EVENTS + CHUNK - 1) / CHUNK)
#define MOST_CHUNKS (MOST_IDS / CHUNK)
#define ROOM 262142 /* for two that become one, and what an index of ROUND positions can tell apart */
#define FEW 16 /* as many are looked through faster than looked up */

/* A slot of the index: 0, or 14 bits of the id's hash, so that others are mostly known without a look at them, and a
 * position + 1. Positions count up from the first id ever, modulo ROUND; ``base`` is the one of the oldest id. */
#define PLACE_BITS 18
#define ROUND ((1u << PLACE_BITS) - 1)

static inline uint32_t tag_of(uint64_t mix)
{
    return (uint32_t)(mix >> 24) & ((1u << (32 - PLACE_BITS)) - 1); /* other bits than the home's: those are above 2**45 */
}

static inline uint32_t place_of(const Seen *seen, uint32_t slot)
{
    uint32_t position = (slot & ROUND) - 1;
    return position >= seen->base ? position - seen->base : position + ROUND - seen->base;
}

static inline uint32_t slot_for(const Seen *seen, uint64_t mix, uint32_t place)
{
    uint32_t position = (seen->base + place) % ROUND;
    return tag_of(mix) << PLACE_BITS | (position + 1);
}

/* the place of an id, or -1 */
int64_t seen_find(const Seen *seen, uint64_t hash)
{
    if (seen->index == NULL) {
        for (uint32_t place = 0; place < seen->count; place++)
            if (seen->hashes[place] == hash)
                return place;
        return -1;
    }
    uint64_t mix = seen_mixed(hash);
    uint32_t mask = (1u << seen->bits) - 1, tag = tag_of(mix);
    for (uint32_t at = seen_home(seen, mix); seen->index[at]; at = (at + 1) & mask)
        if (seen->index[at] >> PLACE_BITS == tag) {
            uint32_t place = place_of(seen, seen->index[at]);
            if (seen->hashes[place] == hash)
                return place;
        }
    return -1;
}

static void enter(Seen *seen, uint32_t place)
{
    uint64_t mix = seen_mixed(seen->hashes[place]);
    uint32_t mask = (1u << seen->bits) - 1, at = seen_home(seen, mix);
    while (seen->index[at])
        at = (at + 1) & mask;
    seen->index[at] = slot_for(seen, mix, place);
}

int seen_is_lost(const Seen *seen, uint32_t place)
{
    return seen->lost != NULL && place / CHUNK < seen->lost_count && seen->lost[place / CHUNK];
}

static int make_index(Seen *seen, uint8_t bits)
{
    uint32_t *index = PyMem_Calloc((size_t)1 << bits, sizeof(uint32_t));
    if (index == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(seen->index);
    seen->index = index;
    seen->bits = bits;
    for (uint32_t place = 0; place < seen->count; place++)
        if (!seen_is_lost(seen, place))
            enter(seen, place);
    return 0;
}

static void free_places(Seen *seen)
{
    if (seen->hashes != NULL)
        PyMem_Free(seen->hashes - seen->begin);
    seen->hashes = NULL;
    seen->seconds = NULL;
    seen->begin = seen->capacity = 0;
}

/* room for so many ids, in the array and in the index */
int seen_reserve(Seen *seen, size_t count)
{
    if (count > ROOM) {
        PyErr_SetString(PyExc_ValueError, "more ids than a user's state ever has seen");
        return -1;
    }
    if (count > seen->capacity) {
        uint32_t capacity = (uint32_t)(count + count / 4 + 3) & ~3u; /* so that what comes one by one is moved seldom */
        uint64_t *hashes = PyMem_Malloc((size_t)capacity * ENTRY_BYTES);
        if (hashes == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        uint32_t *seconds = (uint32_t *)(hashes + capacity);
        if (seen->count) {
            memcpy(hashes, seen->hashes, seen->count * sizeof(uint64_t));
            memcpy(seconds, seen->seconds, seen->count * sizeof(uint32_t));
        }
        free_places(seen);
        seen->hashes = hashes;
        seen->seconds = seconds;
        seen->capacity = capacity;
    }
    if (count > FEW && (seen->index == NULL || count * 5 > ((size_t)3 << seen->bits))) {
        uint8_t bits = 5;
        while (count * 5 > ((size_t)3 << bits))
            bits += 1;
        return make_index(seen, bits);
    }
    return 0;
}

void seen_append(Seen *seen, uint64_t hash, uint32_t second) /* there is room */
{
    seen->hashes[seen->count] = hash;
    seen->seconds[seen->count] = second;
    seen->count += 1;
    if (seen->index != NULL)
        enter(seen, seen->count - 1);
}

/* As a dict takes it: a known id keeps its place and gets the new second. */
int seen_put(Seen *seen, uint64_t hash, uint32_t second)
{
    int64_t place = seen_find(seen, hash);
    if (place >= 0) {
        seen->seconds[place] = second;
        return 0;
    }
    if (seen_reserve(seen, (size_t)seen->count + 1) < 0)
        return -1;
    seen_append(seen, hash, second);
    return 0;
}

void seen_clear(Seen *seen)
{
    free_places(seen);
    PyMem_Free(seen->index);
    seen->index = NULL;
    PyMem_Free(seen->lost);
    seen->lost = NULL;
    seen->count = seen->tail = seen->lost_count = 0;
    seen->base = seen->bits = 0;
}

void seen_take(Seen *seen, Seen *from)
{
    seen_clear(seen);
    seen->hashes = from->hashes;
    seen->seconds = from->seconds;
    seen->begin = from->begin;
    seen->capacity = from->capacity;
    seen->count = from->count;
    seen->tail = from->tail;
    seen->index = from->index;
    seen->base = from->base;
    seen->bits = from->bits;
    seen->lost = from->lost;
    seen->lost_count = from->lost_count;
    from->hashes = NULL;
    from->index = NULL;
    from->lost = NULL;
    seen_clear(from);
}

/* bytes: all hashes (8 bytes each, little-endian), then all seconds of arrival (4 bytes) */

static void write_entries(const Seen *seen, uint32_t from, uint32_t count, unsigned char *to)
{
    for (uint32_t i = from; i < from + count; i++, to += 8)
        for (int byte = 0; byte < 8; byte++)
            to[byte] = (unsigned char)(seen->hashes[i] >> 8 * byte);
    for (uint32_t i = from; i < from + count; i++, to += 4)
        for (int byte = 0; byte < 4; byte++)
            to[byte] = (unsigned char)(seen->seconds[i] >> 8 * byte);
}

uint64_t seen_read_number(const unsigned char *from, int size)
{
    uint64_t number = 0;
    for (int byte = size - 1; byte >= 0; byte--)
        number = number << 8 | from[byte];
    return number;
}

Py_ssize_t seen_tail_size(const Seen *seen)
{
    return (Py_ssize_t)seen->tail * ENTRY_BYTES;
}

void seen_write_tail(const Seen *seen, unsigned char *to)
{
    write_entries(seen, seen->count - seen->tail, seen->tail, to);
}

/* records of CHUNK ids */

int seen_change(Seen *seen, long long number, PyObject *value /* borrowed */)
{
    if (seen->unsaved == NULL && (seen->unsaved = PyDict_New()) == NULL)
        return -1;
    PyObject *key = PyLong_FromLongLong(number);
    if (key == NULL)
        return -1;
    int failed = PyDict_SetItem(seen->unsaved, key, value);
    Py_DECREF(key);
    return failed;
}

static void leave(Seen *seen, uint32_t place)
{
    uint64_t mix = seen_mixed(seen->hashes[place]);
    uint32_t mask = (1u << seen->bits) - 1, hole = seen_home(seen, mix), wanted = slot_for(seen, mix, place);
    while (seen->index[hole] != wanted) {
        if (!seen->index[hole])
            return;
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; seen->index[at]; at = (at + 1) & mask) {
        uint32_t home = seen_home(seen, seen_mixed(seen->hashes[place_of(seen, seen->index[at])]));
        if (((at - home) & mask) >= ((at - hole) & mask)) { /* found from its home only over the hole: it moves there */
            seen->index[hole] = seen->index[at];
            hole = at;
        }
    }
    seen->index[hole] = 0;
}

/* Of the oldest records. The others stay where they are: to move all of a busy user's for each record would cost more
 * than all else that is done for its events. What is free before them goes when there is no more room behind. */
static void forget(Seen *seen, uint32_t records)
{
    uint32_t kept = seen->count - seen->tail, count = records * CHUNK < kept ? records * CHUNK : kept;
    if (seen->index != NULL)
        for (uint32_t place = 0; place < count; place++)
            if (!seen_is_lost(seen, place))
                leave(seen, place);
    seen->count -= count;
    seen->hashes += count;
    seen->seconds += count;
    seen->begin += count;
    seen->capacity -= count;
    seen->base = (seen->base + count) % ROUND;
    if (seen->lost != NULL) {
        seen->lost_count -= records < seen->lost_count ? records : seen->lost_count;
        memmove(seen->lost, seen->lost + records, seen->lost_count);
    }
}

/* whether a record of ids holds one that arrived at ``horizon`` or later */
static int is_young(const Seen *seen, uint32_t record, int64_t horizon)
{
    if ((record + 1) * CHUNK > seen->count - seen->tail)
        return 0;
    for (uint32_t place = record * CHUNK; place < (record + 1) * CHUNK; place++)
        if ((int64_t)seen->seconds[place] >= horizon)
            return 1;
    return 0;
}

/* Remove the oldest records: they are not of the last ids, and older than ``horizon``, or there are too many. */
static int drop(Seen *seen, int64_t horizon)
{
    uint32_t records = 0;
    for (long long left = seen->stored - seen->first; left > LAST_CHUNKS; left--, records++) {
        if (is_young(seen, records, horizon)) {
            if (left <= MOST_CHUNKS)
                break;
            seen->cut += CHUNK;
        }
        if (seen_change(seen, seen->first + records, Py_None) < 0)
            return -1;
    }
    if (records) {
        forget(seen, records);
        seen->first += records;
    }
    return 0;
}

/* Of ids in order of arrival, the place of the first that is remembered; those that are forgotten too early are cut. */
uint32_t seen_begin(const Seen *seen, uint32_t *cut)
{
    uint32_t begin = seen->count > DEDUPE_EVENTS ? seen->count - DEDUPE_EVENTS : 0;
    while (begin > 0 && (int64_t)seen->seconds[begin - 1] >= (int64_t)seen->seconds[seen->count - 1] - DEDUPE_SECONDS)
        begin -= 1;
    uint32_t least = seen->count > MOST_IDS ? seen->count - MOST_IDS : 0;
    *cut = least > begin ? least - begin : 0;
    return least > begin ? least : begin;
}

/* Full chunks leave the tail: one, or several of a long tail, such as another release or a merge leaves. */
int seen_close_chunks(Seen *seen)
{
    while (seen->tail >= CHUNK) {
        uint32_t from = seen->count - seen->tail;
        PyObject *record = PyBytes_FromStringAndSize(NULL, CHUNK * ENTRY_BYTES);
        if (record == NULL)
            return -1;
        write_entries(seen, from, CHUNK, (unsigned char *)PyBytes_AS_STRING(record));
        int failed = seen_change(seen, seen->stored, record);
        Py_DECREF(record);
        if (failed < 0)
            return -1;
        seen->stored += 1;
        seen->tail -= CHUNK;
        if (drop(seen, (int64_t)seen->seconds[from + CHUNK - 1] - DEDUPE_SECONDS) < 0)
            return -1;
    }
    return 0;
}

int seen_add(Seen *seen, uint64_t hash, uint32_t second)
{
    if (seen_find(seen, hash) >= 0)
        return 0;
    if (seen_reserve(seen, (size_t)seen->count + 1) < 0)
        return -1;
    seen_append(seen, hash, second);
    seen->tail += 1;
    return seen->tail >= CHUNK && seen_close_chunks(seen) < 0 ? -1 : 1;
}

uint32_t seen_second(double arrived)
{
    if (!(arrived > 0.0))
        return 0;
    return arrived >= (double)MAX_SECOND ? MAX_SECOND : (uint32_t)arrived;
}

uint32_t seen_ids(const Seen *self)
{
    uint32_t count = self->count;
    for (uint32_t record = 0; self->lost != NULL && record < self->lost_count; record++)
        count -= self->lost[record] ? CHUNK : 0;
    return count;
}
