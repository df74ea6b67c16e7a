/* The end of a turn: what is over is dropped from the copies, and it is told what of them is to be written. */
#ifndef SEGMENTS_SETTLE_H
#define SEGMENTS_SETTLE_H

#include "cells.h"
#include "turn.h"

/* A user whose record is to be written: turn_entry(number) has name and bytes, turn_open and ids_record those of ids. */
typedef struct {
    uint32_t number;   /* in the turn */
    uint32_t timed;    /* 1: its timer is as the store has it, or it has none and the store neither */
    IdsChange ids;     /* records of ids that go, and that are new */
} Settled;

typedef struct {
    double earliest; /* timer of all; infinity: none has one */
    uint64_t cut;    /* ids forgotten early */
    uint64_t bytes;  /* of all records, those of ids included, without their keys */
} SettledAll;

/* Sorts specs by mark, as turn_settle wants them. */
void settle_sort(TallySpec *specs, size_t count);

/* Trims all copies that are not forgotten of what is over at their users' time (``specs``: of all tallies that definitions
 * ask for, ascending by mark), makes their versions one higher, and tells what is to be written, in the order of their
 * numbers: ``into`` has room for cache->turn.count. Gives how many there are. Takes no memory; once in a turn, after
 * which nothing but turn_commit or turn_drop should follow. */
uint32_t turn_settle(Cache *cache, const TallySpec *specs, size_t count, Settled *into, SettledAll *all);

#endif
