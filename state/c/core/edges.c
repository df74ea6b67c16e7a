#include "edges.h"

#include <math.h>

typedef struct {
    size_t at, size; /* size 0: it would be there */
} Place;

static Place find(const UserBlock *block, enum Section which, const char *name, size_t size)
{
    const uint8_t *edges = section_at(block, which);
    size_t end = section_size(block, which), at = EDGES_HEAD;
    while (at < end) {
        size_t here = get_u16(edges + at + 8), entry = padded(EDGE_HEAD + here);
        int order = memcmp(edges + at + EDGE_HEAD, name, here < size ? here : size);
        if (order > 0 || (order == 0 && here >= size))
            return (Place){at, order == 0 && here == size ? entry : 0};
        at += entry;
    }
    return (Place){at, 0};
}

double edges_get(const UserBlock *block, enum Section which, const char *name, size_t size)
{
    Place place = find(block, which, name, size);
    return place.size ? get_f64(section_at(block, which) + place.at) : 0.0;
}

static void count(UserBlock *block, enum Section which, uint32_t by)
{
    uint8_t *at = section_at(block, which);
    put_u32(at, get_u32(at) + by);
}

int edges_set(UserBlock *block, enum Section which, const char *name, size_t size, double time, int present)
{
    Place place = find(block, which, name, size);
    double known = 0.0;
    uint8_t *edge;
    if (place.size) {
        edge = section_at(block, which) + place.at;
        known = get_f64(edge);
        if (fabs(known) > time || (fabs(known) == time && (known < 0.0 || present)))
            return DONE;
    } else {
        int first = section_size(block, which) == 0;
        size_t lead = first ? EDGES_HEAD : 0; /* the first entry comes with the count */
        uint8_t *at = block_splice(block, which, first ? 0 : place.at, 0, lead + padded(EDGE_HEAD + size));
        if (at == NULL)
            return NO_ROOM;
        count(block, which, 1);
        edge = at + lead;
        put_u16(edge + 8, (uint16_t)size);
        memcpy(edge + EDGE_HEAD, name, size);
    }
    put_f64(edge, present ? time : -time);
    return (known > 0.0) != (present != 0) ? EDGE_CHANGED : DONE;
}

void edges_drop(UserBlock *block, enum Section which, const char *name, size_t size)
{
    Place place = find(block, which, name, size);
    if (place.size == 0)
        return;
    if (place.size + EDGES_HEAD == section_size(block, which)) {
        block_splice(block, which, 0, place.size + EDGES_HEAD, 0);
        return;
    }
    block_splice(block, which, place.at, place.size, 0);
    count(block, which, UINT32_MAX); /* less 1 */
}

size_t edges_next(const UserBlock *block, enum Section which, size_t *at, const char **name, double *time)
{
    *at = *at ? *at : EDGES_HEAD;
    if (*at >= section_size(block, which))
        return 0;
    const uint8_t *edge = section_at(block, which) + *at;
    size_t size = get_u16(edge + 8);
    *time = get_f64(edge);
    *name = (const char *)edge + EDGE_HEAD;
    *at += padded(EDGE_HEAD + size);
    return size;
}

uint32_t edges_count(const UserBlock *block, enum Section which, int present)
{
    uint32_t found = 0;
    const char *name;
    double time;
    for (size_t at = 0; edges_next(block, which, &at, &name, &time);)
        found += (time > 0.0) == (present != 0);
    return found;
}

/* whether a name comes after another */
static int is_after(const uint8_t *name, size_t size, const char *other, size_t other_size)
{
    int order = memcmp(name, other, size < other_size ? size : other_size);
    return order > 0 || (order == 0 && size > other_size);
}

void edges_drop_after(UserBlock *block, enum Section which, int present, double age, const char *name, size_t size)
{
    uint8_t *edges = section_at(block, which);
    size_t end = section_size(block, which), to = EDGES_HEAD;
    uint32_t dropped = 0;
    for (size_t at = EDGES_HEAD; at < end;) {
        double time = get_f64(edges + at);
        size_t here = get_u16(edges + at + 8), entry = padded(EDGE_HEAD + here);
        int older = fabs(time) < age || (fabs(time) == age && is_after(edges + at + EDGE_HEAD, here, name, size));
        if ((time > 0.0) == (present != 0) && older) {
            dropped++;
        } else {
            memmove(edges + to, edges + at, entry);
            to += entry;
        }
        at += entry;
    }
    if (dropped == 0)
        return;
    count(block, which, 0 - dropped);
    to = to == EDGES_HEAD ? 0 : to; /* the count goes with the last one */
    block_splice(block, which, to, end - to, 0);
}
