"""Refreshes of followers while partitions come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from streams.kafka.lane import EncodeLane
from streams.ops.metrics import Metrics
from streams.steps import encode
from tests.small_partition import SmallPartition


class Followers:
    """A partition whose followed users have no local follower left; ``asked`` is called while they are looked up."""

    def __init__(self, number: int, asked: Callable[[], None] = lambda: None) -> None:
        self.number = number
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

    async def followers(self, followee: str, after: str, most: int) -> list[str]:
        self._asked()
        return []

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
