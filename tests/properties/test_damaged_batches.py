"""What a batch holds cannot stop its partition: what can be read goes on, the rest becomes one dead letter.

Each is read by the compiled reader and by its twin, with the same outcome.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.kafka import batches, fetched
from streams.kafka.fetched import Batches, FetchResult, Patience, WrongChecksumError
from streams.steps.effects import DamagedBatch
from tests.properties.test_fetched import ABORT, CONTROL, Sent, batch, partition, plain, sealed, some_records

Found = tuple[list[tuple[Any, ...]], int]
THREE: list[Sent] = [(0, 1, b"k", b"one", []), (1, 1, b"k", b"two", []), (2, 1, b"k", b"three", [("h", b"x")])]


def read(data: bytes, start: int = 0) -> Found:
    """All that is handed on, and where the next fetch begins; a DamagedBatch as ("damaged", first, last, bytes)."""
    source = partition(data, start)
    found: list[tuple[Any, ...]] = []
    while not source.ended:
        try:
            records = source.drain()
        except WrongChecksumError as error:
            source.give_up(error.offset)
            continue
        if len(records) and isinstance(records[0], DamagedBatch):
            (lost,) = records
            found.append(("damaged", lost.first, lost.offset, lost.value))
        else:
            found += [plain(record) for record in records]
    return found, source.next_fetch_offset


def read_by_both(data: bytes, start: int = 0) -> Found:
    found = read(data, start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.kafka.batches.COMPILED", None)
        assert read(data, start) == found
    return found


def shown(found: Found) -> list[Any]:
    """Values of records, and ranges of what is damaged."""
    return [each[4] if each[0] != "damaged" else (each[1], each[2]) for each in found[0]]


def followed(damaged: bytes, base: int = 3) -> bytes:
    """With a good batch behind it."""
    return damaged + batch([(0, 1, b"k", b"next", [])], base)


def packed(body: bytes, codec: int, count: int, last: int) -> bytes:
    """A batch with such a body, whatever it is."""
    data = bytearray(batch([]))
    struct.pack_into(">i", data, 23, last)
    data[22] = codec
    struct.pack_into(">i", data, 57, count)
    data += body
    struct.pack_into(">i", data, 8, len(data) - 12)
    return sealed(data)


def test_a_header_whose_name_is_no_utf8_is_read_and_keeps_its_bytes() -> None:
    raw = bytearray(
        batch([(0, 1, b"k", b"v", [("NAME", b"x")]), (1, 1, b"k", b"next", [])]).replace(b"NAME", b"\xff\xfe\x00a")
    )
    ((_, _, _, _, value, headers), following), after = read_by_both(sealed(raw))
    assert (value, following[4], after) == (b"v", b"next", 2)
    assert headers == [("\udcff\udcfe\x00a", b"x")]
    assert headers[0][0].encode("utf-8", "surrogateescape") == b"\xff\xfe\x00a"


def test_of_a_batch_with_a_broken_record_those_before_it_go_on_and_the_rest_is_one_dead_letter() -> None:
    raw = bytearray(batch(THREE))
    raw[raw.index(b"two") - 1] = 0x7F  # the value is longer than the record
    found = read_by_both(followed(sealed(raw)))
    assert shown(found) == [b"one", (1, 2), b"next"]
    assert found[0][1][3] == sealed(raw)
    assert found[1] == 4


@pytest.mark.parametrize("count", [-1, 0, 2, 2**31 - 1])
def test_how_many_records_a_batch_says_it_has_is_not_believed(count: int) -> None:
    raw = bytearray(batch(THREE))
    struct.pack_into(">i", raw, 57, count)
    assert shown(read_by_both(followed(sealed(raw)))) == [b"one", b"two", b"three", b"next"]


def test_records_that_a_batch_says_it_has_and_has_not_are_a_dead_letter() -> None:
    raw = bytearray(batch(THREE, last=5))
    struct.pack_into(">i", raw, 57, 6)
    assert shown(read_by_both(followed(sealed(raw), 6))) == [b"one", b"two", b"three", (3, 5), b"next"]


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_compression_is_a_dead_letter(codec: int) -> None:
    assert shown(read_by_both(followed(packed(b"x" * 30, codec, 3, 2)))) == [(0, 2), b"next"]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_cannot_be_unpacked_is_a_dead_letter(codec: int) -> None:
    good = batch(THREE, codec=codec)[61:]
    for body in (b"", b"x" * 30, good[:-3], good[: len(good) // 2]):
        found = shown(read_by_both(followed(packed(body, codec, 3, 2))))
        assert found in ([(0, 2), b"next"], [b"one", b"two", b"three", b"next"])  # gzip's last bytes are a checksum
        assert found[0] == (0, 2) or body == good[:-3]


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_batch_that_unpacks_to_more_than_the_most_is_a_dead_letter_in_bounded_memory(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 1 << 20)
    pack: dict[int, Callable[[bytes], bytes]] = {
        1: gzip.compress,
        3: lambda data: bytes(cramjam.lz4.compress(data)),
        4: lambda data: bytes(cramjam.zstd.compress(data)),
    }
    for size, lost in ((1 << 19, False), (1 << 22, True)):
        record = batch([(0, 1, b"k", b"x" * size, [])])[61:]
        found = shown(read_by_both(followed(packed(pack[codec](record), codec, 1, 0), 1)))
        assert found == [(0, 0) if lost else b"x" * size, b"next"]


def test_gzip_of_several_members_is_unpacked_as_one() -> None:
    body = batch(THREE)[61:]
    members = zlib.compress(body[:9], wbits=31) + zlib.compress(body[9:], wbits=31)
    assert shown(read_by_both(packed(members, 1, 3, 2))) == [b"one", b"two", b"three"]


def test_a_wrong_checksum_is_told_and_changes_nothing_and_what_came_before_is_handed_on_first() -> None:
    bad = bytearray(batch(THREE, 1))
    bad[-3] ^= 1
    source = partition(batch([(0, 1, b"k", b"first", [])]) + followed(bytes(bad), 4))
    assert [record.value for record in source.drain()] == [b"first"]
    for _ in range(2):
        with pytest.raises(WrongChecksumError):
            source.drain()
        assert source.next_fetch_offset == 1
    source.give_up(1)
    (damaged,) = source.drain()
    assert (damaged.first, damaged.offset, damaged.value) == (1, 3, bytes(bad))
    assert [record.value for record in source.drain()] == [b"next"]
    assert source.ended


class Position:
    """aiokafka's state of a partition."""

    active, paused = True, False

    def __init__(self) -> None:
        self.position = 0

    def state_value(self, _tp: Any) -> Position:
        return self

    def consumed_to(self, offset: int) -> None:
        self.position = offset


