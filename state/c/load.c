/* Records of the changelog into a store, without an object of Python's for what is not handed on: see state/loading.py,
 * which has the twins. */
#include "reading.h"

#include <math.h>

#define DUE_END 9            /* of a user's record: one byte of format, then the due time */
#define MOST_MS (1ULL << 63) /* of a timer: what is later, and what is no time, is then */

/* latest(records): {key: what the last record with it says; None deletes it}. A null key is an empty one. */
PyObject *latest_records(PyObject *module, PyObject *argument)
{
    if (Py_TYPE(argument) != ((Module *)PyModule_GetState(module))->records_type || ((Records *)argument)->block->objects != NULL) {
        PyErr_SetString(PyExc_TypeError, "latest(records), as parse gives them");
        return NULL;
    }
    const Records *records = (Records *)argument;
    const Raw *raws = records->block->raws + records->start;
    PyObject *found = PyDict_New();
    for (Py_ssize_t i = records->size - 1; found != NULL && i >= 0; i--) { /* so what came before is not even made */
        const Raw *raw = &raws[i];
        PyObject *key = PyBytes_FromStringAndSize(raw->key, raw->key_size > 0 ? raw->key_size : 0);
        int known = key == NULL ? -1 : PyDict_Contains(found, key);
        if (known == 0) {
            PyObject *value = Py_None;
            if (raw->value_size < 0)
                Py_INCREF(value);
            else
                value = PyBytes_FromStringAndSize(raw->value, raw->value_size);
            known = value == NULL ? -1 : PyDict_SetItem(found, key, value);
            Py_XDECREF(value);
        }
        Py_XDECREF(key);
        if (known < 0)
            Py_CLEAR(found);
    }
    return found;
}

/* as timer_key of state.timer_keys; NULL with an error, or without one where there is no timer */
static PyObject *timer_key(PyObject *user, const char *value)
{
    uint64_t bits = 0, ms;
    double due;
    for (int i = 1; i < DUE_END; i++)
        bits = bits << 8 | (unsigned char)value[i];
    memcpy(&due, &bits, sizeof(due));
    if (due == Py_HUGE_VAL)
        return NULL;
    if (due <= 0.0)
        ms = 0;
    else if (due < (double)MOST_MS / 1000.0) {
        double up = ceil(due * 1000.0);
        ms = (uint64_t)up + (up / 1000.0 < due); /* the product was rounded down */
    }
    else
        ms = MOST_MS;
    Py_ssize_t size = PyBytes_GET_SIZE(user);
    PyObject *key = PyBytes_FromStringAndSize(NULL, size + 8);
    if (key == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(key);
    at[0] = 't';
    for (int i = 8; i > 0; i--, ms >>= 8)
        at[i] = (char)(ms & 0xff);
    memcpy(at + 9, PyBytes_AS_STRING(user) + 1, (size_t)size - 1);
    return key;
}

static int load_timer(PyObject *batch, PyObject *key, PyObject *value, PyObject *timed, PyObject *empty)
{
    if (PyBytes_GET_SIZE(value) < DUE_END) {
        PyErr_SetString(PyExc_ValueError, "the record of a user is too short to be one");
        return -1;
    }
    int known = PySet_GET_SIZE(timed) > 0 ? PySet_Contains(timed, key) : 0;
    if (known != 0)
        return known < 0 ? -1 : 0;
    PyObject *timer = timer_key(key, PyBytes_AS_STRING(value));
    int failed = timer == NULL ? (PyErr_Occurred() ? -1 : 0) : PyObject_SetItem(batch, timer, empty);
    Py_XDECREF(timer);
    return failed;
}

/* load(batch, {key: value or None}, timed, users): put, or delete, all of them, and the timers of users but for those in
 * the set ``timed``; without ``users`` their records are left out. How many were erased. */
PyObject *load_records(PyObject *module, PyObject *arguments)
{
    PyObject *batch, *records, *timed, *key, *value, *empty = PyBytes_FromStringAndSize(NULL, 0);
    Py_ssize_t at = 0, guards = 0;
    int users;
    int failed =
        empty == NULL || !PyArg_ParseTuple(arguments, "OO!Op", &batch, &PyDict_Type, &records, &timed, &users);
    if (!failed && !PyAnySet_Check(timed)) {
        PyErr_SetString(PyExc_TypeError, "load(batch, records, timed, users): timed is a set");
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
            failed = load_timer(batch, key, value, timed, empty) < 0;
        else
            guards += first == 'e';
        Py_DECREF(key);
        Py_DECREF(value);
    }
    Py_XDECREF(empty);
    return failed ? NULL : PyLong_FromSsize_t(guards);
}
