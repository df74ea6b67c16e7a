/* What is asked for of records: a tree of keys, as Python has it, and the one pass over a record that looks it up. */
#include "forms.h"

static const char *const names[FIXED] = {
    [USER] = "user",
    [ID] = "id",
    [ITEM] = "item",
    [CATEGORY] = "category",
    [TARGET] = "target",
    [GROUP] = "group",
    [TEXT] = "text",
    [KIND] = "kind",
    [TIME] = "time",
    [SPENDING] = "amount",
    [DWELLING] = "dwell",
    [ANONYMOUS] = "anonymous",
    [TYPE] = "type",
    [EVENT] = "event",
    [NAME] = "name",
    [USER_ID] = "userId",
    [ANONYMOUS_ID] = "anonymousId",
    [PREVIOUS_ID] = "previousId",
    [GROUP_ID] = "groupId",
    [MESSAGE_ID] = "messageId",
    [TIMESTAMP] = "timestamp",
    [ORIGINAL_TIMESTAMP] = "originalTimestamp",
    [SENT_AT] = "sentAt",
    [RECEIVED_AT] = "receivedAt",
    [PROPERTIES] = "properties",
    [TRAITS] = "traits",
};

/* A field that the reader would pass over is an error: Python's reader checks its type. */

int check_fields(PyTypeObject *event)
{
    PyObject *fields = module_attribute((PyObject *)event, "__struct_fields__");
    if (fields == NULL)
        return -1;
    int same = PyTuple_CheckExact(fields) && PyTuple_GET_SIZE(fields) == OWN;
    for (int place = 0; same && place < OWN; place++)
        same = PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(fields, place), names[place]) == 0;
    if (!same)
        PyErr_Format(PyExc_TypeError, "forms.c knows other fields of an event than %R", fields);
    Py_DECREF(fields);
    return same ? 0 : -1;
}

/* of a call */
static int check_calls(PyObject *fields)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); i++) {
        PyObject *name = PyTuple_GET_ITEM(fields, i);
        int place = OWN;
        while (place < FIXED && (!PyUnicode_Check(name) || PyUnicode_CompareWithASCIIString(name, names[place]) != 0))
            place++;
        if (place == FIXED) {
            PyErr_Format(PyExc_TypeError, "segment.c does not know the field %S", name);
            return -1;
        }
    }
    return 0;
}

/* words */

static inline uint32_t table_place(int room, const char *letters, Py_ssize_t size)
{
    uint32_t head = 0, tail = 0;
    if (size >= 4) {
        memcpy(&head, letters, 4);
        memcpy(&tail, letters + size - 4, 4);
    }
    else
        for (Py_ssize_t i = 0; i < size; i++)
            head = head << 8 | (unsigned char)letters[i];
    return (head * 0x9e3779b1u + tail * 0x85ebca6bu + (uint32_t)(size << 4 | room) * 0xc2b2ae35u) >> (32 - TABLE_BITS);
}

/* memcmp for the few bytes of a key, without a call */
static inline int same_letters(const char *one, const char *other, Py_ssize_t size)
{
    uint64_t begins[2] = {0}, ends[2] = {0};
    if (size > 16 || size < 4)
        return memcmp(one, other, (size_t)size) == 0;
    Py_ssize_t part = size < 8 ? 4 : 8;
    if (part == 4) {
        memcpy(&begins[0], one, 4);
        memcpy(&begins[1], other, 4);
        memcpy(&ends[0], one + size - 4, 4);
        memcpy(&ends[1], other + size - 4, 4);
    }
    else {
        memcpy(&begins[0], one, 8);
        memcpy(&begins[1], other, 8);
        memcpy(&ends[0], one + size - 8, 8);
        memcpy(&ends[1], other + size - 8, 8);
    }
    return begins[0] == begins[1] && ends[0] == ends[1];
}

