/* What Python's side has, and how arguments in Python's form are read. */
#include "record_parts.h"

#include <math.h>

#include "core/xxh3.h"

static PyObject *of_module(const char *module, const char *name)
{
    PyObject *from = PyImport_ImportModule(module), *found = NULL;
    if (from != NULL)
        found = module_attribute(from, name);
    Py_XDECREF(from);
    return found;
}

static int place_of(const char *name, int *place)
{
    PyObject *found = of_module("state.features", name);
    long number = found == NULL ? -1 : PyLong_AsLong(found);
    Py_XDECREF(found);
    *place = (int)number;
    return number < 0 && PyErr_Occurred() ? -1 : 0;
}

/* {kind: (place of fast, place of slow)}, by the rows of the kinds */
static int bind_kinds(RecordWords *words, PyObject *places)
{
    Py_ssize_t at = 0;
    PyObject *kind, *pair;
    while (PyDict_Next(places, &at, &kind, &pair)) {
        PyObject *row = PyDict_GetItemWithError(words->rows, kind);
        int fast, slow;
        long number = row == NULL ? -1 : PyLong_AsLong(row);
        if (number < 0 || number >= ROWS || !PyTuple_Check(pair) || !PyArg_ParseTuple(pair, "ii", &fast, &slow)) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_TypeError, "the kind %R has no row, or no two places", kind);
            return -1;
        }
        words->fast_at[number] = fast;
        words->slow_at[number] = slow;
    }
    return 0;
}

static int bind_features(RecordWords *words)
{
    for (int row = 0; row < ROWS; row++)
        words->fast_at[row] = words->slow_at[row] = -1;
    PyObject *places = of_module("state.features", "PLACES");
    int done = places == NULL || !PyDict_Check(places) ? -1 : bind_kinds(words, places);
    Py_XDECREF(places);
    if (done < 0 || place_of("SPEND_FAST", &words->fast_at[ROW_MONEY]) < 0
        || place_of("SPEND_SLOW", &words->slow_at[ROW_MONEY]) < 0
        || place_of("DWELL_SLOW", &words->slow_at[ROW_DWELL]) < 0 || place_of("FOLLOWEES", &words->followees) < 0
        || place_of("GROUPS", &words->groups) < 0 || place_of("TEXTS", &words->texts) < 0
        || place_of("CATEGORIES", &words->categories) < 0 || place_of("RAW_DIM", &words->features) < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "state.features.PLACES is no dict");
        return -1;
    }
    return 0;
}

static int find_words(RecordWords *words)
{
    if ((words->membership = of_module("state.user", "Membership")) == NULL
        || (words->label = of_module("state.user", "PendingLabel")) == NULL
        || (words->interest = of_module("state.user", "INTEREST")) == NULL
        || (words->bucket_of = of_module("state.user", "category_bucket")) == NULL
        || (words->opaque = of_module("state.record", "Opaque")) == NULL
        || (words->too_large_error = of_module("state.record", "TooLargeError")) == NULL
        || (words->rows = of_module("state.kinds", "ROW")) == NULL
        || (words->counters = of_module("state.kinds", "COUNTERS")) == NULL
        || (words->format_error = of_module("state.layout", "FormatError")) == NULL)
        return -1;
    if (PyDict_Check(words->rows) && PyDict_Check(words->interest) && PyTuple_Check(words->counters))
        return bind_features(words);
    PyErr_SetString(PyExc_TypeError, "state.kinds and state.user have other tables than this module knows");
    return -1;
}

int record_bind(Module *module)
{
    if (module->words.format_error != NULL)
        return 0;
    RecordWords words = {0}, others;
    int done = find_words(&words);
    others = words;
    if (done == 0 && module->words.format_error == NULL) { /* else the imports came here as well */
        others = module->words;
        module->words = words;
    }
#define WORD(name) Py_XDECREF(others.name);
    RECORD_WORDS(WORD)
#undef WORD
    return done;
}

int record_args(const char *verb, const char *const *names, Py_ssize_t count, PyObject *const *args, Py_ssize_t given,
                PyObject *kwnames, PyObject **found)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (given + named != count) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", verb, count, given + named);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        found[i] = i < given ? args[i] : NULL;
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = given;
        while (i < count && (found[i] != NULL || PyUnicode_CompareWithASCIIString(name, names[i]) != 0))
            i++;
        if (i == count) {
            PyErr_Format(PyExc_TypeError, "%s() takes no argument %R here", verb, name);
            return -1;
        }
        found[i] = args[given + k];
    }
    return 0;
}

