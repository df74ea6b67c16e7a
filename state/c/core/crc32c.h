/* CRC-32C (Castagnoli), which Kafka's batches carry, by the processor's own instruction. */
#ifndef SEGMENTS_CRC32C_H
#define SEGMENTS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* whether this processor has one; only then may it be asked for */
int crc32c_is_there(void);
uint32_t crc32c(const void *bytes, size_t size);

#endif
