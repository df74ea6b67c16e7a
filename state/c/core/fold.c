#include "fold.h"

#include <math.h>

#include "counters.h"
#include "due.h"
#include "fold_cells.h"
#include "members.h"
#include "memory.h"
#include "terms.h"

#define TAIL_LINES 4

struct FoldScratch {
    size_t bytes; /* of all of it */
    size_t wanted;
    uint64_t looks;           /* how often rules were looked at: what was reckoned of a term is good for one look */
    const uint32_t *paused;   /* the event that found no room or memory: when it is come back to, what held then holds */
    uint64_t paused_id;       /* its own: the place may be another batch's by now */
    double limit, horizon;    /* of then */
    uint64_t *looked;         /* of each term */
    Interval *bounds;         /* of each term */
    CellStep *steps;          /* of the cells that an event touches */
    uint32_t *places;         /* of each cell of the plan */
    uint8_t *inside;          /* of each rule */
    double stays;             /* plan_members */
    FoldEntry *entries;       /* of rules that opened, as far as that is all that the last event changed */
    uint32_t entering;
    uint8_t *room;            /* for a tally that is written anew */
};

FoldScratch *fold_scratch_new(const PlanImage *plan)
{
    const PlanHead *head = plan->head;
    size_t sizes[] = {
        padded(sizeof(FoldScratch)), head->terms * sizeof(uint64_t), head->terms * sizeof(Interval),
        plan->touched * sizeof(CellStep), padded(head->cells * sizeof(uint32_t)), padded(head->rules), padded(STEP_ROOM),
        head->rules * sizeof(FoldEntry),
    };
    enum { PARTS = sizeof sizes / sizeof *sizes };
    size_t starts[PARTS], bytes = 0;
    for (size_t i = 0; i < PARTS; i++) {
        starts[i] = bytes;
        bytes += sizes[i];
    }
    uint8_t *at = memory_get(MEMORY_HEAP, bytes);
    if (at == NULL)
        return NULL;
    FoldScratch *scratch = (FoldScratch *)(void *)at;
    scratch->bytes = bytes;
    scratch->looked = (uint64_t *)(void *)(at + starts[1]);
    scratch->bounds = (Interval *)(void *)(at + starts[2]);
    scratch->steps = (CellStep *)(void *)(at + starts[3]);
    scratch->places = (uint32_t *)(void *)(at + starts[4]);
    scratch->inside = at + starts[5];
    scratch->room = at + starts[6];
    scratch->entries = (FoldEntry *)(void *)(at + starts[7]);
    return scratch;
}

void fold_scratch_free(FoldScratch *scratch)
{
    if (scratch != NULL)
        memory_put(MEMORY_HEAP, scratch, scratch->bytes);
}

void fold_scratch_begin(FoldScratch *scratch)
{
    scratch->paused = NULL;
}

size_t fold_wanted(const FoldScratch *scratch)
{
    return scratch->wanted;
}

/* rules */

enum Turned { STAYS, ENTERS, MAY_CHANGE }; /* ENTERS: surely, by what is known */

/* What the rule says now of the membership; ``score``: what it gives, where somebody enters. */
static enum Turned turned(const PlanImage *plan, const UserBlock *block, FoldScratch *scratch, uint32_t number, double now,
                          double *score)
{
    int is_known = 1;
    const PlanRule *rule = &plan->rules[number];
    uint8_t inside = scratch->inside[number];
    if (inside == LEAVING)
        return MAY_CHANGE;
    for (uint32_t i = 0; i < rule->terms; i++) {
        uint32_t term = plan->links[rule->first + i] >> 1;
        if (scratch->looked[term] != scratch->looks) {
            scratch->bounds[term] = term_bounds(plan, block, scratch->places, &plan->terms[term], now);
            scratch->looked[term] = scratch->looks;
        }
        if (isnan(scratch->bounds[term].low))
            return MAY_CHANGE;
        is_known &= scratch->bounds[term].low == scratch->bounds[term].high;
    }
    Interval given = program_run(plan->steps + rule->step, scratch->bounds);
    if (inside)
        return given.high < rule->exit ? MAY_CHANGE : STAYS;
    if (given.low < rule->enter)
        return STAYS;
    *score = given.low;
    return is_known && given.low == given.high ? ENTERS : MAY_CHANGE;
}

