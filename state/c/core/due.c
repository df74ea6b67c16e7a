#include "due.h"

#include <math.h>

#include "terms.h"

double plan_next_due(const PlanImage *plan, const UserBlock *block)
{
    if (section_size(block, MEMBERS) == 0 && !plan->head->may_rise)
        return (double)INFINITY;
    uint8_t inside[PLAN_MOST];
    uint32_t places[PLAN_MOST];
    double stays = plan_members(plan, block, inside);
    plan_places(plan, block, places);
    return due_of(plan, block, places, inside, stays);
}

double due_of(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const uint8_t *inside, double stays)
{
    if (section_size(block, MEMBERS) == 0 && !plan->head->may_rise)
        return (double)INFINITY;
    double due = block_known_at(block), now = block_time(block);
    due = stays < due ? stays : due;
    for (uint32_t i = 0; i < plan->head->rules; i++) {
        const PlanRule *rule = &plan->rules[i];
        if (inside[i] == OUTSIDE && rule->rising == 0)
            continue;
        for (uint32_t j = 0; j < rule->terms; j++) {
            uint32_t link = plan->links[rule->first + j];
            if (inside[i] == OUTSIDE && !(link & 1))
                continue;
            double next = term_next_change(plan, block, places, &plan->terms[link >> 1], now);
            due = next < due ? next : due;
        }
    }
    return due;
}
