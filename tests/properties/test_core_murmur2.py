"""The core's murmur2 is that of ``streams.steps.partitioner``, for every length."""

from __future__ import annotations

import random

import pytest

from streams.steps.partitioner import murmur2
from tests import core

pytestmark = pytest.mark.compiled
CORE = core.library()


def test_it_is_the_partitioner_s_for_every_length() -> None:
    draw = random.Random(15)
    for length in range(300):
        for data in (draw.randbytes(length), b"\0" * length, b"\xff" * length):
            assert CORE.murmur2(data, length) == murmur2(data), data
