/* What one event does to the cells of terms, in two parts: how much room it takes, and, once there is room for all of the
 * event, the change. The outcome is that of cells_add and cells_note. */
#ifndef SEGMENTS_FOLD_CELLS_H
#define SEGMENTS_FOLD_CELLS_H

#include "plan.h"

enum { STEP_NOTHING, STEP_IN_PLACE, STEP_TALLY, STEP_LATEST };
/* The largest tally, in bytes. */
#define STEP_ROOM (CELL_HEAD + 8 + TALLY_HEAD + 6 + (size_t)MOST_BUCKETS * 10)

typedef struct {
    uint8_t how, width;    /* width: of a tally's values, in powers of two */
    uint8_t is_there;      /* the bucket */
    uint32_t place;        /* of plan_places */
    uint32_t old, size;    /* bytes of the cell before and then */
    uint32_t over, bucket; /* buckets that go, and the place of the event's among the others */
    uint32_t count;        /* of buckets then */
    int64_t number, sum, total; /* of the event's bucket, what it holds then; and all together */
} CellStep;

/* Gives the bytes by which the block becomes larger; 0: it does not. ``amount``: 0 to MOST_HELD. */
size_t step_look(CellStep *step, const UserBlock *block, const PlanCell *cell, uint32_t place, double time, int64_t amount);
/* Does it. 1: cells behind this one have moved. ``room``: STEP_ROOM bytes to write in. */
int step_do(const CellStep *step, UserBlock *block, const PlanCell *cell, double time, uint8_t *room);

#endif
