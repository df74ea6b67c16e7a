/* A turn's events into the copies of its users, without the interpreter's lock: for each user as far as the events stay
 * quiet. Whoever needs more than that is told to Python, with how far it went. Who has no record is begun here, where
 * Python would do no more than that; where all that an event changes is that rules surely hold, the memberships begin
 * here, and Python only says so. */
#include "area_type.h"
#include "core/due.h"
#include "core/fetch.h"
#include "core/murmur2.h"
#include "plan_entered.h"
#include "plan_type.h"
#include "record_type.h"

#define ROOM_AT_FIRST 288 /* bytes for a new user's block: with one event of the usual ones */
#define ROOM_FOR_MORE 16  /* for each event besides */

typedef struct {
    uint32_t at; /* events folded */
    uint8_t is_left, is_opened;
    uint8_t is_out;   /* it was asked to leave the user alone */
    uint8_t is_apart; /* Python begins the user, if it has no record */
    uint32_t entries; /* memberships that began, from number ``entry`` of all on */
    size_t entry;
} Far;

/* How those are begun who have no record: state/native.py, Newcomers. */
typedef struct {
    uint64_t life; /* the last one given out: each has one of its own, begun here or not */
    uint64_t sequence;
    uint32_t partition, partitions; /* 0 partitions: nobody is begun */
    uint64_t begun;
} Newcomers;

typedef struct {
    Cache *cache;
    const PlanImage *image;
    const Batch *batch;
    FoldScratch *scratch;
    uint32_t epoch;
    uint64_t heads;
    int encodes;
    Newcomers newcomers;
    uint64_t counted;
    Entered *entered; /* NULL: no membership begins here */
} Work;

/* Behind FOLD_OPENED: begins the memberships that can begin here. FOLD_ALL: it goes on behind them; FOLD_OPENED: that is
 * Python's; or FOLD_NO_MEMORY. */
static enum FoldEnd enter(Work *work, uint32_t number, UserBlock *block, IdsAt *ids, uint32_t at)
{
    enum FoldEnd end;
    while ((end = fold_enter(work->image, block, work->scratch)) == FOLD_NO_ROOM) {
        int widened = turn_widen(work->cache, number, fold_wanted(work->scratch), block, ids);
        if (widened < 0)
            return widened == TURN_TOO_LARGE ? FOLD_OPENED : FOLD_NO_MEMORY;
    }
    if (end != FOLD_ALL)
        return FOLD_OPENED;
    return entered_note(work->entered, work->image, block, work->scratch, at - 1) < 0 ? FOLD_NO_MEMORY : FOLD_ALL;
}

/* FOLD_NO_MEMORY, or how it ended; a block that would be too large is Python's to refuse */
static enum FoldEnd fold_events(Work *work, uint32_t number, const Name *name, UserBlock *block, IdsAt *ids, uint32_t *at)
{
    const Batch *batch = work->batch;
    const uint32_t *order = batch->order + name->start;
    double erased = block_erased(block);
    for (;;) {
        enum FoldEnd end = fold_user(ids, work->image, batch->folds, order, (uint32_t)name->count, at, block_due(block),
                                     erased, work->scratch);
        if (end == FOLD_OPENED && work->entered != NULL) {
            end = enter(work, number, block, ids, *at);
            if (end == FOLD_ALL)
                continue;
        }
        if (end != FOLD_NO_ROOM)
            return end;
        int widened = turn_widen(work->cache, number, fold_wanted(work->scratch), block, ids);
        if (widened < 0)
            return widened == TURN_TOO_LARGE ? FOLD_LEFT : FOLD_NO_MEMORY;
    }
}

