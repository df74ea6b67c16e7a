/* When a membership may next change without an event. */
#ifndef SEGMENTS_DUE_H
#define SEGMENTS_DUE_H

#include "plan.h"

/* What streams.steps.membership.plain_next_due gives for a block, which stays as it is; infinity: never. */
double plan_next_due(const PlanImage *plan, const UserBlock *block);
/* The same by what plan_places and plan_members said of the block as it is; ``stays`` is what the latter gave. */
double due_of(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const uint8_t *inside, double stays);

#endif
