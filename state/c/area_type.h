/* The Python types state._fold.Arena, Table and Area, as state/tables.py wants them: over core/arena.h, cache.h, turn.h.
 *
 * All that they have in C belongs to the interpreter's lock, but for what is done without it: then the table is *busy*,
 * and whoever else calls it, its area or the area's records gets a RuntimeError. */
#ifndef SEGMENTS_AREA_TYPE_H
#define SEGMENTS_AREA_TYPE_H

#include "core/turn.h"
#include "module.h"

typedef struct AreaObject AreaObject;

typedef struct {
    PyObject_HEAD
    Arena *arena;
} ArenaObject;

typedef struct {
    PyObject_HEAD
    ArenaObject *arena;
    Cache *cache;     /* NULL: nobody is in memory yet */
    AreaObject *turn; /* that is under way, not a reference; NULL: none is */
    int busy;         /* somebody works on it without the interpreter's lock */
} TableObject;

struct AreaObject {
    PyObject_HEAD
    TableObject *table; /* NULL: the turn is over */
    uint64_t serial;    /* no other area has it */
    int settled;        /* 1: and may be committed; below 0: it failed, or somebody came in behind it */
    uint32_t *stamps;   /* of users by number: how often each was forgotten; behind the last nobody was */
    uint32_t stamp_count;
};

extern PyType_Spec arena_spec, table_spec, area_spec;

/* table_type.c */
TableObject *table_new(ArenaObject *arena);
/* -1 with RuntimeError: another thread works on it. */
int table_is_free(const TableObject *table);
/* The same, or a turn is under way. */
int table_is_between_turns(const TableObject *table);
/* The user of a name, whose letters the object keeps. 1; 0: the name is longer than any that can be in memory; -1: an
 * exception. */
int user_of(const Module *module, PyObject *name, User *user);

/* table_behind.c */
PyObject *table_put_dirty(TableObject *table, PyObject *const *args, Py_ssize_t nargs);
PyObject *table_put_new(TableObject *table, PyObject *batch);
PyObject *table_dirty(TableObject *table, void *closure);
PyObject *table_tight(TableObject *table, void *closure);

/* area_type.c */
AreaObject *area_new(TableObject *table);
/* The turn that is under way; NULL with RuntimeError: it is over, or another thread works on it. */
Cache *area_open(const AreaObject *area);
/* The turn is over, whatever comes of it. */
void area_end(AreaObject *area);
/* Somebody came into the turn: what was settled before does not have them, so that it can only be dropped. */
static inline void area_has_more(AreaObject *area)
{
    area->settled = area->settled ? -1 : 0;
}
/* The record of who has this number. */
PyObject *area_record(AreaObject *area, PyObject *user, uint32_t number);

/* Long work (``much``: users or events) without the lock; the table is busy meanwhile. Who gives the lock away may wait
 * milliseconds for it, so a little is done with it. */
#define AWAY(table, much)                                                                                              \
    {                                                                                                                  \
        (table)->busy = 1; /* before others may run */                                                                 \
        PyThreadState *away = (size_t)(much) >= AWAY_MANY ? PyEval_SaveThread() : NULL;
#define BACK(table)                                                                                                    \
    if (away != NULL)                                                                                                  \
        PyEval_RestoreThread(away);                                                                                    \
    (table)->busy = 0;                                                                                                 \
    }
#define AWAY_MANY 2000

/* area_admit.c */
/* As user_of, of somebody who is to be in memory: 0, or -1 with an exception. */
int user_to_be(const Module *module, PyObject *name, User *user);
/* RuntimeError: the user has a record already. NULL. */
PyObject *area_is_there(PyObject *name);
PyObject *area_admit(AreaObject *area, PyObject *const *args, Py_ssize_t nargs);
PyObject *area_admit_whole(AreaObject *area, PyObject *blocks);
PyObject *area_take(AreaObject *area, PyObject *const *args, Py_ssize_t nargs);

/* area_find.c, area_settle.c */
PyObject *area_find(AreaObject *area, PyObject *users);
PyObject *area_settle(AreaObject *area, PyObject *const *args, Py_ssize_t nargs);

#endif
