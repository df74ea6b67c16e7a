/* Which partition a key belongs to: streams/steps/partitioner.py says the same. */
#ifndef SEGMENTS_MURMUR2_H
#define SEGMENTS_MURMUR2_H

#include <stddef.h>
#include <stdint.h>

/* Unsigned 32-bit murmur2 as Kafka's clients have it: seed 0x9747b28c. */
uint32_t murmur2(const char *key, size_t size);

/* The partition that Kafka's default partitioner chooses for a key, of so many (at least one). */
static inline uint32_t murmur2_partition(const char *key, size_t size, uint32_t partitions)
{
    return (murmur2(key, size) & INT32_MAX) % partitions;
}

#endif
