/* Records as Kafka's batches (format 2) hold them: cut apart without the GIL, and Python objects only when asked for.
 *
 * A block has the records of some batches and keeps the bytes alive that they lie in; a sequence of records is a view
 * of a part of a block. Lists of record objects are put into a block, too, so that what follows is one code.
 */
#include "reading.h"

#define HEADER 61 /* bytes of a batch before its records */
#define LEAST 7   /* bytes that a record has at least */
#define MOST_OF_BATCH 1000000 /* of one batch: no client makes larger ones */

/* cutting */

static int64_t big_endian(const char *at, int size)
{
    uint64_t found = (uint64_t)(int64_t)(signed char)*at; /* signed */
    for (int i = 1; i < size; i++)
        found = found << 8 | (unsigned char)at[i];
    return (int64_t)found;
}

static int varint(const char **at, const char *end, int64_t *found)
{
    uint64_t zigzag = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = (unsigned char)*(*at)++;
        zigzag |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (shift == 63 && byte > 1)
                return -1;
            *found = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);
            return 0;
        }
    }
    return -1;
}

/* bytes with their length before them; a negative one: null */
static int sized(const char **at, const char *end, const char **found, int32_t *size)
{
    int64_t length;
    if (varint(at, end, &length) < 0 || length > end - *at)
        return -1;
    *found = *at;
    *size = length < 0 ? -1 : (int32_t)length;
    if (length > 0)
        *at += length;
    return 0;
}

int next_header(const char **at, const char *end, const char **key, int32_t *key_size, const char **value,
                int32_t *value_size)
{
    return sized(at, end, key, key_size) < 0 || *key_size < 0 || sized(at, end, value, value_size) < 0 ? -1 : 0;
}

typedef struct {
    const char *header, *body;
    Py_ssize_t size;
    int64_t from; /* records before it are left out */
} Part;

/* room for what the batch says it has, as far as that can be: more is made when there are more */
static Py_ssize_t room_of(const Part *part)
{
    int64_t count = big_endian(part->header + 57, 4), most = part->size / LEAST;
    if (most > MOST_OF_BATCH)
        most = MOST_OF_BATCH;
    return (Py_ssize_t)(count < 0 ? 0 : count > most ? most : count);
}

/* one record's bytes, without its length; -1: that is no record */
static int cut_record(const char *at, const char *last, Raw *raw, int64_t *after, int64_t *delta)
{
    int64_t headers;
    at++; /* attributes: none are defined */
    if (varint(&at, last, after) < 0 || varint(&at, last, delta) < 0 || sized(&at, last, &raw->key, &raw->key_size) < 0
        || sized(&at, last, &raw->value, &raw->value_size) < 0 || varint(&at, last, &headers) < 0 || headers < 0
        || headers > last - at)
        return -1;
    raw->headers = at;
    raw->headers_size = (int32_t)(last - at);
    for (; headers > 0; headers--) {
        const char *key, *value;
        int32_t key_size, value_size;
        if (next_header(&at, last, &key, &key_size, &value, &value_size) < 0)
            return -1;
    }
    return at == last ? 0 : -1;
}

/* Adds the records of a batch from its ``from`` on to the block, up to the first bytes that are none.
 *
 * Returns the least offset that they leave open when something of the batch is lost; -1 when nothing is; -2: no memory.
 * How many records there are is not believed; what belongs to no offset of the batch is nothing.
 */
static int64_t cut(const Part *part, Block *block)
{
    const char *at = part->body, *end = at + part->size;
    int64_t base = big_endian(part->header, 8), first = big_endian(part->header + 27, 8);
    int64_t latest = big_endian(part->header + 35, 8), told = big_endian(part->header + 57, 4);
    int64_t final = big_endian(part->header + 23, 4), before = -1, count = 0;
    int appended = part->header[22] >> 3 & 1; /* the broker's time instead of the producer's */
    while (at < end && count < MOST_OF_BATCH) {
        int64_t length, after, delta;
        Raw raw;
        if (varint(&at, end, &length) < 0 || length < 1 || length > end - at
            || cut_record(at, at + length, &raw, &after, &delta) < 0 || delta <= before || delta > final)
            break;
        at += length;
        count++;
        before = delta;
        raw.offset = (int64_t)((uint64_t)base + (uint64_t)delta);
        raw.timestamp = appended ? latest : (int64_t)((uint64_t)first + (uint64_t)after);
        raw.timestamp_type = appended;
        if (raw.offset < part->from)
            continue;
        if (block->count == block->room) {
            Py_ssize_t room = block->room * 2 + 16;
            Raw *raws = PyMem_RawRealloc(block->raws, room * sizeof(Raw));
            if (raws == NULL)
                return -2;
            block->raws = raws;
            block->room = room;
        }
        block->raws[block->count++] = raw;
    }
    int lost = before < final && (at < end || count < told);
    return lost ? (int64_t)((uint64_t)base + (uint64_t)(before + 1)) : -1;
}