static int fold_one(Work *work, uint32_t number, const Name *name, Far *far)
{
    UserBlock block;
    IdsAt ids;
    far->is_left = 1;
    turn_open(work->cache, number, &block, &ids);
    if (block_epoch(&block) != work->epoch)
        return 0;
    size_t entered = work->entered == NULL ? 0 : work->entered->count;
    enum FoldEnd end = fold_events(work, number, name, &block, &ids, &far->at);
    turn_close(work->cache, number, &block);
    far->entry = entered;
    far->entries = work->entered == NULL ? 0 : (uint32_t)(work->entered->count - entered);
    if (end == FOLD_NO_MEMORY)
        return -1;
    far->is_opened = end == FOLD_OPENED;
    if (end != FOLD_ALL || block_scored(&block) != work->heads)
        return 0;
    if (work->encodes && !(block_flags(&block) & FLAG_QUEUED) && block_count(&block) >= block_encode_at(&block))
        return 0;
    block_put_due(&block, fold_next_due(work->image, &block, work->scratch));
    work->counted += far->at;
    far->is_left = 0;
    return 0;
}

/* The number of a user of the batch in the turn; TURN_MISSING: not in it. */
static uint32_t number_of(const Work *work, const Name *name, uint32_t known)
{
    uint32_t number = known;
    if (number == TURN_MISSING && name->size <= UINT16_MAX) {
        User user = {.hash = name->hash, .name = name->letters, .size = (uint16_t)name->size};
        number = turn_number(work->cache, &user);
    }
    return number != TURN_MISSING && turn_is_gone(work->cache, number) ? TURN_MISSING : number;
}

/* Begins somebody who has no record, if the first event is one of the plain kinds and the user's home is here; ``number``
 * stays TURN_MISSING else. -1: no memory. */
static int begin(Work *work, const Name *name, const Far *far, uint32_t *number)
{
    Newcomers *newcomers = &work->newcomers;
    if (newcomers->partitions == 0)
        return 0;
    newcomers->life++;
    if (far->is_out || far->is_apart || name->size == 0 || name->size > UINT16_MAX
        || work->batch->folds[work->batch->order[name->start]].route < 0
        || murmur2_partition(name->letters, (size_t)name->size, newcomers->partitions) != newcomers->partition)
        return 0;
    UserBlock block;
    IdsAt ids;
    User user = {.hash = name->hash, .name = name->letters, .size = (uint16_t)name->size};
    size_t room = ROOM_AT_FIRST + ROOM_FOR_MORE * (size_t)(name->count < 16 ? name->count : 16);
    if (turn_new(work->cache, &user, room, number) < 0)
        return -1;
    turn_open(work->cache, *number, &block, &ids);
    record_begin(&block, work->epoch, newcomers->life);
    block_put_sequence(&block, newcomers->sequence);
    turn_close(work->cache, *number, &block);
    newcomers->begun++;
    return 0;
}

/* -1: no memory */
static int fold_all(Work *work, const uint32_t *numbers, Far *far)
{
    const Names *users = &work->batch->users;
    for (int32_t i = 0; i < users->count; i++) {
        if (numbers != NULL && i + FETCH_AHEAD < users->count)
            fetch_copy(work->cache, numbers[i + FETCH_AHEAD]);
        if (numbers != NULL && i + FETCH_AHEAD_REST < users->count)
            fetch_copy_rest(work->cache, numbers[i + FETCH_AHEAD_REST]);
        if (far[i].is_out && work->newcomers.partitions == 0)
            continue;
        const Name *name = &users->names[i];
        uint32_t number = number_of(work, name, numbers == NULL ? TURN_MISSING : numbers[i]);
        if (number == TURN_MISSING && begin(work, name, &far[i], &number) < 0)
            return -1;
        far[i].is_left = !far[i].is_out;
        if (number != TURN_MISSING && !far[i].is_out && fold_one(work, number, name, &far[i]) < 0)
            return -1;
    }
    return 0;
}

enum { OUT, APART };

/* Notes who is among ``some``. */
static int note(const Batch *batch, PyObject *some, Far *far, int as)
{
    PyObject *names = PySequence_Tuple(some);
    Py_ssize_t size;
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        const char *letters = PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, &size) : NULL;
        if (letters == NULL) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "a user is a str");
            Py_CLEAR(names);
            break;
        }
        int32_t number = size > INT32_MAX ? -1 : names_find(&batch->users, letters, (int32_t)size, 0);
        if (number >= 0 && as == OUT)
            far[number].is_out = 1;
        if (number >= 0 && as == APART)
            far[number].is_apart = 1;
    }
    if (names == NULL)
        return -1;
    Py_DECREF(names);
    return 0;
}

