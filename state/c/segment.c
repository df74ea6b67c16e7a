/* Calls of the Segment Spec, as streams.wire.segment_spec maps them: those that become a view, a click or a purchase. */
#include "forms.h"

#define ID_SORTS (1 << ABSENT | 1 << NOTHING | 1 << LETTERS | 1 << WHOLE)
#define TEXTS (1 << ABSENT | 1 << NOTHING | 1 << LETTERS | 1 << ESCAPED)
#define TIMES (TEXTS | 1 << WHOLE | 1 << NUMBER)
#define OBJECTS (1 << ABSENT | 1 << NOTHING | 1 << OBJECT)

static const uint16_t call_sorts[FIXED] = {
    [TYPE] = 1 << LETTERS,
    [EVENT] = TEXTS,
    [NAME] = TEXTS,
    [USER_ID] = ID_SORTS,
    [ANONYMOUS_ID] = ID_SORTS,
    [PREVIOUS_ID] = ID_SORTS,
    [GROUP_ID] = ID_SORTS,
    [MESSAGE_ID] = ID_SORTS,
    [TIMESTAMP] = TIMES,
    [ORIGINAL_TIMESTAMP] = TIMES,
    [SENT_AT] = TIMES,
    [RECEIVED_AT] = TIMES,
    [PROPERTIES] = OBJECTS,
    [TRAITS] = OBJECTS,
};

/* an id; the digits of a number are its text */
static Value id_at(const Found *found, int place)
{
    int said = found->sorts[place] == LETTERS || found->sorts[place] == WHOLE;
    return said ? found->values[place] : (Value){.at = "", .size = 0};
}

/* The kind of a track event of this name: blanks around it and case do not matter. */
static int kind_of_track(const Wire *wire, const Found *found)
{
    char lower[WORD_BYTES];
    if (found->sorts[EVENT] != LETTERS)
        return -1;
    const char *at = found->values[EVENT].at, *end = at + found->values[EVENT].size;
    while (at < end && *at == ' ')
        at++;
    while (at < end && end[-1] == ' ')
        end--;
    if (end - at > WORD_BYTES)
        return -1;
    for (Py_ssize_t i = 0; i < end - at; i++)
        lower[i] = at[i] >= 'A' && at[i] <= 'Z' ? (char)(at[i] + 'a' - 'A') : at[i];
    const Word *word = word_of(&wire->forms, TRACKS, lower, end - at); /* all of them are ASCII, or Python says */
    return word == NULL ? -1 : word->means;
}

static int kind_of_call(const Wire *wire, const Found *found, const Value *user)
{
    const Value *type = &found->values[TYPE];
    if (type->size == 5 && memcmp(type->at, "track", 5) == 0)
        return kind_of_track(wire, found);
    const Word *word = word_of(&wire->forms, CALLS, type->at, type->size);
    if (word == NULL || (word->means != IDENTIFY && word->means != ALIAS))
        return word == NULL ? -1 : word->means;
    Value other = id_at(found, word->means == ALIAS ? PREVIOUS_ID : ANONYMOUS_ID);
    /* without another id to join it only says that the user is there */
    int alone = other.size == 0 || (other.size == user->size && memcmp(other.at, user->at, (size_t)other.size) == 0);
    return alone ? kind_of(wire, "view", 4) : -1;
}

static int time_of(const Found *found, double *seconds)
{
    for (int place = TIMESTAMP; place <= RECEIVED_AT; place++) {
        int sort = found->sorts[place];
        if (sort != ABSENT && sort != NOTHING && !(sort == LETTERS && found->values[place].size == 0))
            return wire_seconds(found, place, seconds);
    }
    return 0;
}

/* the first text at these places that is not empty, or none; 0: Python has to say */
static int first_text(const Found *found, const uint8_t *places, Value *text)
{
    *text = (Value){.at = "", .size = 0};
    for (; *places && text->size == 0; places++) {
        int sort = found->sorts[*places];
        if (sort == ESCAPED || sort == UNSURE)
            return 0;
        if (sort == LETTERS || sort == WHOLE)
            *text = found->values[*places];
    }
    return 1;
}

/* the first number at these places, which may be written as text, or 0.0; 0: Python has to say */
static int first_number(const Found *found, const uint8_t *places, double *number)
{
    uint8_t sort;
    *number = 0.0;
    for (; *places; places++) {
        const Value *value = &found->values[*places];
        switch (found->sorts[*places]) {
        case ABSENT:
        case NOTHING:
            continue;
        case WHOLE:
        case NUMBER:
            *number = value->number;
            return 1;
        case LETTERS:
            return number_end(value->at, value->at + value->size, number, &sort) == value->at + value->size;
        default:
            return 0;
        }
    }
    return 1;
}

int read_call(const Wire *wire, const Found *found, Event *event, Value *id)
{
    Value user, category;
    if (!all_allowed(found, call_sorts, TYPE, FIXED))
        return 0;
    user = id_at(found, USER_ID);
    event->anonymous = user.size == 0;
    if (event->anonymous)
        user = id_at(found, ANONYMOUS_ID);
    event->kind = kind_of_call(wire, found, &user);
    if (event->kind < 0 || !time_of(found, &event->time) || !first_text(found, wire->forms.category, &category)
        || !first_number(found, wire->forms.dwell, &event->dwell))
        return 0;
    event->amount = 0.0;
    if (event->kind == kind_of(wire, "purchase", 8) && !first_number(found, wire->forms.amount, &event->amount))
        return 0;
    event->user = user.at;
    event->user_size = user.size;
    event->category = category.at;
    event->category_size = category.size;
    *id = id_at(found, MESSAGE_ID);
    return 1;
}

/* The event of a call that was read before, as Python decodes it. NULL without an error: Python has to. */
PyObject *call_to_event(const Wire *wire, const Raw *raw, const Event *read)
{
    Found found;
    Value item;
    if (!find_values(&wire->forms, raw->value, raw->value + raw->value_size, &found)
        || !first_text(&found, wire->forms.item, &item))
        return NULL;
    Value id = id_at(&found, MESSAGE_ID);
    PyObject *fields[OWN] = {
        [USER] = PyUnicode_DecodeUTF8(read->user, read->user_size, NULL),
        [KIND] = Py_NewRef(wire->kinds[read->kind]),
        [TIME] = PyFloat_FromDouble(read->time),
        [ID] = PyUnicode_DecodeUTF8(id.at, id.size, NULL),
        [ITEM] = PyUnicode_DecodeUTF8(item.at, item.size, NULL),
        [CATEGORY] = PyUnicode_DecodeUTF8(read->category, read->category_size, NULL),
        [SPENDING] = PyFloat_FromDouble(read->amount),
        [DWELLING] = PyFloat_FromDouble(read->dwell),
        [TEXT] = PyUnicode_New(0, 0),
        [TARGET] = PyUnicode_New(0, 0),
        [GROUP] = PyUnicode_New(0, 0),
        [ANONYMOUS] = PyBool_FromLong(read->anonymous),
    };
    int whole = 1;
    for (int place = 0; place < OWN; place++)
        whole = whole && fields[place] != NULL;
    PyObject *event = whole ? PyObject_Vectorcall((PyObject *)wire->event.type, fields, OWN, NULL) : NULL;
    for (int place = 0; place < OWN; place++)
        Py_XDECREF(fields[place]);
    return event;
}