def test_a_wrong_checksum_is_fetched_again_a_few_times_and_then_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(fetched, "PATIENCE", Patience())
    monkeypatch.setattr("streams.kafka.fetched.time.monotonic", lambda: now[0])
    bad = bytearray(batch(THREE))
    bad[-3] ^= 1
    data = followed(bytes(bad))
    where, fetches, found = Position(), 0, []
    while where.position < 4 and fetches < 100:
        fetches += 1
        records = partition(data, where.position)
        result = FetchResult(TopicPartition("t", 0), assignment=where, partition_records=records, backoff=0.1)
        while result.has_more():
            found += list(result.getall())
            now[0] += 0.05
    assert fetches == len(fetched._AGAIN_AFTER) + 1
    assert [getattr(each, "first", None) for each in found] == [0, None]
    assert found[1].value == b"next"
    assert now[0] > 100.0 + sum(fetched._AGAIN_AFTER)


@pytest.mark.parametrize("size", [1, 11, 16, 17, 40, 60])
def test_bytes_that_are_no_batch_at_all_are_passed_over(size: int) -> None:
    data = struct.pack(">qi", 0, max(0, size - 12)) + b"\x02" * 60
    for junk in (data[:size], b"\xff" * size):
        found, after = read_by_both(junk)
        assert [(each[0], each[3]) for each in found] == [("damaged", junk)]
        assert after == 1


def test_a_marker_that_cannot_be_read_stops_nothing() -> None:
    marker = bytearray(batch([(0, 1, ABORT, b"\x00\x00\x00\x00\x00\x00", [])], flags=CONTROL, producer=7))
    marker[61] = 0x7F
    assert shown(read_by_both(followed(sealed(marker), 1))) == [b"next"]


def test_a_large_fetch_is_unpacked_part_by_part() -> None:
    """Of a thousand records of 100 KB, which came as a few hundred KB, only so much is there at a time."""
    size, count = 100_000, 10
    body = b"".join(batch([(at, 1, b"k", b"x" * size, [])])[61:] for at in range(count))
    one = bytearray(packed(bytes(cramjam.lz4.compress(body)), 3, count, count - 1))
    data = b""
    for number in range(100):
        struct.pack_into(">q", one, 0, number * count)
        data += bytes(one)
    source = partition(data)
    most, read = 0, 0
    while not source.ended:
        records = source.drain()
        most = max(most, source.unpacked)
        assert records[0].offset == read
        read += len(records)
        del records
    assert read == 1_000
    assert most < fetched.PART_BYTES + count * size * 1.1


@settings(deadline=None, max_examples=500)
@given(some_records(), st.integers(0, 4), st.data())
def test_damaged_batches_come_out_alike_and_no_offset_is_passed_over_silently(
    records: list[Sent], codec: int, data: st.DataObject
) -> None:
    raw = bytearray(batch(records, codec=codec if records else 0))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from([22, *range(27, len(raw))]))
        raw[at] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, raw[at] ^ 0x10]))
    raw[22] &= ~0x20  # no marker
    last = struct.unpack_from(">i", raw, 23)[0]
    found, after = read_by_both(followed(sealed(raw), last + 1))
    assert found[-1][4] == b"next"
    assert after == last + 2
    offsets = [each[2] if each[0] == "damaged" else each[0] for each in found]
    assert offsets == sorted(set(offsets))
    if "damaged" not in [each[0] for each in found]:
        assert len(found) - 1 >= min(len(records), struct.unpack_from(">i", raw, 57)[0]) or not records


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_bytes_with_a_right_checksum_come_out_alike(body: bytes, codec: int) -> None:
    found, after = read_by_both(followed(packed(body, codec, 3, 2)))
    assert found[-1][4] == b"next"
    assert after == 4


def test_batches_of_a_fetch_begin_where_the_one_before_ended() -> None:
    two = Batches(batch(THREE) + batch(THREE, 3))
    assert two.following_base() == 3
    two.advance()
    assert two.following_base() is None
    assert two.has_next()
    two.advance()
    assert not two.has_next()
