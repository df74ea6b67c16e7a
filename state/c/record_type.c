/* The type Record: what its numbers are called, and its parts. */
#include "record_parts.h"

/* numbers */

static int is_there(PyObject *value)
{
    if (value == NULL)
        PyErr_SetString(PyExc_AttributeError, "a record's attributes cannot be deleted");
    return value != NULL;
}

/* where the header has it */
static size_t place(void *closure)
{
    return (size_t)(uintptr_t)closure;
}

static PyObject *get_long(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyLong_FromUnsignedLongLong(get_u64(opened.block.at + place(closure)));
}

static int set_long(UserRecord *record, PyObject *value, void *closure)
{
    uint64_t number;
    if (!is_there(value) || record_whole(value, UINT64_MAX, &number) < 0)
        return -1;
    OPEN(record, opened, -1);
    put_u64(opened.block.at + place(closure), number);
    return 0;
}

static PyObject *get_short(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyLong_FromUnsignedLong(get_u32(opened.block.at + place(closure)));
}

static int set_short(UserRecord *record, PyObject *value, void *closure)
{
    uint64_t number;
    if (!is_there(value) || record_whole(value, UINT32_MAX, &number) < 0)
        return -1;
    OPEN(record, opened, -1);
    put_u32(opened.block.at + place(closure), (uint32_t)number);
    return 0;
}

static PyObject *get_flag(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyBool_FromLong(block_flags(&opened.block) & (uint16_t)place(closure));
}

static int set_flag(UserRecord *record, PyObject *value, void *closure)
{
    int on = is_there(value) ? PyObject_IsTrue(value) : -1;
    if (on < 0)
        return -1;
    OPEN(record, opened, -1);
    block_flag(&opened.block, (uint16_t)place(closure), on);
    return 0;
}

static PyObject *get_time(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyFloat_FromDouble(get_f64(opened.block.at + place(closure)));
}

static int set_time(UserRecord *record, PyObject *value, void *closure)
{
    double time;
    if (!is_there(value) || record_time(value, &time) < 0)
        return -1;
    OPEN(record, opened, -1);
    put_f64(opened.block.at + place(closure), time);
    return 0;
}

static PyObject *get_due(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyFloat_FromDouble(block_due(&opened.block));
}

/* when something is to happen: any time that is not before 0, and never */
static int moment(PyObject *value, double *time)
{
    if (!is_there(value) || record_number(value, time) < 0)
        return -1;
    if (*time >= 0.0)
        return 0;
    PyErr_Format(PyExc_ValueError, "%S cannot be a time in a record", value);
    return -1;
}

static int set_due(UserRecord *record, PyObject *value, void *closure)
{
    double due;
    if (moment(value, &due) < 0)
        return -1;
    OPEN(record, opened, -1);
    block_put_due(&opened.block, due);
    return 0;
}

static PyObject *get_known_at(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyFloat_FromDouble(block_known_at(&opened.block));
}

static int set_known_at(UserRecord *record, PyObject *value, void *closure)
{
    double time;
    int done;
    if (moment(value, &time) < 0)
        return -1;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, block_put_known_at(&opened.block, time), -1);
    return 0;
}

static PyObject *get_erased(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    return PyFloat_FromDouble(block_erased(&opened.block));
}

static int set_erased(UserRecord *record, PyObject *value, void *closure)
{
    double time;
    int done;
    if (!is_there(value) || record_time(value, &time) < 0)
        return -1;
    OPEN(record, opened, -1);
    CHANGE(record, opened, done, block_put_erased(&opened.block, time), -1);
    return 0;
}

enum { LANE_DIRTY, LANE_TEXTS, LANE_PUT, LANE_TAKEN };

static PyObject *get_lane(UserRecord *record, void *closure)
{
    OPEN(record, opened, NULL);
    Lane lane = block_lane(&opened.block);
    const uint32_t texts[] = {0, lane.texts, lane.texts_put, lane.texts_taken};
    return PyLong_FromUnsignedLongLong(place(closure) == LANE_DIRTY ? lane.dirty : texts[place(closure)]);
}

static int set_lane(UserRecord *record, PyObject *value, void *closure)
{
    uint64_t number;
    int done;
    if (!is_there(value) || record_whole(value, place(closure) == LANE_DIRTY ? UINT64_MAX : UINT32_MAX, &number) < 0)
        return -1;
    OPEN(record, opened, -1);
    Lane lane = block_lane(&opened.block);
    uint32_t *const texts[] = {NULL, &lane.texts, &lane.texts_put, &lane.texts_taken};
    if (place(closure) == LANE_DIRTY)
        lane.dirty = number;
    else
        *texts[place(closure)] = (uint32_t)number;
    CHANGE(record, opened, done, block_put_lane(&opened.block, lane), -1);
    return 0;
}

/* views */

static PyObject *get_members(UserRecord *record, void *closure)
{
    return record_view(module_of(record)->members_type, record, MEMBERS);
}

