/* A module state._fold that has nothing but the numbers which tell what it was built of. By -D: INTERFACE, LAYOUT and PLAN
 * are what is added to the right ones; OLD: it has none, as before there were any. */
#include "abi.h"
#include "module.h"

static int fill(PyObject *module)
{
#ifndef OLD
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"INTERFACE", MODULE_INTERFACE + INTERFACE}, {"LAYOUT", layout_abi() + LAYOUT}, {"PLAN", plan_abi() + PLAN}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(numbers[i].number);
        int done = number == NULL ? -1 : PyModule_AddObjectRef(module, numbers[i].name, number);
        Py_XDECREF(number);
        if (done < 0)
            return -1;
    }
#endif
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, fill},
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "state._fold", .m_slots = slots};

PyMODINIT_FUNC PyInit__fold(void)
{
    return PyModuleDef_Init(&definition);
}