const Word *word_of(const Forms *of, int room, const char *letters, Py_ssize_t size)
{
    for (uint32_t at = table_place(room, letters, size);; at = (at + 1) & ((1 << TABLE_BITS) - 1)) {
        if (of->table[at] == 0)
            return NULL;
        const Word *word = &of->words[of->table[at] - 1];
        if (word->size == size && word->room == room && same_letters(word->letters, letters, size))
            return word;
    }
}

/* the pass */

static const char *find_in_object(const Forms *forms, int room, const char *at, const char *end, Found *found);

static const char *find_in_array(const Forms *forms, int room, const char *at, const char *end, Found *found);

static const char *find_in_value(const Forms *forms, const Word *word, const char *at, const char *end, Found *found)
{
    uint8_t *sort = &found->sorts[word->means];
    if (*sort != ABSENT || at >= end)
        return NULL; /* twice: the last one counts, which Python knows */
    if (*at != '{' && *at != '[')
        return scalar_end(at, end, sort, &found->values[word->means]);
    *sort = *at == '[' ? ARRAY : OBJECT;
    if (word->inner == 0 || forms->is_array[word->inner] != (*at == '['))
        return value_end(at, end);
    return (*at == '[' ? find_in_array : find_in_object)(forms, word->inner, at + 1, end, found);
}

/* only the first element may be asked for */
static const char *find_in_array(const Forms *forms, int room, const char *at, const char *end, Found *found)
{
    at = skip_space(at, end);
    if (at < end && *at == ']')
        return at + 1;
    for (const Word *word = word_of(forms, room, "", 0);; word = NULL) {
        at = skip_space(at, end);
        at = word != NULL ? find_in_value(forms, word, at, end, found) : value_end(at, end);
        if (at == NULL)
            return NULL;
        at = skip_space(at, end);
        if (at >= end || (*at != ',' && *at != ']'))
            return NULL;
        if (*at++ == ']')
            return at;
    }
}

/* what follows the object whose first byte after the brace is at ``at``; NULL: Python has to look at the record */
static const char *find_in_object(const Forms *forms, int room, const char *at, const char *end, Found *found)
{
    at = skip_space(at, end);
    if (at < end && *at == '}')
        return at + 1;
    for (;;) {
        int escaped = 0;
        if (at >= end || *at != '"')
            return NULL;
        const char *key = ++at;
        at = string_end(at, end, &escaped);
        if (at == NULL || escaped) /* it may be one that is asked for */
            return NULL;
        const Word *word = word_of(forms, room, key, at - key);
        at = skip_space(at + 1, end);
        if (at >= end || *at != ':')
            return NULL;
        at = skip_space(at + 1, end);
        at = word != NULL ? find_in_value(forms, word, at, end, found) : value_end(at, end);
        if (at == NULL)
            return NULL;
        at = skip_space(at, end);
        if (at >= end || (*at != ',' && *at != '}'))
            return NULL;
        if (*at++ == '}')
            return at;
        at = skip_space(at, end);
    }
}

int find_values(const Forms *forms, const char *at, const char *end, Found *found)
{
    memset(found->sorts, ABSENT, sizeof(found->sorts));
    at = skip_space(at, end);
    if (at >= end || *at != '{')
        return 0;
    at = find_in_object(forms, TOP, at + 1, end, found);
    return at != NULL && skip_space(at, end) == end;
}

/* what Python tells */

/* the word, which may be there already; a new one means ``means``, or the next free place if that is negative */
static Word *add_word(Forms *to, int room, const char *letters, Py_ssize_t size, int means)
{
    Word *found = (Word *)word_of(to, room, letters, size);
    if (found != NULL)
        return found;
    if (size > WORD_BYTES || to->word_count == WORDS || (means < 0 && to->place_count == PLACES)) {
        PyErr_Format(PyExc_TypeError, "forms.h has no room for %s", letters);
        return NULL;
    }
    uint32_t at = table_place(room, letters, size);
    while (to->table[at])
        at = (at + 1) & ((1 << TABLE_BITS) - 1);
    found = &to->words[to->word_count++];
    memcpy(found->letters, letters, (size_t)size);
    found->size = (int16_t)size;
    found->room = (int16_t)room;
    found->means = (int16_t)(means < 0 ? to->place_count++ : means);
    to->table[at] = (uint8_t)to->word_count;
    return found;
}

