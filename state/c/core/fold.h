/* Folding events that change no membership, into a user's block: what state.user.fold does, for events of the plain kinds
 * that come in order. It stops before the first event that needs more than that, and behind one after which a rule may
 * hold or end: where rules surely hold that is all for fold_enter, else Python decides it.
 *
 * An event is quiet where each rule that it concerns is run over what its terms may be at the event's time, and gives
 * what changes nothing (streams.steps.membership.check_rule): of somebody who is not in the segment the least that it may
 * give is below ``enter``; of somebody who is, the most is at least ``exit``, and nothing spoke against the membership
 * before. A sum that is too large to be divided exactly is left to Python as well. A record of nobody yet (count
 * 0) is folded as well; behind its first event all rules are looked at, since some hold of who did nothing. */
#ifndef SEGMENTS_FOLD_H
#define SEGMENTS_FOLD_H

#include "plan.h"
#include "tail.h"

/* An event as the fold reads it. */
typedef struct {
    double time, amount, dwell; /* 0: none */
    uint64_t id_hash;
    uint32_t second;   /* of its arrival */
    int32_t route;     /* of the plan: by kind and category; below 0: it is left to Python */
    int32_t bucket;    /* of its category, where its kind says something of that (counters.h); below 0: none */
    uint8_t anonymous; /* a device made the user's id up */
} FoldEvent;

enum FoldEnd {
    FOLD_ALL,
    FOLD_LEFT,      /* the next needs Python: it is of another kind, late, a duplicate, not before ``limit``, not after
                       ``erased``, or has numbers that none should have */
    FOLD_OPENED,    /* the one before may have changed what a rule gives */
    FOLD_NO_ROOM,   /* the block must grow by as much as ``wanted`` of the scratch, then it goes on */
    FOLD_NO_MEMORY  /* for another tail; may be called again */
};

/* What the fold of one thread has in hand, for one plan. */
typedef struct FoldScratch FoldScratch;

/* NULL: no memory. */
FoldScratch *fold_scratch_new(const PlanImage *plan);
void fold_scratch_free(FoldScratch *scratch);
/* For another turn: that a fold found no room or memory, and what held then, is forgotten. */
void fold_scratch_begin(FoldScratch *scratch);
/* After FOLD_NO_ROOM: bytes by which the block has to grow at least. */
size_t fold_wanted(const FoldScratch *scratch);

/* Folds events[order[*at]], … up to events[order[count - 1]]; *at becomes the number of the first that was not folded.
 * Of an event nothing is done, or all. ``limit``: when something is to be done before any event that is not earlier; the
 * user's timer, or what is sooner. Where events lie so far apart that what one begins may change something before the
 * next, the block's due is found anew, and is the limit from there on. ``erased``: events up to then are of a life
 * before. The caller sets the due when all is folded. ``scratch`` must be of the same plan. */
enum FoldEnd fold_user(IdsAt *ids, const PlanImage *plan, const FoldEvent *events, const uint32_t *order, uint32_t count,
                       uint32_t *at, double limit, double erased, FoldScratch *scratch);

/* A rule that surely holds, of somebody who is not in its segment yet. */
typedef struct {
    double score; /* what it gives */
    uint32_t rule, zero;
} FoldEntry;

/* After FOLD_OPENED, where all that has changed is that some rules surely hold by what is known: begins those memberships
 * at the block's time, and sets its due. FOLD_ALL; FOLD_NO_ROOM, with nothing done: when the block has grown, it goes on;
 * FOLD_LEFT, with nothing done: something else has changed, or may have. */
enum FoldEnd fold_enter(const PlanImage *plan, UserBlock *block, FoldScratch *scratch);
/* Those that it began, in the order of the rules: the first got the block's sequence less ``count`` - 1, … */
const FoldEntry *fold_entries(const FoldScratch *scratch, uint32_t *count);
/* What a term of one of these rules was then. */
double fold_term(const FoldScratch *scratch, uint32_t term);

/* plan_next_due of a block that fold_user has just left, and nobody changed since: what the fold knows of it is used
 * again. */
double fold_next_due(const PlanImage *plan, const UserBlock *block, const FoldScratch *scratch);

#endif
