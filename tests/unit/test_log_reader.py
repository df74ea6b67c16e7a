"""Reading a log by its raw batches: what counts, what is passed over, what is waited for and what is told."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.loading import latest
from streams.kafka import fetched, log_reader
from streams.kafka.log_reader import LogReader
from streams.kafka.log_source import Answer, LogError, OffsetGoneError, connection
from tests.properties.test_fetched import ABORT, CODECS, COMMIT, CONTROL, Sent, batch, by_aiokafka, some_records

Said = Answer | None | Exception
Script = Callable[[int], Said]
MARKER = b"\x00\x00\x00\x00\x00\x00"


def values(names: Sequence[bytes | None], key: bytes = b"k") -> list[Sent]:
    return [(at, 1, key + b"%d" % at, name, []) for at, name in enumerate(names)]


def marker(kind: bytes, base: int, producer: int = 7) -> bytes:
    return batch([(0, 1, kind, MARKER, [])], base, flags=CONTROL, producer=producer)


class Log:
    """Stands for Kafka: gives, as it does, batches from the one on that has the offset, up to ``most`` bytes."""

    def __init__(
        self, batches: Sequence[bytes], aborted: Sequence[tuple[int, int, int]] = (), most: int = 1 << 20
    ) -> None:
        """``aborted``: (producer, first offset, marker's offset)."""
        self.batches, self.aborted, self.most = list(batches), list(aborted), most
        self.asked: list[int] = []
        self.closed = False
        self.instead: list[Script] = []  # of the next fetches

    async def fetch(self, offset: int) -> Answer | None:
        self.asked.append(offset)
        await asyncio.sleep(0)
        said = self.instead.pop(0)(offset) if self.instead else self.answer(offset)
        if isinstance(said, Exception):
            raise said
        return said

    def answer(self, offset: int) -> Answer:
        there = b"".join(raw for raw in self.batches if end_of(raw) > offset)
        first = next((len(raw) for raw in self.batches if end_of(raw) > offset), 0)
        aborted = [(producer, begin) for producer, begin, mark in self.aborted if mark >= offset]
        return Answer(there[: max(first, self.most)], aborted)

    async def close(self) -> None:
        self.closed = True


def end_of(raw: bytes) -> int:
    base: int = struct.unpack_from(">q", raw)[0]
    return base + int(struct.unpack_from(">i", raw, 23)[0]) + 1


def read(log: Any, start: int, end: int, looks: int = 200) -> tuple[list[tuple[int, Any, Any]], int]:
    """(offset, key, value) of all records up to the end, and the offset that was reached."""
    found: list[tuple[int, Any, Any]] = []
    with LogReader(log, "log", 4, start, end) as reader:
        for _ in range(looks):
            if reader.offset >= end:
                break
            found += [(record.offset, record.key, record.value) for record in reader.read(1.0)]
        return found, reader.offset


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(some_records(), st.sampled_from(CODECS)), min_size=1, max_size=5),
    st.integers(0, 9),
    st.sampled_from([1, 300, 1 << 20]),
)
def test_a_log_with_gaps_comes_out_as_aiokafkas_records(
    batches: list[tuple[list[Sent], int]], start: int, most: int
) -> None:
    raws, base = [], 0
    for records, codec in batches:
        last = (records[-1][0] if records else 0) + 1
        raws.append(batch(records, base, codec if records else 0, last=last))
        base += last + 1
    log = Log(raws, most=most)
    there = b"".join(raw for raw in raws if end_of(raw) > start)
    expected, _ = by_aiokafka(there, start)
    found, reached = read(log, start, base)
    assert found == [(record[0], record[3], record[4]) for record in expected]
    assert reached == max(start, base)
    assert log.closed


@pytest.mark.parametrize("most", [1, 1 << 20])
def test_aborted_transactions_and_markers_are_left_out_wherever_an_answer_begins(most: int) -> None:
    log = Log(
        [
            batch(values([b"aborted"] * 2), 0, producer=7),
            batch(values([b"committed"] * 2), 2, codec=3, producer=8),
            batch(values([b"aborted"] * 2), 4, codec=4, producer=7),
            marker(ABORT, 6),
            batch(values([b"later"] * 2), 7, producer=7),
            marker(COMMIT, 9, producer=8),
            marker(COMMIT, 10),
        ],
        [(7, 0, 6)],
        most,
    )
    found, reached = read(log, 0, 11)
    assert [value for _, _, value in found] == [b"committed"] * 2 + [b"later"] * 2
    assert reached == 11


def test_what_compaction_left_nothing_of_is_passed_over_and_the_end_may_be_a_marker() -> None:
    log = Log([batch([], 0, last=99), batch(values([b"one"]), 150), marker(COMMIT, 151), marker(ABORT, 152)], most=1)
    assert read(log, 0, 153) == ([(150, b"k0", b"one")], 153)
    assert read(log, 151, 153) == ([], 153)


def test_only_tombstones_are_none() -> None:
    log = Log([batch([(0, 1, b"a", None, []), (1, 1, b"b", b"", []), (2, 1, None, b"c", [])], 0)])
    with LogReader(log, "log", 4, 0, 3) as reader:
        assert latest(reader.read(1.0)) == {b"a": None, b"b": b"", b"": b"c"}


