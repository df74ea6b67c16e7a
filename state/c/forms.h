/* The forms of records, as bind_forms() was told them: which keys are asked for, and what words of a producer mean. */
#ifndef FORMS_H
#define FORMS_H

#include "scan.h"

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

extern Forms forms;

/* what was found in a record */
typedef struct {
    uint8_t sorts[PLACES];
    Value values[PLACES];
} Found;

/* forms.c */
int check_fields(PyTypeObject *event); /* -1: an error */
PyObject *bind_forms(PyObject *module, PyObject *args);
const Word *word_of(const Forms *of, int room, const char *letters, Py_ssize_t size);
int find_values(const char *at, const char *end, Found *found); /* 1: it is an object, whole and right */

/* json.c */
int kind_of(const char *letters, Py_ssize_t size);
int all_allowed(const Found *found, const uint16_t *allowed, int first, int last);
int wire_seconds(const Found *found, int place, double *seconds);

/* segment.c: 1: a call that becomes an event of a kind that only adds to counts; its bounds are still to be checked */
int read_call(const Found *found, Event *event, Value *id);

#endif
