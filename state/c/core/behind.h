/* Users are written to the store behind their turns, coalesced (ADR 0046): who is dirty is put there when a hand that goes
 * round the table in the order of the names' hashes comes by. That order survives growth, so a part of a round is a range
 * of hashes, and all that was dirty when a round began is in the store when all ranges of it are.
 *
 * Between turns only. */
#ifndef SEGMENTS_BEHIND_H
#define SEGMENTS_BEHIND_H

#include "cache.h"

#define BEHIND_END ((uint64_t)1 << 32) /* of the hashes */

/* Memory is nearly full, or somebody was to be let go within the last turns: dirty entries cannot go, so there should
 * be no more of them. May be asked during a turn, whose copies do not count. */
int behind_is_tight(const Cache *cache);

/* Calls ``put`` for all entries that have all of ``flags`` (ENTRY_DIRTY, with ENTRY_NEW or without) and whose hash is
 * ``from`` to ``until`` - 1; they are neither dirty nor new from then on. ``put`` leaves the cache alone; gives it
 * something below 0, that is the end and given back: then some may be in the store only if what was put is. Else 0. */
int behind_put(Cache *cache, uint64_t from, uint64_t until, uint32_t flags, int (*put)(void *of, const Prefix *prefix),
               void *of);

#endif
