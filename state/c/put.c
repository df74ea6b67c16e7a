/* What a turn puts into a store's batch: see state/loading.py, which has the twin. */
#include "reading.h"
#include "timers.h"

static int put_timer(PyObject *batch, PyObject *key, PyObject *value, PyObject *timed, PyObject *empty)
{
    if (PyBytes_GET_SIZE(value) < DUE_END) {
        PyErr_SetString(PyExc_ValueError, "the record of a user is too short to be one");
        return -1;
    }
    int known = PySet_GET_SIZE(timed) > 0 ? PySet_Contains(timed, key) : 0;
    if (known != 0)
        return known < 0 ? -1 : 0;
    uint64_t ms;
    if (timer_ms(PyBytes_AS_STRING(value), &ms) < 0)
        return 0;
    PyObject *timer = timer_key(ms, PyBytes_AS_STRING(key) + 1, PyBytes_GET_SIZE(key) - 1);
    int failed = timer == NULL ? -1 : PyObject_SetItem(batch, timer, empty);
    Py_XDECREF(timer);
    return failed;
}

/* put(batch, {key: value or None}, timed, users): put, or delete, all of them, and the timers of users but for those in
 * the set ``timed``; without ``users`` their records are left out. How many were erased. */
PyObject *put_records(PyObject *module, PyObject *arguments)
{
    PyObject *batch, *records, *timed, *key, *value, *empty = PyBytes_FromStringAndSize(NULL, 0);
    Py_ssize_t at = 0, guards = 0;
    int users;
    int failed =
        empty == NULL || !PyArg_ParseTuple(arguments, "OO!Op", &batch, &PyDict_Type, &records, &timed, &users);
    if (!failed && !PyAnySet_Check(timed)) {
        PyErr_SetString(PyExc_TypeError, "put(batch, records, timed, users): timed is a set");
        failed = 1;
    }
    while (!failed && PyDict_Next(records, &at, &key, &value)) {
        if (!PyBytes_CheckExact(key) || (value != Py_None && !PyBytes_CheckExact(value))) {
            PyErr_SetString(PyExc_TypeError, "keys are bytes, values are bytes or None");
            failed = 1;
            break;
        }
        Py_INCREF(key); /* the batch is not ours: what it does with the dict is its own affair */
        Py_INCREF(value);
        char first = PyBytes_GET_SIZE(key) ? PyBytes_AS_STRING(key)[0] : 0;
        if (value == Py_None)
            failed = PyObject_DelItem(batch, key) < 0;
        else if ((users || first != 'u') && PyObject_SetItem(batch, key, value) < 0)
            failed = 1;
        else if (first == 'u')
            failed = put_timer(batch, key, value, timed, empty) < 0;
        else
            guards += first == 'e';
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_XDECREF(empty);
    return failed ? NULL : PyLong_FromSsize_t(guards);
}
