/* Where the block of a Record lies that stands for itself, and how one is made. */
#include "record_parts.h"

#include "core/check.h"

/* memory of its own */

static int own_open(UserRecord *record, Opened *opened)
{
    block_open(&opened->block, record->bytes, record->size, record->room);
    opened->ids = (IdsAt){.block = &opened->block,
                          .tail = &record->tail,
                          .first = record->first,
                          .stored = record->stored,
                          .cut = &record->cut};
    return 0;
}

static int own_widen(UserRecord *record, size_t more, Opened *opened)
{
    if (record->room >= BLOCK_MOST)
        return record_is_too_large(record);
    size_t room = record->room + (more > record->room / 2 ? more : record->room / 2);
    room = room < BLOCK_MOST ? room : BLOCK_MOST;
    uint8_t *bytes = PyMem_Realloc(record->bytes, room);
    if (bytes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    record->bytes = bytes;
    record->room = (uint32_t)room;
    block_move(&opened->block, bytes, room);
    return 0;
}

static void own_close(UserRecord *record, const Opened *opened)
{
    record->size = opened->block.size;
}

static const RecordHome own = {own_open, own_widen, own_close};

int record_is_over(void)
{
    PyErr_SetString(PyExc_RuntimeError, "the turn is over");
    return -1;
}

int record_is_too_large(const UserRecord *record)
{
    Module *module = module_of(record);
    if (record_bind(module) < 0)
        return -1;
    PyErr_Format(module->words.too_large_error,
                 "a record of more than %zu bytes is too large: no more are kept of a user", BLOCK_MOST);
    return -1;
}

int record_check(Module *module, const void *bytes, size_t size)
{
    enum BlockFault fault = block_check(bytes, size);
    if (fault == BLOCK_SOUND)
        return 0;
    if (record_bind(module) < 0)
        return -1;
    if (fault == BLOCK_BAD_FORMAT)
        PyErr_Format(module->words.format_error,
                     "a state record has format %d, where %d was expected: replay into fresh topics, or run the version "
                     "that wrote it",
                     *(const uint8_t *)bytes, BLOCK_FORMAT);
    else if (fault == BLOCK_NEWER)
        PyErr_SetString(module->words.format_error, "a user's record has something that a later release wrote: run that "
                                                   "release, or a newer one");
    else
        PyErr_Format(module->words.format_error,
                     "a user's record is damaged: %s; restore the store from the changelog, or replay into fresh topics "
                     "if the changelog has it so",
                     block_fault_words(fault));
    return -1;
}

/* its making and its end */

PyObject *record_of(Module *module, const RecordHome *home, PyObject *owner, PyObject *user, uint32_t number,
                    uint32_t stamp)
{
    if (record_bind(module) < 0)
        return NULL;
    UserRecord *record = PyObject_New(UserRecord, module->record_type);
    if (record == NULL)
        return NULL;
    memset((char *)record + sizeof(PyObject), 0, sizeof *record - sizeof(PyObject));
    record->user = Py_NewRef(user);
    record->home = home;
    record->owner = Py_XNewRef(owner);
    record->number = number;
    record->stamp = stamp;
    return (PyObject *)record;
}

/* one with memory of its own, of which nothing is used yet */
static UserRecord *with_room(Module *module, PyObject *user, size_t room)
{
    UserRecord *record = (UserRecord *)record_of(module, &own, NULL, user, 0, 0);
    if (record == NULL)
        return NULL;
    record->bytes = PyMem_Malloc(room);
    if (record->bytes == NULL) {
        Py_DECREF(record);
        PyErr_NoMemory();
        return NULL;
    }
    record->room = (uint32_t)room;
    return record;
}

PyObject *record_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"user", "epoch", "life", NULL};
    PyObject *user, *epoch_given = NULL, *life_given = NULL;
    uint64_t epoch = 0, life = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U|OO:Record", names, &user, &epoch_given, &life_given))
        return NULL;
    if ((epoch_given != NULL && record_whole(epoch_given, UINT32_MAX, &epoch) < 0)
        || (life_given != NULL && record_whole(life_given, UINT64_MAX, &life) < 0))
        return NULL;
    UserRecord *record = with_room(PyType_GetModuleState(type), user, 256);
    if (record == NULL)
        return NULL;
    UserBlock block;
    block_begin(&block, record->bytes, record->room);
    record_begin(&block, (uint32_t)epoch, life);
    record->size = block.size;
    return (PyObject *)record;
}

PyObject *record_open(PyObject *module, PyObject *const *args, Py_ssize_t given, PyObject *kwnames)
{
    static const char *const names[] = {"user", "data"};
    Module *state = PyModule_GetState(module);
    PyObject *found[2];
    Py_buffer data;
    if (record_args("open_record", names, 2, args, given, kwnames, found) < 0)
        return NULL;
    if (!PyUnicode_Check(found[0])) {
        PyErr_Format(PyExc_TypeError, "a user is a str, and no %s", Py_TYPE(found[0])->tp_name);
        return NULL;
    }
    if (PyObject_GetBuffer(found[1], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    UserRecord *record = NULL;
    size_t size = (size_t)data.len;
    if (record_check(state, data.buf, size) == 0 && (record = with_room(state, found[0], size)) != NULL) {
        memcpy(record->bytes, data.buf, size);
        record->size = (uint32_t)size;
        Opened opened;
        own_open(record, &opened);
        Ids ids = ids_of(&opened.block);
        record->first = ids.first;
        record->stored = ids.stored;
    }
    PyBuffer_Release(&data);
    return (PyObject *)record;
}

void record_dealloc(UserRecord *record)
{
    Py_XDECREF(record->owner);
    Py_DECREF(record->user);
    PyMem_Free(record->bytes);
    tail_free(record->tail, NULL);
    object_free(record);
}

int record_copy(UserRecord *record, UserBlock *block)
{
    Opened opened;
    if (record->home->open(record, &opened) < 0)
        return -1;
    *block = opened.block;
    uint8_t *bytes = PyMem_Malloc(block->size);
    if (bytes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(bytes, block->at, block->size);
    block_move(block, bytes, block->size);
    return 0;
}
