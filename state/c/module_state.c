/* What the module has is made, shown to the collector, and let go. */
#include "module.h"

PyObject *module_attribute(PyObject *of, const char *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    PyObject *found = interned == NULL ? NULL : PyObject_GetAttr(of, interned);
    Py_XDECREF(interned);
    return found;
}

int module_add_names(PyObject *module)
{
    Module *self = PyModule_GetState(module);
#define NAME(name)                                                                                                     \
    if (self->names.name == NULL && (self->names.name = PyUnicode_InternFromString(#name)) == NULL)                    \
        return -1;
    MODULE_NAMES(NAME)
#undef NAME
    return 0;
}

int module_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **into)
{
    *into = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *into == NULL ? -1 : 0;
}

int module_visit(PyObject *module, visitproc visit, void *arg)
{
    Module *self = PyModule_GetState(module);
#define TYPE(name) Py_VISIT(self->name##_type);
    MODULE_TYPES(TYPE)
#undef TYPE
#define NAME(name) Py_VISIT(self->names.name);
    MODULE_NAMES(NAME)
#undef NAME
#define WORD(name) Py_VISIT(self->words.name);
    RECORD_WORDS(WORD)
#undef WORD
    return 0;
}

int module_clear(PyObject *module)
{
    Module *self = PyModule_GetState(module);
#define TYPE(name) Py_CLEAR(self->name##_type);
    MODULE_TYPES(TYPE)
#undef TYPE
#define NAME(name) Py_CLEAR(self->names.name);
    MODULE_NAMES(NAME)
#undef NAME
#define WORD(name) Py_CLEAR(self->words.name);
    RECORD_WORDS(WORD)
#undef WORD
    return 0;
}

void module_free(void *module)
{
    module_clear(module);
}