/* blocks */

static int block_visit(Block *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->kept);
    Py_VISIT(self->objects);
    return 0;
}

static void block_dealloc(Block *self)
{
    PyObject_GC_UnTrack(self);
    PyMem_RawFree(self->raws);
    Py_XDECREF(self->kept);
    Py_XDECREF(self->objects);
    object_free(self);
}

static PyType_Slot block_slots[] = {
    {Py_tp_traverse, block_visit},
    {Py_tp_dealloc, block_dealloc},
    {0, NULL},
};

PyType_Spec block_spec = {
    .name = "state._fold.Block",
    .basicsize = sizeof(Block),
    .flags = MADE_HERE | Py_TPFLAGS_HAVE_GC,
    .slots = block_slots,
};

static Block *new_block(const Module *module, Py_ssize_t room)
{
    Block *block = (Block *)module->block_type->tp_alloc(module->block_type, 0);
    if (block == NULL)
        return NULL;
    block->raws = PyMem_RawMalloc((room ? room : 1) * sizeof(Raw));
    block->kept = PyList_New(0);
    block->room = room ? room : 1;
    if (block->raws == NULL || block->kept == NULL) {
        if (block->raws == NULL)
            PyErr_NoMemory();
        Py_DECREF(block);
        return NULL;
    }
    return block;
}

static Records *view(Block *block, Py_ssize_t start, Py_ssize_t size)
{
    PyTypeObject *type = module_of(block)->records_type;
    Records *records = (Records *)type->tp_alloc(type, 0);
    if (records == NULL)
        return NULL;
    Py_INCREF(block);
    records->block = block;
    records->start = start;
    records->size = size;
    return records;
}

/* the bytes of a buffer that the block keeps; nobody may change them */
static const char *keep(Block *block, PyObject *buffer, Py_ssize_t *size)
{
    PyObject *memory = PyMemoryView_FromObject(buffer); /* nobody else can release this one */
    if (memory == NULL)
        return NULL;
    const Py_buffer *bytes = PyMemoryView_GET_BUFFER(memory);
    int failed = 0;
    if (!PyBuffer_IsContiguous(bytes, 'C')) {
        PyErr_SetString(PyExc_ValueError, "a batch must lie in one piece");
        failed = 1;
    }
    else
        failed = PyList_Append(block->kept, memory) < 0;
    const char *found = bytes->buf;
    *size = bytes->len;
    Py_DECREF(memory);
    return failed ? NULL : found;
}

/* parse([(batch, its records where they were compressed or None, the least offset), ...])
 * -> (Records, how many batches were read, the least offset of the next one that was not there or -1)
 */
PyObject *parse_batches(PyObject *module, PyObject *batches)
{
    if (!PyList_CheckExact(batches)) {
        PyErr_SetString(PyExc_TypeError, "batches come in a list");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(batches), room = 0, whole = 0;
    int64_t lost = -1;
    PyObject *answer = NULL;
    Block *block = new_block(PyModule_GetState(module), 0);
    Part *parts = PyMem_Calloc(count ? count : 1, sizeof(Part));
    if (block == NULL || parts == NULL)
        goto done;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *batch, *body;
        long long from;
        Py_ssize_t size;
        Part *part = &parts[i];
        if (!PyArg_ParseTuple(PyList_GET_ITEM(batches, i), "OOL", &batch, &body, &from)
            || (part->header = keep(block, batch, &size)) == NULL)
            goto done;
        part->from = from;
        part->body = part->header + HEADER;
        part->size = size - HEADER;
        if (size < HEADER || (body != Py_None && (part->body = keep(block, body, &part->size)) == NULL)
            || part->size > INT32_MAX) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "no batch has this size");
            goto done;
        }
        room += room_of(part);
    }
    Raw *raws = PyMem_RawRealloc(block->raws, (room ? room : 1) * sizeof(Raw));
    if (raws == NULL)
        goto done;
    block->raws = raws;
    block->room = room ? room : 1;
    WITHOUT_GIL(room);
    for (; whole < count && lost == -1; whole++)
        lost = cut(&parts[whole], block);
    WITH_GIL
    if (lost == -2)
        goto done;
    Records *records = view(block, 0, block->count);
    if (records != NULL)
        answer = Py_BuildValue("(NnL)", (PyObject *)records, lost == -1 ? whole : whole - 1, (long long)lost);
