"""Refreshes of followers while partitions come and go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from state import layout
from state.store import SharedMemory, Store
from streams.kafka.lane import EncodeLane
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics
from streams.settings import Settings
from streams.steps import encode
from tests.small_partition import PLACE, SmallPartition
from tests.unit.test_partition_share import until


class Followers:
    """A partition whose followed users have no local follower left; ``asked`` is called while they are looked up."""

    def __init__(self, number: int, asked: Callable[[], None] = lambda: None) -> None:
        self.number = number
        self.fresh_at = -math.inf
        self.refreshed: list[str] = []
        self._asked = asked

    @property
    def queued(self) -> int:
        return 0

    @property
    def queued_users(self) -> int:
        return 0

    async def read_queue(self, after: str, most: int) -> list[str]:
        return []

    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        return []

    async def read_refreshes(self, after: str, most: int) -> list[str]:
        del after, most
        return []

    async def followers(self, followee: str, after: str, most: int) -> tuple[list[str], str]:
        self._asked()
        return [], ""

    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None:
        self.refreshed += refreshed


def test_a_partition_that_leaves_while_followers_are_looked_up_takes_no_refresh_of_another_along() -> None:
    async def run() -> None:
        definitions = SmallPartition("").definitions
        with ThreadPoolExecutor(1) as executor:
            lane = EncodeLane(lambda: definitions, 8, Metrics(), executor)
            leaving = Followers(0, lambda: lane.drop(leaving))
            staying = Followers(1)
            lane.offer_refresh(leaving, ["ada"])
            lane.offer_refresh(staying, ["bob"])
            while not lane.idle:
                await lane.step()
            assert staying.refreshed == ["bob"]

    asyncio.run(run())


def test_a_look_at_the_followers_of_one_is_bounded_however_many_follow_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "0", SharedMemory(8))
    edges = {f"fan{number:04}": layout.FOLLOWS if number % 100 == 0 else layout.UNFOLLOWED for number in range(1_000)}
    store.write([(layout.follower_key("star", fan), value) for fan, value in edges.items()], 1)
    definitions = SmallPartition("").definitions
    writer = PartitionWriter(Settings(data_dir=tmp_path), lambda: definitions, PLACE, SharedMemory(8))
    inner: Any = writer
    inner._store = store
    found: list[str] = []
    after, looks = "", 0
    while looks == 0 or after:
        some, after = writer.followers("star", after, 64)
        assert len(some) <= 1
        found += some
        looks += 1
    assert found == [f"fan{number:04}" for number in range(0, 1_000, 100)]
    assert looks == -(-1_000 // 64)
    store.close()


async def waited_for(events: bool) -> float:
    """How long thirty refreshes waited, in times of what they took. ``events``: some come meanwhile."""
    spent = 0.0

    def work() -> None:
        nonlocal spent
        began = time.monotonic()
        time.sleep(0.02)
        target.fresh_at = time.monotonic() if events else -math.inf
        spent += time.monotonic() - began

    target = Followers(0, work)
    definitions = SmallPartition("").definitions
    with ThreadPoolExecutor(1) as executor:
        lane = EncodeLane(lambda: definitions, 8, Metrics(), executor)
        lane.attach(target)
        lane.offer_refresh(target, [f"v{number}" for number in range(30)])
        began = time.monotonic()
        running = asyncio.create_task(lane.run())
        await until(lambda: len(target.refreshed) == 30)
        ended = time.monotonic()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return (ended - began - spent) / spent


def test_refreshes_have_all_of_the_time_when_nothing_else_is_to_do_and_a_quarter_while_events_come() -> None:
    assert asyncio.run(waited_for(events=False)) < 1.0
    assert asyncio.run(waited_for(events=True)) > 2.5
