/* Area: one turn of a partition. Its records are views of the turn's copies, by number, and hold the area; what tells
 * them that their user was forgotten meanwhile is a stamp. */
#include "area_type.h"
#include "record_type.h"

#define ROOM_AT_FIRST 384 /* bytes for a new user's block: an event or two of the usual ones */

AreaObject *area_new(TableObject *table)
{
    Module *module = module_of(table);
    AreaObject *area = (AreaObject *)module->area_type->tp_alloc(module->area_type, 0);
    if (area == NULL)
        return NULL;
    if (turn_begin(table->cache, 64) < 0) {
        Py_DECREF(area);
        return (AreaObject *)PyErr_NoMemory();
    }
    area->table = (TableObject *)Py_NewRef(table);
    area->serial = ++module->areas;
    table->turn = area;
    return area;
}

Cache *area_open(const AreaObject *area)
{
    if (area->table == NULL) {
        record_is_over();
        return NULL;
    }
    return table_is_free(area->table) < 0 ? NULL : area->table->cache;
}

static void let_go_of_turn(AreaObject *area)
{
    TableObject *table = area->table;
    area->table = NULL;
    table->turn = NULL;
    PyMem_Free(area->stamps);
    area->stamps = NULL;
    area->stamp_count = 0;
    Py_DECREF(table);
}

void area_end(AreaObject *area)
{
    turn_drop(area->table->cache);
    let_go_of_turn(area);
}

static void area_dealloc(AreaObject *self)
{
    if (self->table != NULL)
        area_end(self); /* nobody works on it: whoever does has a reference */
    object_free(self);
}

/* records */

static uint32_t stamp_of(const AreaObject *area, uint32_t number)
{
    return number < area->stamp_count ? area->stamps[number] : 0;
}

/* The records that there are of this user are no longer good. -1: no memory. */
static int restamp(AreaObject *area, uint32_t number)
{
    if (number >= area->stamp_count) {
        uint32_t count = number + number / 2 + 16;
        uint32_t *stamps = PyMem_Realloc(area->stamps, count * sizeof(*stamps));
        if (stamps == NULL)
            return -1;
        memset(stamps + area->stamp_count, 0, (count - area->stamp_count) * sizeof(*stamps));
        area->stamps = stamps;
        area->stamp_count = count;
    }
    area->stamps[number]++;
    return 0;
}

static int home_open(UserRecord *record, Opened *opened)
{
    const AreaObject *area = (const AreaObject *)record->owner;
    Cache *cache = area_open(area);
    if (cache == NULL)
        return -1;
    if (record->stamp != stamp_of(area, record->number) || turn_is_gone(cache, record->number)) {
        PyErr_SetString(PyExc_RuntimeError, "the user was forgotten in this turn");
        return -1;
    }
    turn_open(cache, record->number, &opened->block, &opened->ids);
    return 0;
}

static Cache *cache_of(const UserRecord *record)
{
    return ((const AreaObject *)record->owner)->table->cache;
}

static int home_widen(UserRecord *record, size_t more, Opened *opened)
{
    int done = turn_widen(cache_of(record), record->number, more, &opened->block, &opened->ids);
    if (done == TURN_TOO_LARGE)
        return record_is_too_large(record);
    if (done < 0)
        PyErr_NoMemory();
    return done < 0 ? -1 : 0;
}

static void home_close(UserRecord *record, const Opened *opened)
{
    turn_close(cache_of(record), record->number, &opened->block);
}

static const RecordHome home = {home_open, home_widen, home_close};

PyObject *area_record(AreaObject *area, PyObject *user, uint32_t number)
{
    return record_of(module_of(area), &home, (PyObject *)area, user, number, stamp_of(area, number));
}

/* users */

/* The number of who has a record in the turn; TURN_MISSING: nobody. */
static uint32_t number_in(const Cache *cache, const User *user)
{
    uint32_t number = turn_number(cache, user);
    return number != TURN_MISSING && turn_is_gone(cache, number) ? TURN_MISSING : number;
}

static PyObject *area_get(AreaObject *self, PyObject *name)
{
    User user;
    Cache *cache = area_open(self);
    int right = cache == NULL ? -1 : user_of(module_of(self), name, &user);
    if (right < 0)
        return NULL;
    uint32_t number = right ? number_in(cache, &user) : TURN_MISSING;
    if (number == TURN_MISSING)
        Py_RETURN_NONE;
    return area_record(self, name, number);
}

static int area_contains(AreaObject *self, PyObject *name)
{
    User user;
    Cache *cache = area_open(self);
    if (cache == NULL)
        return -1;
    if (!PyUnicode_Check(name))
        return 0;
    int right = user_of(module_of(self), name, &user);
    return right <= 0 ? right : number_in(cache, &user) != TURN_MISSING;
}

static PyObject *area_begin(AreaObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    User user;
    uint32_t number;
    Cache *cache = area_open(self);
    if (cache == NULL)
        return NULL;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "begin(user, epoch, life)");
        return NULL;
    }
    unsigned long long epoch = PyLong_AsUnsignedLongLong(args[1]), life = PyLong_AsUnsignedLongLong(args[2]);
    if (PyErr_Occurred() || user_to_be(module_of(self), args[0], &user) < 0)
        return NULL;
    if (epoch > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "an epoch has 32 bits");
        return NULL;
    }
    int made = turn_new(cache, &user, ROOM_AT_FIRST, &number);
    if (made != 0)
        return made < 0 ? PyErr_NoMemory() : area_is_there(args[0]);
    area_has_more(self);
    UserBlock block;
    IdsAt ids;
    turn_open(cache, number, &block, &ids);
    record_begin(&block, (uint32_t)epoch, life);
    turn_close(cache, number, &block);
    return area_record(self, args[0], number);
}