/* {a producer's word: the kind it stands for} */
static int add_kinds(Wire *wire, int room, PyObject *words)
{
    PyObject *word, *kind;
    for (Py_ssize_t place = 0; PyDict_Next(words, &place, &word, &kind);) {
        Py_ssize_t size, kind_size;
        const char *letters = PyUnicode_AsUTF8AndSize(word, &size);
        const char *kind_letters = letters == NULL ? NULL : PyUnicode_AsUTF8AndSize(kind, &kind_size);
        if (kind_letters == NULL)
            return -1;
        int means = strcmp(kind_letters, "identify") == 0 ? IDENTIFY
                    : strcmp(kind_letters, "alias") == 0  ? ALIAS
                                                          : kind_of(wire, kind_letters, kind_size);
        if (means >= 0 && add_word(&wire->forms, room, letters, size, means) == NULL)
            return -1;
    }
    return 0;
}

/* the place of what lies at a path within the properties: keys, and 0 for an array's first element; -1: an error */
static int add_path(Forms *to, PyObject *path)
{
    Word *word = add_word(to, TOP, names[PROPERTIES], (Py_ssize_t)strlen(names[PROPERTIES]), PROPERTIES);
    for (Py_ssize_t i = 0; word != NULL && PyTuple_CheckExact(path) && i < PyTuple_GET_SIZE(path); i++) {
        PyObject *step = PyTuple_GET_ITEM(path, i);
        Py_ssize_t size = 0;
        const char *letters = PyUnicode_Check(step) ? PyUnicode_AsUTF8AndSize(step, &size) : "";
        if (letters == NULL)
            return -1;
        int array = !PyUnicode_Check(step);
        if (word->inner == 0 && to->room_count < ROOMS) {
            to->is_array[to->room_count] = (uint8_t)array;
            word->inner = (int16_t)to->room_count++;
        }
        if (word->inner == 0 || to->is_array[word->inner] != array || (array && PyLong_AsLong(step) != 0)) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "forms.c cannot follow this path");
            return -1;
        }
        word = add_word(to, word->inner, letters, size, -1);
    }
    if (word != NULL && word->means < FIXED)
        PyErr_SetString(PyExc_TypeError, "a path is a tuple of keys");
    return PyErr_Occurred() ? -1 : word->means;
}

static int add_paths(Forms *to, PyObject *paths, uint8_t *places)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(paths); i++) {
        int place = add_path(to, PyTuple_GET_ITEM(paths, i));
        if (place < 0)
            return -1;
        if (places != NULL && i >= SAYING - 1) {
            PyErr_SetString(PyExc_TypeError, "these are too many paths for one field");
            return -1;
        }
        if (places != NULL)
            places[i] = (uint8_t)place;
    }
    return 0;
}

int forms_begin(Wire *wire, PyObject *fields, PyObject *calls, PyObject *tracks, PyObject *const paths[4])
{
    Forms *new = &wire->forms;
    new->room_count = TOP + 1;
    new->place_count = FIXED;
    int failed = check_calls(fields);
    for (int place = 0; place < FIXED && !failed; place++)
        failed = add_word(new, TOP, names[place], (Py_ssize_t)strlen(names[place]), place) == NULL;
    failed = failed || add_kinds(wire, CALLS, calls) < 0 || add_kinds(wire, TRACKS, tracks) < 0;
    uint8_t *const said[] = {new->item, new->category, new->amount, new->dwell};
    for (int field = 0; field < 4 && !failed; field++)
        failed = add_paths(new, paths[field], said[field]) < 0;
    return failed ? -1 : 0;
}
