/* Where cells lie, for cells.c and tallies.c alone. */
#ifndef SEGMENTS_CELL_PLACE_H
#define SEGMENTS_CELL_PLACE_H

#include "cells.h"

/* a cell's place in its section; ``size`` 0: it would be there */
typedef struct {
    size_t at, size;
} CellPlace;

CellPlace cell_find(const UserBlock *block, uint64_t mark);
/* the same; size 0 if it is of another type */
CellPlace cell_find_type(const UserBlock *block, uint64_t mark, uint8_t type);
/* NULL: no room */
uint8_t *cell_resize(UserBlock *block, CellPlace place, size_t size);
void cell_put_head(uint8_t *cell, uint64_t mark, uint8_t type, uint8_t form, uint32_t head, size_t size);

#endif
