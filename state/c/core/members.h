/* The segments that a user is in, sorted by name, and edges: whom a user follows, which groups a user is in. */
#ifndef SEGMENTS_MEMBERS_H
#define SEGMENTS_MEMBERS_H

#include "block.h"

#define MEMBER_HEAD 48 /* bytes of an entry before the name */

typedef struct {
    double since, score, leaving; /* leaving: the score that would have ended it, were the minimum stay over */
    uint64_t sequence, version;
    int has_leaving;
} Member;

/* 1: the user is in the segment; 0: not. */
int members_get(const UserBlock *block, const char *segment, size_t size, Member *member);
/* Puts a membership, or instead of the one that there is. ``size``: 1 to 65,535 bytes of UTF-8. */
int members_put(UserBlock *block, const char *segment, size_t size, const Member *member);
void members_remove(UserBlock *block, const char *segment, size_t size);
/* One after the other, in order of names: ``at`` begins as 0. Gives the bytes of the name, or 0 at the end. */
size_t members_next(const UserBlock *block, size_t *at, const char **segment, Member *member);

#endif
