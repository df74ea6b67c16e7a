/* A partition's turn works on copies of the entries. Commit puts them in place and cannot fail, since it takes no
 * memory; drop gives them back. So what is in memory is never ahead of what is committed, and an aborted turn costs
 * nothing else.
 *
 * One turn of a cache at a time, in one thread. All that can fail gives -1 for want of memory; the turn is then as
 * it was before the call, and may go on or be dropped. Users have numbers in the turn, from 0 on in the order they
 * came. */
#ifndef SEGMENTS_TURN_H
#define SEGMENTS_TURN_H

#include "cache.h"
#include "tail.h"

#define TURN_MISSING UINT32_MAX /* not in memory */

/* Begins a turn for about so many users. */
int turn_begin(Cache *cache, uint32_t users);

/* Copies the users who are in memory into the turn, once each, and tells their numbers; TURN_MISSING for the others.
 * It stops when the turn is full: ``done`` is how many were looked for, at least one. After -1 those before it have
 * numbers. */
int turn_find(Cache *cache, const User *users, uint32_t count, uint32_t *numbers, uint32_t *done);

/* The user's number in the turn; TURN_MISSING: not in it. Nothing is copied. */
uint32_t turn_number(const Cache *cache, const User *user);
/* 1 and the user's timer (infinity: none), of the copy or else of what is committed; 0: not in memory, or forgotten.
 * Nothing is copied. */
int turn_due(const Cache *cache, const User *user, double *due);

/* Begins a user who is missing, or was forgotten in this turn: a block as block_begin makes it, with room for ``room``
 * bytes or more. 0; 1: the user has one already, which is left as it is; ``number`` is told in both cases. */
int turn_new(Cache *cache, const User *user, size_t room, uint32_t *number);

/* The same with what the store has: a block that block_check found right, and its records of ids, as ids_restore takes
 * them. Whoever moves in, or was read from format 1, gets by turn_copy what the store has instead. TURN_BAD_IDS: a
 * record of ids has a size that none has; nothing has changed. */
#define TURN_BAD_IDS (-2)
int turn_admit(Cache *cache, const User *user, const uint8_t *block, uint32_t size, const IdsBytes *records,
               size_t count, uint32_t *number);

/* What is known of the copy, to be read, and for turn_admit's caller to put right: timer, first and stored. It holds
 * until another user comes into the turn. */
Copy *turn_copy(Cache *cache, uint32_t number);

/* The copy, to be changed; prefix->size is set by who changes the block's size, up to room. Its addresses hold until
 * the next turn_grow of the same user. */
Entry turn_entry(const Cache *cache, uint32_t number);
/* The same as an open block, and where its ids are, until the next turn_grow of the same user or until another user comes
 * into the turn. Whoever changes the block tells turn_close, which sets prefix->size. */
void turn_open(Cache *cache, uint32_t number, UserBlock *block, IdsAt *ids);
void turn_close(Cache *cache, uint32_t number, const UserBlock *block);
/* What to do when a verb found no room in an open copy: turn_close, turn_grow by ``more`` bytes or somewhat more,
 * turn_open. -1: no memory, or a block would be larger than BLOCK_MOST: TURN_TOO_LARGE. */
#define TURN_TOO_LARGE (-3)
int turn_widen(Cache *cache, uint32_t number, size_t more, UserBlock *block, IdsAt *ids);
/* Whether the user was forgotten in this turn. */
int turn_is_gone(const Cache *cache, uint32_t number);
/* Makes room for a block of so many bytes; the block stays as it is, but elsewhere. */
int turn_grow(Cache *cache, uint32_t number, size_t room);
/* The user is gone with the commit, and looks empty from now on; the store's timer and records of ids are the caller's to
 * remove. ``erased``: the user asked for it, so after the commit no byte of the entry, nor of what it was before, is
 * left in the memory of the partition. */
void turn_forget(Cache *cache, uint32_t number, int erased);

/* Whether the turn should be ended and another begun: its copies have a quarter of the bound, or the worker holds
 * too much. Nothing is refused to a full turn, so that a single event always comes through. */
int turn_is_full(const Cache *cache);

/* All copies are the users' entries now; ``behind``: and dirty, else the store gets them with the turn. */
void turn_commit(Cache *cache, int behind);
/* All is as before the turn. */
void turn_drop(Cache *cache);

#endif
