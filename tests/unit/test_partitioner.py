"""The partition of a user is Kafka's, whatever the id."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from streams.steps.partitioner import murmur2, partition_of


@given(st.binary(max_size=64))
def test_murmur2_equals_aiokafkas(data: bytes) -> None:
    assert murmur2(data) == aiokafka_murmur2(data) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_equals_the_values_in_apache_kafkas_own_test(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed & 0xFFFFFFFF


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.integers(1, 1_000))
def test_the_partition_is_one_of_them_and_that_of_the_java_client(user: str, partitions: int) -> None:
    assert partition_of(user, partitions) == (aiokafka_murmur2(user.encode()) & 0x7FFFFFFF) % partitions < partitions
