/* What definitions say to the compiled fold, as one piece of bytes: the image of a plan. state/plan_image.py writes it,
 * plan_open checks it; behind that nothing of it is checked again, and no image makes anybody read outside of it. It is
 * never changed, so any thread may read it.
 *
 *   PlanHead; PlanCell by mark; PlanTerm; PlanSegment by mark; PlanRule; PlanRoute; Instruction (program.h);
 *   u32 links, padded to 8; the segments' names, padded to 8
 *
 * Little-endian; tables in this order, none between. Programs have the plan's numbers of terms. Links of a rule are its
 * terms, ascending, each twice its number and 1 if the rule may begin to hold by the term's passing (Rule.begins_by); of
 * a route its cells, ascending, and its gates, each twice the number of a rule and 1 if the event may end that. */
#ifndef SEGMENTS_PLAN_H
#define SEGMENTS_PLAN_H

#include "cells.h"
#include "members.h"
#include "program.h"

#define PLAN_FORMAT UINT32_C(0x314E4C50) /* "PLN1" */
#define PLAN_NONE UINT32_MAX
#define PLAN_MOST 8192 /* of cells, segments, rules: due.c has places for so many on its stack */
#define PLAN_MOST_TERMS 65536
#define PLAN_MOST_ROUTES 1048576

enum { PLAN_COUNT, PLAN_AMOUNT, PLAN_DWELL, PLAN_MEASURES };
enum { TERM_TALLY, TERM_ABSENT };

typedef struct {
    uint32_t format, bytes; /* of all of it */
    uint32_t cells, terms, segments, rules, routes, steps, links, letters;
    uint32_t may_rise; /* 1: some rule may begin to hold by the mere passing of time */
    uint32_t zero;
    double shortest; /* nothing that an event adds changes anything by the passing of time sooner, in seconds */
} PlanHead;

typedef struct {
    TallySpec spec; /* of a latest time: width and window are 0 */
    double scale;   /* what one of the unit is in whole numbers */
    uint8_t type;   /* CELL_TALLY, CELL_LATEST */
    uint8_t measure;
    uint8_t zero[6];
} PlanCell;

typedef struct {
    uint8_t type, covers; /* covers: the trigger is itself of the sort that is waited for */
    uint16_t zero;
    uint32_t cell;  /* of a tally; of the trigger, the latest time */
    uint32_t other; /* of what is waited for; 0 of a tally */
    uint32_t zero_too;
    double wait, within; /* seconds, of an absence */
} PlanTerm;

typedef struct {
    uint32_t mark; /* lower half of the name's xxh3, as in MEMBERS */
    uint32_t at, size; /* of its name, in the letters */
    uint32_t rule; /* PLAN_NONE: another kind of segment */
    double min_stay;
} PlanSegment;

typedef struct {
    double enter, exit;
    uint32_t segment;
    uint32_t step, steps;  /* its program */
    uint32_t first, terms; /* links */
    uint32_t rising;       /* how many of these have the 1 */
    uint64_t version;      /* of the segment, as a membership has it */
} PlanRule;

typedef struct {
    double interest; /* what such an event says of the taste for its category */
    uint32_t row;    /* of KINDS */
    uint32_t cell, cells; /* links */
    uint32_t gate, gates;
    uint32_t zero;
} PlanRoute;

_Static_assert(sizeof(PlanHead) == 56 && sizeof(PlanCell) == 40 && sizeof(PlanTerm) == 32, "as state/plan_image.py");
_Static_assert(sizeof(PlanSegment) == 24 && sizeof(PlanRule) == 48 && sizeof(PlanRoute) == 32, "as state/plan_image.py");

/* One that was checked; all point into its bytes. */
typedef struct {
    const PlanHead *head;
    const PlanCell *cells;
    const PlanTerm *terms;
    const PlanSegment *segments;
    const PlanRule *rules;
    const PlanRoute *routes;
    const Instruction *steps;
    const uint32_t *links;
    const uint8_t *letters;
    uint32_t touched; /* cells of the route that has the most */
} PlanImage;

enum PlanFault {
    PLAN_SOUND,
    PLAN_BAD_FORMAT,  /* another format, or it does not lie at a multiple of 8 */
    PLAN_BAD_SIZE,    /* it is not as long as its tables */
    PLAN_TOO_LARGE,   /* more of something than there may be */
    PLAN_BAD_CELL,    /* also: two of one mark */
    PLAN_BAD_TERM,
    PLAN_BAD_SEGMENT,
    PLAN_BAD_RULE,
    PLAN_BAD_PROGRAM, /* program_check, or it reads a term that its rule does not have */
    PLAN_BAD_ROUTE
};

/* Opens bytes at a multiple of 8, which must stay as they are for as long as the image is used. */
enum PlanFault plan_open(PlanImage *plan, const uint8_t *bytes, size_t size);
const char *plan_fault_words(enum PlanFault fault);

/* For fold.c and due.c: where a block has the plan's cells. ``places`` has room for head->cells: the byte of the section
 * CELLS that the cell begins at and 1, or 0 where the block has none. */
void plan_places(const PlanImage *plan, const UserBlock *block, uint32_t *places);

enum { OUTSIDE, INSIDE, LEAVING }; /* LEAVING: and something speaks against it */

/* Of each rule whether the user is in its segment. Gives when the first minimum stay of a segment that somebody is to
 * leave is over; infinity: there is none. */
double plan_members(const PlanImage *plan, const UserBlock *block, uint8_t *inside);

#endif
