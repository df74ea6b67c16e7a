#include "cell_place.h"

#include <math.h>

CellPlace cell_find(const UserBlock *block, uint64_t mark)
{
    const uint8_t *cells = section_at(block, CELLS);
    size_t end = section_size(block, CELLS), at = 0;
    while (at < end) {
        uint64_t here = get_u64(cells + at);
        size_t size = (size_t)8 * get_u16(cells + at + 10);
        if (here >= mark)
            return (CellPlace){at, here == mark ? size : 0};
        at += size;
    }
    return (CellPlace){at, 0};
}

CellPlace cell_find_type(const UserBlock *block, uint64_t mark, uint8_t type)
{
    CellPlace place = cell_find(block, mark);
    if (place.size && section_at(block, CELLS)[place.at + 8] != type)
        place.size = 0;
    return place;
}

uint8_t *cell_resize(UserBlock *block, CellPlace place, size_t size)
{
    return block_splice(block, CELLS, place.at, place.size, size);
}

void cell_put_head(uint8_t *cell, uint64_t mark, uint8_t type, uint8_t form, uint32_t head, size_t size)
{
    put_u64(cell, mark);
    cell[8] = type;
    cell[9] = form;
    put_u16(cell + 10, (uint16_t)(size / 8));
    put_u32(cell + 12, head);
}

/* latest times */

double cells_latest(const UserBlock *block, uint64_t mark)
{
    CellPlace place = cell_find_type(block, mark, CELL_LATEST);
    return place.size ? get_f64(section_at(block, CELLS) + place.at + CELL_HEAD) : 0.0;
}

int cells_put_latest(UserBlock *block, uint64_t mark, double latest)
{
    CellPlace place = cell_find(block, mark);
    size_t size = latest != 0.0 ? CELL_HEAD + 8 : 0;
    if (size == 0) {
        cells_drop(block, mark);
        return DONE;
    }
    if (place.size && section_at(block, CELLS)[place.at + 8] != CELL_LATEST) {
        cells_drop(block, mark); /* no fold made this; it has more bytes than are wanted */
        place.size = 0;
    }
    uint8_t *cell = cell_resize(block, place, size);
    if (cell == NULL)
        return NO_ROOM;
    cell_put_head(cell, mark, CELL_LATEST, 0, 0, size);
    put_f64(cell + CELL_HEAD, latest);
    return DONE;
}

int cells_note(UserBlock *block, uint64_t mark, double time)
{
    return time > fabs(cells_latest(block, mark)) ? cells_put_latest(block, mark, time) : DONE;
}

/* cells that only Python understands */

Opaque cells_opaque(const UserBlock *block, uint64_t mark)
{
    CellPlace place = cell_find_type(block, mark, CELL_OPAQUE);
    if (place.size == 0)
        return (Opaque){0.0, 0.0, 0, NULL, 0};
    const uint8_t *cell = section_at(block, CELLS) + place.at, *at = cell + CELL_HEAD;
    return (Opaque){get_f64(at), get_f64(at + 8), get_u16(at + 16), at + OPAQUE_HEAD, get_u32(cell + 12)};
}

static int is_opaque(const uint8_t *cell)
{
    return cell[8] == CELL_OPAQUE;
}

/* the flag that says whether there are any */
static void flag_opaque(UserBlock *block)
{
    const uint8_t *cell = section_at(block, CELLS), *end = cell + section_size(block, CELLS);
    while (cell < end && !is_opaque(cell))
        cell += (size_t)8 * get_u16(cell + 10);
    block_flag(block, FLAG_OPAQUE, cell < end);
}

int cells_put_opaque(UserBlock *block, uint64_t mark, const Opaque *opaque)
{
    size_t size = padded(CELL_HEAD + OPAQUE_HEAD + (size_t)opaque->size);
    if (size > (size_t)8 * UINT16_MAX)
        return NO_ROOM;
    uint8_t *cell = cell_resize(block, cell_find(block, mark), size);
    if (cell == NULL)
        return NO_ROOM;
    memset(cell, 0, size);
    cell_put_head(cell, mark, CELL_OPAQUE, 0, opaque->size, size);
    uint8_t *at = cell + CELL_HEAD;
    put_f64(at, opaque->next);
    put_f64(at + 8, opaque->until);
    put_u16(at + 16, opaque->type);
    if (opaque->size)
        memcpy(at + OPAQUE_HEAD, opaque->bytes, opaque->size);
    block_flag(block, FLAG_OPAQUE, 1);
    return DONE;
}

/* the least of a number of opaque cells that is above ``now`` */
static double least(const UserBlock *block, size_t at, double now)
{
    const uint8_t *cell = section_at(block, CELLS), *end = cell + section_size(block, CELLS);
    double found = (double)INFINITY;
    for (; cell < end; cell += (size_t)8 * get_u16(cell + 10)) {
        double number = is_opaque(cell) ? get_f64(cell + CELL_HEAD + at) : found;
        found = number > now && number < found ? number : found;
    }
    return found;
}

double cells_next_change(const UserBlock *block)
{
    return least(block, 0, -1.0);
}

double cells_opaque_known(const UserBlock *block, double now)
{
    return least(block, 8, now);
}

/* all kinds */

int cells_has(const UserBlock *block, uint64_t mark)
{
    return cell_find(block, mark).size != 0;
}

void cells_drop(UserBlock *block, uint64_t mark)
{
    CellPlace place = cell_find(block, mark);
    if (place.size) {
        cell_resize(block, place, 0);
        flag_opaque(block);
    }
}

void cells_keep_only(UserBlock *block, const uint64_t *marks, size_t count)
{
    size_t i = 0;
    for (size_t at = 0; at < section_size(block, CELLS);) {
        const uint8_t *cell = section_at(block, CELLS) + at;
        uint64_t mark = get_u64(cell);
        size_t size = (size_t)8 * get_u16(cell + 10);
        while (i < count && marks[i] < mark)
            i++;
        if (i < count && marks[i] == mark)
            at += size;
        else
            block_splice(block, CELLS, at, size, 0);
    }
    flag_opaque(block);
}
