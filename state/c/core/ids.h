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

/* a record of format 1: 64 hashes of 8 bytes, then 64 seconds of 4 */
enum { OLD_HASH_BYTES = 8, OLD_RECORD_BYTES = IDS_RECORD * (OLD_HASH_BYTES + SECOND_BYTES) };

enum { ID_NEW = DONE, ID_NO_ROOM = NO_ROOM, ID_KNOWN, ID_CLOSED, ID_NO_MEMORY, ID_BAD_SIZE };

typedef struct {
    uint32_t first, stored, count; /* count: in the block */
} Ids;

Ids ids_of(const UserBlock *block);
/* Bytes of a section with so many ids, before its padding. */
size_t ids_size(uint32_t count);
/* Whether it is among those in the block. */
int ids_has(const UserBlock *block, uint64_t hash);
/* The numbers of the records of a block that is not open. */
Ids ids_peek(const uint8_t *block, size_t size);
/* An id and its group's second, of the groups of a block or a record. */
uint64_t ids_hash(const uint8_t *groups, uint32_t i);
uint32_t ids_second(const uint8_t *groups, uint32_t i);
/* Adds an id that is nowhere yet. ID_NEW, ID_NO_ROOM; ID_CLOSED: it is the 64th, and all of them are in ``closed`` now,
 * whose number is the last that is stored; the block has none. */
int ids_put(UserBlock *block, uint64_t hash, uint32_t second, uint8_t closed[IDS_RECORD_BYTES]);
/* No record before this number is wanted any more; at most ``stored``. */
void ids_forget(UserBlock *block, uint32_t first);
/* Takes the ids of the block and the numbers of all records out. */
void ids_empty(UserBlock *block);
/* The youngest second of a full record. */
uint32_t ids_youngest(const uint8_t record[IDS_RECORD_BYTES]);
/* A record as format 1 wrote it, in this format's bytes: hashes are cut, the seconds of sixteen are joined. */
void ids_from_old(const uint8_t old[OLD_RECORD_BYTES], uint8_t record[IDS_RECORD_BYTES]);

#endif
