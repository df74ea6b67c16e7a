/* XXH3 of 64 bits, plain and with a seed, as the published specification of xxHash has it. Plain it is what ids, cells and
 * segments are marked by in what is stored; a seed that nobody outside knows keeps producers from choosing names that
 * all meet in a table. It has no vector instructions: what is hashed here is short. */
#ifndef SEGMENTS_XXH3_H
#define SEGMENTS_XXH3_H

#include <stddef.h>
#include <stdint.h>

uint64_t xxh3(const void *bytes, size_t size);
uint64_t xxh3_seeded(const void *bytes, size_t size, uint64_t seed);

#endif
