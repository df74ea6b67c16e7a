"""A partition's turns beside what takes long: restores of others, sweeps and reads under constant load."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest

from state.layout import Meta
from streams.kafka import background
from streams.kafka import partition as partition_module
from streams.kafka.arrivals import Room
from streams.kafka.clock import TimerClock
from streams.kafka.due import Due
from streams.kafka.errors import AbortedError
from streams.kafka.lane import EncodeLane, PartitionGoneError
from streams.kafka.partition import Partition, State
from streams.kafka.work import Done, Folded, Work
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics
from streams.steps.effects import Record
from tests.small_partition import PLACE, Sent, SmallPartition
from tests.small_turns import SmallWriter, small_turns

USERS = 3_000


class Writer(SmallWriter):
    """What a partition needs of its writer. Opening waits for ``opened``; a turn takes a millisecond."""

    def __init__(self, number: int, opened: threading.Event) -> None:
        super().__init__(number)
        self.place = replace(self.place, wall_clock=True)
        self.meta = Meta(queued=0)
        self.clock = TimerClock([PLACE.topics.events], PLACE.topics.reroute)
        self.due = Due()
        self.scrub_due = self.training_due = self.incomplete = False
        self.definitions_changed = True
        self.users = [f"u{number:05}" for number in range(USERS)]
        self.swept: list[str] = []
        self.turns: list[Work] = []
        self._opened = opened

    def open(self, _progress: Callable[[int], None], stopping: Callable[[], bool]) -> int:
        while not self._opened.wait(0.01) and not stopping():
            pass
        return 0

    def close(self) -> None: ...

    def timer_clock(self) -> float:
        return time.time()

    def tidy(self) -> None: ...

    def is_in_turn(self, _rerouted: Record) -> bool:
        return True

    def some_users(self, after: str, most: int) -> list[str]:
        return [user for user in self.users if user > after][:most]

    def waiting_refreshes(self, _after: str, _most: int) -> list[str]:
        return []

    def fold(self, work: Work) -> Folded:
        time.sleep(0.001)
        self.turns.append(work)
        return super().fold(work)

    def finish(self, folded: Folded, offset: int) -> Done:
        work = folded.work
        if work.sweep is not None:
            self.swept += work.sweep
            self.definitions_changed = bool(work.sweep)
        done = super().finish(folded, offset)
        return replace(done, records=sum(len(records) for _, records in work.sources))


@asynccontextmanager
async def partitions(*opened: threading.Event) -> AsyncIterator[list[tuple[Partition, Writer]]]:
    """One for each of ``opened``, all started, with one thread for turns, and one for each restore but one."""
    definitions, metrics = SmallPartition("").definitions, Metrics()
    failed: list[BaseException] = []

    async def restored(_partition: Partition) -> None: ...

    with (
        ThreadPoolExecutor(1) as encoding,
        ThreadPoolExecutor(max(1, len(opened) - 1)) as opening,
        small_turns(len(opened)) as turns,
    ):
        lane = EncodeLane(lambda: definitions, 8, metrics, encoding)
        writers = [Writer(number, event) for number, event in enumerate(opened)]
        made = [
            Partition(
                cast(PartitionWriter, writer), lane, metrics, turns, opening, Room(100), restored,
                lambda _partition, _topics, _high: None, lambda _changes: None,
                lambda _partition, error: failed.append(error),
            )
            for writer in writers
        ]  # fmt: skip
        for partition in made:
            partition.start()
        try:
            yield list(zip(made, writers, strict=True))
        finally:
            await asyncio.gather(*(partition.stop() for partition in made))
    assert failed == []


async def until(reached: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 30.0
    while not reached():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


def test_a_restored_partition_takes_turns_and_is_read_while_all_threads_for_restores_are_busy() -> None:
    async def run() -> None:
        ready, never = threading.Event(), threading.Event()
        ready.set()
        async with partitions(ready, never, never, never) as made:
            first, writer = made[0]
            await until(lambda: first.state is State.RUNNING)
            acked: list[int] = []
            first.arrive(PLACE.topics.events, [Sent(0, b"{}")], lambda: acked.append(0))
            await until(lambda: acked == [0])
            assert await first.read(lambda _writer: 7) == 7
            assert [each.state for each, _ in made[1:]] == [State.RESTORING] * 3
            assert writer.turns

    asyncio.run(run())


def test_a_partition_that_stops_while_its_turns_are_refused_ends_at_once_and_nobody_waits_for_it() -> None:
    async def run() -> None:
        ready = threading.Event()
        ready.set()
        refused: list[Work] = []

        def refuse(work: Work) -> Folded:
            refused.append(work)
            raise AbortedError("not enough replicas")

        async with partitions(ready) as made:
            partition, writer = made[0]
            writer.definitions_changed = False
            await until(lambda: partition.state is State.RUNNING)
            writer.fold = refuse  # type: ignore[method-assign]
            waits = asyncio.create_task(partition.submit([], ["followed"]))
            await until(lambda: len(refused) == 3)  # the next pause takes seconds
            began = time.monotonic()
            await partition.stop()
            assert time.monotonic() - began < 1.5
            with pytest.raises(PartitionGoneError):
                await asyncio.wait_for(waits, 10.0)
            assert partition.state is State.STOPPED

    asyncio.run(run())


@pytest.mark.parametrize("sweeps", [True, False], ids=["sweep", "tidy"])
def test_a_partition_that_is_stopped_while_it_waits_to_look_at_its_state_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, sweeps: bool
) -> None:
    monkeypatch.setattr(partition_module, "TIDY_INTERVAL", 0.0)

    async def run() -> None:
        ready, looked, done = threading.Event(), threading.Event(), threading.Event()
        ready.set()

        def look(_writer: PartitionWriter) -> None:
            looked.set()
            done.wait(30.0)

        async with partitions(ready) as made:
            partition, writer = made[0]
            writer.definitions_changed = sweeps
            await until(lambda: partition.state is State.RUNNING)
            reads = asyncio.create_task(partition.read(look))
            await until(looked.is_set)
            await until(lambda: bool(partition._turn._waiters))  # what comes next waits for it
            stops = asyncio.create_task(partition.stop())
            await until(lambda: partition._stopping)
            done.set()
            await asyncio.gather(reads, stops)
            assert partition.state is State.STOPPED

    asyncio.run(run())


def test_a_partition_that_is_stopped_while_it_waits_for_its_restore_has_not_failed() -> None:
    async def run() -> None:
        never = threading.Event()
        async with partitions(never, never, never) as made:
            await asyncio.gather(*(partition.stop() for partition, _ in made))
            assert [partition.state for partition, _ in made] == [State.STOPPED] * 3

    asyncio.run(run())


def test_a_sweep_ends_under_constant_load_and_takes_a_small_share_of_the_turns() -> None:
    async def run() -> None:
        ready = threading.Event()
        ready.set()
        async with partitions(ready) as made:
            partition, writer = made[0]
            sent = 0

            def again() -> None:
                nonlocal sent
                if writer.definitions_changed:
                    sent += 1
                    partition.arrive(PLACE.topics.events, [Sent(sent, b"{}")], again)

            again()  # before the first turn, so that the partition is never idle while it sweeps
            again()
            await until(lambda: not writer.definitions_changed)
            assert writer.swept == writer.users
            sweeps = sum(work.sweep is not None for work in writer.turns)
            assert sweeps < len(writer.turns) / 5

    asyncio.run(run())


def test_an_idle_partition_writes_its_position_now_and_then_so_that_its_store_is_known_to_be_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "GUARDS_INTERVAL", 0.05)

    async def run() -> None:
        ready = threading.Event()
        ready.set()
        async with partitions(ready) as made:
            _, writer = made[0]
            writer.definitions_changed = False
            await until(lambda: sum(work.complete for work in writer.turns) >= 2)

    asyncio.run(run())
