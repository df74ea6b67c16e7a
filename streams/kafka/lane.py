"""The encode lane: one queue for all partitions of the worker, newest state of a user wins, in batches, in a thread.

The queue in memory is bounded: who finds it full waits in the store alone (the ``q`` records hold everybody who waits)
and is read from there when the lane runs low. Two batches are under way at a time, never with a user in common: while
the models work on one, the other is committed and the next one read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from streams.kafka.encode_queue import EncodeQueue, Entry
from streams.kafka.encoding import BatchEncoder, EncoderAwayError
from streams.kafka.refresh_queue import RefreshQueue
from streams.kafka.share import FairShare
from streams.ops.metrics import Metrics
from streams.steps import encode
from streams.steps.in_force import InForce

log = logging.getLogger(__name__)

#: users that wait in memory, of all partitions together
MOST_WAITING = 50_000
#: followed users whose followers wait for a refresh in memory, of all partitions together
MOST_REFRESHES = 20_000
#: users read from a partition's store at once: that holds up its next turn by a few milliseconds
READ_QUEUE = 2_000
#: batches under way at once; the models work on one of them
_ABREAST = 2
#: users handed over for one turn, so that a large batch does not hold up the events of its partition
_TURN_USERS = 32
#: records that wait for the turns of one partition, from which on those who can wait have a small share of the time
BEHIND = 1_000
_LATER_SECONDS = 0.1
#: seconds between two looks whether that is over, at least and at most
_TICK, _MOST_REST = 0.01, 0.5
#: seconds that a piece of a refresh should take, and the share of the time for refreshes while events come but nobody
#: waits: turns and the models share a processor with them, and a followed user whose vectors move all the time is
#: refreshed all the time
_REFRESH_SECONDS = 0.05
_REFRESH_SHARE = 0.25
#: seconds without anything fresh after which refreshes have all of the time; between two events of a busy stream no
#: record waits either
_QUIET_SECONDS = 0.5
#: seconds between two looks at whether it is so quiet
_QUIET_LOOK = 0.05
#: seconds before a batch that failed is tried again, by how often the lane failed since it last got on
_AGAIN_AFTER = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class EncodeTarget(Protocol):
    """What the lane needs of a partition."""

    @property
    def number(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def fresh_at(self) -> float: ...
    @property
    def queued_users(self) -> int: ...
    async def read_queue(self, after: str, most: int) -> list[str]: ...
    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]: ...
    async def read_refreshes(self, after: str, most: int) -> list[str]: ...
    async def followers(self, followee: str, after: str, most: int) -> tuple[list[str], str]: ...
    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None: ...


@dataclass
class _Backlog:
    """A partition of whose waiting users not all are in memory; its store's queue is read in key order."""

    target: EncodeTarget
    since: float
    after: str = ""
    """All up to this user are read."""
    missed: bool = False
    """Somebody found no room since this pass began, perhaps before ``after``: another pass follows."""
    later: bool = False
    """None of those is known to have a text that waits."""