/* 1: no more of the rules need be looked at, for Python has to */
static int note_turned(const PlanImage *plan, const UserBlock *block, FoldScratch *scratch, uint32_t rule, double now,
                       int *opened)
{
    double score = 0.0;
    enum Turned found = turned(plan, block, scratch, rule, now, &score);
    if (found == STAYS)
        return 0;
    *opened = 1;
    if (found == ENTERS) {
        scratch->entries[scratch->entering++] = (FoldEntry){.score = score, .rule = rule};
        return 0;
    }
    scratch->entering = 0;
    return 1;
}

/* 1: after the event that was just folded a rule may hold or end */
static int opens(const PlanImage *plan, const UserBlock *block, FoldScratch *scratch, const PlanRoute *route, double now)
{
    int opened = 0;
    scratch->looks++;
    scratch->entering = 0;
    if (block_count(block) == 1) {
        for (uint32_t i = 0; i < plan->head->rules; i++)
            if (note_turned(plan, block, scratch, i, now, &opened))
                break;
        return opened;
    }
    const uint32_t *gates = plan->links + route->gate;
    for (uint32_t i = 0; i < route->gates; i++) {
        uint32_t rule = gates[i] >> 1;
        int can_end = gates[i] & 1;
        if ((can_end || !scratch->inside[rule]) && note_turned(plan, block, scratch, rule, now, &opened))
            break;
    }
    return opened;
}

static size_t entries_growth(const PlanImage *plan, const UserBlock *block, const FoldScratch *scratch)
{
    size_t more = 0;
    for (uint32_t i = 0; i < scratch->entering; i++)
        more += padded(MEMBER_HEAD + plan->segments[plan->rules[scratch->entries[i].rule].segment].size);
    return section_size(block, MEMBERS) + more >= (size_t)8 * SECTION_LARGE ? more + SECTION_LEAD : more;
}

enum FoldEnd fold_enter(const PlanImage *plan, UserBlock *block, FoldScratch *scratch)
{
    uint64_t sequence = block_sequence(block);
    if (scratch->entering == 0 || sequence > UINT64_MAX - scratch->entering)
        return FOLD_LEFT;
    size_t more = entries_growth(plan, block, scratch), free = block->room - block->size;
    scratch->wanted = more > free ? more - free : 0;
    if (more > free)
        return FOLD_NO_ROOM;
    for (uint32_t i = 0; i < scratch->entering; i++) {
        const FoldEntry *entry = &scratch->entries[i];
        const PlanRule *rule = &plan->rules[entry->rule];
        const PlanSegment *segment = &plan->segments[rule->segment];
        Member member = {.since = block_time(block), .score = entry->score, .sequence = ++sequence, .version = rule->version};
        members_put(block, (const char *)plan->letters + segment->at, segment->size, &member);
        scratch->inside[entry->rule] = INSIDE;
    }
    block_put_sequence(block, sequence);
    block_put_due(block, fold_next_due(plan, block, scratch));
    return FOLD_ALL;
}

const FoldEntry *fold_entries(const FoldScratch *scratch, uint32_t *count)
{
    *count = scratch->entering;
    return scratch->entries;
}

double fold_term(const FoldScratch *scratch, uint32_t term)
{
    return scratch->bounds[term].low;
}

/* events */

static int is_quiet_kind(const PlanImage *plan, const FoldEvent *event, double now, double erased)
{
    return event->route >= 0 && (uint32_t)event->route < plan->head->routes && event->bucket < ROWS && event->time >= now
           && event->time > erased && event->time < MOST_TIME && 0.0 <= event->amount && event->amount < (double)INFINITY
           && 0.0 <= event->dwell && event->dwell < (double)INFINITY;
}

static int64_t whole(double value)
{
    return value < (double)MOST_HELD ? (int64_t)rint(value) : MOST_HELD;
}

static int64_t amount_for(const PlanCell *cell, const FoldEvent *event)
{
    return cell->measure == PLAN_COUNT ? 1 : whole((cell->measure == PLAN_AMOUNT ? event->amount : event->dwell) * cell->scale);
}

static size_t id_growth(const UserBlock *block)
{
    uint32_t count = ids_of(block).count + 1;
    size_t then = count == IDS_RECORD ? 0 : padded(ids_size(count)), now = section_size(block, IDS);
    return then > now ? then - now : 0;
}

/* Looks at all that the event touches; the bytes by which the block becomes larger at most. */
static size_t look(const PlanImage *plan, const UserBlock *block, const PlanRoute *route, const FoldEvent *event,
                   const Counted *counted, FoldScratch *scratch)
{
    const uint32_t *cells = plan->links + route->cell;
    size_t more = 0;
    for (uint32_t i = 0; i < route->cells; i++) {
        const PlanCell *cell = &plan->cells[cells[i]];
        int64_t amount = cell->type == CELL_TALLY ? amount_for(cell, event) : 0;
        more += step_look(&scratch->steps[i], block, cell, scratch->places[cells[i]], event->time, amount);
    }
    if (more && section_size(block, CELLS) + more >= (size_t)8 * SECTION_LARGE)
        more += SECTION_LEAD;
    return more + counters_growth(block, counted) + id_growth(block);
}

