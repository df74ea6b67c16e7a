"""Which partition a user belongs to: Kafka's murmur2 of the id, as the Java clients partition.

Source: the 32-bit murmur2 of Apache Kafka (org.apache.kafka.common.utils.Utils), seed 0x9747b28c.
"""

from __future__ import annotations

from functools import lru_cache

#: the name of this placing, as it is recorded with the state
PARTITIONER = "murmur2"
_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(data: bytes) -> int:
    """Unsigned 32-bit murmur2."""
    length = len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(data[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if rest := data[whole:]:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=65_536)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, as Kafka's default partitioner for keyed records chooses it."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions
