/* The only door through which bytes become a block, whoever wrote them: store, changelog, another partition. */
#ifndef SEGMENTS_CHECK_H
#define SEGMENTS_CHECK_H

#include <stddef.h>
#include <stdint.h>

enum BlockFault {
    BLOCK_SOUND,
    BLOCK_BAD_FORMAT, /* another format */
    BLOCK_NEWER,      /* a flag, section, spare number or kind of cell that a later release has */
    BLOCK_BAD_SIZE,   /* bytes are missing or left over, of all or of a part */
    BLOCK_BAD_ORDER,  /* what is sorted is not, or has something twice */
    BLOCK_BAD_NUMBER, /* a number that cannot be: a time, a sum, a count, no finite number */
    BLOCK_BAD_NAME,   /* a name that is empty, no UTF-8, or has another mark */
    BLOCK_BAD_FORM,   /* not the one way to write it: padding, an empty part, too wide values */
    BLOCK_FAULTS
};

/* Whether these are a record of format 2, written as this release writes it. */
enum BlockFault block_check(const uint8_t *bytes, size_t size);
/* A fault in a few words. */
const char *block_fault_words(enum BlockFault fault);

#endif
