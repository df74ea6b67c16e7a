/* What is done for each user of a turn, for all users whose events stay quiet. */
#ifndef SEGMENTS_USERS_H
#define SEGMENTS_USERS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyTypeObject DueType;

/* fold_users(by_user, states, due, fingerprint, epoch, encodes) -> (events counted, {user: (events folded, opened)}) */
PyObject *fold_users(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
/* next_due(due, state) -> float; None: Python has to say */
PyObject *next_due(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
/* take_cached(users, cache, states, dues) -> users that are in neither */
PyObject *take_cached(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
/* keep(cache, states): to the young end of the cache; see keep.c */
PyObject *keep(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* Other threads get their turn between two users, as they do between two instructions of Python's. */
void let_others_run(void);

#define USERS_METHODS                                                                                                  \
    {"fold_users", (PyCFunction)(void (*)(void))fold_users, METH_FASTCALL, "Fold all users' events while they are quiet."}, \
    {"next_due", (PyCFunction)(void (*)(void))next_due, METH_FASTCALL, "next_due of streams.steps.membership."},      \
    {"take_cached", (PyCFunction)(void (*)(void))take_cached, METH_FASTCALL, "Take users' states out of the cache."}, \
    {"keep", (PyCFunction)(void (*)(void))keep, METH_FASTCALL, "Put users' states into the cache."}

#endif
