/* The Python type state._fold.Record: the verbs of state/record.py over a block of format 2 (core/block.h), wherever it
 * lies. Its home says where: a record that stands for itself has memory of its own (open_record, Record(...)); one of a
 * turn is a number in the turn of its Area (area_type.c), whose block may move and change between two verbs. So each
 * verb asks the home for the block anew and keeps no address of it.
 *
 * All of it is called with the interpreter's lock. Records are not tracked by the collector: a home's owner holds no
 * reference to records (an Area makes one whenever it is asked for one). */
#ifndef SEGMENTS_RECORD_TYPE_H
#define SEGMENTS_RECORD_TYPE_H

#include "core/cells.h"
#include "core/tail.h"
#include "module.h"

typedef struct UserRecord UserRecord;

/* What a verb works on, until something of the same home is opened. */
typedef struct {
    UserBlock block;
    IdsAt ids; /* of that block */
} Opened;

/* What differs by where a block lies. Between open and the last close of a verb no code of Python's runs. */
typedef struct {
    /* -1 with an exception: the turn is over (record_is_over()), or the user was forgotten in it. */
    int (*open)(UserRecord *record, Opened *opened);
    /* Room for so many bytes more, or somewhat more, where it is now: the block stays as it is, but may lie elsewhere.
     * -1 with an exception (MemoryError; record_is_too_large()); nothing has changed then. */
    int (*widen)(UserRecord *record, size_t more, Opened *opened);
    /* The block has ``opened->block.size`` bytes now. Called after each change; cannot fail. */
    void (*close)(UserRecord *record, const Opened *opened);
} RecordHome;

struct UserRecord {
    PyObject_HEAD
    PyObject *user; /* str */
    const RecordHome *home;
    PyObject *owner; /* what keeps the home alive: the Area; NULL: memory of its own */
    uint32_t number, stamp; /* the home's: the number in the turn, and whatever else tells whether it is still the one */
    /* of a record with memory of its own */
    uint32_t size, room;
    uint8_t *bytes;
    Tail *tail;
    uint32_t first, stored; /* what the store has of the records of ids, as far as anybody has told */
    uint32_t cut;
};

/* Makes the types Record, Members, Edges, Cells and Ids, and adds Record and open_record to the module. 0, or -1 with an
 * exception. */
int record_ready(PyObject *module);

/* A record whose block ``home`` finds. New references are taken to ``owner`` and ``user`` (a str). NULL: an exception. */
PyObject *record_of(Module *module, const RecordHome *home, PyObject *owner, PyObject *user, uint32_t number, uint32_t stamp);

/* The exception of a record whose turn was committed or dropped: RuntimeError("the turn is over"). Gives -1. */
int record_is_over(void);
/* That of a block that would have more than BLOCK_MOST bytes: TooLargeError. Gives -1. */
int record_is_too_large(const UserRecord *record);

/* 0; -1 with ValueError: the block has something that none may have that is read again. */
int record_may_be_written(const UserBlock *block);

/* What the constructor does to a block that block_begin has opened: nobody's yet, all is known. */
static inline void record_begin(UserBlock *block, uint32_t epoch, uint64_t life)
{
    block_put_epoch(block, epoch);
    block_put_life(block, life);
    block_put_encode_at(block, 1);
}

/* 0 where these are a block; else -1 and FormatError. */
int record_check(Module *module, const void *bytes, size_t size);

/* The bytes of records ``d``, bytes objects or None, as ids_restore takes them: in memory for PyMem_Free, and pointing
 * into the objects of the tuple, which the caller keeps. NULL: an exception. */
IdsBytes *record_chunks(PyObject *chunks);
/* That of a record of ids of another size: FormatError. Gives -1. */
int record_chunk_is_wrong(Module *module);

/* What a TallySpec says, but for its kind and measure. 0, or -1 with an exception. */
int record_spec(const Module *module, PyObject *spec, TallySpec *into);

#endif
