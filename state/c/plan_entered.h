/* Memberships that began while a turn's events were folded: what Python says of them, found without the interpreter's
 * lock. */
#ifndef SEGMENTS_PLAN_ENTERED_H
#define SEGMENTS_PLAN_ENTERED_H

#include "core/fold.h"
#include "reading.h"

typedef struct {
    double time, score;
    uint64_t sequence;
    uint32_t event; /* of the user's in the turn, the one that did it */
    uint32_t rule;
    size_t value; /* the first of its terms' values */
} Began;

/* All of one turn, user by user; begins as zeros. */
typedef struct {
    Began *began;
    double *values;
    size_t count, room, values_count, values_room;
} Entered;

/* Takes what fold_enter has just begun. -1: no memory. */
int entered_note(Entered *entered, const PlanImage *plan, const UserBlock *block, const FoldScratch *scratch,
                 uint32_t event);
void entered_free(Entered *entered);
/* [(event, rule, sequence, score, time, (value of each term, in the order of the plan's numbers)), …]: a new reference,
 * or NULL with an exception. */
PyObject *entered_list(const Entered *entered, const PlanImage *plan, size_t first, size_t count);

#endif
