"""A partition on this worker: restores, then takes turns; the asynchronous side of its writer."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from streams.kafka.arrivals import Arrivals, Room
from streams.kafka.attempts import Attempts
from streams.kafka.background import Background
from streams.kafka.changelog import RestoreStoppedError, UnansweredError
from streams.kafka.clock import Told
from streams.kafka.errors import AbortedError, FencedError, PermanentError
from streams.kafka.installation import InstallationError
from streams.kafka.lane import EncodeLane, PartitionGoneError
from streams.kafka.patience import GIVE_UP_SECONDS, Patience
from streams.kafka.scrub import Scrubber
from streams.kafka.turn_metrics import Tellings, note_turn
from streams.kafka.turn_size import TurnSize
from streams.kafka.turns import Turns
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics
from streams.ops.outage import CLIENT_LINE
from streams.steps import encode
from streams.steps.effects import Emitted, Record

log = logging.getLogger(__name__)
T = TypeVar("T")

#: how often timers are looked at when nothing else wakes the partition; they must fire within a second
TIMER_INTERVAL = 0.2
#: how often it is looked whether what came from another partition may have its turn
REROUTED_INTERVAL = 0.02
#: seconds without a turn after which memory is given to other partitions
TIDY_INTERVAL = 1.0
#: seconds between two looks at the timers while other work goes on: a look costs as much as folding a hundred events
TIMER_PAUSE = 0.1


class State(enum.StrEnum):
    """Where a partition is in its life on this worker."""

    RESTORING = "restoring"
    RUNNING = "running"
    FENCED = "fenced"
    FAILED = "failed"
    STOPPED = "stopped"


class Partition:
    """Queues what arrives and hands it to the writer, one turn at a time, in threads of executors."""

    def __init__(
        self,
        writer: PartitionWriter,
        lane: EncodeLane,
        metrics: Metrics,
        turns: Turns,
        opening: Executor,
        room: Room,
        on_restored: Callable[[Partition], Awaitable[None]],
        on_pressure: Callable[[Partition, tuple[str, ...], bool], None],
        on_changes: Callable[[list[Emitted]], None],
        on_failed: Callable[[Partition, BaseException], None],
        told: Callable[[Partition], Mapping[str, Told | None]] = lambda _partition: {},
        turn_interval: float = 0.0,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        """``turns``: threads of turns and reads; ``opening``: of what may take minutes, restores and rewriting files.

        ``told``: of each topic, what the last complete fetch says. ``turn_interval``: seconds from the begin of a turn
        to that of the next at least, unless a whole batch waits, or somebody who was encoded.
        """
        self.writer = writer
        self.state = State.RESTORING
        self.restored = 0
        self.attempts = Attempts(
            writer.place.partition, metrics, lambda: self._stopping, give_up_seconds, sleep=self._sleep_unless_stopped
        )
        self._lane = lane
        self._metrics = metrics
        self._turns = turns
        self._opening = opening
        self._on_restored = on_restored
        self._on_changes = on_changes
        self._on_failed = on_failed
        self._told = told
        self._turn_interval = turn_interval
        self._give_up_seconds = give_up_seconds
        self._next_turn = 0.0
        self._timers_at = 0.0
        self._tidied_at = 0.0
        topics = writer.place.topics
        direct = tuple(topic for topic in topics.sources if topic != topics.reroute)
        self._size = TurnSize.of(room, writer.place)
        self._arrivals = Arrivals(room, lambda high: on_pressure(self, direct, high))
        self._rerouted = Arrivals(room.quarter(), lambda high: on_pressure(self, (topics.reroute,), high))
        self._encoded: deque[tuple[list[encode.Job], list[str], asyncio.Future[None]]] = deque()
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._scrubber = Scrubber(writer, turns.folding, opening, self._turn)
        self._background = Background(writer, self.read)
        self._tellings = Tellings(writer.place.partition)
        self._stop = asyncio.Event()
        self._turn_began = 0.0
        self._task: asyncio.Task[None] | None = None
        self.fresh_at = -math.inf
        """When something last arrived that did not follow from what was here already (a monotonic clock)."""

    @property
    def number(self) -> int:
        return self.writer.place.partition

    @property
    def queued(self) -> int:
        """Records that arrived and wait for their turn."""
        return self._arrivals.records + self._rerouted.records

    @property
    def held(self) -> bool:
        """More waits than can be processed at once, so that nothing more is fetched."""
        return self._arrivals.held or self._rerouted.held

    @property
    def busy_seconds(self) -> float:
        """How long the turn under way has taken so far; 0 between turns."""
        return time.monotonic() - self._turn_began if self._turn_began else 0.0

    @property
    def _stopping(self) -> bool:
        return self._stop.is_set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"partition-{self.number}")

    async def stop(self) -> None:
        """Finish the turn under way, or the piece of it, then close the store."""
        self._stop.set()
        self._wake.set()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    def arrive(self, topic: str, records: Sequence[Record], ack: Callable[[], None]) -> None:
        """Records of one of the source topics; ``ack`` is called when they are committed."""
        topics = self.writer.place.topics
        queue = self._rerouted if topic == topics.reroute else self._arrivals
        queue.add(topic, records, ack)
        if topic not in (topics.graph, topics.examples):  # those come of refreshes and of what was fresh before
            self.fresh_at = time.monotonic()
        self._wake.set()

    # what the encode lane calls

    @property
    def queued_users(self) -> int:
        """Users of the partition that wait for the encode lane or are in it, those only on disk included."""
        return self.writer.meta.queued

    async def read_queue(self, after: str, most: int) -> list[str]:
        return await self._reading(lambda: self.writer.queued_users(after, most))

    async def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        return await self._reading(lambda: self.writer.make_jobs(users, refresh))

    async def read_refreshes(self, after: str, most: int) -> list[str]:
        return await self._reading(lambda: self.writer.waiting_refreshes(after, most))

    async def followers(self, followee: str, after: str, most: int) -> tuple[list[str], str]:
        return await self._reading(lambda: self.writer.followers(followee, after, most))

    async def submit(self, jobs: list[encode.Job], refreshed: list[str]) -> None:
        """Hand encoded users to the writer; returns when they are committed."""
        if self.state is not State.RUNNING or self._stopping:
            raise PartitionGoneError
        if not jobs and not refreshed:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._encoded.append((jobs, refreshed, done))
        self._wake.set()
        await done

    async def read(self, look: Callable[[PartitionWriter], T]) -> T:
        """Read committed state between two turns. Raises PartitionGoneError."""
        return await self._reading(lambda: look(self.writer))

    async def _reading(self, look: Callable[[], T]) -> T:
        async with self._turn:
            if self.state is not State.RUNNING or self._stopping:
                raise PartitionGoneError
            return await asyncio.get_running_loop().run_in_executor(self._turns.folding, look)

    # its life

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        waiters: list[asyncio.Future[None]] = []
        try:
            await self._restore(loop)
            while not self._stopping:
                await self._pace()
                work, acks, waiters = self._gather()
                if work:
                    await self._commit(work)
                    for ack in acks:
                        ack()
                    for waiter in waiters:
                        if not waiter.done():
                            waiter.set_result(None)
                if not await self._work_in_background(idle=not work) and not work:
                    await self._sleep()
            self.state = State.STOPPED
        except (FencedError, InstallationError, PermanentError) as error:
            self.state = State.FENCED if isinstance(error, FencedError) else State.FAILED
            log.warning("partition %d: %s", self.number, error)
            self._on_failed(self, error)
        except Exception as error:
            ended = self._stopping and isinstance(error, (PartitionGoneError, AbortedError, RestoreStoppedError))
            self.state = State.STOPPED if ended else State.FAILED
            if not self._stopping:
                log.exception("partition %d failed", self.number)
                self._on_failed(self, error)
        finally:
            self._lane.drop(self)
            for waiter in (*waiters, *(waiter for _, _, waiter in self._encoded)):
                if not waiter.done():
                    waiter.set_exception(PartitionGoneError())
            await self._scrubber.stop()
            async with self._turn:
                await loop.run_in_executor(self._turns.folding, self.writer.close)

    async def _restore(self, loop: asyncio.AbstractEventLoop) -> None:
        started = time.perf_counter()

        def progress(count: int) -> None:
            self.restored += count
            self._metrics.restore_records.inc(count)

        def restore() -> int:
            if self._stopping:  # it waited for a thread: nobody needs to be fenced any more
                raise PartitionGoneError
            return self.writer.open(progress, lambda: self._stopping)

        count = await self._patiently(partial(loop.run_in_executor, self._opening, restore))
        log.info(
            "partition %d: %d changelog records restored in %.2f s, %d users wait for encoding",
            self.number, count, time.perf_counter() - started, self.queued_users,
        )  # fmt: skip
        self.state = State.RUNNING
        self._lane.attach(self)
        await self._on_restored(self)

    async def _patiently(self, restore: Callable[[], Awaitable[int]]) -> int:
        patience = Patience("opening the partition", self._give_up_seconds)
        while True:
            try:
                return await restore()
            except (AbortedError, UnansweredError) as error:
                if self._stopping:
                    raise
                pause = patience.pause(error)
                log.warning("partition %d: %s; it is opened anew", self.number, error, extra=CLIENT_LINE)
            await self._sleep_unless_stopped(pause)
            await asyncio.get_running_loop().run_in_executor(self._opening, self.writer.close)

    def _gather(self) -> tuple[Work, list[Callable[[], None]], list[asyncio.Future[None]]]:
        """What the next turn does: all that waits, up to the batch size (small when idle, large under backlog)."""
        work = Work()
        self._advance_clock()
        work.sources, acks = self._arrivals.take(self._size.records)
        sources, more = self._rerouted.take(self._rerouted.leading(self.writer.is_in_turn))
        work.sources += sources
        acks += more
        waiters: list[asyncio.Future[None]] = []
        while self._encoded:
            jobs, refreshed, waiter = self._encoded.popleft()
            work.jobs.extend(jobs)
            work.refreshed.extend(refreshed)
            waiters.append(waiter)
        work.complete = self.writer.incomplete or self._turns.want_refresh(self.number)
        work.timers = self._look_at_timers()
        work.training = self.writer.training_due
        return work, acks, waiters

    def _advance_clock(self) -> None:
        told, positions = self._told(self), self.writer.meta.positions
        for topic in self.writer.clock.topics:
            self.writer.clock.told(topic, told.get(topic), positions.get(topic, 0))

    def _look_at_timers(self) -> bool:
        if self.writer.timer_clock() < self.writer.due.next:
            return False
        now = time.monotonic()
        # by event time all that is due fires with the events that made it so
        if self.writer.place.wall_clock and now < self._timers_at and not self.writer.due.left:
            return False
        self._timers_at = now + TIMER_PAUSE
        return True

    async def _work_in_background(self, idle: bool) -> bool:
        """A piece of what can wait, if it is its time."""
        self._scrubber.poll()
        began = time.monotonic()
        work = await self._background.next(began, idle)
        if not work:
            if idle and began >= self._tidied_at + TIDY_INTERVAL:
                self._tidied_at = began
                with contextlib.suppress(PartitionGoneError):
                    await self._reading(self.writer.tidy)
            return False
        await self._commit(work)
        self._background.took(began, time.monotonic(), work)
        return True

    async def _pace(self) -> None:
        """A transaction costs the broker the same for one record as for many: what comes soon goes in the same one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._next_turn - time.monotonic()):
                while not (self._arrivals.full or self._encoded or self._stopping):
                    self._wake.clear()
                    await self._wake.wait()

    async def _sleep(self) -> None:
        """Until something arrives, or it is time to look at the timers."""
        self._wake.clear()
        if self._arrivals or self._encoded or self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REROUTED_INTERVAL if self._rerouted else TIMER_INTERVAL):
                await self._wake.wait()

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _commit(self, work: Work) -> None:
        async def once(piece: Work) -> Done:
            try:
                async with self._turn:
                    self._turn_began = time.monotonic()
                    self._next_turn = self._turn_began + max(self._turn_interval, self._turns.space)
                    return await asyncio.wrap_future(self._turns.take(self.writer, piece))
            finally:
                self._turn_began = 0.0

        await self.attempts.commit(work, once, self._after)

    def _after(self, done: Done) -> None:
        effects = done.effects
        self._size.took(done.records, effects)
        self._lane.offer(self, effects.offers + done.again, effects.later)
        self._lane.offer_refresh(self, effects.refreshes)
        note_turn(self._metrics, self.writer, done)
        self._tellings.tell(effects, time.monotonic())
        if effects.changes:
            self._on_changes(effects.changes)
