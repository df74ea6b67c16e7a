"""What one turn may write is bounded, whatever its records ask for: it is taken in several, and all of it is done."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from state.store import SharedMemory, Store
from streams.kafka.errors import TooMuchError
from streams.kafka.pieces import Size, in_pieces
from streams.kafka.transactions import Transactions
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects, Place
from streams.steps.in_force import InForce
from streams.steps.partitioner import partition_of
from streams.steps.segments import parse_plan
from streams.wire.refused import Code
from tests.small_partition import PLACE, T0, Sent, models_of

RULE = '[[segment]]\nid = "s"\nrule = \'count("click", within="7d") >= 1\'\n'
PARTITIONS = 64


class Kafka:
    """Takes what a turn writes, but no message larger than ``most``."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.written: list[Effects] = []
        self._most = most
        self._offset = 0

    def write(self, _output: object, effects: Effects, _produced: object) -> int:
        for message in effects.messages:
            if len(message.value or b"") > self._most:
                raise TooMuchError("Broker: Message size too large")
        self.written.append(effects)
        self._offset += effects.count + 1
        return self._offset


def writer(path: Path, place: Place, kafka: Kafka) -> PartitionWriter:
    definitions = InForce(0, parse_plan(RULE), models_of(RULE))
    memory = SharedMemory(8)
    found = PartitionWriter(Settings(data_dir=path), lambda: definitions, place, memory)
    found._store = Store(path / "store", memory)
    found._transactions = cast(Transactions, kafka)
    return found


def commit(partition: PartitionWriter, work: Work) -> list[Done]:
    return list(in_pieces(work, Size(), partition.process))


def records(*events: dict[str, Any]) -> Work:
    topic = PLACE.topics.events
    found = [
        Sent(at, msgspec.json.encode({"kind": "click", "time": T0, "id": f"e{at}"} | event))
        for at, event in enumerate(events)
    ]
    return Work(sources=[(topic, found)])


def at_home(count: int, partitions: int) -> list[str]:
    users = (f"u{number}" for number in range(10**6))
    return list(islice((user for user in users if partition_of(user, partitions) == 0), count))


def test_deletes_that_tell_many_partitions_take_several_bounded_transactions(tmp_path: Path) -> None:
    kafka, most = Kafka(), 2_000
    partition = writer(tmp_path, dataclasses.replace(PLACE, partitions=PARTITIONS, most_messages=most), kafka)
    users = at_home(300, PARTITIONS)
    commit(partition, records(*({"user": user, "kind": "delete"} for user in users)))
    assert all(effects.count <= most for effects in kafka.written)
    assert len(kafka.written) < 3 * len(users) * PARTITIONS / most
    told = [(message.key, message.partition) for effects in kafka.written for message in effects.messages]
    assert sorted(told) == sorted((user.encode(), number) for user in users for number in range(PARTITIONS))
    assert partition.meta.positions[PLACE.topics.events] == len(users)
    partition.close()


def test_a_turn_stops_as_soon_as_it_has_too_much_and_leaves_nothing_behind(tmp_path: Path) -> None:
    partition = writer(tmp_path, dataclasses.replace(PLACE, partitions=PARTITIONS, most_messages=100), Kafka())
    work = records(*({"user": user, "kind": "delete"} for user in at_home(50, PARTITIONS)))
    with pytest.raises(TooMuchError, match="101 records of 0 MiB are more than one transaction holds"):
        partition.process(work)
    assert partition.meta.positions == {}
    partition.close()


def test_dead_letters_of_a_turn_are_bounded_in_bytes(tmp_path: Path) -> None:
    kafka = Kafka()
    partition = writer(tmp_path, dataclasses.replace(PLACE, most_bytes=1_000_000), kafka)
    bad = Work(sources=[(PLACE.topics.events, [Sent(at, b"x" * 300_000) for at in range(10)])])
    commit(partition, bad)
    assert all(len(effects.rejects) <= 3 for effects in kafka.written)
    assert sum(len(effects.rejects) for effects in kafka.written) == 10
    partition.close()


def test_the_record_whose_result_is_too_large_stands_alone_and_is_a_dead_letter(tmp_path: Path) -> None:
    kafka = Kafka(most=1_000)
    partition = writer(tmp_path, dataclasses.replace(PLACE, partitions=2), kafka)
    mine = at_home(1, 2)[0]
    other = next(user for user in map(str, range(99)) if partition_of(user, 2) == 1)
    events = [{"user": mine} for _ in range(9)]
    commit(partition, records(*events[:4], {"user": other, "note": "x" * 5_000}, *events[4:], {"user": other}))
    (reject,) = [reject for effects in kafka.written for reject in effects.rejects]
    assert (reject.record.offset, reject.error.code) == (4, Code.UNWRITABLE)
    assert "Message size too large" in str(reject.error)
    assert partition.meta.events == 9
    assert [message.partition for effects in kafka.written for message in effects.messages] == [1]
    partition.close()


def test_a_gap_that_refused_turns_met_is_judged_once(tmp_path: Path) -> None:
    partition = writer(tmp_path, dataclasses.replace(PLACE, partitions=PARTITIONS, most_messages=200), Kafka())
    users = at_home(9, PARTITIONS)
    commit(partition, records({"user": users[0]}))
    ((topic, later),) = records(*({"user": user, "kind": "delete"} for user in users)).sources
    commit(partition, Work(sources=[(topic, [Sent(each.offset + 50, each.value) for each in later])]))
    assert [(gap.start, gap.end) for gap in partition.losses.gaps()] == [(1, 50)]
    partition.close()


def test_what_a_turn_refused_is_freed_with_it_and_does_not_wait_for_the_collector(tmp_path: Path) -> None:
    partition = writer(tmp_path, PLACE, kafka := Kafka())
    bad = Work(sources=[(PLACE.topics.events, [Sent(at, b"x" * 1_000) for at in range(10)])])
    gc.collect()
    gc.disable()
    try:
        (done,) = commit(partition, bad)
        record = weakref.ref(done.effects.rejects[0].record)
        kafka.written.clear()
        del done, bad
        assert record() is None
    finally:
        gc.enable()
    partition.close()
