/* Area.find: who is in memory comes into the turn; told is who is not. */
#include "area_type.h"
#include "reading.h"

#define AT_ONCE 1024 /* users of whom Python has the names */

/* Looks for these users; ``numbers`` becomes theirs, TURN_MISSING of who has no record. -1: no memory. */
static int look(Cache *cache, const User *users, uint32_t count, uint32_t *numbers)
{
    for (uint32_t at = 0, done; at < count; at += done) { /* a full turn takes one at a time: the caller ends it soon */
        if (turn_find(cache, users + at, count - at, numbers + at, &done) < 0)
            return -1;
        for (uint32_t i = at; i < at + done; i++)
            if (numbers[i] != TURN_MISSING && turn_is_gone(cache, numbers[i]))
                numbers[i] = TURN_MISSING;
    }
    return 0;
}

/* in a batch, whose names need no objects */

static int look_for_batch(Cache *cache, Batch *batch)
{
    int32_t count = batch->users.count;
    User *users = PyMem_RawMalloc(((size_t)count + 1) * sizeof(*users));
    if (batch->numbers == NULL)
        batch->numbers = PyMem_RawMalloc(((size_t)count + 1) * sizeof(*batch->numbers));
    int done = users == NULL || batch->numbers == NULL ? -1 : 0;
    for (int32_t i = 0; done == 0 && i < count; i++) {
        const Name *name = &batch->users.names[i];
        users[i] = (User){.hash = name->hash, .name = name->letters, .size = (uint16_t)name->size};
        if (name->size > UINT16_MAX)
            users[i].size = 0; /* longer than any that can be in memory; nobody has an empty one */
    }
    if (done == 0)
        done = look(cache, users, (uint32_t)count, batch->numbers);
    PyMem_RawFree(users);
    return done;
}

static PyObject *find_batch(AreaObject *area, Batch *batch)
{
    Cache *cache = area_open(area);
    int done;
    if (cache == NULL)
        return NULL;
    if (batch->used != 0)
        return batch_is_in_use();
    batch->area = 0;
    batch->used = -1;
    AWAY(area->table, batch->users.count)
    done = look_for_batch(cache, batch);
    BACK(area->table)
    batch->used = 0;
    if (done < 0)
        return PyErr_NoMemory();
    batch->area = area->serial;
    PyObject *missing = PyList_New(0);
    for (int32_t i = 0; missing != NULL && i < batch->users.count; i++) {
        const Name *name = &batch->users.names[i];
        if (batch->numbers[i] != TURN_MISSING)
            continue;
        PyObject *user = PyUnicode_DecodeUTF8(name->letters, name->size, NULL);
        if (user == NULL || PyList_Append(missing, user) < 0)
            Py_CLEAR(missing);
        Py_XDECREF(user);
    }
    return missing;
}

/* Those of ``names`` who are missing become keys of ``missing``. */
static int find_some(AreaObject *area, PyObject *const *names, Py_ssize_t count, PyObject *missing)
{
    User users[AT_ONCE];
    uint32_t numbers[AT_ONCE], known = 0;
    uint8_t too_long[AT_ONCE];
    const Module *module = module_of(area);
    for (Py_ssize_t i = 0; i < count; i++) {
        int right = user_of(module, names[i], &users[known]);
        if (right < 0)
            return -1;
        too_long[i] = right == 0;
        known += (uint32_t)right;
    }
    Cache *cache = area_open(area);
    if (cache == NULL)
        return -1;
    if (look(cache, users, known, numbers) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    known = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        if ((too_long[i] || numbers[known++] == TURN_MISSING) && PyDict_SetItem(missing, names[i], Py_None) < 0)
            return -1;
    return 0;
}

PyObject *area_find(AreaObject *self, PyObject *users)
{
    if (area_open(self) == NULL)
        return NULL;
    if (Py_TYPE(users) == module_of(self)->batch_type)
        return find_batch(self, (Batch *)users);
    PyObject *names = PySequence_Tuple(users), *missing = names == NULL ? NULL : PyDict_New();
    Py_ssize_t count = missing == NULL ? 0 : PyTuple_GET_SIZE(names);
    for (Py_ssize_t at = 0; missing != NULL && at < count; at += AT_ONCE) {
        Py_ssize_t some = count - at < AT_ONCE ? count - at : AT_ONCE;
        if (find_some(self, &PyTuple_GET_ITEM(names, at), some, missing) < 0)
            Py_CLEAR(missing);
    }
    PyObject *found = missing == NULL ? NULL : PyDict_Keys(missing);
    Py_XDECREF(missing);
    Py_XDECREF(names);
    return found;
}
