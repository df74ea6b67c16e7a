#include "terms.h"

#include <math.h>

#include "cell_place.h"

#define EXACT (INT64_C(1) << 53) /* from here on a double is not */

static const Interval NO = {0.0, 0.0}, YES = {1.0, 1.0}, MAYBE = {0.0, 1.0};

/* NULL: there is none of that type */
static const uint8_t *cell_of(const UserBlock *block, uint32_t place, uint8_t type)
{
    if (place == 0)
        return NULL;
    const uint8_t *cell = section_at(block, CELLS) + place - 1;
    return cell[8] == type ? cell : NULL;
}

static double latest_of(const UserBlock *block, uint32_t place)
{
    const uint8_t *cell = cell_of(block, place, CELL_LATEST);
    return cell == NULL ? 0.0 : get_f64(cell + CELL_HEAD);
}

static Interval tally_bounds(const PlanCell *cell, const uint8_t *at, double now)
{
    if (at == NULL)
        return NO;
    Tally tally = tally_open(at);
    int64_t held, total;
    tally_over(&tally, &cell->spec, now, &held);
    total = tally.total - held;
    if (total >= EXACT && cell->scale != 1.0)
        return (Interval){(double)NAN, (double)NAN};
    double low = (double)total / cell->scale;
    int known = !(tally.until > 0.0) || cells_known_from(&cell->spec, tally.until) <= now;
    return (Interval){low, known ? low : PROGRAM_MOST_NUMBER};
}

/* Absence.bounds of state/absence.py */
static Interval absence_bounds(const PlanTerm *absence, double after, double done, double now)
{
    if (after >= 0.0) {
        if (after == 0.0 || !(after + absence->wait <= now && now < after + absence->within))
            return NO;
        if (after > fabs(done) || (after == fabs(done) && absence->covers))
            return YES;
        return done < 0.0 ? MAYBE : NO;
    }
    /* the latest trigger may be any up to -after, or there was none */
    if (now >= absence->within - after)
        return NO;
    if (done >= 0.0 && (now < done + absence->wait || !(-after > done || (-after == done && absence->covers))))
        return NO;
    return MAYBE;
}

/* Absence.next_change */
static double absence_next_change(const PlanTerm *absence, double after, double done, double now)
{
    done = fabs(done);
    if (!(after > 0.0) || !(after > done || (after == done && absence->covers)))
        return (double)INFINITY;
    double begin = after + absence->wait, end = after + absence->within;
    return now < begin ? begin : now < end ? end : (double)INFINITY;
}

Interval term_bounds(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const PlanTerm *term, double now)
{
    uint32_t place = places[term->cell];
    if (term->type == TERM_TALLY)
        return tally_bounds(&plan->cells[term->cell], cell_of(block, place, CELL_TALLY), now);
    return absence_bounds(term, latest_of(block, place), latest_of(block, places[term->other]), now);
}

double term_next_change(const PlanImage *plan, const UserBlock *block, const uint32_t *places, const PlanTerm *term,
                        double now)
{
    uint32_t place = places[term->cell];
    if (term->type == TERM_ABSENT)
        return absence_next_change(term, latest_of(block, place), latest_of(block, places[term->other]), now);
    const uint8_t *cell = cell_of(block, place, CELL_TALLY);
    if (cell == NULL)
        return (double)INFINITY;
    Tally tally = tally_open(cell);
    const TallySpec *spec = &plan->cells[term->cell].spec;
    uint32_t i = 0;
    while (i < tally.count && tally_end(spec, tally_bucket(&tally, i)) <= now)
        i++;
    return i < tally.count ? tally_end(spec, tally_bucket(&tally, i)) : (double)INFINITY;
}
