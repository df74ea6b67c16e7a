#include "abi.h"

#include "cells.h"
#include "counters.h"
#include "edges.h"
#include "ids.h"
#include "members.h"

uint64_t core_abi(void)
{
    /* in the order of layout2.ABI_NUMBERS */
    static const uint64_t numbers[] = {
        BLOCK_FORMAT, BLOCK_HEADER, BLOCK_UNIT,   SECTIONS,     SECTION_LARGE, SECTION_LEAD, BLOCK_MOST,  FLAGS,
        ROWS,         CELL_HEAD,    CELL_TALLY,   CELL_LATEST,  CELL_OPAQUE,   CELL_WIDTH,   CELL_UNKNOWN, TALLY_HEAD,
        MOST_BUCKETS, OPAQUE_HEAD,  MEMBER_HEAD,  LANE_BYTES,   ENTRY_HEAD,    LABEL_HEAD,   EDGES_HEAD,  EDGE_HEAD,
        IDS_HEAD,     SECOND_BYTES, ID_BYTES,     IDS_GROUP,    IDS_RECORD,    IDS_RECORD_BYTES, MOST_RECORDS,
        KINDS,        CATEGORIES,   CELLS,        MEMBERS,      KNOWN,         LANE,         ERASED,      LABELS,
        EDGES,        GROUPS,       ALIASES,      IDS,          MOST_EXPONENT, LEAST_EXPONENT,
    };
    uint64_t found = 0;
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        found = found * 1000003 + numbers[i];
    return found;
}
