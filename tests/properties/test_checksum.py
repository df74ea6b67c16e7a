"""The checksum of a batch is CRC-32C as it is defined, by whatever it is computed."""

from __future__ import annotations

import random

import pytest
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from state.compiled import COMPILED
from streams.kafka.batches import checksum

compiled = pytest.mark.compiled


def by_definition(data: bytes) -> int:
    """Bit by bit: the polynomial 0x1EDC6F41, reflected; it begins with ones and is inverted at the end."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def test_of_the_usual_sample() -> None:
    assert checksum(b"123456789") == by_definition(b"123456789") == 0xE3069283
    assert checksum(b"") == 0


@given(st.binary(max_size=100), st.integers(0, 9))
def test_wherever_the_bytes_lie(data: bytes, start: int) -> None:
    assert checksum(data) == by_definition(data)
    assert checksum(memoryview(data)[start:]) == by_definition(data[start:])


def test_of_many_bytes() -> None:
    data = random.Random(3).randbytes(300_001)
    for part in (data, data[:-1], data[5:], bytes(70_000)):
        assert checksum(part) == calc_crc32c(part)


@compiled
def test_only_bytes_in_one_piece_have_one() -> None:
    assert COMPILED is not None
    if COMPILED.crc32c(b"") is None:  # another processor: aiokafka's is taken
        assert checksum is calc_crc32c
        return
    assert checksum is COMPILED.crc32c
    for wrong in ("text", None, memoryview(bytes(8))[::2]):
        with pytest.raises((TypeError, BufferError)):
            checksum(wrong)
