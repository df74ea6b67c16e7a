/* Whom a user follows (EDGES), and which groups a user is in (GROUPS): sorted by name, the last writer by event time wins.
 * An edge is one signed number: the time of the follow, or less 0 that of the unfollow, which wins at the same time. */
#ifndef SEGMENTS_EDGES_H
#define SEGMENTS_EDGES_H

#include "block.h"

#define EDGES_HEAD 8 /* bytes of a section before its entries: the count */
#define EDGE_HEAD 10 /* bytes of an entry before the name */

enum { EDGE_CHANGED = 2 }; /* more than done: who is followed is another set now */

/* Its signed time; 0: there is none. */
double edges_get(const UserBlock *block, enum Section which, const char *name, size_t size);
/* A follow (``present``) or unfollow at a time above 0: DONE, EDGE_CHANGED or NO_ROOM. ``size``: 1 to 65,535 bytes. */
int edges_set(UserBlock *block, enum Section which, const char *name, size_t size, double time, int present);
/* Forgets it. */
void edges_drop(UserBlock *block, enum Section which, const char *name, size_t size);
/* How many there are, those that are present or the removed ones. */
uint32_t edges_count(const UserBlock *block, enum Section which, int present);
/* Of these drops all that are older than this, and of those as old the ones whose names come after this one, which does not
 * lie in the block. */
void edges_drop_after(UserBlock *block, enum Section which, int present, double age, const char *name, size_t size);
/* One after the other, in order of names: ``at`` begins as 0. Gives the bytes of the name, or 0 at the end. */
size_t edges_next(const UserBlock *block, enum Section which, size_t *at, const char **name, double *time);

#endif
