"""The core's own XXH3 is that of the package ``xxhash``, for every length and seed."""

from __future__ import annotations

import ctypes
import random

import pytest
import xxhash

from tests import core

pytestmark = pytest.mark.compiled
CORE = core.library()
#: all six ways of the specification, their ends, and blocks of 1,024 bytes in the last
LENGTHS = range(2_049)


def test_it_is_the_package_s_for_every_length() -> None:
    draw = random.Random(12)
    for length in LENGTHS:
        data = draw.randbytes(length)
        assert CORE.xxh3(data, length) == xxhash.xxh3_64_intdigest(data), length


def test_it_is_the_package_s_with_seeds() -> None:
    draw = random.Random(13)
    for length in LENGTHS:
        data = draw.randbytes(length)
        for seed in (0, 1, 2**63, 2**64 - 1, draw.getrandbits(32), draw.getrandbits(64)):
            assert CORE.xxh3_seeded(data, length, seed) == xxhash.xxh3_64_intdigest(data, seed=seed), (length, seed)


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_bytes_that_are_all_alike_are_no_case_of_their_own(byte: int) -> None:
    for length in LENGTHS:
        data = bytes([byte]) * length
        assert CORE.xxh3(data, length) == xxhash.xxh3_64_intdigest(data), length


def test_it_reads_from_any_address() -> None:
    data = random.Random(14).randbytes(4_096 + 64)
    for start in range(64):
        part = data[start : start + 4_096]
        at = ctypes.create_string_buffer(b"x" * start + part)
        found = CORE.xxh3(ctypes.cast(ctypes.byref(at, start), ctypes.c_char_p), len(part))
        assert found == xxhash.xxh3_64_intdigest(part), start