static PyObject *get_edges(UserRecord *record, void *closure)
{
    return record_view(module_of(record)->edges_type, record, (enum Section)place(closure));
}

static PyObject *get_cells(UserRecord *record, void *closure)
{
    return record_view(module_of(record)->cells_type, record, CELLS);
}

static PyObject *get_ids(UserRecord *record, void *closure)
{
    return record_view(module_of(record)->ids_type, record, IDS);
}

static PyObject *get_user(UserRecord *record, void *closure)
{
    return Py_NewRef(record->user);
}

#define AT(number) ((void *)(uintptr_t)(number))

static PyGetSetDef attributes[] = {
    {"user", (getter)get_user, NULL, NULL, NULL},
    {"time", (getter)get_time, NULL, NULL, AT(AT_TIME)},
    {"first", (getter)get_time, (setter)set_time, NULL, AT(AT_FIRST)},
    {"due", (getter)get_due, (setter)set_due, NULL, NULL},
    {"count", (getter)get_long, (setter)set_long, NULL, AT(AT_COUNT)},
    {"sequence", (getter)get_long, (setter)set_long, NULL, AT(AT_SEQUENCE)},
    {"scored", (getter)get_long, (setter)set_long, NULL, AT(AT_SCORED)},
    {"encode_at", (getter)get_long, (setter)set_long, NULL, AT(AT_ENCODE_AT)},
    {"life", (getter)get_long, (setter)set_long, NULL, AT(AT_LIFE)},
    {"epoch", (getter)get_short, (setter)set_short, NULL, AT(AT_EPOCH)},
    {"version", (getter)get_short, (setter)set_short, NULL, AT(AT_VERSION)},
    {"identified", (getter)get_flag, (setter)set_flag, NULL, AT(FLAG_IDENTIFIED)},
    {"queued", (getter)get_flag, (setter)set_flag, NULL, AT(FLAG_QUEUED)},
    {"dirty", (getter)get_lane, (setter)set_lane, NULL, AT(LANE_DIRTY)},
    {"texts", (getter)get_lane, (setter)set_lane, NULL, AT(LANE_TEXTS)},
    {"texts_put", (getter)get_lane, (setter)set_lane, NULL, AT(LANE_PUT)},
    {"texts_taken", (getter)get_lane, (setter)set_lane, NULL, AT(LANE_TAKEN)},
    {"erased", (getter)get_erased, (setter)set_erased, NULL, NULL},
    {"known_at", (getter)get_known_at, (setter)set_known_at, NULL, NULL},
    {"labels", (getter)record_labels, (setter)record_set_labels, NULL, NULL},
    {"aliases", (getter)record_aliases, (setter)record_set_aliases, NULL, NULL},
    {"members", (getter)get_members, NULL, NULL, NULL},
    {"edges", (getter)get_edges, NULL, NULL, AT(EDGES)},
    {"groups", (getter)get_edges, NULL, NULL, AT(GROUPS)},
    {"cells", (getter)get_cells, NULL, NULL, NULL},
    {"ids", (getter)get_ids, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"enter", (PyCFunction)record_enter, METH_O, "enter(time)"},
    {"count_event", RECORD_VERB(record_count_event), METH_FASTCALL | METH_KEYWORDS,
     "count_event(kind, category, time, amount, dwell)"},
    {"unite_counters", (PyCFunction)record_unite_counters, METH_O, "unite_counters(block)"},
    {"slow_counters", (PyCFunction)record_slow_counters, METH_O, "slow_counters(now)"},
    {"features", (PyCFunction)record_features, METH_O, "features(out)"},
    {"settle", RECORD_VERB(record_settle), METH_FASTCALL | METH_KEYWORDS, "settle(specs, absences)"},
    {"pack", (PyCFunction)record_pack, METH_NOARGS, "pack()"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Record(user, epoch=0, life=0): one user's state; state.record.Record says what its verbs do."},
    {Py_tp_new, record_new},
    {Py_tp_dealloc, record_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "state._fold.Record",
    .basicsize = sizeof(UserRecord),
    .flags = OF_MODULE,
    .slots = slots,
};

static PyMethodDef functions[] = {
    {"open_record", RECORD_VERB(record_open), METH_FASTCALL | METH_KEYWORDS,
     "open_record(user, data): the record of a block that anybody may have written. Raises FormatError."},
    {NULL, NULL, 0, NULL},
};

int record_ready(PyObject *module)
{
    Module *self = PyModule_GetState(module);
    if (module_add_names(module) < 0 || module_add_type(module, &members_spec, &self->members_type) < 0
        || module_add_type(module, &edges_spec, &self->edges_type) < 0
        || module_add_type(module, &cells_spec, &self->cells_type) < 0
        || module_add_type(module, &ids_spec, &self->ids_type) < 0
        || module_add_type(module, &spec, &self->record_type) < 0 || PyModule_AddType(module, self->record_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
