/* What a user does, decayed: events of a kind, money and dwell over a day and over thirty, tastes over thirty.
 *
 * By forward decay (Cormode, Shkapenyuk, Srivastava, Xu: Forward Decay, ICDE 2009, section III): an event of weight w at t adds
 * w * 2**((t - L) / h), where L is the beginning of the month of 30 days that the user's time is in. So an event's two
 * powers serve all its counters, and one that comes late is no case of its own. The value at a time ``now`` is the sum
 * times 2**((L - now) / h). When the user's time enters another month all sums are multiplied by powers of two, hence
 * exactly; what is below LEAST_SUM becomes 0 then. */
#ifndef SEGMENTS_COUNTERS_H
#define SEGMENTS_COUNTERS_H

#include "block.h"

#define DAY 86400.0
#define MONTH (30 * DAY)
#define ROWS 64           /* of kinds and of categories */
#define MOST_EXPONENT 120 /* no sum is larger: an event (less than 2**62) added to it changes nothing */
#define LEAST_EXPONENT 500
#define MOST_SUM 0x1p120
#define LEAST_SUM 0x1p-500

/* rows of KINDS that are no kind of event: state/kinds.py */
enum { ROW_MONEY = 11, ROW_DWELL = 12 };

typedef struct {
    double time;
    int kind;        /* its row */
    int category;    /* bucket; below 0: none */
    double interest; /* what it says of that */
    double amount, dwell; /* 0: none */
} Counted;

/* The user's time becomes ``time`` if that is later, in the month of that. */
void counters_enter(UserBlock *block, double time);
/* By how many bytes counters_add makes a block larger. */
size_t counters_growth(const UserBlock *block, const Counted *event);
/* Adds an event, whenever it was; the user's time stays. NO_ROOM: nothing was added. */
int counters_add(UserBlock *block, const Counted *event);

/* Adds another's sums; its month is not after this one's. NO_ROOM: nothing was added. */
int counters_unite(UserBlock *block, const UserBlock *other);

typedef struct {
    double fast, slow;
} Decayed;

/* A row of KINDS at a time; zeros where it has nothing. */
Decayed counters_kind(const UserBlock *block, int row, double now);
double counters_category(const UserBlock *block, int bucket, double now);

#endif
