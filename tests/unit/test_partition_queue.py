"""What waits for a partition's turn is bounded, and so is a turn, whatever the fetches bring."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from state.store import SharedMemory
from streams.kafka.arrivals import Room
from streams.kafka.clock import Told
from streams.kafka.lane import EncodeLane
from streams.kafka.partition import Partition
from streams.kafka.turns import Turns
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics
from streams.settings import Settings
from streams.steps.effects import Place
from streams.steps.in_force import InForce
from streams.steps.segments import parse_plan
from tests.small_partition import PLACE, Sent, models_of
from tests.small_turns import Kafka, slot_on

RULE = '[[segment]]\nid = "s"\nrule = \'count("click", within="7d") >= 1\'\n'
BATCH = 100
BYTES = 1_000_000


class Bench:
    """A partition that is not started: its queue is filled and emptied by hand."""

    def __init__(self, tmp_path: Path, place: Place = PLACE) -> None:
        definitions = InForce(0, parse_plan(RULE), models_of(RULE))
        executor = ThreadPoolExecutor(1)
        metrics = Metrics()
        turns = Turns(1, lambda folding: slot_on(Kafka(), folding), 1)
        turns.assign([place.partition])
        self.held: list[bool] = []
        self.pressed: list[tuple[tuple[str, ...], bool]] = []
        self.acked: list[int] = []
        self.told: dict[str, Told | None] = {}
        settings = Settings(data_dir=tmp_path)
        self.partition = Partition(
            writer=PartitionWriter(settings, lambda: definitions, place, SharedMemory(8)),
            lane=EncodeLane(lambda: definitions, 32, metrics, executor),
            metrics=metrics,
            turns=turns,
            opening=executor,
            room=Room(BATCH, BYTES, BYTES),
            on_restored=self._restored,
            on_pressure=self._pressure,
            on_changes=lambda _changes: None,
            on_failed=lambda _partition, _error: None,
            told=lambda _partition: self.told,
        )

    async def _restored(self, _partition: Partition) -> None: ...

    def _pressure(self, _partition: Partition, topics: tuple[str, ...], high: bool) -> None:
        self.held.append(high)
        self.pressed.append((topics, high))

    def fetch(self, first: int, count: int, value: bytes = b"{}") -> None:
        """A fetch arrives; its acknowledgement is remembered by its first offset."""
        records = [Sent(offset, value) for offset in range(first, first + count)]
        self.partition.arrive(PLACE.topics.events, [*records], lambda: self.acked.append(first))

    def turn(self) -> list[int]:
        """Offsets of the next turn; acknowledges what is through with it."""
        work, acks, _ = self.partition._gather()
        for ack in acks:
            ack()
        return [record.offset for _, records in work.sources for record in records]


def test_a_large_fetch_goes_through_in_turns_of_the_batch_size_and_is_acked_with_the_last(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fetch(0, 250)
    bench.fetch(250, 10)
    assert bench.turn() == list(range(100))
    assert bench.turn() == list(range(100, 200))
    assert bench.acked == []
    assert bench.turn() == list(range(200, 260))
    assert bench.acked == [0, 250]
    assert bench.partition.queued == 0


def test_a_partition_with_more_than_a_batch_waiting_is_not_fetched_until_it_has_less_than_one(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    for first in range(0, 10_000, 50):
        if not bench.held:  # what the transport does: a held partition is not fetched
            bench.fetch(first, 50)
    assert BATCH < bench.partition.queued <= BATCH + 50
    assert bench.held == [True]
    bench.turn()
    assert bench.held == [True, False]


def test_a_turn_and_what_waits_are_bounded_in_bytes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.fetch(0, 5, b"x" * 400_000)
    assert bench.held == [True]
    assert bench.turn() == [0, 1]
    assert bench.acked == []
    assert bench.turn() == [2, 3]
    assert bench.held == [True, False]
    bench.fetch(5, 1, b"x" * 3_000_000)  # what is larger than a turn goes alone
    assert [bench.turn(), bench.turn(), bench.turn()] == [[4], [5], []]
    assert bench.acked == [0, 5]
    assert bench.partition._arrivals.bytes == bench.partition.queued == 0


def test_the_next_turn_waits_for_its_time_unless_a_whole_batch_waits_or_the_partition_stops(tmp_path: Path) -> None:
    async def run(bench: Bench, end: Callable[[Bench], object]) -> None:
        bench.partition._next_turn = time.monotonic() + 3_600.0
        bench.fetch(0, BATCH - 1)
        pause = asyncio.create_task(bench.partition._pace())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not pause.done()
        if asyncio.iscoroutine(ending := end(bench)):
            await ending
        await asyncio.wait_for(pause, 30.0)

    asyncio.run(run(Bench(tmp_path), lambda bench: bench.fetch(BATCH - 1, 1)))
    asyncio.run(run(Bench(tmp_path), lambda bench: bench.partition.stop()))


def test_timers_wait_for_the_first_complete_fetch_of_all_topics_that_bring_events(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(PLACE, wall_clock=True))
    now = time.time()
    bench.partition.writer.due.timer = now - 1.0
    assert not bench.partition._gather()[0].timers
    bench.told = {PLACE.topics.events: Told(0, now)}
    assert not bench.partition._gather()[0].timers
    bench.told[PLACE.topics.reroute] = Told(0, now)
    assert bench.partition._gather()[0].timers


def test_timers_wait_for_what_was_fetched_and_is_not_committed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(PLACE, wall_clock=True))
    now = time.time()
    bench.partition.writer.due.timer = now - 1.0
    bench.told = {PLACE.topics.events: Told(10, now), PLACE.topics.reroute: Told(0, now)}
    bench.fetch(0, 10)
    assert not bench.partition._gather()[0].timers
    bench.partition.writer.meta.positions[PLACE.topics.events] = 10
    assert bench.partition._gather()[0].timers


def test_what_comes_from_another_partition_waits_for_what_had_arrived_here_before_it(tmp_path: Path) -> None:
    """Its time would overtake the backlog: timers that a waiting event puts off would fire before that event."""
    bench = Bench(tmp_path)
    events, reroute, arrived = PLACE.topics.events, PLACE.topics.reroute, time.time()
    strays = [Sent(at, b"{}", timestamp=int((arrived + at) * 1_000)) for at in range(3)]
    bench.partition.arrive(reroute, [*strays], lambda: bench.acked.append(-1))
    assert bench.turn() == []
    bench.told = {events: Told(0, arrived + 1.5)}
    assert bench.turn() == [0, 1]
    bench.fetch(0, 10)
    bench.told = {events: Told(10, arrived + 9.0)}
    assert bench.turn() == list(range(10))
    assert bench.turn() == []
    bench.partition.writer.meta.positions[events] = 10
    assert bench.turn() == [2]
    assert bench.acked == [0, -1]


def test_what_waits_for_the_events_does_not_keep_them_from_being_fetched(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    topics = PLACE.topics
    late = [Sent(at, b"{}", timestamp=int((time.time() + 60.0) * 1_000)) for at in range(2 * BATCH)]
    bench.partition.arrive(topics.reroute, [*late], lambda: None)
    assert bench.pressed == [((topics.reroute,), True)]
    bench.fetch(0, 10)
    assert bench.turn() == list(range(10))


def test_what_follows_from_refreshes_is_nothing_fresh(tmp_path: Path) -> None:
    partition = Bench(tmp_path).partition
    for topic in (PLACE.topics.graph, PLACE.topics.examples):
        partition.arrive(topic, [Sent(0, b"{}")], lambda: None)
    assert partition.fresh_at == -math.inf
    before = time.monotonic()
    partition.arrive(PLACE.topics.events, [Sent(0, b"{}")], lambda: None)
    assert partition.fresh_at >= before


def test_a_turn_waits_for_its_time_unless_a_whole_batch_is_there_or_somebody_who_was_encoded(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    partition = bench.partition

    async def paced(seconds: float) -> bool:
        """Whether it waited for so long; no longer than a minute."""
        partition._next_turn = time.monotonic() + seconds
        await asyncio.wait_for(partition._pace(), 60.0)
        return time.monotonic() >= partition._next_turn

    async def tried() -> list[bool]:
        bench.fetch(0, 3)
        found = [await paced(0.05)]
        partition._encoded.append(([], [], asyncio.get_running_loop().create_future()))
        found.append(await paced(3_600.0))
        partition._encoded.clear()
        bench.fetch(3, BATCH)
        return [*found, await paced(3_600.0)]

    assert asyncio.run(tried()) == [True, False, False]
