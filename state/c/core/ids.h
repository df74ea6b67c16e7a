/* The ids of events that a user's state has counted: the lower 56 bits of their xxh3, in order of arrival, and of each
 * sixteen the latest second of arrival. The newest, fewer than 64, lie in the block; a full 64 become a record of their
 * own, of which first to stored - 1 are there. Which records are kept: docs/adr/0035. */
#ifndef SEGMENTS_IDS_H
#define SEGMENTS_IDS_H

#include "block.h"

enum { IDS_RECORD = 64, IDS_GROUP = 16, ID_BYTES = 7, SECOND_BYTES = 4 };
enum {
    IDS_HEAD = 12,
    IDS_GROUP_BYTES = SECOND_BYTES + IDS_GROUP * ID_BYTES,
    IDS_RECORD_BYTES = IDS_RECORD / IDS_GROUP * IDS_GROUP_BYTES
};
#define MOST_RECORDS 1024 /* 65,536 ids */
#define ID_MASK (UINT64_MAX >> 8)

enum { ID_NEW = DONE, ID_NO_ROOM = NO_ROOM, ID_KNOWN, ID_CLOSED };

typedef struct {
    uint32_t first, stored, count; /* count: in the block */
} Ids;

Ids ids_of(const UserBlock *block);
/* Bytes of a section with so many ids, before its padding. */
size_t ids_size(uint32_t count);
/* Whether it is among those in the block. */
int ids_has(const UserBlock *block, uint64_t hash);
/* Adds an id that is in no record. ID_CLOSED: it is the 64th, and all of them are in ``closed`` now, whose number is the
 * last that is stored; the block has none. */
int ids_add(UserBlock *block, uint64_t hash, uint32_t second, uint8_t closed[IDS_RECORD_BYTES]);
/* The records before this number are no longer wanted; at most ``stored``. */
void ids_forget(UserBlock *block, uint32_t first);
/* The youngest second of a full record. */
uint32_t ids_youngest(const uint8_t record[IDS_RECORD_BYTES]);

#endif