/* Notes what a user entered: (nothing more is to be done, [...]). */
static int tell_entered(const Work *work, const Far *far, PyObject *user, PyObject *into)
{
    PyObject *list = entered_list(work->entered, work->image, far->entry, far->entries);
    PyObject *told = list == NULL ? NULL : Py_BuildValue("ON", far->is_left ? Py_False : Py_True, list);
    int done = told == NULL ? -1 : PyDict_SetItem(into, user, told);
    Py_XDECREF(told);
    return done;
}

/* {user: (events folded, opened)} of those who are left, and of those who entered something: that goes ``into`` */
static PyObject *those_left(const Work *work, const Far *far, PyObject *into)
{
    const Batch *batch = work->batch;
    PyObject *left = PyDict_New(), *nothing = Py_BuildValue("iO", 0, Py_False); /* of most of them */
    if (nothing == NULL)
        Py_CLEAR(left);
    for (int32_t i = 0; left != NULL && i < batch->users.count; i++) {
        const Name *name = &batch->users.names[i];
        if (!far[i].is_left && far[i].entries == 0)
            continue;
        PyObject *user = PyUnicode_DecodeUTF8(name->letters, name->size, NULL);
        PyObject *told = far[i].at == 0 && !far[i].is_opened
                             ? Py_NewRef(nothing)
                             : Py_BuildValue("IO", far[i].at, far[i].is_opened ? Py_True : Py_False);
        if (user == NULL || told == NULL || PyDict_SetItem(left, user, told) < 0
            || (far[i].entries > 0 && tell_entered(work, &far[i], user, into) < 0))
            Py_CLEAR(left);
        Py_XDECREF(user);
        Py_XDECREF(told);
    }
    Py_XDECREF(nothing);
    return left;
}

static int is_of(const PlanObject *plan, const Batch *batch)
{
    if (batch->plan == plan)
        return 0;
    PyErr_SetString(PyExc_TypeError, "these events were read by other definitions");
    return -1;
}

/* (life, sequence, partition, partitions, apart), or None */
static int take_newcomers(const Batch *batch, PyObject *given, Newcomers *newcomers, Far *far)
{
    unsigned long long life, sequence;
    unsigned partition, partitions;
    PyObject *apart;
    if (given == Py_None)
        return 0;
    if (!PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "newcomers are (life, sequence, partition, partitions, apart), or None");
        return -1;
    }
    if (!PyArg_ParseTuple(given, "KKIIO", &life, &sequence, &partition, &partitions, &apart))
        return -1;
    *newcomers = (Newcomers){.life = life, .sequence = sequence, .partition = partition, .partitions = partitions};
    return note(batch, apart, far, APART);
}

/* fold(area, batch, without, epoch, heads, encodes, newcomers, entered) -> (events counted, users begun, {user: (events
 * folded, opened)}); ``entered``: a dict to which those are added who entered something, or None: nobody does */
