/* The Python type state._fold.Wire: what an event is, and how records say so: which keys are asked for in them, and what
 * words of a producer mean. Made once of what Python tells; nothing of it changes, so any thread may read it. */
#ifndef FORMS_H
#define FORMS_H

#include "scan.h"

#define MOST_KINDS 8 /* at most so many kinds only add to counts */

/* places of values: the fields of our own form, those of a call of the Segment Spec, and what is asked for within */
enum { USER, KIND, TIME, ID, ITEM, CATEGORY, SPENDING, DWELLING, TEXT, TARGET, GROUP, ANONYMOUS, OWN }; /* as Event has them */
enum {
    TYPE = OWN,
    EVENT,
    NAME,
    USER_ID,
    ANONYMOUS_ID,
    PREVIOUS_ID,
    GROUP_ID,
    MESSAGE_ID,
    TIMESTAMP,
    ORIGINAL_TIMESTAMP,
    SENT_AT,
    RECEIVED_AT,
    PROPERTIES,
    TRAITS,
    FIXED
};
#define PLACES 64
#define SAYING 16 /* at most so many paths, and one, lead to one field of ours */

/* rooms of words: objects and arrays on the way to what is asked for, and two of producers' words */
enum { CALLS, TRACKS, TOP, ROOMS = 16 };

/* meanings of words besides the numbers of kinds */
enum { IDENTIFY = MOST_KINDS, ALIAS };

#define WORDS 192
#define WORD_BYTES 40
#define TABLE_BITS 9

typedef struct {
    char letters[WORD_BYTES];
    int16_t size, room;
    int16_t means; /* a place, or a kind */
    int16_t inner; /* the room that its value opens, if that is an object or array; 0: nothing within is asked for */
} Word;

typedef struct {
    Word words[WORDS];
    uint8_t table[1 << TABLE_BITS]; /* open; 0: free, else the number of a word, and one */
    int word_count, room_count, place_count;
    uint8_t is_array[ROOMS];
    uint8_t item[SAYING], category[SAYING], amount[SAYING], dwell[SAYING]; /* places; the first that says something; 0: no more */
} Forms;

#define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* the class of events, and where its fields are */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t user, kind, time, category, amount, dwell, anonymous;
} EventAt;

struct Wire {
    PyObject_HEAD
    EventAt event;
    PyObject *kinds[MOST_KINDS]; /* that only add to counts; interned */
    const char *kind_letters[MOST_KINDS];
    Py_ssize_t kind_sizes[MOST_KINDS];
    int kind_count;
    Forms forms;
};

extern PyType_Spec wire_spec; /* wire_type.c */

/* what was found in a record */
typedef struct {
    uint8_t sorts[PLACES];
    Value values[PLACES];
} Found;

/* forms.c */
/* The rest of a new wire's arguments: as Wire() has them. 0, or -1 with an exception. */
int forms_begin(Wire *wire, PyObject *fields, PyObject *calls, PyObject *tracks, PyObject *const paths[4]);
int check_fields(PyTypeObject *event); /* -1: an error */
const Word *word_of(const Forms *of, int room, const char *letters, Py_ssize_t size);
int find_values(const Forms *forms, const char *at, const char *end, Found *found); /* 1: it is an object, whole and right */

/* json.c */
int kind_of(const Wire *wire, const char *letters, Py_ssize_t size);
int all_allowed(const Found *found, const uint16_t *allowed, int first, int last);
int wire_seconds(const Found *found, int place, double *seconds);

/* segment.c: 1: a call that becomes an event of a kind that only adds to counts; its bounds are still to be checked */
int read_call(const Wire *wire, const Found *found, Event *event, Value *id);

#endif