static PyObject *area_forget(AreaObject *self, PyObject *args, PyObject *words)
{
    static char *names[] = {"user", "erased", NULL};
    PyObject *name;
    User user;
    uint32_t number, done;
    int erased;
    double timer = Py_HUGE_VAL;
    if (!PyArg_ParseTupleAndKeywords(args, words, "Op", names, &name, &erased))
        return NULL;
    Cache *cache = area_open(self);
    int right = cache == NULL ? -1 : user_of(module_of(self), name, &user);
    if (right < 0)
        return NULL;
    if (right > 0 && turn_find(cache, &user, 1, &number, &done) < 0)
        return PyErr_NoMemory();
    if (right > 0 && number != TURN_MISSING) {
        if (restamp(self, number) < 0)
            return PyErr_NoMemory();
        timer = turn_copy(cache, number)->timer;
        turn_forget(cache, number, erased);
    }
    return PyFloat_FromDouble(timer);
}

static PyObject *area_due(AreaObject *self, PyObject *name)
{
    User user;
    double due;
    Cache *cache = area_open(self);
    int right = cache == NULL ? -1 : user_of(module_of(self), name, &user);
    if (right < 0)
        return NULL;
    if (right == 0 || !turn_due(cache, &user, &due))
        Py_RETURN_NONE;
    return PyFloat_FromDouble(due);
}

static PyObject *area_users(AreaObject *self, PyObject *none)
{
    Cache *cache = area_open(self);
    PyObject *found = cache == NULL ? NULL : PyList_New(0);
    for (uint32_t number = 0; found != NULL && number < cache->turn.count; number++) {
        if (turn_is_gone(cache, number))
            continue;
        const Prefix *prefix = turn_entry(cache, number).prefix;
        PyObject *name = PyUnicode_DecodeUTF8((const char *)(prefix + 1), prefix->name, NULL);
        if (name == NULL || PyList_Append(found, name) < 0)
            Py_CLEAR(found);
        Py_XDECREF(name);
    }
    return found;
}

static int has_users(const Cache *cache)
{
    uint32_t number = 0;
    while (number < cache->turn.count && turn_is_gone(cache, number))
        number++;
    return number < cache->turn.count;
}

static PyObject *area_commit(AreaObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs > 1) {
        PyErr_SetString(PyExc_TypeError, "commit(behind=False)");
        return NULL;
    }
    int behind = nargs == 0 ? 0 : PyObject_IsTrue(args[0]);
    Cache *cache = behind < 0 ? NULL : area_open(self);
    if (cache == NULL)
        return NULL;
    if (self->settled <= 0 && has_users(cache)) {
        PyErr_SetString(PyExc_RuntimeError, "the turn is not settled");
        return NULL;
    }
    AWAY(self->table, cache->turn.count)
    turn_commit(cache, behind);
    BACK(self->table)
    let_go_of_turn(self);
    Py_RETURN_NONE;
}

static PyObject *area_drop(AreaObject *self, PyObject *none)
{
    if (self->table != NULL) {
        if (table_is_free(self->table) < 0)
            return NULL;
        area_end(self);
    }
    Py_RETURN_NONE;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef area_methods[] = {
    {"find", (PyCFunction)area_find, METH_O, "find(users): who is neither in the turn nor in memory."},
    {"admit", FAST(area_admit), METH_FASTCALL, "admit(user, block, chunks): somebody whom the store has."},
    {"admit_whole", (PyCFunction)area_admit_whole, METH_O, "admit_whole({user: block}): those of them whose ids lie in their block; who is left."},
    {"take", FAST(area_take), METH_FASTCALL, "take(record, due): a record that was made in Python."},
    {"get", (PyCFunction)area_get, METH_O, "get(user): the record; None: not in the turn."},
    {"begin", FAST(area_begin), METH_FASTCALL, "begin(user, epoch, life): somebody never seen."},
    {"forget", FAST(area_forget), METH_VARARGS | METH_KEYWORDS, "forget(user, erased): who is gone with the commit; the timer that the store has."},
    {"due", (PyCFunction)area_due, METH_O, "due(user): the timer; None: not in memory."},
    {"users", (PyCFunction)area_users, METH_NOARGS, "users(): of this turn."},
    {"settle", FAST(area_settle), METH_FASTCALL, "settle(specs, puts, timed): the end of the turn."},
    {"commit", FAST(area_commit), METH_FASTCALL, "commit(behind=False): the copies are what is in memory."},
    {"drop", (PyCFunction)area_drop, METH_NOARGS, "drop(): all is as before the turn."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One turn of a partition; see state.tables.Area. Table.begin() makes one."},
    {Py_tp_dealloc, area_dealloc},
    {Py_sq_contains, area_contains},
    {Py_tp_methods, area_methods},
    {0, NULL},
};

PyType_Spec area_spec = {
    .name = "state._fold.Area",
    .basicsize = sizeof(AreaObject),
    .flags = MADE_HERE,
    .slots = slots,
};