PyObject *plan_fold(PlanObject *plan, PyObject *const *args, Py_ssize_t nargs)
{
    const Module *module = module_of(plan);
    if (nargs != 8 || Py_TYPE(args[0]) != module->area_type || Py_TYPE(args[1]) != module->batch_type
        || (args[7] != Py_None && !PyDict_Check(args[7]))) {
        PyErr_SetString(PyExc_TypeError, "fold(area, batch, without, epoch, heads, encodes, newcomers, entered)");
        return NULL;
    }
    AreaObject *area = (AreaObject *)args[0];
    Batch *batch = (Batch *)args[1];
    unsigned long long epoch = PyLong_AsUnsignedLongLong(args[3]), heads = PyLong_AsUnsignedLongLong(args[4]);
    int encodes = PyErr_Occurred() ? -1 : PyObject_IsTrue(args[5]);
    if (encodes < 0 || is_of(plan, batch) < 0)
        return NULL;
    PyObject *left = NULL;
    Work work = {.image = &plan->image, .batch = batch, .heads = heads, .encodes = encodes};
    Entered entered = {0};
    work.entered = args[7] == Py_None ? NULL : &entered;
    work.epoch = (uint32_t)epoch;
    if (epoch > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "an epoch has 32 bits");
        return NULL;
    }
    Far *far = PyMem_Calloc((size_t)batch->users.count + 1, sizeof(*far));
    if (far == NULL)
        return PyErr_NoMemory();
    int noted = note(batch, args[2], far, OUT) < 0 ? -1 : take_newcomers(batch, args[6], &work.newcomers, far);
    work.scratch = noted < 0 ? NULL : plan_take_scratch(plan);
    work.cache = work.scratch == NULL ? NULL : area_open(area); /* behind all that may run Python's code */
    if (work.cache != NULL && batch->used < 0)
        batch_is_in_use();
    else if (work.cache != NULL) {
        const uint32_t *numbers = batch->area == area->serial ? batch->numbers : NULL;
        int done;
        batch->used++;
        AWAY(area->table, batch->count)
        done = fold_all(&work, numbers, far);
        BACK(area->table)
        batch->used--;
        if (work.newcomers.begun > 0)
            area_has_more(area);
        left = done < 0 ? PyErr_NoMemory() : those_left(&work, far, args[7]);
    }
    if (work.scratch != NULL)
        plan_give_scratch(plan, work.scratch);
    entered_free(&entered);
    PyMem_Free(far);
    return left == NULL ? NULL
                        : Py_BuildValue("KKN", (unsigned long long)work.counted, (unsigned long long)work.newcomers.begun, left);
}

/* fold_on(record, items, at, limit, erased) -> (next, opened) */
PyObject *plan_fold_on(PlanObject *plan, PyObject *const *args, Py_ssize_t nargs)
{
    const Module *module = module_of(plan);
    if (nargs != 5 || Py_TYPE(args[0]) != module->record_type || Py_TYPE(args[1]) != module->items_type) {
        PyErr_SetString(PyExc_TypeError, "fold_on(record, items, at, limit, erased)");
        return NULL;
    }
    UserRecord *record = (UserRecord *)args[0];
    const Items *items = (const Items *)args[1];
    const Batch *batch = items->batch;
    Py_ssize_t start = PyLong_AsSsize_t(args[2]);
    double limit = PyFloat_AsDouble(args[3]), erased = PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred() || is_of(plan, batch) < 0)
        return NULL;
    if (start < 0 || start > items->size) {
        PyErr_SetString(PyExc_IndexError, "there is no such event");
        return NULL;
    }
    FoldScratch *scratch = plan_take_scratch(plan);
    Opened opened;
    if (scratch == NULL || record->home->open(record, &opened) < 0) {
        if (scratch != NULL)
            plan_give_scratch(plan, scratch);
        return NULL;
    }
    uint32_t at = (uint32_t)start;
    enum FoldEnd end;
    int failed = 0;
    while ((end = fold_user(&opened.ids, &plan->image, batch->folds, batch->order + items->start, (uint32_t)items->size, &at,
                            limit, erased, scratch))
           == FOLD_NO_ROOM) {
        failed = record->home->widen(record, fold_wanted(scratch), &opened);
        if (failed < 0)
            break;
    }
    record->home->close(record, &opened);
    plan_give_scratch(plan, scratch);
    if (failed < 0)
        return NULL;
    if (end == FOLD_NO_MEMORY)
        return PyErr_NoMemory();
    return Py_BuildValue("IO", at, end == FOLD_OPENED ? Py_True : Py_False);
}

PyObject *plan_due(PlanObject *plan, PyObject *record)
{
    Opened opened;
    if (Py_TYPE(record) != module_of(plan)->record_type) {
        PyErr_SetString(PyExc_TypeError, "next_due(record)");
        return NULL;
    }
    if (((UserRecord *)record)->home->open((UserRecord *)record, &opened) < 0)
        return NULL;
    return PyFloat_FromDouble(plan_next_due(&plan->image, &opened.block));
}