done:
    PyMem_Free(parts);
    Py_XDECREF(block);
    if (answer == NULL && !PyErr_Occurred())
        PyErr_NoMemory();
    return answer;
}

/* lists of record objects */

static int put_object(const AttributeNames *names, Block *block, Py_ssize_t at, PyObject *record)
{
    Raw *raw = &block->raws[at];
    memset(raw, 0, sizeof(*raw));
    PyObject *number = PyObject_GetAttr(record, names->timestamp);
    if (number == NULL)
        return -1;
    raw->timestamp = PyLong_AsLongLong(number);
    Py_DECREF(number);
    if (raw->timestamp == -1 && PyErr_Occurred())
        return -1;
    PyObject *value = PyObject_GetAttr(record, names->value);
    if (value == NULL)
        return -1;
    raw->value_size = -1; /* whatever is no bytes is looked at by Python */
    if (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= INT32_MAX) {
        raw->value = PyBytes_AS_STRING(value);
        raw->value_size = (int32_t)PyBytes_GET_SIZE(value);
    }
    int failed = PyList_Append(block->kept, value) < 0 || PyList_Append(block->objects, record) < 0;
    Py_DECREF(value);
    return failed ? -1 : 0;
}

/* a new reference: records themselves, or a block of the objects in a sequence */
Records *records_of(const Module *module, PyObject *sequence)
{
    if (Py_TYPE(sequence) == module->records_type) {
        Py_INCREF(sequence);
        return (Records *)sequence;
    }
    PyObject *list = PySequence_List(sequence);
    if (list == NULL)
        return NULL;
    Records *records = NULL;
    Block *block = new_block(module, PyList_GET_SIZE(list));
    if (block != NULL && (block->objects = PyList_New(0)) != NULL) {
        block->count = PyList_GET_SIZE(list);
        int failed = 0;
        for (Py_ssize_t i = 0; i < block->count && !failed; i++)
            failed = put_object(&module->names, block, i, PyList_GET_ITEM(list, i)) < 0;
        if (!failed)
            records = view(block, 0, block->count);
    }
    Py_XDECREF(block);
    Py_DECREF(list);
    return records;
}

/* a sequence of records */

static int records_visit(Records *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->block);
    return 0;
}

static void records_dealloc(Records *self)
{
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->block);
    object_free(self);
}

static Py_ssize_t records_length(Records *self)
{
    return self->size;
}

static PyObject *records_item(Records *self, Py_ssize_t at)
{
    if (at < 0 || at >= self->size) {
        PyErr_SetString(PyExc_IndexError, "there is no such record");
        return NULL;
    }
    return record_at(self, at);
}

static PyObject *records_subscript(Records *self, PyObject *key)
{
    if (PySlice_Check(key)) {
        Py_ssize_t start, stop, step;
        if (PySlice_Unpack(key, &start, &stop, &step) < 0)
            return NULL;
        Py_ssize_t size = PySlice_AdjustIndices(self->size, &start, &stop, step);
        if (step != 1) {
            PyErr_SetString(PyExc_ValueError, "a part of records is in one piece");
            return NULL;
        }
        return (PyObject *)view(self->block, self->start + start, size);
    }
    Py_ssize_t at = PyNumber_AsSsize_t(key, PyExc_IndexError);
    if (at == -1 && PyErr_Occurred())
        return NULL;
    return records_item(self, at < 0 ? at + self->size : at);
}

static PyType_Slot records_slots[] = {
    {Py_tp_traverse, records_visit},
    {Py_tp_doc, "The fetched records of one partition, in order; each becomes an object when it is asked for."},
    {Py_sq_length, records_length},
    {Py_sq_item, records_item},
    {Py_tp_iter, PySeqIter_New},
    {Py_mp_length, records_length},
    {Py_mp_subscript, records_subscript},
    {Py_tp_dealloc, records_dealloc},
    {0, NULL},
};

PyType_Spec records_spec = {
    .name = "state._fold.Records",
    .basicsize = sizeof(Records),
    .flags = MADE_HERE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_SEQUENCE,
    .slots = records_slots,
};
