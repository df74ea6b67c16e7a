/* The checksum of a batch. */
#include "core/crc32c.h"
#include "reading.h"

/* crc32c(bytes): None where this processor has no instruction for it, so that the caller takes another way */
PyObject *crc32c_of(PyObject *module, PyObject *bytes)
{
    Py_buffer view;
    if (!crc32c_is_there())
        Py_RETURN_NONE;
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    uint32_t found = crc32c(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLong(found);
}
