#include "plan.h"

#include <math.h>
#include <string.h>

#include "text.h"
#include "xxh3.h"

#define LONGEST (INT64_C(1) << 40) /* seconds: no product of a bucket's number and a width overflows */
#define WIDEST (INT64_C(1) << 24)

static int is_in(uint32_t first, uint32_t count, uint32_t all)
{
    return first <= all && count <= all - first;
}

static int is_number(double number)
{
    return -PROGRAM_MOST_NUMBER <= number && number <= PROGRAM_MOST_NUMBER;
}

static int is_length(double seconds)
{
    return 0.0 <= seconds && seconds <= PROGRAM_MOST_NUMBER;
}

/* where the tables are */
static enum PlanFault lay_out(PlanImage *plan, const uint8_t *bytes, size_t size)
{
    const PlanHead *head = (const PlanHead *)(const void *)bytes;
    if (((uintptr_t)bytes & 7) != 0 || size < sizeof *head || head->format != PLAN_FORMAT)
        return PLAN_BAD_FORMAT;
    if (head->cells > PLAN_MOST || head->segments > PLAN_MOST || head->rules > PLAN_MOST || head->terms > PLAN_MOST_TERMS
        || head->routes > PLAN_MOST_ROUTES)
        return PLAN_TOO_LARGE;
    const size_t lengths[] = {
        head->cells * sizeof(PlanCell), head->terms * sizeof(PlanTerm), head->segments * sizeof(PlanSegment),
        head->rules * sizeof(PlanRule), head->routes * sizeof(PlanRoute), head->steps * sizeof(Instruction),
        padded(head->links * sizeof(uint32_t)), padded(head->letters),
    };
    enum { TABLES = sizeof lengths / sizeof *lengths };
    const void *at[TABLES];
    size_t end = sizeof *head;
    for (size_t i = 0; i < TABLES; i++) {
        if (lengths[i] > size - end)
            return PLAN_BAD_SIZE;
        at[i] = bytes + end;
        end += lengths[i];
    }
    *plan = (PlanImage){head, at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], 0};
    return end == size && head->bytes == size ? PLAN_SOUND : PLAN_BAD_SIZE;
}

static int cell_is_right(const PlanCell *cell)
{
    static const uint8_t zeros[sizeof cell->zero];
    const TallySpec *spec = &cell->spec;
    if (memcmp(cell->zero, zeros, sizeof zeros) != 0)
        return 0;
    if (cell->type == CELL_LATEST)
        return spec->width == 0 && spec->window == 0 && cell->scale == 0.0 && cell->measure == 0;
    return cell->type == CELL_TALLY && 0 < spec->width && spec->width <= WIDEST && 0 < spec->window
           && spec->window <= LONGEST && cell->measure < PLAN_MEASURES && 1.0 <= cell->scale && cell->scale <= 1e9;
}

static int cells_are_right(const PlanImage *plan)
{
    for (uint32_t i = 0; i < plan->head->cells; i++)
        if (!cell_is_right(&plan->cells[i]) || (i > 0 && plan->cells[i].spec.mark <= plan->cells[i - 1].spec.mark))
            return 0;
    return 1;
}

static int is_cell(const PlanImage *plan, uint32_t number, uint8_t type)
{
    return number < plan->head->cells && plan->cells[number].type == type;
}

static int terms_are_right(const PlanImage *plan)
{
    for (uint32_t i = 0; i < plan->head->terms; i++) {
        const PlanTerm *term = &plan->terms[i];
        if (term->covers > 1 || term->zero != 0 || term->zero_too != 0 || !is_length(term->wait)
            || !is_length(term->within))
            return 0;
        if (term->type == TERM_TALLY ? !is_cell(plan, term->cell, CELL_TALLY) || term->other != 0
                                     : term->type != TERM_ABSENT || !is_cell(plan, term->cell, CELL_LATEST)
                                               || !is_cell(plan, term->other, CELL_LATEST))
            return 0;
    }
    return 1;
}

/* what a membership can have as its name */
static int is_name(const uint8_t *name, const PlanSegment *segment)
{
    return segment->size > 0 && segment->size <= UINT16_MAX && text_is_utf8(name, segment->size)
           && (uint32_t)xxh3(name, segment->size) == segment->mark;
}

static int segments_are_right(const PlanImage *plan)
{
    for (uint32_t i = 0; i < plan->head->segments; i++) {
        const PlanSegment *segment = &plan->segments[i];
        if (!is_in(segment->at, segment->size, plan->head->letters) || !is_length(segment->min_stay)
            || (segment->rule != PLAN_NONE && segment->rule >= plan->head->rules)
            || (i > 0 && segment->mark < plan->segments[i - 1].mark) || !is_name(plan->letters + segment->at, segment))
            return 0;
    }
    return 1;
}

/* whether a rule has the term */
static int has_term(const uint32_t *links, uint32_t count, uint32_t term)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (links[middle] >> 1 < term)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && links[low] >> 1 == term;
}

static int links_ascend(const uint32_t *links, uint32_t count, unsigned flags, uint32_t most)
{
    for (uint32_t i = 0; i < count; i++)
        if (links[i] >> flags >= most || (i > 0 && links[i] >> flags <= links[i - 1] >> flags))
            return 0;
    return 1;
}

