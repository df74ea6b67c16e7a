/* Users who rest: a second hand goes round the table, far behind the turns, and packs (pack.h) whom no turn had since it
 * came by before. So who is seen as often as others is never packed, and one who is not takes a sixth less memory. */
#ifndef SEGMENTS_REST_H
#define SEGMENTS_REST_H

#include "cache.h"

/* For cache_tidy alone: the hand goes on. Entries move. */
void rest_go_on(Cache *cache);

#endif
