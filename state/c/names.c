/* Numbers for strings (of a kind), in order of appearance: an open table, used without the GIL. */
#include "reading.h"

int names_begin(Names *names, uint64_t seed)
{
    names->seed = seed;
    names->count = 0;
    names->room = 512;
    names->mask = 1023; /* at most half of the places are taken */
    names->names = PyMem_RawMalloc((size_t)names->room * sizeof(Name));
    names->places = PyMem_RawCalloc(names->mask + 1, sizeof(int32_t)); /* 0: free; else the number and one */
    return names->names == NULL || names->places == NULL ? -1 : 0;
}

void names_end(Names *names)
{
    PyMem_RawFree(names->names);
    PyMem_RawFree(names->places);
    names->names = NULL;
    names->places = NULL;
}

static int grow(Names *names)
{
    if (names->room > INT32_MAX / 2)
        return -1;
    size_t mask = names->mask * 2 + 1;
    Name *more = PyMem_RawRealloc(names->names, (size_t)names->room * 2 * sizeof(Name));
    if (more == NULL)
        return -1;
    names->names = more;
    int32_t *places = PyMem_RawCalloc(mask + 1, sizeof(int32_t));
    if (places == NULL)
        return -1;
    for (int32_t i = 0; i < names->count; i++) {
        size_t at = more[i].hash & mask;
        while (places[at])
            at = (at + 1) & mask;
        places[at] = (int32_t)(i + 1);
    }
    PyMem_RawFree(names->places);
    names->places = places;
    names->mask = mask;
    names->room *= 2;
    return 0;
}

static size_t place_of(const Names *names, uint64_t hash, const char *letters, int32_t size, int32_t kind)
{
    size_t at = hash & names->mask;
    for (int32_t place; (place = names->places[at]) != 0; at = (at + 1) & names->mask) {
        const Name *name = &names->names[place - 1];
        if (name->hash == hash && name->size == size && name->kind == kind && memcmp(name->letters, letters, (size_t)size) == 0)
            break;
    }
    return at;
}

static uint64_t hash_of(const Names *names, const char *letters, int32_t size, int32_t kind)
{
    return name_hash(names->seed + (uint64_t)kind, letters, (size_t)size);
}

int32_t names_find(const Names *names, const char *letters, int32_t size, int32_t kind)
{
    if (names->count == 0)
        return -1;
    return names->places[place_of(names, hash_of(names, letters, size, kind), letters, size, kind)] - 1;
}

int32_t names_number(Names *names, const char *letters, int32_t size, int32_t kind)
{
    uint64_t hash = hash_of(names, letters, size, kind);
    size_t at = place_of(names, hash, letters, size, kind);
    if (names->places[at] != 0)
        return names->places[at] - 1;
    if (names->count == names->room) {
        if (grow(names) < 0)
            return -1;
        at = place_of(names, hash, letters, size, kind);
    }
    names->names[names->count] = (Name){.hash = hash, .letters = letters, .size = size, .kind = kind};
    names->places[at] = names->count + 1;
    return names->count++;
}