/* All but the id, where there is room for it. */
static void fold_one(const PlanImage *plan, UserBlock *block, const PlanRoute *route, const FoldEvent *event,
                     const Counted *counted, FoldScratch *scratch)
{
    uint64_t count = block_count(block);
    if (!event->anonymous)
        block_flag(block, FLAG_IDENTIFIED, 1);
    if (count == 0 || event->time < block_first(block))
        block_put_first(block, event->time);
    block_put_count(block, count + 1);
    counters_enter(block, event->time);
    counters_add(block, counted);
    int moved = 0;
    for (uint32_t i = route->cells; i-- > 0;) { /* the last first: those before it stay where they are */
        const PlanCell *cell = &plan->cells[plan->links[route->cell + i]];
        moved |= step_do(&scratch->steps[i], block, cell, event->time, scratch->room);
    }
    if (moved)
        plan_places(plan, block, scratch->places);
}

double fold_next_due(const PlanImage *plan, const UserBlock *block, const FoldScratch *scratch)
{
    return due_of(plan, block, scratch->places, scratch->inside, scratch->stays);
}

static enum FoldEnd pause(FoldScratch *scratch, const uint32_t *here, uint64_t id, double limit, double horizon,
                          enum FoldEnd end)
{
    scratch->paused = here;
    scratch->paused_id = id;
    scratch->limit = limit;
    scratch->horizon = horizon;
    return end;
}

enum FoldEnd fold_user(IdsAt *ids, const PlanImage *plan, const FoldEvent *events, const uint32_t *order, uint32_t count,
                       uint32_t *at, double limit, double erased, FoldScratch *scratch)
{
    UserBlock *block = ids->block;
    double horizon = (double)INFINITY; /* what is folded here changes nothing by itself before it */
    for (size_t line = 0; line < TAIL_LINES && *ids->tail != NULL; line++) /* of most users all bytes that tell ids apart */
        __builtin_prefetch((const uint8_t *)*ids->tail + line * 64);
    plan_places(plan, block, scratch->places);
    scratch->stays = plan_members(plan, block, scratch->inside);
    if (*at >= count)
        return FOLD_ALL;
    if (scratch->paused == order + *at && scratch->paused_id == events[order[*at]].id_hash) {
        limit = scratch->limit;
        horizon = scratch->horizon;
    }
    scratch->paused = NULL;
    for (; *at < count; *at += 1) {
        const FoldEvent *event = &events[order[*at]];
        if (*at + 1 < count)
            __builtin_prefetch(&events[order[*at + 1]]);
        if (!is_quiet_kind(plan, event, block_time(block), erased))
            return FOLD_LEFT;
        double time = event->time;
        if (time >= horizon) {
            limit = fold_next_due(plan, block, scratch);
            block_put_due(block, limit);
            horizon = (double)INFINITY;
        }
        if (!(time < limit))
            return FOLD_LEFT;
        const PlanRoute *route = &plan->routes[event->route];
        const Counted counted = {time, (int)route->row, event->bucket, route->interest, event->amount, event->dwell};
        size_t more = look(plan, block, route, event, &counted, scratch), free = block->room - block->size;
        scratch->wanted = more > free ? more - free : 0;
        if (more > free)
            return pause(scratch, order + *at, event->id_hash, limit, horizon, FOLD_NO_ROOM);
        switch (ids_remember(ids, event->id_hash, event->second)) {
        case ID_NEW:
            break;
        case ID_KNOWN:
            return FOLD_LEFT;
        case ID_NO_ROOM:
            scratch->wanted = IDS_GROWTH;
            return pause(scratch, order + *at, event->id_hash, limit, horizon, FOLD_NO_ROOM);
        default:
            return pause(scratch, order + *at, event->id_hash, limit, horizon, FOLD_NO_MEMORY);
        }
        fold_one(plan, block, route, event, &counted, scratch);
        if (time + plan->head->shortest < horizon)
            horizon = time + plan->head->shortest;
        if (opens(plan, block, scratch, route, time)) {
            *at += 1;
            return FOLD_OPENED;
        }
    }
    return FOLD_ALL;
}