def test_the_next_fetch_is_under_way_before_the_last_is_used_up_and_none_is_sent_beyond_the_end() -> None:
    log = Log([batch(values([b"x"]), at) for at in range(4)], most=1)
    with LogReader(log, "log", 4, 0, 4) as reader:
        assert len(reader.read(1.0)) == 1
        assert log.asked == [0, 1]
        assert [len(reader.read(1.0)) for _ in range(3)] == [1, 1, 1]
        assert (reader.offset, log.asked) == (4, [0, 1, 2, 3])


def test_parts_are_bounded_in_unpacked_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "PART_BYTES", 3_000)
    log = Log([batch(values([b"x" * 1_000] * 2), 2 * at, codec=4) for at in range(10)])
    with LogReader(log, "log", 4, 0, 20) as reader:
        sizes = []
        while reader.offset < 20:
            sizes.append(len(reader.read(1.0)))
    assert sizes == [4] * 5
    assert log.asked == [0]


def test_a_log_that_grows_while_it_is_read_is_read_to_the_end_that_was_asked_for() -> None:
    log = Log([batch(values([b"x"]), at) for at in range(2)], most=1)

    def grown(offset: int) -> Said:
        log.batches.append(batch(values([b"later"]), 2))
        return log.answer(offset)

    log.instead = [grown]
    found, reached = read(log, 0, 2)
    assert [value for _, _, value in found] == [b"x", b"x"]
    assert reached == 2


def test_what_passes_is_asked_again_from_the_same_offset() -> None:
    log = Log([batch(values([b"x"]), at) for at in range(3)], most=1)
    log.instead = [lambda _: None, log.answer, lambda _: None, lambda _: Answer()]
    found, _ = read(log, 0, 3)
    assert [offset for offset, _, _ in found] == [0, 1, 2]
    assert log.asked == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("error", [LogError("not allowed"), OffsetGoneError("cut off")])
def test_what_stays_is_told_after_what_came_before_it(error: LogError) -> None:
    log = Log([batch(values([b"x"]), 0)])
    log.instead = [log.answer, lambda _: error]
    with LogReader(log, "log", 4, 0, 2) as reader:
        assert len(reader.read(1.0)) == 1
        with pytest.raises(type(error), match=str(error)):
            reader.read(1.0)
    assert log.closed


def test_a_silent_kafka_holds_nobody_up() -> None:
    class Silent(Log):
        async def fetch(self, offset: int) -> Answer | None:
            self.asked.append(offset)
            await asyncio.Event().wait()
            raise AssertionError

    log = Silent([])
    with LogReader(log, "log", 4, 0, 2) as reader:
        assert [len(reader.read(0.01)) for _ in range(3)] == [0, 0, 0]
    assert log.asked == [0]  # it is the same question all the time
    assert log.closed


def test_a_wrong_checksum_is_fetched_again_and_told_when_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "_AGAIN_AFTER", (0.0, 0.01))
    raws = [batch(values([b"x"]), at) for at in range(3)]
    broken = raws[1][:-3] + b"?" + raws[1][-2:]
    log = Log(raws)
    log.instead = [lambda _: Answer(raws[0] + broken + raws[2]), lambda _: Answer(broken + raws[2])]
    assert [offset for offset, _, _ in read(log, 0, 3)[0]] == [0, 1, 2]
    assert log.asked == [0, 1, 1]
    with pytest.raises(LogError, match="log-4 is damaged: the batch at offset 1 has a wrong checksum"):
        read(Log([raws[0], broken, raws[2]]), 0, 3)


def test_what_is_no_record_is_told() -> None:
    from tests.properties.test_fetched import sealed  # noqa: PLC0415 - only here

    raw = bytearray(batch(values([b"x", b"y"]), 5))
    raw[61] = 0x7F  # the first record is longer than the batch
    with pytest.raises(LogError, match="log-4 is damaged: offsets 5 to 6 cannot be read"):
        read(Log([sealed(raw)]), 5, 7)


def test_threads_read_beside_each_other() -> None:
    logs = [Log([batch(values([b"%d" % at] * 3), 3 * at) for at in range(30)], most=200) for _ in range(4)]
    found: dict[int, int] = {}

    def one(number: int) -> None:
        found[number] = len(read(logs[number], 0, 90)[0])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), 90)


def test_who_waits_for_another_try_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "_AGAIN_AFTER", (60.0,))
    raw = batch(values([b"x"]), 0)
    with LogReader(Log([raw[:-3] + b"?" + raw[-2:]]), "log", 4, 0, 1) as reader:
        began = time.monotonic()
        assert [len(reader.read(0.01)) for _ in range(4)] == [0] * 4
        assert time.monotonic() - began < 30.0


def test_both_clients_connect_alike() -> None:
    plain = connection({"bootstrap.servers": "a:1,b:2", "security.protocol": "PLAINTEXT"})
    assert plain == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    assert connection({"bootstrap.servers": "a:1"}) == {"bootstrap_servers": "a:1", "security_protocol": "PLAINTEXT"}
    login = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "secret"}
    found = connection({"bootstrap.servers": "a:1", "security.protocol": "SASL_SSL", **login})
    assert found.pop("ssl_context").check_hostname
    assert found == {
        "bootstrap_servers": "a:1",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
    }
