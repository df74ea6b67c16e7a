"""The encode lane: one queue for all partitions of the worker, newest state of a user wins, in batches, in a thread.

The queue in memory is bounded: who finds it full waits in the store alone (the ``q`` records hold everybody who waits)
and is read from there when the lane runs low. Two batches are under way at a time, never with a user in common: while
the models work on one, the other is committed and the next one read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

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
#: of a batch, for those who can wait, however many cannot
_LATER_SHARE = 16
#: seconds that a piece of a refresh should take, and the share of the time for refreshes when nobody waits: turns and
#: the models share a processor with them, and a followed user whose vectors move all the time is refreshed all the time
_REFRESH_SECONDS = 0.05
_REFRESH_SHARE = 0.25
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
    async def read_refreshes(self, after: str, most: int) -> list[str]: ...
    async def followers(self, followee: str, after: str, most: int) -> list[str]: ...
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


Waiting = dict[tuple[int, str], tuple[EncodeTarget, float]]


class EncodeLane:
    """Users wait here once, however often they are offered. Who wrote something comes before those whose neighbourhood
    or behaviour alone changed: a crowd that follows somebody holds up nobody's comment. Refreshes of followers run when
    nobody waits, and have a small share of the time where somebody always does."""

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
        self._waiting: Waiting = {}
        self._later: Waiting = {}
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
        self._in_flight: dict[tuple[EncodeTarget, str], float] = {}
        """Who is being encoded or committed, and since when he waited; not to be read before that is done."""

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
        number, waiting = target.number, self._later if later else self._waiting
        for user in users:
            key = (number, user)
            if key in self._waiting or (later and key in self._later):
                continue
            if len(waiting) < most:
                if not later:
                    self._later.pop(key, None)
                waiting[key] = (target, since)
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
        self._waiting = {key: entry for key, entry in self._waiting.items() if entry[0] is not target}
        self._later = {key: entry for key, entry in self._later.items() if entry[0] is not target}
        self._refreshes.drop(target)
        self._note()

    @property
    def depth(self) -> int:
        """Users that wait, in memory or on disk, or are being encoded: 0 means that all is done."""
        here = len(self._waiting) + len(self._later) + len(self._in_flight)
        return max(sum(target.queued_users for target in self._targets.values()), here)

    @property
    def age(self) -> float:
        """Seconds that the user in front has waited, those that are being encoded included."""
        if self._in_flight:
            return time.monotonic() - min(self._in_flight.values())
        for _, since in (self._waiting or self._later).values():
            return time.monotonic() - since
        return 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not (self._some or self._steps)

    @property
    def _some(self) -> bool:
        """Something waits."""
        return bool(self._waiting or self._later or self._backlogs or self._refreshes)

    def _note(self) -> None:
        if self._some:
            self._wake.set()
        self._metrics.encode_queue_depth.set(self.depth)
        self._metrics.encode_queue_age.set(self.age)

    @property
    def _ready(self) -> bool:
        """There is somebody to take: refreshes and what is left on disk alone wait until all under way is done."""
        return next(self._free(), None) is not None if self._in_flight else self._some

    def _free(self, *sorts: Waiting) -> Iterator[tuple[tuple[int, str], tuple[EncodeTarget, float]]]:
        """Who waits and is not under way; ``sorts``: of these only."""
        for each in chain.from_iterable(sort.items() for sort in sorts or (self._waiting, self._later)):
            if (each[1][0], each[0][1]) not in self._in_flight:
                yield each

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
            taken = self._take_batch()
        if taken:
            await self._encode_waiting(taken)

    async def _give_refreshes_their_share(self) -> bool:
        """Whether a piece of a refresh was done. Nobody must be in two batches: it waits for those under way."""
        waits = bool(self._waiting or self._later or self._backlogs)
        if self._in_flight and not waits:
            return False  # soon nothing is under way
        if (pause := self._refresh_share.wait(time.monotonic(), not waits)) > 0.0:
            if not waits:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
            return False
        while self._in_flight:
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
            if len(self._later if backlog.later else self._waiting) > (
                self._most - self._chunk if backlog.after else self._low
            ):
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
            waiting = [user for user in users if (backlog.target, user) not in self._in_flight]
            self._take(backlog.target, waiting, backlog.since, self._most, later=backlog.later)
            if len(users) == self._chunk:
                backlog.after = users[-1]
            elif backlog.missed:
                backlog.after, backlog.missed, backlog.since = "", False, time.monotonic()
            else:
                del self._backlogs[number]

    def _take_batch(self) -> list[tuple[tuple[int, str], tuple[EncodeTarget, float]]]:
        """The first who wait and are not under way, and some of those who can wait longer."""
        later = list(islice(self._free(self._later), self._batch))
        kept = min(len(later), self._batch // _LATER_SHARE)
        taken = list(islice(self._free(self._waiting), self._batch - kept))
        taken += later[: self._batch - len(taken)]
        for key, (target, since) in taken:
            (self._waiting if key in self._waiting else self._later).pop(key)
            self._in_flight[target, key[1]] = since
        return taken

    async def _encode_waiting(self, taken: list[tuple[tuple[int, str], tuple[EncodeTarget, float]]]) -> None:
        by_target: dict[EncodeTarget, list[str]] = {}
        for (_, user), (target, _) in taken:
            by_target.setdefault(target, []).append(user)
        try:
            await self._encode([(target, users, []) for target, users in by_target.items()], refresh=False)
        except Exception:
            self._waiting = {**dict(taken), **self._waiting}  # in front, with the time that they have waited
            raise
        finally:
            for (_, user), (target, _) in taken:
                del self._in_flight[target, user]
            self._drained.set()

    async def _encode_refresh(self) -> int:
        """Some local followers of one user; returns how many."""
        if (refresh := self._refreshes.first()) is None:
            return 0
        most, after, refresh.begun = self._refresh_share.size, refresh.after, True
        try:
            users = await refresh.target.followers(refresh.followee, after, most)
        except PartitionGoneError:
            self.drop(refresh.target)
            return 0
        ended = len(users) < most
        under_way = dict.fromkeys(((refresh.target, user) for user in users), time.monotonic())
        self._in_flight |= under_way
        try:
            refreshed = [refresh.followee] if ended and not refresh.again else []
            await self._encode([(refresh.target, users, refreshed)], refresh=True)
        finally:
            for key in under_way:
                del self._in_flight[key]
        if ended:
            self._refreshes.done(refresh)
        else:
            self._refreshes.went_on(refresh, users[-1])
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
