/* The compiled record in a module for tests: core memory that fails when it is told to, and a home where a block moves
 * whenever it is looked at, with no byte more room than it needs. */
#include "memory.h"
#include "record_type.h"

/* the same block elsewhere; the bytes that it had are no longer anything */
static int move(UserRecord *record, size_t room)
{
    uint8_t *bytes = PyMem_Malloc(room);
    if (bytes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(bytes, record->bytes, record->size);
    memset(record->bytes, 0xDD, record->room);
    PyMem_Free(record->bytes);
    record->bytes = bytes;
    record->room = (uint32_t)room;
    return 0;
}

static int open_moved(UserRecord *record, Opened *opened)
{
    if (record->stamp != 0)
        return record_is_over();
    if (move(record, record->size) < 0)
        return -1;
    block_open(&opened->block, record->bytes, record->size, record->room);
    opened->ids = (IdsAt){.block = &opened->block, .tail = &record->tail, .first = record->first,
                          .stored = record->stored, .cut = &record->cut};
    return 0;
}

static int widen(UserRecord *record, size_t more, Opened *opened)
{
    size_t room = record->room + more;
    if (record->room == BLOCK_MOST)
        return record_is_too_large(record);
    record->size = opened->block.size;
    room = room < BLOCK_MOST ? room : BLOCK_MOST;
    if (move(record, room) < 0)
        return -1;
    block_move(&opened->block, record->bytes, room);
    return 0;
}

static void close_it(UserRecord *record, const Opened *opened)
{
    record->size = opened->block.size;
}

static const RecordHome restless = {open_moved, widen, close_it};

static PyObject *make_restless(PyObject *module, PyObject *record)
{
    ((UserRecord *)record)->home = &restless;
    return Py_NewRef(record);
}

static PyObject *end_turn(PyObject *module, PyObject *record)
{
    ((UserRecord *)record)->stamp = 1;
    Py_RETURN_NONE;
}

static PyObject *fail_in(PyObject *module, PyObject *calls)
{
    memory_fails_in = PyLong_AsLong(calls);
    Py_RETURN_NONE;
}

static PyObject *live(PyObject *module, PyObject *nothing)
{
    return PyLong_FromLong(memory_live);
}

static PyMethodDef methods[] = {
    {"restless", make_restless, METH_O, "restless(record): from now on its block moves whenever it is opened."},
    {"end", end_turn, METH_O, "end(record): the turn of a restless record is over."},
    {"fail_in", fail_in, METH_O, "fail_in(calls): the last of so many next calls for the core's memory fails; 0: none."},
    {"live", live, METH_NOARGS, "Pieces of the core's memory that there are."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, record_ready},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tests.record_module",
    .m_size = sizeof(Module),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_visit,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit_record_module(void)
{
    return PyModuleDef_Init(&definition);
}
