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

#define TURN_MISSING UINT32_MAX /* not in memory */

/* Begins a turn for about so many users. */
int turn_begin(Cache *cache, uint32_t users);

/* Copies the users who are in memory into the turn, once each, and tells their numbers; TURN_MISSING for the others.
 * It stops when the turn is full: ``done`` is how many were looked for, at least one. After -1 those before it have
 * numbers. */
int turn_find(Cache *cache, const User *users, uint32_t count, uint32_t *numbers, uint32_t *done);

/* Gives a user who is missing, or was forgotten in this turn, a block of so many zero bytes. 0; 1: the user has one
 * already, which is left as it is; ``number`` is told in both cases. */
int turn_new(Cache *cache, const User *user, uint32_t size, uint32_t *number);

/* The copy, to be changed; prefix->size is set by who changes the block's size, up to room. Its addresses hold until
 * the next turn_grow of the same user. */
Entry turn_entry(const Cache *cache, uint32_t number);
/* Whether the user was forgotten in this turn. */
int turn_is_gone(const Cache *cache, uint32_t number);
/* Makes room for a block of so many bytes; the block stays as it is, but elsewhere. */
int turn_grow(Cache *cache, uint32_t number, size_t room);
/* The user is gone with the commit, and looks empty from now on. ``erased``: the user asked for it, so after the
 * commit no byte of the entry, nor of what it was before, is left in the memory of the partition. */
void turn_forget(Cache *cache, uint32_t number, int erased);

/* Whether the turn should be ended and another begun: its copies have a quarter of the bound, or the worker holds
 * too much. Nothing is refused to a full turn, so that a single event always comes through. */
int turn_is_full(const Cache *cache);

/* All copies are the users' entries now. */
void turn_commit(Cache *cache);
/* All is as before the turn. */
void turn_drop(Cache *cache);

#endif
