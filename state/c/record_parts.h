/* What the files of the type Record have among themselves. */
#ifndef SEGMENTS_RECORD_PARTS_H
#define SEGMENTS_RECORD_PARTS_H

#include "core/edges.h"
#include "core/members.h"
#include "record_type.h"

/* Finds the module's words, once. 0, or -1 with an exception. */
int record_bind(Module *module);

/* The arguments of a verb, by place or by name, none left out; borrowed. 0, or -1 with TypeError. */
int record_args(const char *verb, const char *const *names, Py_ssize_t count, PyObject *const *args, Py_ssize_t given,
                PyObject *kwnames, PyObject **found);

/* Numbers. 0, or -1 with an exception: ValueError for what is out of range. */
int record_number(PyObject *object, double *number);
int record_time(PyObject *object, double *time); /* 0 <= time < 2**32 */
int record_whole(PyObject *object, uint64_t most, uint64_t *number);

static inline int is_time(double time)
{
    return time >= 0.0 && time < MOST_TIME;
}

/* A name to be put: 1 to ``most`` bytes of UTF-8. 0, or -1 with an exception. */
int record_name(PyObject *object, size_t most, const char **name, size_t *size);
/* One to be looked for. 1; 0: no record can have it; -1 with an exception. */
int record_lookup(PyObject *object, const char **name, size_t *size);

/* The mark of the cell with this key, a str. 0, or -1 with an exception. */
int record_mark(PyObject *key, uint64_t *mark);
/* That of a Sort's cell. */
int record_sort_mark(const Module *module, PyObject *sort, uint64_t *mark);

/* Does ``call``, a verb of the core on what is opened, until it finds room; ``done`` is what it gave. */
#define CHANGE(record, opened, done, call, failed)                                                                     \
    do {                                                                                                               \
        for (size_t more_ = 64; ((done) = (call)) == NO_ROOM; more_ *= 2)                                              \
            if ((record)->home->widen((record), more_, &(opened)) < 0)                                                 \
                return failed;                                                                                         \
        (record)->home->close((record), &(opened));                                                                    \
    } while (0)

#define OPEN(record, opened, failed)                                                                                   \
    Opened opened;                                                                                                     \
    if ((record)->home->open((record), &opened) < 0)                                                                   \
    return failed

/* A copy of the block, to be read while objects are made of it, which may run anybody's code: PyMem_Free(block->at).
 * 0, or -1 with an exception. */
int record_copy(UserRecord *record, UserBlock *block);

/* A view, good for as long as the record. */
typedef struct {
    PyObject_HEAD
    UserRecord *record;
    enum Section which;
} RecordView;

/* types */
extern PyType_Spec members_spec, edges_spec, cells_spec, ids_spec;
void record_view_dealloc(PyObject *view);
/* New reference; NULL: an exception. */
PyObject *record_view(PyTypeObject *type, UserRecord *record, enum Section which);

/* Up to when a cell was not counted; below 0: it was. */
double record_unknown_until(const UserBlock *block, uint64_t mark);

/* the type's slots, and open_record */
PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
PyObject *record_open(PyObject *module, PyObject *const *args, Py_ssize_t given, PyObject *kwnames);
void record_dealloc(UserRecord *record);

/* verbs of the record itself, and sections that are lists */
PyObject *record_enter(UserRecord *record, PyObject *time);
PyObject *record_count_event(UserRecord *, PyObject *const *args, Py_ssize_t given, PyObject *kwnames);
PyObject *record_unite_counters(UserRecord *record, PyObject *block);
PyObject *record_slow_counters(UserRecord *record, PyObject *now);
PyObject *record_features(UserRecord *record, PyObject *out);
PyObject *record_settle(UserRecord *, PyObject *const *args, Py_ssize_t given, PyObject *kwnames);
PyObject *record_pack(UserRecord *record, PyObject *nothing);
PyObject *record_labels(UserRecord *record, void *nothing);
int record_set_labels(UserRecord *record, PyObject *labels, void *nothing);
PyObject *record_aliases(UserRecord *record, void *nothing);
int record_set_aliases(UserRecord *record, PyObject *aliases, void *nothing);

#define RECORD_VERB(function) ((PyCFunction)(void (*)(void))(function))

#endif
