/* Asking for memory before it is needed: a turn goes over more users than the processor's caches hold, and would wait for
 * each line of each of them. */
#ifndef SEGMENTS_FETCH_H
#define SEGMENTS_FETCH_H

#include "cache.h"

/* For turn_find, which looks for the user ``at`` now. */
void fetch_user(const Cache *cache, const User *users, uint32_t count, uint32_t at);
/* For turn_commit, which puts the copy ``at`` in place now. */
void fetch_committed(const Cache *cache, uint32_t at);

/* The copy with this number (beyond the last, as TURN_MISSING is: of nobody): its beginning, and a few users later, when
 * that is there and says how long it is, the rest. */
#define FETCH_AHEAD 12 /* how many users before its turn */
#define FETCH_AHEAD_REST 6
void fetch_copy(const Cache *cache, uint32_t number);
void fetch_copy_rest(const Cache *cache, uint32_t number);

#endif
