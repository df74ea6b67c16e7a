"""The encode lane: one queue for all partitions of the worker, newest state of a user wins, in batches, in a thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from streams.ops.metrics import Metrics
from streams.steps import encode
from streams.steps.models import Models

log = logging.getLogger(__name__)


class EncodeTarget(Protocol):
    """What the lane needs of a partition."""

    @property
    def number(self) -> int: ...
    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]: ...
    async def followers(self, followee: str, after: str, most: int) -> list[str]: ...
    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None: ...


@dataclass
class _Refresh:
    """Local followers of one user, in order; ``after`` is the last one that was done."""

    target: EncodeTarget
    followee: str
    after: str = ""


class EncodeLane:
    """Users wait here once, however often they are offered; refreshes of followers run when nobody waits."""

    def __init__(
        self, models: Callable[[], Models], full: bool, batch: int, metrics: Metrics, executor: Executor
    ) -> None:
        self._models = models
        self._full = full
        self._batch = batch
        self._metrics = metrics
        self._executor = executor
        self._waiting: dict[tuple[int, str], tuple[EncodeTarget, float]] = {}
        self._refreshes: deque[_Refresh] = deque()
        self._wake = asyncio.Event()
        self._busy = False
        self._in_flight = 0

    def offer(self, target: EncodeTarget, users: list[str]) -> None:
        """Put users into the queue; who waits already keeps the place."""
        now = time.monotonic()
        for user in users:
            self._waiting.setdefault((target.number, user), (target, now))
        self._note()

    def offer_refresh(self, target: EncodeTarget, followees: list[str]) -> None:
        """The vectors of ``followees`` moved: refresh their local followers when there is time."""
        for followee in followees:
            fresh = _Refresh(target, followee)
            if fresh not in self._refreshes:
                self._refreshes.append(fresh)
        self._note()

    def drop(self, target: EncodeTarget) -> None:
        """The partition left this worker."""
        self._waiting = {key: entry for key, entry in self._waiting.items() if entry[0] is not target}
        self._refreshes = deque(each for each in self._refreshes if each.target is not target)
        self._note()

    @property
    def depth(self) -> int:
        """Users that wait or are being encoded: 0 means that all is done."""
        return len(self._waiting) + self._in_flight

    @property
    def age(self) -> float:
        """Seconds that the user in front has waited."""
        for _, since in self._waiting.values():
            return time.monotonic() - since
        return 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._waiting or self._refreshes or self._busy)

    def _note(self) -> None:
        if self._waiting or self._refreshes:
            self._wake.set()
        self._metrics.encode_queue_depth.set(self.depth)
        self._metrics.encode_queue_age.set(self.age)

    async def run(self) -> None:
        """Work until cancelled. A batch that fails is logged and its users wait again: nothing is lost."""
        while True:
            if not (self._waiting or self._refreshes):
                self._wake.clear()
                await self._wake.wait()
            self._busy = True
            try:
                await self.step()
            finally:
                self._busy, self._in_flight = False, 0
                self._note()

    async def step(self) -> None:
        """One batch: of waiting users if there are any, else of a refresh."""
        if self._waiting:
            await self._encode_waiting()
        elif self._refreshes:
            await self._encode_refresh()

    async def _encode_waiting(self) -> None:
        taken = list(self._waiting.items())[: self._batch]
        self._in_flight = len(taken)
        for key, _ in taken:
            del self._waiting[key]
        by_target: dict[int, tuple[EncodeTarget, list[str]]] = {}
        for (number, user), (target, _) in taken:
            by_target.setdefault(number, (target, []))[1].append(user)
        await self._encode([(target, users, []) for target, users in by_target.values()], refresh=False)

    async def _encode_refresh(self) -> None:
        refresh = self._refreshes[0]
        try:
            users = await refresh.target.followers(refresh.followee, refresh.after, self._batch)
        except PartitionGoneError:
            self.drop(refresh.target)
            return
        ended = len(users) < self._batch
        if ended:
            self._refreshes.popleft()
        else:
            refresh.after = users[-1]
        again = any(each.followee == refresh.followee and each.target is refresh.target for each in self._refreshes)
        refreshed = [refresh.followee] if ended and not again else []
        await self._encode([(refresh.target, users, refreshed)], refresh=True)

    async def _encode(self, parts: list[tuple[EncodeTarget, list[str], list[str]]], refresh: bool) -> None:
        work: list[tuple[EncodeTarget, list[encode.Job], list[str]]] = []
        for target, users, refreshed in parts:
            try:
                work.append((target, await target.make_jobs(users, refresh), refreshed))
            except PartitionGoneError:
                self.drop(target)
        jobs = [job for _, part, _ in work for job in part]
        self._in_flight = len(jobs)
        loop = asyncio.get_running_loop()
        if jobs:
            await loop.run_in_executor(self._executor, encode.compute, self._models(), jobs, self._full)
            self._metrics.encoded_users.inc(len(jobs))
            self._metrics.encoded_texts.inc(sum(len(job.texts) for job in jobs))
        for target, part, refreshed in work:
            try:
                await target.submit(part, refreshed)
            except PartitionGoneError:
                self.drop(target)


class PartitionGoneError(RuntimeError):
    """The partition is not on this worker any more."""
