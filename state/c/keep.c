/* States go back to the cache, and out of the sight of Python's collector: what is in them can be in no cycle, and a look
 * at the twenty containers of each of a million users would hold the worker up for seconds. */
#include "fold.h"
#include "seen.h"
#include "users.h"

#define AT_ONCE 1000

/* a dict or list of numbers, words, structs without references to others, or lists of those */
static void hide(PyObject *container)
{
    PyObject *inner;
    Py_ssize_t at = 0;
    if (PyDict_CheckExact(container)) {
        while (PyDict_Next(container, &at, NULL, &inner))
            if (PyList_CheckExact(inner))
                PyObject_GC_UnTrack(inner);
    } else if (!PyList_CheckExact(container))
        return;
    PyObject_GC_UnTrack(container);
}

/* dicts of numbers and words alone, as edges, groups and last are, Python does not put on the list at all */
static void hide_state(PyObject *state)
{
    const StateAt *at = &bound.state;
    const Py_ssize_t fields[] = {at->decayed, at->categories, at->tallies, at->members,
                                 at->pending, at->labels,     at->aliases};
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        hide(FIELD(state, fields[i]));
}

PyObject *keep(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2 || !PyDict_CheckExact(args[0]) || !PyDict_CheckExact(args[1]) || args[0] == args[1]) {
        PyErr_SetString(PyExc_TypeError, "keep(cache, states)");
        return NULL;
    }
    PyObject *cache = args[0], *user, *state;
    Py_ssize_t at = 0;
    long long more = 0; /* places for ids than were added up before */
    for (Py_ssize_t count = 1; PyDict_Next(args[1], &at, &user, &state); count++) {
        int known = PyDict_Contains(cache, user);
        if (known < 0 || (known && PyDict_DelItem(cache, user) < 0) || PyDict_SetItem(cache, user, state) < 0)
            return NULL;
        if (Py_TYPE(state) == bound.state.type) {
            hide_state(state);
            Seen *seen = (Seen *)FIELD(state, bound.state.seen);
            if (Py_TYPE(seen) == &SeenType) {
                more += (long long)seen->count - seen->accounted;
                seen->accounted = seen->count;
            }
        }
        if (count % AT_ONCE == 0)
            let_others_run();
    }
    return PyLong_FromLongLong(more);
}
