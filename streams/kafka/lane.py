"""The encode lane: one queue for all partitions of the worker, newest state of a user wins, in batches, in a thread.

The queue in memory is bounded: who finds it full waits in the store alone (the ``q`` records hold everybody who waits)
and is read from there when the lane runs low.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from streams.kafka.encoding import BatchEncoder, EncoderAwayError
from streams.ops.metrics import Metrics
from streams.steps import encode
from streams.steps.models import Models

log = logging.getLogger(__name__)

#: users that wait in memory, of all partitions together
MOST_WAITING = 50_000
#: users read from a partition's store at once: that holds up its next turn by a few milliseconds
READ_QUEUE = 2_000
#: seconds before a batch that failed is tried again, by how often the lane failed since it last got on
_AGAIN_AFTER = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class EncodeTarget(Protocol):
    """What the lane needs of a partition."""

    @property
    def number(self) -> int: ...
    @property
    def queued_users(self) -> int: ...
    async def read_queue(self, after: str, most: int) -> list[str]: ...
    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]: ...
    async def followers(self, followee: str, after: str, most: int) -> list[str]: ...
    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None: ...


@dataclass
class _Refresh:
    """Local followers of one user, in order; ``after`` is the last one that was done."""

    target: EncodeTarget
    followee: str
    after: str = ""


@dataclass
class _Backlog:
    """A partition of whose waiting users not all are in memory; its store's queue is read in key order."""

    target: EncodeTarget
    since: float
    after: str = ""
    """All up to this user are read."""
    missed: bool = False
    """Somebody found no room since this pass began, perhaps before ``after``: another pass follows."""


