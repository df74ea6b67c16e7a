/* Records as state.layout writes them: msgpack of msgspec structs. */
#ifndef SEGMENTS_PACK_H
#define SEGMENTS_PACK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* bind_records(UserState, (types within it, in any order)): where their fields are */
PyObject *bind_records(PyObject *module, PyObject *args);
/* pack_user(state): the record's bytes, or None where something in it is not of the usual type */
PyObject *pack_user(PyObject *module, PyObject *state);
/* pack_users(users, dues, puts, timed, slow): as put_users of state.layout; ``slow`` encodes what is unusual */
PyObject *pack_users(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#define PACK_METHODS                                                                                                   \
    {"bind_records", bind_records, METH_VARARGS, "bind_records(UserState, types within it): where the fields are."},   \
    {"pack_user", pack_user, METH_O, "The bytes of a user's record; None: something in it is unusual."},               \
    {"pack_users", (PyCFunction)(void (*)(void))pack_users, METH_FASTCALL, "put_users of state.layout."}

#endif
