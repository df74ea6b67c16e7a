/* What the terms of rules say of a user (streams/rules/terms), by the numbers that a plan has for them. */
#ifndef SEGMENTS_TERMS_H
#define SEGMENTS_TERMS_H

#include "plan.h"

/* The least and the most that a term may be at ``now``, by what is known; ``places``: of plan_places. NaN where a total is
 * too large to be divided exactly. */
Interval term_bounds(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const PlanTerm *term, double now);
/* When, after ``now``, it next changes by the mere passing of time; infinity: it does not. */
double term_next_change(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const PlanTerm *term,
                        double now);

#endif
