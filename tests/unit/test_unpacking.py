"""Unpacking lz4 into room that is there: enough for whatever a frame holds, and not much more."""

from __future__ import annotations

import random
import struct

import cramjam
import numpy as np
import pytest
import xxhash

from streams.kafka import batches
from streams.kafka.batches import UnreadableError, unpacked
from tests.properties.test_fetched import batch

BLOCK = 1 << 16
SIZES = (0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 77)


def frame(data: bytes, flags: int = 0x60, stored: bool = False) -> bytes:
    """As librdkafka and Kafka's own client make it: independent blocks of 64 KB, no checksums."""
    found = b"\x04\x22\x4d\x18" + bytes([flags, 0x40])
    if flags & 0x08:
        found += struct.pack("<Q", len(data))
    found += bytes([xxhash.xxh32_intdigest(found[4:]) >> 8 & 0xFF])
    for at in range(0, len(data), BLOCK):
        part = data[at : at + BLOCK]
        packed = bytes(cramjam.lz4.compress_block(part, store_size=False))
        if stored or len(packed) >= len(part):
            found += struct.pack("<I", len(part) | 1 << 31) + part
        else:
            found += struct.pack("<I", len(packed)) + packed
    return found + bytes(4)


def data_of(size: int, random_bytes: bool) -> bytes:
    filler = random.Random(size)
    return filler.randbytes(size) if random_bytes else bytes(filler.choices(b"ab", k=size))


@pytest.mark.parametrize("random_bytes", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_there_is_room_for_a_frame_and_for_not_much_more(size: int, random_bytes: bool) -> None:
    data = data_of(size, random_bytes)
    for packed in (frame(data), frame(data, stored=True), bytes(cramjam.lz4.compress(data))):
        room = batches._room_of_lz4(memoryview(packed))
        assert size <= room <= size + 2 * BLOCK
        assert bytes(batches._unpack_lz4(memoryview(packed))) == data


def test_a_frame_that_does_not_tell_is_unpacked_all_the_same() -> None:
    data = data_of(3 * BLOCK, random_bytes=False)
    with_size = frame(data, flags=0x68)
    assert batches._room_of_lz4(memoryview(with_size)) == 0
    assert bytes(batches._unpack_lz4(memoryview(with_size))) == data


def test_a_frame_that_is_cut_off_or_nothing_of_the_kind_is_told_as_before() -> None:
    whole = bytearray(batch([(0, 1, b"k", data_of(3 * BLOCK, random_bytes=True), [])], codec=3))
    for cut in (61, 62, 66, 68, 72, len(whole) // 2, len(whole) - 5):
        with pytest.raises(UnreadableError):
            unpacked(batches.Batch(memoryview(bytes(whole[:cut]))))
    for at in (61, 65, 66):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        with pytest.raises(UnreadableError):
            unpacked(batches.Batch(memoryview(bytes(broken))))


def test_a_frame_cannot_ask_for_more_than_a_batch_may_become() -> None:
    blocks = (struct.pack("<I", 1 << 24) + bytes(1 << 24)) * 3
    said = memoryview(b"\x04\x22\x4d\x18\x60\x70\x00" + blocks + bytes(4))
    assert batches._room_of_lz4(said) == 3 * (1 << 22)
    many = memoryview(b"\x04\x22\x4d\x18\x60\x70\x00" + (struct.pack("<I", 20_000) + bytes(20_000)) * 40 + bytes(4))
    assert batches._room_of_lz4(many) > batches.MOST_BYTES

    def decode(_packed: memoryview, out: np.ndarray) -> int:
        assert len(out) == batches.MOST_BYTES
        return 0

    batches._into_room(decode, many, batches._room_of_lz4(many))