class EncodeLane:
    """Users wait here once, however often they are offered; refreshes of followers run when nobody waits."""

    def __init__(
        self,
        models: Callable[[], Models],
        full: bool,
        batch: int,
        metrics: Metrics,
        executor: Executor,
        most: int = MOST_WAITING,
    ) -> None:
        """``batch``: users encoded together; ``most``: users that wait in memory."""
        self._encoder = BatchEncoder(models, full, metrics, executor)
        self._batch = batch
        self._metrics = metrics
        self._waiting: dict[tuple[int, str], tuple[EncodeTarget, float]] = {}
        self._most = most
        self._low = most // 2
        self._chunk = max(1, min(READ_QUEUE, most // 4))
        self._targets: dict[int, EncodeTarget] = {}
        self._backlogs: dict[int, _Backlog] = {}
        self._refreshes: deque[_Refresh] = deque()
        self._wake = asyncio.Event()
        self._busy = False
        self._in_flight = 0
        self._taken_since = 0.0

    def attach(self, target: EncodeTarget) -> None:
        """A partition came to this worker: whoever waits in its store is read when there is room."""
        self._targets[target.number] = target
        if target.queued_users:
            self._backlogs[target.number] = _Backlog(target, time.monotonic())
        self._note()

    def offer(self, target: EncodeTarget, users: list[str]) -> None:
        """Put users into the queue; who waits already keeps the place, who finds no room waits in the store.

        While a partition has a backlog, its new users do not take the room that those before them in the store need.
        """
        self._take(target, users, time.monotonic(), self._low if target.number in self._backlogs else self._most)
        self._note()

    def _take(self, target: EncodeTarget, users: list[str], since: float, most: int) -> None:
        number, waiting = target.number, self._waiting
        for user in users:
            if len(waiting) < most or (number, user) in waiting:
                waiting.setdefault((number, user), (target, since))
                continue
            if (backlog := self._backlogs.get(number)) is None:
                self._backlogs[number] = _Backlog(target, since)
            else:
                backlog.missed = True
            return

    def offer_refresh(self, target: EncodeTarget, followees: list[str]) -> None:
        """The vectors of ``followees`` moved: refresh their local followers when there is time."""
        for followee in followees:
            fresh = _Refresh(target, followee)
            if fresh not in self._refreshes:
                self._refreshes.append(fresh)
        self._note()

    def drop(self, target: EncodeTarget) -> None:
        """The partition left this worker."""
        if self._targets.get(target.number) is target:
            del self._targets[target.number]
            self._backlogs.pop(target.number, None)
        self._waiting = {key: entry for key, entry in self._waiting.items() if entry[0] is not target}
        self._refreshes = deque(each for each in self._refreshes if each.target is not target)
        self._note()

    @property
    def depth(self) -> int:
        """Users that wait, in memory or on disk, or are being encoded: 0 means that all is done."""
        return max(sum(target.queued_users for target in self._targets.values()), len(self._waiting) + self._in_flight)

    @property
    def age(self) -> float:
        """Seconds that the user in front has waited, those that are being encoded included."""
        if self._in_flight and self._taken_since:
            return time.monotonic() - self._taken_since
        for _, since in self._waiting.values():
            return time.monotonic() - since
        return 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._waiting or self._backlogs or self._refreshes or self._busy)

    def _note(self) -> None:
        if self._waiting or self._backlogs or self._refreshes:
            self._wake.set()
        self._metrics.encode_queue_depth.set(self.depth)
        self._metrics.encode_queue_age.set(self.age)

    async def run(self) -> None:
        """Work until cancelled. A batch that fails is logged and its users wait again: nothing is lost."""
        failures = 0
        while True:
            if not (self._waiting or self._backlogs or self._refreshes):
                self._wake.clear()
                await self._wake.wait()
            self._busy = True
            try:
                await self.step()
                failures = 0
            except Exception as error:
                pause = _AGAIN_AFTER[min(failures, len(_AGAIN_AFTER) - 1)]
                failures += 1
                known = isinstance(error, EncoderAwayError)
                log.warning(
                    "encoding stands still: %s; again in %.1f s", error, pause, exc_info=None if known else error
                )
                self._note()
                await asyncio.sleep(pause)
            finally:
                self._busy, self._in_flight, self._taken_since = False, 0, 0.0
                self._note()

    async def step(self) -> None:
        """One batch: of waiting users if there are any, else of a refresh."""
        if self._backlogs:
            await self._read_backlogs()
        if self._waiting:
            await self._encode_waiting()
        elif self._refreshes:
            await self._encode_refresh()

    async def _read_backlogs(self) -> None:
        """Some users of each partition with a backlog. Nobody is being encoded now: who is queued there really waits.

        A pass begins when the lane runs low, and not sooner: its beginning skips what RocksDB has of those encoded.
        """
        for number, backlog in list(self._backlogs.items()):
            if len(self._waiting) > (self._most - self._chunk if backlog.after else self._low):
                continue
            try:
                users = await backlog.target.read_queue(backlog.after, self._chunk)
            except PartitionGoneError:
                self.drop(backlog.target)
                continue
            if self._backlogs.get(number) is not backlog:
                continue  # the partition left meanwhile
            del self._backlogs[number]
            self._backlogs[number] = backlog  # behind the others, for the room that is left next time
            self._take(backlog.target, users, backlog.since, self._most)
            if len(users) == self._chunk:
                backlog.after = users[-1]
            elif backlog.missed:
                backlog.after, backlog.missed, backlog.since = "", False, time.monotonic()
            else:
                del self._backlogs[number]

    async def _encode_waiting(self) -> None:
        taken = list(self._waiting.items())[: self._batch]
        self._in_flight, self._taken_since = len(taken), taken[0][1][1]
        for key, _ in taken:
            del self._waiting[key]
        by_target: dict[int, tuple[EncodeTarget, list[str]]] = {}
        for (number, user), (target, _) in taken:
            by_target.setdefault(number, (target, []))[1].append(user)
        try:
            await self._encode([(target, users, []) for target, users in by_target.values()], refresh=False)
        except Exception:
            self._waiting = {**dict(taken), **self._waiting}  # in front, with the time that they have waited
            self._in_flight = 0
            raise

    async def _encode_refresh(self) -> None:
        refresh = self._refreshes[0]
        try:
            users = await refresh.target.followers(refresh.followee, refresh.after, self._batch)
        except PartitionGoneError:
            self.drop(refresh.target)
            return
        ended, after = len(users) < self._batch, refresh.after
        if ended:
            # meanwhile the partition may have left, and what is in front now is another's
            self._refreshes = deque(each for each in self._refreshes if each is not refresh)
        else:
            refresh.after = users[-1]
        again = any(each.followee == refresh.followee and each.target is refresh.target for each in self._refreshes)
        refreshed = [refresh.followee] if ended and not again else []
        try:
            await self._encode([(refresh.target, users, refreshed)], refresh=True)
        except Exception:
            refresh.after = after
            if ended:
                self._refreshes.appendleft(refresh)
            raise

    async def _encode(self, parts: list[tuple[EncodeTarget, list[str], list[str]]], refresh: bool) -> None:
        work: list[tuple[EncodeTarget, list[encode.Job], list[str]]] = []
        for target, users, refreshed in parts:
            try:
                work.append((target, await target.make_jobs(users, refresh), refreshed))
            except PartitionGoneError:
                self.drop(target)
        jobs = [job for _, part, _ in work for job in part]
        self._in_flight = len(jobs)
        computed = iter(await self._encoder.compute(jobs) if jobs else [])
        for target, part, refreshed in work:
            done = [job for job in islice(computed, len(part)) if job is not None]
            self._metrics.encoded_users.inc(len(done))
            self._metrics.encoded_texts.inc(sum(len(job.texts) for job in done))
            try:
                await target.submit(done, refreshed)
            except PartitionGoneError:
                self.drop(target)


class PartitionGoneError(RuntimeError):
    """The partition is not on this worker any more."""