class EncodeLane:
    """Users wait here once, however often they are offered. Refreshes of followers have all of the time when nothing
    else is to do, a part of it while events come, and a small share where somebody always waits. That have also those
    who can wait, while events wait for their turns: the models and the turns share a processor."""

    def __init__(
        self,
        definitions: Callable[[], InForce],
        batch: int,
        metrics: Metrics,
        executor: Executor,
        most: int = MOST_WAITING,
        most_refreshes: int = MOST_REFRESHES,
    ) -> None:
        """``batch``: users encoded together; ``most``: users of each sort that wait in memory; ``most_refreshes``:
        followed users."""
        self._encoder = BatchEncoder(definitions, metrics, executor)
        self._batch = batch
        self._metrics = metrics
        self._queue: EncodeQueue[EncodeTarget] = EncodeQueue()
        self._later_share = FairShare(batch, piece=_LATER_SECONDS)
        self._most = most
        self._low = most // 2
        self._chunk = max(1, min(READ_QUEUE, most // 4))
        self._targets: dict[int, EncodeTarget] = {}
        self._backlogs: dict[int, _Backlog] = {}
        self._refreshes: RefreshQueue[EncodeTarget] = RefreshQueue(most_refreshes)
        self._refresh_share = FairShare(batch, piece=_REFRESH_SECONDS, idle_share=_REFRESH_SHARE)
        self._drained = asyncio.Event()
        self._wake = asyncio.Event()
        self._choosing = asyncio.Lock()
        self._steps = 0
        self._failures = 0

    def attach(self, target: EncodeTarget) -> None:
        """A partition came to this worker: whoever waits in its store is read when there is room."""
        self._targets[target.number] = target
        if target.queued_users:
            self._backlogs[target.number] = _Backlog(target, time.monotonic())
        self._refreshes.attach(target)
        self._note()

    def offer(self, target: EncodeTarget, users: list[str], later: list[str] | None = None) -> None:
        """Put users into the queue, ``later`` those who can wait; who waits already keeps the place, who finds no room
        waits in the store.

        While a partition has a backlog, its new users do not take the room that those before them in the store need.
        """
        most = self._low if target.number in self._backlogs else self._most
        self._take(target, users, time.monotonic(), most)
        if later:
            self._take(target, later, time.monotonic(), most, later=True)
        self._note()

    def _take(self, target: EncodeTarget, users: list[str], since: float, most: int, *, later: bool = False) -> None:
        number = target.number
        for user in users:
            if self._queue.put(target, user, since, most, later=later):
                continue
            if (backlog := self._backlogs.get(number)) is None:
                self._backlogs[number] = _Backlog(target, since, later=later)
            else:
                backlog.missed = True
                backlog.later = backlog.later and later
            return

    def offer_refresh(self, target: EncodeTarget, followees: list[str]) -> None:
        """The vectors of ``followees`` moved: refresh their local followers when there is time."""
        if followees:
            self._refreshes.offer(target, followees)
            self._note()

    def drop(self, target: EncodeTarget) -> None:
        """The partition left this worker."""
        if self._targets.get(target.number) is target:
            del self._targets[target.number]
            self._backlogs.pop(target.number, None)
        self._queue.drop(target)
        self._refreshes.drop(target)
        self._note()

    @property
    def depth(self) -> int:
        """Users that wait, in memory or on disk, or are being encoded: 0 means that all is done."""
        here = len(self._queue) + len(self._queue.under_way)
        return max(sum(target.queued_users for target in self._targets.values()), here)

    @property
    def age(self) -> float:
        """Seconds that the user in front has waited, those that are being encoded included."""
        since = self._queue.since()
        return time.monotonic() - since if since is not None else 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._some or self._steps)

    @property
    def _some(self) -> bool:
        """Something waits."""
        return bool(self._queue or self._backlogs or self._refreshes)

    def _note(self) -> None:
        if self._some:
            self._wake.set()
        self._metrics.encode_queue_depth.set(self.depth)
        self._metrics.encode_queue_age.set(self.age)

    @property
    def _ready(self) -> bool:
        """There is somebody to take: refreshes and what is left on disk alone wait until all under way is done."""
        return next(self._queue.free(), None) is not None if self._queue.under_way else self._some

    @property
    def _behind(self) -> bool:
        """Events wait for their turns."""
        return any(target.queued > BEHIND for target in self._targets.values())

    def _quiet(self, now: float) -> bool:
        """No event waits for its turn, and none came for a moment."""
        return not any(each.queued or now - each.fresh_at < _QUIET_SECONDS for each in self._targets.values())

    async def run(self) -> None:
        """Work until cancelled. A batch that fails is logged and its users wait again: nothing is lost."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_ABREAST):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            self._steps += 1
            try:
                await self.step()
                self._failures = 0
            except Exception as error:
                pause = _AGAIN_AFTER[min(self._failures, len(_AGAIN_AFTER) - 1)]
                self._failures += 1
                known = isinstance(error, EncoderAwayError)
                log.warning(
                    "encoding stands still: %s; again in %.1f s", error, pause, exc_info=None if known else error
                )
                self._note()
                async with self._choosing:
                    await asyncio.sleep(pause)
            finally:
                self._steps -= 1
                self._note()

    async def step(self) -> None:
        """One batch: of waiting users if there are any; of a refresh when nothing is under way, or its share is due."""
        async with self._choosing:
            if self._backlogs:
                await self._read_backlogs()
            await self._read_refreshes()
            if len(self._refreshes) and await self._give_refreshes_their_share():
                return
            later_too = not self._behind or self._later_share.due(time.monotonic(), idle=False)
            taken = self._queue.take(self._batch, later_too=later_too)
            if not taken and self._queue:
                await self._rest(self._later_share.wait(time.monotonic(), idle=False))
        if taken:
            began = time.monotonic()
            await self._encode_waiting(taken)
            if later_too:
                ended = time.monotonic()
                self._later_share.took(ended - began, ended, len(taken))

    async def _rest(self, seconds: float) -> None:
        """Until something comes, at most a moment: then it is seen whether events still wait."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(max(seconds, _TICK), _MOST_REST))

    async def _give_refreshes_their_share(self) -> bool:
        """Whether a piece of a refresh was done. Nobody must be in two batches: it waits for those under way."""
        waits, under_way = bool(self._queue or self._backlogs), self._queue.under_way
        if under_way and not waits:
            return False  # soon nothing is under way
        now = time.monotonic()
        pause = self._refresh_share.wait(now, not waits and not self._behind)
        if pause > 0.0 and (waits or not self._quiet(now)):
            if not waits:
                await self._rest(min(pause, _QUIET_LOOK))
            return False
        while under_way:
            self._drained.clear()
            await self._drained.wait()
        began = time.monotonic()
        count = await self._encode_refresh()
        ended = time.monotonic()
        self._refresh_share.took(ended - began, ended, count)
        return True

    async def _read_refreshes(self) -> None:
        """Of each partition where some wait in the store alone, the next, as far as there is room."""
        for overflow in self._refreshes.to_read():
            if (asked := min(READ_QUEUE, self._refreshes.room)) <= 0:
                return
            try:
                followees = await overflow.target.read_refreshes(overflow.after, asked)
            except PartitionGoneError:
                self.drop(overflow.target)
                continue
            self._refreshes.read(overflow, followees, asked)

    async def _read_backlogs(self) -> None:
        """Some users of each partition with a backlog, but for those under way: they are offered again if need be.

        A pass begins when the lane runs low, and not sooner: its beginning skips what RocksDB has of those encoded.
        """
        for number, backlog in list(self._backlogs.items()):
            waiting = self._queue.later if backlog.later else self._queue.first
            if len(waiting) > (self._most - self._chunk if backlog.after else self._low):
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
            free = [user for user in users if (backlog.target, user) not in self._queue.under_way]
            self._take(backlog.target, free, backlog.since, self._most, later=backlog.later)
            if len(users) == self._chunk:
                backlog.after = users[-1]
            elif backlog.missed:
                backlog.after, backlog.missed, backlog.since = "", False, time.monotonic()
            else:
                del self._backlogs[number]

    async def _encode_waiting(self, taken: list[Entry[EncodeTarget]]) -> None:
        by_target: dict[EncodeTarget, list[str]] = {}
        for (_, user), (target, _) in taken:
            by_target.setdefault(target, []).append(user)
        try:
            await self._encode([(target, users, []) for target, users in by_target.items()], refresh=False)
        except Exception:
            self._queue.back(taken)
            raise
        finally:
            self._queue.done(taken)
            self._drained.set()

    async def _encode_refresh(self) -> int:
        """Some local followers of one user; returns how many."""
        if (refresh := self._refreshes.first()) is None:
            return 0
        most, refresh.begun = self._refresh_share.size, True
        try:
            users, after = await refresh.target.followers(refresh.followee, refresh.after, most)
        except PartitionGoneError:
            self.drop(refresh.target)
            return 0
        under_way = dict.fromkeys(((refresh.target, user) for user in users), time.monotonic())
        self._queue.under_way |= under_way
        try:
            refreshed = [refresh.followee] if not after and not refresh.again else []
            await self._encode([(refresh.target, users, refreshed)], refresh=True)
        finally:
            for key in under_way:
                del self._queue.under_way[key]
        if after:
            self._refreshes.went_on(refresh, after)
        else:
            self._refreshes.done(refresh)
        return len(users)

    async def _encode(self, parts: list[tuple[EncodeTarget, list[str], list[str]]], refresh: bool) -> None:
        work: list[tuple[EncodeTarget, list[encode.Job], list[str]]] = []
        for target, users, refreshed in parts:
            try:
                work.append((target, await target.make_jobs(users, refresh), refreshed))
            except PartitionGoneError:
                self.drop(target)
        jobs = [job for _, part, _ in work for job in part]
        computed = iter(await self._encoder.compute(jobs) if jobs else [])
        for target, part, refreshed in work:
            done = [job for job in islice(computed, len(part)) if job is not None]
            self._metrics.encoded_users.inc(len(done))
            self._metrics.encoded_texts.inc(sum(len(job.texts) for job in done))
            try:
                for start in range(0, max(1, len(done)), _TURN_USERS):
                    last = start + _TURN_USERS >= len(done)
                    await target.submit(done[start : start + _TURN_USERS], refreshed if last else [])
            except PartitionGoneError:
                self.drop(target)


class PartitionGoneError(RuntimeError):
    """The partition is not on this worker any more."""