static enum PlanFault check_rules(const PlanImage *plan)
{
    for (uint32_t i = 0; i < plan->head->rules; i++) {
        const PlanRule *rule = &plan->rules[i];
        uint32_t rising = 0;
        size_t at;
        if (rule->segment >= plan->head->segments || plan->segments[rule->segment].rule != i || !is_number(rule->enter)
            || !is_number(rule->exit) || !is_in(rule->first, rule->terms, plan->head->links)
            || !is_in(rule->step, rule->steps, plan->head->steps))
            return PLAN_BAD_RULE;
        const uint32_t *links = plan->links + rule->first;
        if (!links_ascend(links, rule->terms, 1, plan->head->terms))
            return PLAN_BAD_RULE;
        for (uint32_t j = 0; j < rule->terms; j++)
            rising += links[j] & 1;
        if (rising != rule->rising)
            return PLAN_BAD_RULE;
        const Instruction *program = plan->steps + rule->step;
        if (program_check(program, rule->steps, plan->head->terms, &at) != PROGRAM_SOUND)
            return PLAN_BAD_PROGRAM;
        for (uint32_t j = 0; j < rule->steps; j++)
            if (program[j].op == OP_TERM && !has_term(links, rule->terms, program[j].index))
                return PLAN_BAD_PROGRAM;
    }
    return PLAN_SOUND;
}

static int routes_are_right(PlanImage *plan)
{
    const PlanHead *head = plan->head;
    plan->touched = 0;
    for (uint32_t i = 0; i < head->routes; i++) {
        const PlanRoute *route = &plan->routes[i];
        if (route->row >= 64 || route->zero != 0 || !(0.0 <= route->interest && route->interest <= 1e15)
            || !is_in(route->cell, route->cells, head->links) || !is_in(route->gate, route->gates, head->links)
            || !links_ascend(plan->links + route->cell, route->cells, 0, head->cells)
            || !links_ascend(plan->links + route->gate, route->gates, 1, head->rules))
            return 0;
        plan->touched = route->cells > plan->touched ? route->cells : plan->touched;
    }
    return 1;
}

enum PlanFault plan_open(PlanImage *plan, const uint8_t *bytes, size_t size)
{
    enum PlanFault fault = lay_out(plan, bytes, size);
    if (fault != PLAN_SOUND)
        return fault;
    const PlanHead *head = plan->head;
    if (head->may_rise > 1 || head->zero != 0 || !(head->shortest >= 0.0))
        return PLAN_BAD_FORMAT;
    if (!cells_are_right(plan))
        return PLAN_BAD_CELL;
    if (!terms_are_right(plan))
        return PLAN_BAD_TERM;
    if (!segments_are_right(plan))
        return PLAN_BAD_SEGMENT;
    fault = check_rules(plan);
    if (fault != PLAN_SOUND)
        return fault;
    return routes_are_right(plan) ? PLAN_SOUND : PLAN_BAD_ROUTE;
}

const char *plan_fault_words(enum PlanFault fault)
{
    static const char *const words[] = {
        [PLAN_SOUND] = "it is right",
        [PLAN_BAD_FORMAT] = "it has another format",
        [PLAN_BAD_SIZE] = "it is not as long as it says",
        [PLAN_TOO_LARGE] = "the compiled part takes no plan of so many segments, terms or categories",
        [PLAN_BAD_CELL] = "a cell cannot be, or two terms have the same mark",
        [PLAN_BAD_TERM] = "a term cannot be",
        [PLAN_BAD_SEGMENT] = "a segment cannot be",
        [PLAN_BAD_RULE] = "a rule cannot be",
        [PLAN_BAD_PROGRAM] = "a program cannot be run",
        [PLAN_BAD_ROUTE] = "what an event touches cannot be",
    };
    return words[fault];
}

void plan_places(const PlanImage *plan, const UserBlock *block, uint32_t *places)
{
    const uint8_t *cells = section_at(block, CELLS);
    uint32_t at = 0, end = (uint32_t)section_size(block, CELLS), count = plan->head->cells;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t wanted = plan->cells[i].spec.mark, mark = 0;
        while (at < end && (mark = get_u64(cells + at)) < wanted)
            at += 8 * (uint32_t)get_u16(cells + at + 10);
        places[i] = at < end && mark == wanted ? at + 1 : 0;
    }
}

/* NULL: it is in no plan any more */
static const PlanSegment *segment_of(const PlanImage *plan, uint32_t mark, const uint8_t *name, size_t size)
{
    uint32_t low = 0, high = plan->head->segments;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->segments[middle].mark < mark)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < plan->head->segments && plan->segments[low].mark == mark; low++) {
        const PlanSegment *segment = &plan->segments[low];
        if (segment->size == size && memcmp(plan->letters + segment->at, name, size) == 0)
            return segment;
    }
    return NULL;
}

double plan_members(const PlanImage *plan, const UserBlock *block, uint8_t *inside)
{
    double over = (double)INFINITY;
    size_t size = section_size(block, MEMBERS);
    memset(inside, OUTSIDE, plan->head->rules);
    for (const uint8_t *at = section_at(block, MEMBERS), *end = at + size; at < end;) {
        size_t name = get_u16(at + 4);
        int leaving = get_u16(at + 6);
        const PlanSegment *segment = segment_of(plan, get_u32(at), at + MEMBER_HEAD, name);
        if (segment != NULL && segment->rule != PLAN_NONE)
            inside[segment->rule] = leaving ? LEAVING : INSIDE;
        if (segment != NULL && leaving && get_f64(at + 8) + segment->min_stay < over)
            over = get_f64(at + 8) + segment->min_stay;
        at += padded(MEMBER_HEAD + name);
    }
    return over;
}
