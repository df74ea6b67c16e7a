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

from state import layout
from state.layout2 import MOST_BYTES
from state.store import SharedMemory, Store
from streams.kafka.errors import AbortedError, NoMemoryError, TooMuchError
from streams.kafka.pieces import Size, in_pieces
from streams.kafka.transactions import Transactions
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects, Place
from streams.steps.in_force import InForce
from streams.steps.partitioner import partition_of
from streams.steps.segments import parse_plan
from streams.steps.turn import Turn
from streams.wire.refused import Code
from tests.records import block_of
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


def writer(path: Path, place: Place, kafka: Kafka, cache_mb: int = 256) -> PartitionWriter:
    definitions = InForce(0, parse_plan(RULE), models_of(RULE))
    memory = SharedMemory(8)
    found = PartitionWriter(Settings(data_dir=path, cache_mb=cache_mb), lambda: definitions, place, memory)
    found._begin(Store(path / "store", memory))
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


def large_block(size: int) -> bytes:
    """Of so many bytes, all but a few of them names."""
    names: list[str] = []
    left = size - len(block_of(aliases=["x"]))
    while left:
        names.append("x" * min(left + 6 if not names else left - 2, 60_000))
        left = size - len(block_of(aliases=names))
    return block_of(aliases=names)


def test_the_event_that_makes_a_record_too_large_stands_alone_and_is_a_dead_letter(tmp_path: Path) -> None:
    partition = writer(tmp_path, PLACE, kafka := Kafka())
    block = large_block(MOST_BYTES)
    partition.store.write([(layout.user_key(user), block) for user in ("full", "full too")], 0)
    partition.meta.users = 2
    culprits: dict[int, dict[str, Any]] = {
        3: {"user": "full", "time": T0},
        7: {"user": "full too", "kind": "follow", "target": "idol"},
    }
    commit(partition, records(*(culprits.get(at, {"user": f"u{at % 3}"}) for at in range(10))))
    rejects = [reject for effects in kafka.written for reject in effects.rejects]
    assert [(reject.record.offset, reject.error.code) for reject in rejects] == [
        (3, Code.UNWRITABLE),
        (7, Code.UNWRITABLE),
    ]
    assert all("is too large" in str(reject.error) for reject in rejects)
    assert partition.meta.events == 8
    assert partition.store.get(layout.user_key("full")) == block
    partition.close()


class Shelf(Store):
    """Everybody has the same record there; what is written is forgotten."""

    block: bytes

    def get(self, key: bytes) -> bytes | None:
        return self.block if key[:1] == b"u" else super().get(key)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.get(key) for key in keys]

    def batch(self, *_: Any, **__: Any) -> Any:
        return {}

    def put(self, *_: Any, **__: Any) -> None: ...


@pytest.mark.compiled
def test_a_turn_whose_users_do_not_fit_into_memory_is_taken_in_several_and_nothing_is_refused(tmp_path: Path) -> None:
    kafka, users = Kafka(), 1_150  # of 240 KiB: more than twice the bound and 256 MiB
    partition = writer(tmp_path, dataclasses.replace(PLACE, most_bytes=1 << 40), kafka, cache_mb=1)
    partition.store.close()
    shelf = Shelf(tmp_path / "shelf", SharedMemory(8))
    shelf.block = large_block(240 << 10)
    partition._begin(shelf)
    work = records(*({"user": f"u{number}"} for number in range(users)))
    with pytest.raises(NoMemoryError, match="raise SEGMENTS_CACHE_MB"):
        partition.process(work)
    assert len(commit(partition, work)) == 2
    assert partition.meta.events == users
    assert [effects.rejects for effects in kafka.written] == [[], []]
    partition.close()


def test_where_there_is_no_memory_for_one_event_it_is_tried_again_and_never_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_turn: Turn, _positions: dict[str, int]) -> Effects:
        raise MemoryError

    partition = writer(tmp_path, PLACE, kafka := Kafka())
    work = records({"user": "a"}, {"user": "b"})
    with monkeypatch.context() as patched:
        patched.setattr(Turn, "finish", nothing)
        with pytest.raises(AbortedError, match="no memory for all the users of a turn"):
            commit(partition, work)
    assert kafka.written == []
    commit(partition, work)
    assert partition.meta.events == 2
    partition.close()
