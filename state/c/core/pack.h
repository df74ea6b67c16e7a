/* How the block of a user lies in memory who had no turn for a while (rest.h): packed, without the bytes that are zero.
 * Numbers are wide and mostly small, so header and cells are more than half zeros; those of counters and ids are not, and
 * are taken as they are. Store and changelog have blocks, and a turn works on a block.
 *
 *   u16 size of the block in units of 8; header, then the sections behind CATEGORIES and before IDS, of each 8 bytes
 *   u8 which of them are not zero, and those; KINDS and CATEGORIES; IDS; one more byte at the end */
#ifndef SEGMENTS_PACK_H
#define SEGMENTS_PACK_H

#include "block.h"

#define PACK_LARGEST ((size_t)4096) /* a block of more is left as it is */
#define PACK_ROOM (2 + PACK_LARGEST / 8 * 9 + 1)

/* Packs a block of up to PACK_LARGEST bytes that block_check has found right, and gives the bytes of that. */
size_t block_pack(const uint8_t *block, size_t size, uint8_t packed[PACK_ROOM]);
/* Bytes of the block that was packed, and the block. */
size_t packed_size(const uint8_t *packed);
void packed_read(const uint8_t *packed, uint8_t *block);
/* Its due, without the rest. */
double packed_due(const uint8_t *packed);

#endif
