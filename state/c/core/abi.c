#include "abi.h"

#include <stddef.h>

#include "cells.h"
#include "counters.h"
#include "edges.h"
#include "ids.h"
#include "members.h"
#include "plan.h"
#include "tail.h"

static uint64_t as_one(const uint64_t *numbers, size_t count)
{
    uint64_t found = 0;
    for (size_t i = 0; i < count; i++)
        found = found * 1000003 + numbers[i];
    return found;
}

uint64_t layout_abi(void)
{
    /* in the order of layout2.ABI_NUMBERS */
    static const uint64_t numbers[] = {
        BLOCK_FORMAT, BLOCK_HEADER, BLOCK_UNIT,   SECTIONS,     SECTION_LARGE, SECTION_LEAD, BLOCK_MOST,  FLAGS,
        ROWS,         CELL_HEAD,    CELL_TALLY,   CELL_LATEST,  CELL_OPAQUE,   CELL_WIDTH,   CELL_UNKNOWN, TALLY_HEAD,
        MOST_BUCKETS, OPAQUE_HEAD,  MEMBER_HEAD,  LANE_BYTES,   ENTRY_HEAD,    LABEL_HEAD,   EDGES_HEAD,  EDGE_HEAD,
        IDS_HEAD,     SECOND_BYTES, ID_BYTES,     IDS_GROUP,    IDS_RECORD,    IDS_RECORD_BYTES, MOST_RECORDS,
        KINDS,        CATEGORIES,   CELLS,        MEMBERS,      KNOWN,         LANE,         ERASED,      LABELS,
        EDGES,        GROUPS,       ALIASES,      IDS,          MOST_EXPONENT, LEAST_EXPONENT,
        /* the header's places, and what a verb or a fold goes by */
        AT_DUE,       AT_FLAGS,     AT_VERSION,   AT_TIME,      AT_FIRST,      AT_COUNT,     AT_ENCODE_AT, AT_SEQUENCE,
        AT_LIFE,      AT_EPOCH,     AT_MONTH,     AT_SCORED,    AT_SIZES,      FLAG_IDENTIFIED, FLAG_QUEUED,
        FLAG_UNKNOWN, FLAG_OPAQUE,  (uint64_t)MOST_TIME, DEDUPE_SECONDS, LAST_RECORDS,
    };
    return as_one(numbers, sizeof numbers / sizeof *numbers);
}

#define P(type, field) offsetof(type, field)

uint64_t plan_abi(void)
{
    /* in the order of plan_image.abi(): each table's bytes, then its fields' places */
    static const uint64_t numbers[] = {
        PLAN_FORMAT,
        sizeof(PlanHead), P(PlanHead, format), P(PlanHead, bytes), P(PlanHead, cells), P(PlanHead, terms),
        P(PlanHead, segments), P(PlanHead, rules), P(PlanHead, routes), P(PlanHead, steps), P(PlanHead, links),
        P(PlanHead, letters), P(PlanHead, may_rise), P(PlanHead, zero), P(PlanHead, shortest),
        sizeof(PlanCell), P(PlanCell, spec.mark), P(PlanCell, spec.width), P(PlanCell, spec.window), P(PlanCell, scale),
        P(PlanCell, type), P(PlanCell, measure),
        sizeof(PlanTerm), P(PlanTerm, type), P(PlanTerm, covers), P(PlanTerm, cell), P(PlanTerm, other), P(PlanTerm, wait),
        P(PlanTerm, within),
        sizeof(PlanSegment), P(PlanSegment, mark), P(PlanSegment, at), P(PlanSegment, size), P(PlanSegment, rule),
        P(PlanSegment, min_stay),
        sizeof(PlanRule), P(PlanRule, enter), P(PlanRule, exit), P(PlanRule, segment), P(PlanRule, step),
        P(PlanRule, steps), P(PlanRule, first), P(PlanRule, terms), P(PlanRule, rising),
        P(PlanRule, version),
        sizeof(PlanRoute), P(PlanRoute, interest), P(PlanRoute, row), P(PlanRoute, cell), P(PlanRoute, cells),
        P(PlanRoute, gate), P(PlanRoute, gates),
        sizeof(Instruction), P(Instruction, op), P(Instruction, arity), P(Instruction, index), P(Instruction, zero),
        P(Instruction, number),
        PLAN_COUNT, PLAN_AMOUNT, PLAN_DWELL, TERM_TALLY, TERM_ABSENT, PLAN_NONE, ROW_MONEY, ROW_DWELL,
    };
    return as_one(numbers, sizeof numbers / sizeof *numbers);
}
