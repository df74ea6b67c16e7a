/* Which of the rows of CATEGORIES a category is counted in: state.user.category_bucket. */
#ifndef SEGMENTS_BUCKET_H
#define SEGMENTS_BUCKET_H

#include <stddef.h>
#include <stdint.h>

/* The CRC-32 that zlib has, modulo 64. */
uint32_t category_bucket(const char *category, size_t size);

#endif
