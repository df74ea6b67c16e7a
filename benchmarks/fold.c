/* How long it takes to fold an event into a user's block, rules and next timer included; see fold.py.
 *
 * fold USERS EVENTS SECONDS_APART VIEW CLICK CLICK_C7 PURCHASE < image, where the last four are the numbers of routes. Users
 * are drawn evenly; a turn has 10,000 events. Prints JSON: nanoseconds an event of this thread's processor time. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drawing.h"
#include "due.h"
#include "fold.h"
#include "terms.h"

enum { A_TURN = 10000, AHEAD = 6, ROOM = 1832, TASTES = 40, MOST_CELLS = 64, MOST_TERMS = 64 };

typedef struct {
    uint8_t bytes[ROOM];
    Tail *tail;
    uint32_t size, cut;
} Person;

static double spent;
static unsigned long opened, left, visits;

/* what Python does behind an event that may change something: enters, and never leaves */
static void decide(const PlanImage *plan, UserBlock *block)
{
    static uint32_t places[MOST_CELLS];
    static uint8_t inside[MOST_CELLS];
    static Interval bounds[MOST_TERMS];
    plan_places(plan, block, places);
    plan_members(plan, block, inside);
    for (uint32_t i = 0; i < plan->head->terms; i++)
        bounds[i] = term_bounds(plan, block, places, &plan->terms[i], block_time(block));
    for (uint32_t i = 0; i < plan->head->rules; i++) {
        const PlanRule *rule = &plan->rules[i];
        const PlanSegment *segment = &plan->segments[rule->segment];
        const char *name = (const char *)plan->letters + segment->at;
        Interval given = program_run(plan->steps + rule->step, bounds);
        if (!inside[i] && given.low >= rule->enter)
            members_put(block, name, segment->size, &(Member){.since = block_time(block), .score = 1.0});
        if (inside[i] && given.high < rule->exit)
            members_remove(block, name, segment->size);
    }
}

static void visit(const PlanImage *plan, Person *person, const FoldEvent *events, const uint32_t *order, uint32_t count,
                  FoldScratch *scratch)
{
    UserBlock block;
    block_open(&block, person->bytes, person->size, ROOM);
    IdsAt ids = {.block = &block, .tail = &person->tail, .cut = &person->cut};
    uint32_t at = 0;
    visits++;
    for (double limit = block_due(&block);; limit = (double)INFINITY) {
        enum FoldEnd end = fold_user(&ids, plan, events, order, count, &at, limit, 0.0, scratch);
        if (end == FOLD_ALL)
            break;
        if (end == FOLD_NO_ROOM || end == FOLD_NO_MEMORY) {
            fprintf(stderr, "no room\n");
            exit(1);
        }
        left += end == FOLD_LEFT;
        opened += end == FOLD_OPENED;
        if (end == FOLD_OPENED || at < count)
            decide(plan, &block);
    }
    block_put_due(&block, fold_next_due(plan, &block, scratch));
    person->size = block.size;
}

/* as a turn does it */
static void fetch(const Person *person, const FoldEvent *event)
{
    __builtin_prefetch(event);
    for (uint32_t at = 0; at < ROOM && at < 1216; at += 64)
        __builtin_prefetch(person->bytes + at, 1);
}

static FoldEvent event_at(double time, const int32_t *routes)
{
    uint32_t what = draw(100), category = draw(TASTES);
    int kind = what < 70 ? 0 : what < 95 ? 1 : 3;
    return (FoldEvent){
        .time = time,
        .amount = kind == 3 ? 5.0 + draw(4000) / 100.0 : 0.0,
        .dwell = kind == 0 ? draw(60) : 0.0,
        .id_hash = ((uint64_t)draw(UINT32_MAX) << 32) | draw(UINT32_MAX),
        .second = (uint32_t)time,
        .route = routes[kind == 1 && category == 7 ? 2 : kind],
        .bucket = (int32_t)category,
    };
}

int main(int count, char **words)
{
    static _Alignas(8) uint8_t image[1 << 16];
    PlanImage plan;
    size_t size = fread(image, 1, sizeof image, stdin);
    if (count != 8 || plan_open(&plan, image, size) != PLAN_SOUND || plan.head->cells > MOST_CELLS
        || plan.head->rules > MOST_CELLS || plan.head->terms > MOST_TERMS)
        return 1;
    uint32_t users = (uint32_t)strtoul(words[1], NULL, 10), total = (uint32_t)strtoul(words[2], NULL, 10);
    double apart = strtod(words[3], NULL), time = 1.79e9;
    int32_t routes[4];
    for (int i = 0; i < 4; i++)
        routes[i] = (int32_t)strtol(words[4 + i], NULL, 10);
    Person *people = calloc(users, sizeof *people);
    FoldEvent *events = calloc(A_TURN, sizeof *events);
    uint32_t *who = calloc(A_TURN, sizeof *who), *order = calloc(A_TURN, sizeof *order);
    uint32_t *starts = calloc(users + 1, sizeof *starts);
    FoldScratch *scratch = fold_scratch_new(&plan);
    if (people == NULL || events == NULL || who == NULL || order == NULL || starts == NULL || scratch == NULL)
        return 1;
    for (uint32_t i = 0; i < users; i++) {
        UserBlock block;
        block_begin(&block, people[i].bytes, ROOM);
        people[i].size = block.size;
    }
    uint32_t timed = 0;
    for (uint32_t folded = 0; folded < total; folded += A_TURN) {
        memset(starts, 0, (users + 1) * sizeof *starts);
        for (uint32_t i = 0; i < A_TURN; i++, time += apart / users) {
            who[i] = draw(users);
            events[i] = event_at(time, routes);
            starts[who[i] + 1]++;
        }
        for (uint32_t i = 0; i < users; i++)
            starts[i + 1] += starts[i];
        for (uint32_t i = 0; i < A_TURN; i++)
            order[starts[who[i]]++] = i; /* each start is the end then */
        double begin = now();
        for (uint32_t i = 0; i < users; i++) {
            uint32_t start = i ? starts[i - 1] : 0;
            if (i + AHEAD < users && starts[i + AHEAD] > starts[i + AHEAD - 1])
                fetch(&people[i + AHEAD], &events[order[starts[i + AHEAD - 1]]]);
            if (starts[i] > start)
                visit(&plan, &people[i], events, order + start, starts[i] - start, scratch);
        }
        if (folded < total / 2) { /* until the blocks are filled */
            visits = opened = left = 0;
            continue;
        }
        spent += now() - begin;
        timed += A_TURN;
    }
    size_t bytes = 0, members = 0;
    for (uint32_t i = 0; i < users; i++) {
        UserBlock block;
        block_open(&block, people[i].bytes, people[i].size, ROOM);
        bytes += block.size;
        members += section_size(&block, MEMBERS) > 0;
    }
    printf("{\"users\": %u, \"seconds_apart\": %g, \"events\": %u, \"fold_ns\": %.1f, "
           "\"events_a_visit\": %.2f, \"opened_share\": %.4f, \"left_share\": %.4f, \"block_bytes\": %.0f, "
           "\"in_segments\": %.3f}\n",
           users, apart, timed, spent / timed, timed / (double)visits,
           (double)opened / timed, (double)left / timed, (double)bytes / users, (double)members / users);
    return 0;
}
