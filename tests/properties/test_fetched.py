"""Fetched batches come out as aiokafka's own records, by the compiled reader and by its twin."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from state.compiled import COMPILED
from streams.kafka.fetched import Batches, FetchedPartition
from streams.steps.effects import DamagedBatch

Sent = tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
compiled = pytest.mark.compiled
TP = TopicPartition("t", 0)
#: none, gzip, snappy, lz4, zstd
CODECS = range(5)
APPEND_TIME, CONTROL = 0x08, 0x20
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"

BYTES = st.none() | st.binary(max_size=20) | st.just(b"x" * 300)
HEADERS = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=5), BYTES), max_size=3)


@st.composite
def some_records(draw: st.DrawFn) -> list[Sent]:
    """Offsets within the batch have gaps, as after compaction; the first one is often missing, too."""
    offset, found = draw(st.integers(0, 2)), []
    for _ in range(draw(st.integers(0, 6))):
        found.append((offset, draw(st.integers(0, 2**40)), draw(BYTES), draw(BYTES), draw(HEADERS)))
        offset += draw(st.integers(1, 3))
    return found


def batch(
    records: Sequence[Sent], base: int = 0, codec: int = 0, flags: int = 0, producer: int = -1, last: int | None = None
) -> bytes:
    """A batch as the broker keeps it: with its place, flags, and ``last`` where that record was compacted away."""
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, 0, 1 << 20)
    for offset, timestamp, key, value, headers in records:
        builder.append(offset, timestamp, key, value, headers)
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    data[22] |= flags
    if last is not None:
        struct.pack_into(">i", data, 23, last)
    return sealed(data)


def sealed(data: bytearray) -> bytes:
    """With the right checksum."""
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data)


def partition(
    data: bytes, start: int = 0, aborted: Sequence[tuple[int, int]] = (), crc: bool = True
) -> FetchedPartition:
    return FetchedPartition(TP, Batches(data), [*aborted], start, None, None, crc, fetcher.READ_COMMITTED)


def plain(record: Any) -> tuple[Any, ...]:
    headers = [(name, value) for name, value in record.headers]
    return record.offset, record.timestamp, record.timestamp_type, record.key, record.value, headers


def drained(data: bytes, start: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> tuple[Any, ...]:
    """What is handed on, part by part, and where the next fetch begins."""
    fetched = partition(data, start, aborted)
    found: list[tuple[Any, ...]] = []
    while not fetched.ended:
        for record in fetched.drain():
            assert not isinstance(record, DamagedBatch)
            found.append(plain(record))
    return found, fetched.next_fetch_offset


def outcome(data: bytes, start: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> tuple[Any, ...]:
    """The same, by both readers."""
    compiled = drained(data, start, aborted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.kafka.batches.COMPILED", None)
        assert drained(data, start, aborted) == compiled
    return compiled


def by_aiokafka(data: bytes, start: int = 0, aborted: Sequence[tuple[int, int]] = ()) -> tuple[Any, ...]:
    """The same by aiokafka alone: its own generator."""
    base = FetchedPartition.__base__
    records = base(TP, MemoryRecords(data), [*aborted], start, None, None, True, fetcher.READ_COMMITTED)
    return [plain(record) for record in records], records.next_fetch_offset


@settings(deadline=None)
@given(st.lists(st.tuples(some_records(), st.sampled_from(CODECS), st.booleans()), max_size=4), st.integers(0, 30))
def test_batches_of_any_kind_come_out_as_aiokafkas_records(
    batches: list[tuple[list[Sent], int, bool]], start: int
) -> None:
    data, base = b"", 0
    for records, codec, appended in batches:
        last = (records[-1][0] if records else 0) + 1
        data += batch(records, base, codec if records else 0, APPEND_TIME if appended else 0, last=last)
        base += last + 1
    start = min(start, (batches[0][0][-1][0] if batches[0][0] else 0) + 1) if batches else 0  # as a fetch begins
    assert outcome(data, start) == by_aiokafka(data, start)
    if not data:
        return
    cut_off = data + batch([(0, 1, b"k", b"v" * 50, [])], base)[:-1]
    assert outcome(cut_off, start) == by_aiokafka(data, start)


def test_the_compiled_reader_is_the_one_that_is_used_where_it_is_there() -> None:
    records: list[Sent] = [(0, 5, None, b"v", [("h", None)]), (3, 6, b"k", None, [])]
    data = b"".join(batch(records, 10 * codec, codec, last=4) for codec in CODECS)
    assert isinstance(partition(data).drain(), list) == (COMPILED is None)
    assert outcome(data, 2) == by_aiokafka(data, 2)


def test_aborted_transactions_and_markers_are_left_out() -> None:
    def sent(name: bytes) -> list[Sent]:
        return [(0, 1, b"k", name, []), (1, 1, b"k", name, [])]

    def marker(kind: bytes) -> list[Sent]:
        return [(0, 1, kind, b"\x00\x00\x00\x00\x00\x00", [])]

    data = b"".join(
        (
            batch(sent(b"aborted"), 0, producer=7),
            batch(sent(b"committed"), 2, codec=3, producer=8),
            batch(sent(b"aborted"), 4, producer=7),
            batch(marker(ABORT), 6, flags=CONTROL, producer=7),
            batch(sent(b"later"), 7, producer=7),
            batch(marker(COMMIT), 9, flags=CONTROL, producer=8),
            batch(marker(COMMIT), 10, flags=CONTROL, producer=7),
            batch(sent(b"of nobody"), 11),
        )
    )
    records, after = outcome(data, aborted=[(7, 0)])
    assert [record[4] for record in records] == [b"committed"] * 2 + [b"later"] * 2 + [b"of nobody"] * 2
    assert after == 13
    assert (records, after) == by_aiokafka(data, aborted=[(7, 0)])


def test_a_compressed_batch_of_which_compaction_left_nothing_is_empty() -> None:
    left = bytearray(batch([], 5, last=9))
    left[22] |= 2  # what it was compressed by: there is nothing to decompress
    data = sealed(left) + batch([(0, 1, b"k", b"next", [])], 15)
    records, after = outcome(data, 5)
    assert [(record[0], record[4]) for record in records] == [(15, b"next")]
    assert after == 16


def test_a_fetch_of_nothing_but_a_marker_moves_on() -> None:
    data = batch([(0, 1, COMMIT, b"\x00\x00\x00\x00\x00\x00", [])], 5, flags=CONTROL, producer=7)
    fetched = partition(data, 5)
    assert not fetched.drain()
    assert fetched.next_fetch_offset == 6


def test_batches_of_old_formats_are_read_by_aiokafka() -> None:
    for magic in (0, 1):
        builder = LegacyRecordBatchBuilder(magic, 0, 1 << 16)
        for offset in range(3):
            builder.append(offset, timestamp=99 if magic else None, key=b"k", value=b"%d" % offset)
        fetched = partition(bytes(builder.build()), 1).drain()
        assert isinstance(fetched, list)
        assert [record.value for record in fetched] == [b"1", b"2"]


@compiled
def test_records_are_a_sequence() -> None:
    sent: list[Sent] = [(number, number, b"k%d" % number, b"v", [("h", b"1")]) for number in range(9)]
    records = partition(batch(sent[:4]) + batch([(at - 4, *rest) for at, *rest in sent[4:]], 4)).drain()  # type: ignore[misc]
    whole = [plain(record) for record in records]
    assert len(records) == len(whole) == 9
    for start, stop in ((0, 9), (2, 5), (3, None), (None, -2), (-3, None), (7, 3), (20, 30)):
        assert [plain(record) for record in records[start:stop]] == whole[start:stop]
    assert [plain(record) for record in records[1:8][2:4]] == whole[1:8][2:4]
    assert plain(records[-1]) == whole[-1]
    assert [record.offset for record in reversed(records)] == [*range(8, -1, -1)]
    for wrong in (9, -10):
        with pytest.raises(IndexError):
            records[wrong]
    with pytest.raises(ValueError, match="one piece"):
        records[::2]
    assert not records[9:]
    assert repr(records[3]) == "<Record 3>"


@compiled
def test_a_record_outlives_its_fetch() -> None:
    records = partition(batch([(0, 1, b"key", b"value" * 100, [("h", b"x")])], codec=3)).drain()
    record = records[0]
    del records
    junk = [bytes(500) for _ in range(1_000)]
    assert plain(record)[3:] == (b"key", b"value" * 100, [("h", b"x")])
    del junk


@compiled
def test_no_reference_is_kept() -> None:
    data = batch([(number, 1, b"key", b"value", [("h", b"x")]) for number in range(100)], codec=3)

    def load() -> int:
        for _ in range(50):
            for record in partition(data).drain()[10:]:
                plain(record)
        return sys.getallocatedblocks()

    load()
    assert load() - load() < 500
    before = load()
    assert max(load() for _ in range(4)) - before < 500