int record_number(PyObject *object, double *number)
{
    *number = PyFloat_AsDouble(object);
    return *number == -1.0 && PyErr_Occurred() ? -1 : 0;
}

int record_time(PyObject *object, double *time)
{
    if (record_number(object, time) < 0)
        return -1;
    if (is_time(*time))
        return 0;
    PyErr_Format(PyExc_ValueError, "%S cannot be a time in a record: it must be from 0 to 2^32 seconds", object);
    return -1;
}

int record_whole(PyObject *object, uint64_t most, uint64_t *number)
{
    PyObject *index = PyNumber_Index(object);
    if (index == NULL)
        return -1;
    *number = PyLong_AsUnsignedLongLong(index);
    int failed = *number == UINT64_MAX && PyErr_Occurred() != NULL;
    Py_DECREF(index);
    if (failed && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (!failed && *number <= most)
        return 0;
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError, "a number of the record is out of range: %S", object);
    return -1;
}

/* The letters of a str; NULL with an exception, of the type UnicodeEncodeError where they are no text. */
static const char *letters(PyObject *object, size_t *size)
{
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a name is a str, and no %s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    Py_ssize_t found;
    const char *name = PyUnicode_AsUTF8AndSize(object, &found);
    *size = name == NULL ? 0 : (size_t)found;
    return name;
}

int record_name(PyObject *object, size_t most, const char **name, size_t *size)
{
    *name = letters(object, size);
    if (*name == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return -1;
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%R is not Unicode text, so no record can have it as a name", object);
        return -1;
    }
    if (*size > 0 && *size <= most)
        return 0;
    PyErr_Format(PyExc_ValueError, "a name of %zu bytes cannot be in a record: it must have 1 to %zu", *size, most);
    return -1;
}

int record_lookup(PyObject *object, const char **name, size_t *size)
{
    *name = letters(object, size);
    if (*name != NULL)
        return *size > 0 && *size <= UINT16_MAX;
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return -1;
    PyErr_Clear();
    return 0;
}

int record_mark(PyObject *key, uint64_t *mark)
{
    size_t size;
    const char *name = letters(key, &size);
    if (name == NULL)
        return -1;
    *mark = xxh3(name, size);
    return 0;
}

int record_sort_mark(const Module *module, PyObject *sort, uint64_t *mark)
{
    PyObject *key = PyObject_GetAttr(sort, module->names.key), *whole = NULL;
    char short_key[256];
    size_t size;
    int done = -1;
    const char *name = key == NULL ? NULL : letters(key, &size);
    if (name != NULL && size < sizeof short_key) {
        short_key[0] = '@';
        memcpy(short_key + 1, name, size);
        *mark = xxh3(short_key, size + 1);
        done = 0;
    } else if (name != NULL && (whole = PyUnicode_FromFormat("@%U", key)) != NULL) {
        done = record_mark(whole, mark);
    }
    Py_XDECREF(whole);
    Py_XDECREF(key);
    return done;
}

/* at most so many that the end of any bucket's time in the window is a number of 64 bits */
static int seconds_of(PyObject *spec, PyObject *name, int64_t least, int64_t most, int64_t *seconds)
{
    PyObject *found = PyObject_GetAttr(spec, name);
    *seconds = found == NULL ? -1 : PyLong_AsLongLong(found);
    Py_XDECREF(found);
    if (*seconds >= least && *seconds <= most)
        return 0;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "a tally cannot have %lld as its %U", (long long)*seconds, name);
    return -1;
}

int record_spec(const Module *module, PyObject *spec, TallySpec *into)
{
    PyObject *key = PyObject_GetAttr(spec, module->names.key);
    int done = key == NULL ? -1 : record_mark(key, &into->mark);
    Py_XDECREF(key);
    if (done < 0 || seconds_of(spec, module->names.width, 1, 1 << 28, &into->width) < 0)
        return -1;
    return seconds_of(spec, module->names.window, 0, INT64_C(1) << 40, &into->window);
}
