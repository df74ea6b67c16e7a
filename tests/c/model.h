/* A cache held against plain arrays: what is committed, what a turn has made of it, and who must be in memory. */
#ifndef SEGMENTS_MODEL_H
#define SEGMENTS_MODEL_H

#include "cache.h"
#include "expect.h"
#include "turn.h"

#define MODEL_USERS 400
#define MODEL_NAME 600

/* A user's block and ids in memory of its own. */
typedef struct {
    uint8_t *bytes; /* NULL: there is no such user */
    uint32_t size;
    Tail *tail;
} Value;

typedef struct {
    Cache *cache;
    uint64_t seed;
    uint32_t most; /* bytes of a block */
    uint32_t now;  /* second at which ids arrive */
    User users[MODEL_USERS];
    char names[MODEL_USERS][MODEL_NAME];
    Value committed[MODEL_USERS], turned[MODEL_USERS];
    uint32_t number[MODEL_USERS]; /* in the turn; TURN_MISSING: not in it */
    uint8_t in_memory[MODEL_USERS];
    uint32_t commits, drops, let_go, faults; /* what has happened */
} Model;

/* For blocks of up to ``most`` bytes, and users of ``spread`` hashes, as user_of has it. */
void model_begin(Model *model, Arena *arena, uint64_t seed, uint32_t most, uint32_t spread);
/* Random verbs: a turn, or what is done between two. Every call that has no memory is tried again: it must have changed
 * nothing. ``sticky``: gives -1 at the first such call, with the turn dropped. */
int model_step(Model *model, int sticky);
/* All users, one by one. */
void model_compare(Model *model);
/* Frees everything. */
void model_end(Model *model);

#endif
