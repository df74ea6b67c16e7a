/* The module: its types and functions. */
#include "area_type.h"
#include "core/abi.h"
#include "forms.h"
#include "plan_type.h"
#include "reading.h"
#include "record_type.h"

static PyMethodDef methods[] = {
    {"crc32c", crc32c_of, METH_O, "crc32c(bytes): their checksum; None where the processor has no instruction for it."},
    {"parse", parse_batches, METH_O,
     "parse([(batch, its records where they were compressed or None, least offset), ...]): (Records, how many batches "
     "were read whole, the least offset that is lost of the next one; -1: none)."},
    {"fitting", fitting_records, METH_VARARGS,
     "fitting(records, bytes): (how many of the first ones have no more bytes than that, their bytes)."},
    {"latest", latest_records, METH_O, "latest(records): {key: what the last record with it says; None deletes}."},
    {"load", load_records, METH_VARARGS,
     "load(batch, records, prefix): what is said last of each key, with users' timers; how many guards there were."},
    {"put", put_records, METH_VARARGS,
     "put(batch, {key: value or None}, timed, users): all of them into the batch, with users' timers; how many guards "
     "there were."},
    {NULL, NULL, 0, NULL},
};

/* Hashes of names are new in each process, as Python's own are. */
static int seed_names(Module *self)
{
    PyObject *words = PyUnicode_FromString("nobody outside can choose names that all meet in one place");
    Py_hash_t hash = words == NULL ? -1 : PyObject_Hash(words);
    Py_XDECREF(words);
    self->name_seed = (uint64_t)hash;
    return hash == -1 ? -1 : 0;
}

/* What tells whether Python's side is of the same release. */
static int add_numbers(PyObject *module)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {{"INTERFACE", MODULE_INTERFACE}, {"LAYOUT", layout_abi()}, {"PLAN", plan_abi()}};
    int done = 0;
    for (size_t i = 0; done == 0 && i < sizeof(numbers) / sizeof(*numbers); i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[i].number);
        done = number == NULL ? -1 : PyModule_AddObjectRef(module, numbers[i].name, number);
        Py_XDECREF(number);
    }
    return done;
}

static int fill(PyObject *module)
{
    Module *self = PyModule_GetState(module);
    const struct {
        PyType_Spec *spec;
        PyTypeObject **type;
    } inner[] = {
        {&block_spec, &self->block_type}, {&fetched_spec, &self->fetched_type}, {&items_spec, &self->items_type},
        {&batch_users_spec, &self->batch_users_type},
    }, outer[] = {
        {&arena_spec, &self->arena_type}, {&table_spec, &self->table_type}, {&area_spec, &self->area_type},
        {&wire_spec, &self->wire_type},   {&plan_spec, &self->plan_type},   {&batch_spec, &self->batch_type},
        {&records_spec, &self->records_type},
    };
    for (size_t i = 0; i < sizeof(inner) / sizeof(*inner); i++)
        if (module_add_type(module, inner[i].spec, inner[i].type) < 0)
            return -1;
    for (size_t i = 0; i < sizeof(outer) / sizeof(*outer); i++)
        if (module_add_type(module, outer[i].spec, outer[i].type) < 0 || PyModule_AddType(module, *outer[i].type) < 0)
            return -1;
    return seed_names(self) < 0 || record_ready(module) < 0 ? -1 : add_numbers(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, /* tests/bare_module.py */
#endif
    /* No Py_mod_gil: where there need be no lock (3.13t), the module brings it back. Records, tables and batches rely on
     * it wherever they do not say that they work without. */
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "state._fold",
    .m_doc = "Fetched records, their events, users' records and the quiet part of folding; see state/native.py.",
    .m_size = sizeof(Module),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_visit,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__fold(void)
{
    return PyModuleDef_Init(&definition);
}
