"""A slot: one of a worker's producers, with a thread that commits its partitions' turns in rounds (ADR 0043)."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Final

from streams.kafka.claim import SLOT_SECONDS, may_be_used, wants_refresh
from streams.kafka.errors import AbortedError, FencedError, TooMuchError
from streams.kafka.output import Produced
from streams.kafka.patience import GIVE_UP_SECONDS, Patience
from streams.kafka.rounds import Ready, Rounds
from streams.kafka.transactions import Transactions
from streams.kafka.work import Done, Folded
from streams.kafka.writer import PartitionWriter
from streams.ops.outage import CLIENT_LINE

log = logging.getLogger(__name__)

#: between two looks whether somebody wants to stop
_LOOK_SECONDS: Final = 0.5


def boot_seconds() -> float:
    """A clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Offered:
    """A turn that waits for its commit; ``taken`` is told what comes of it."""

    writer: PartitionWriter
    folded: Folded
    taken: Future[Done]

    @property
    def partition(self) -> int:
        return self.writer.place.partition


class Slot:
    """Turns are offered by any thread; when they are committed, ``finishing`` ends them. Its producer is made by its
    thread, once: after an error that ends it no turn is taken any more."""

    def __init__(
        self,
        make: Callable[[], Transactions],
        finishing: Executor,
        rounds: Rounds,
        on_committed: Callable[[int], object] = lambda _turns: None,
        clock: Callable[[], float] = time.monotonic,
        boot_clock: Callable[[], float] = boot_seconds,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        """``make`` fences whoever has the slot's transactional id, and is tried again for ``give_up_seconds``;
        ``on_committed`` is told the turns of a round."""
        self._make = make
        self._finishing = finishing
        self._rounds = rounds
        self._on_committed = on_committed
        self._clock, self._boot_clock = clock, boot_clock
        self._patience = Patience("a producer", give_up_seconds, clock)
        self._made: Future[str] = Future()
        self._changed = threading.Condition()
        self._waiting: dict[int, Offered] = {}
        self._producing: Offered | None = None  # of the round under way, until all of it is handed over
        self._error: Exception | None = None
        self._stopping = False
        self._answered = math.inf
        self._thread = threading.Thread(target=self._run, name="slot", daemon=True)
        self._thread.start()

    def writer(self, stopping: Callable[[], bool] = lambda: False) -> str:
        """Its transactional id, when its producer is made. Raises what kept that from being made; AbortedError when
        nobody wants it any more."""
        while not self._made.done():
            wait([self._made], _LOOK_SECONDS)
            if stopping():
                raise AbortedError("the partition stops before its producer is made")
        return self._made.result()

    @property
    def wants_refresh(self) -> bool:
        """Nothing was written for so long that something should be: see ``SLOT_SECONDS``."""
        return wants_refresh(self._answered, self._boot_clock())

    @property
    def busy(self) -> int:
        """How many partitions go by it, of late."""
        return self._rounds.busy

    def offer(self, offered: Offered) -> None:
        """A turn waits for the next round."""
        with self._changed:
            if self._error is None and not self._stopping:
                self._waiting[offered.partition] = offered
                self._rounds.offer(Ready(offered.partition, offered.folded.effects.count, offered.folded.bytes))
                self._changed.notify()
                return
        _refuse(offered, self._error or FencedError("its producer has ended"))

    def stop(self) -> None:
        """End the thread when all that was offered is through. Does not wait for that."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            transactions = self._make_patiently()
        except Exception as error:
            self._made.set_exception(error)
            self._end(error)
            return
        self._answered = self._boot_clock()
        self._made.set_result(transactions.identity)
        while turns := self._next():
            self._round(transactions, turns)
            if self._error is not None:
                return

    def _make_patiently(self) -> Transactions:
        while True:
            try:
                return self._make()
            except AbortedError as error:
                pause = self._patience.pause(error)
                log.warning("a producer cannot be made: %s; it is tried again", error, extra=CLIENT_LINE)
                with self._changed:
                    if self._changed.wait_for(lambda: self._stopping, pause):
                        raise

    def _next(self) -> list[Offered]:
        """The turns of the next round, when it is due; none when there will be no more."""
        with self._changed:
            while True:
                now = self._clock()
                due = self._rounds.due(now)
                if due <= now:
                    return [self._waiting.pop(turn.partition) for turn in self._rounds.begin(now)]
                if self._stopping and not self._waiting:
                    return []
                self._changed.wait(None if due == math.inf else due - now)

    def _round(self, transactions: Transactions, turns: list[Offered]) -> None:
        try:
            offsets = self._write(transactions, turns)
        except (AbortedError, TooMuchError) as error:
            error.__traceback__ = None  # its frames know the turns, and these the error
            self._refused(turns, error)
        except Exception as error:
            self._end(error)
            for turn in turns:
                _refuse(turn, error)
        else:
            self._answered = self._boot_clock()
            with self._changed:
                self._rounds.committed(self._clock())
            self._on_committed(len(turns))
            for turn, offset in zip(turns, offsets, strict=True):
                finishing = self._finishing.submit(turn.writer.finish, turn.folded, offset)
                finishing.add_done_callback(partial(_ended, turn.taken))

    def _write(self, transactions: Transactions, turns: Sequence[Offered]) -> list[int]:
        if not may_be_used(self._answered, self._boot_clock()):
            raise FencedError(f"the worker slept for {SLOT_SECONDS / 3600:.0f} h: Kafka may not know its producer")
        transactions.begin()
        handed: list[Produced] = []
        for turn in turns:
            self._producing = turn
            handed.append(transactions.produce(turn.writer.output, turn.folded.effects))
        self._producing = None
        for turn in turns:
            if len(turns) > 1:
                turn.folded.lanes.append("round")
            turn.writer.reached(turn.folded, "3.produced")
        return transactions.commit(handed)

    def _refused(self, turns: Sequence[Offered], error: AbortedError | TooMuchError) -> None:
        """The round is aborted, and taken again by its partitions: in other company, or alone."""
        together = len(turns) > 1
        culprit, self._producing = self._producing, None
        with self._changed:
            now = self._clock()
            if together and culprit is None and isinstance(error, TooMuchError):
                self._rounds.too_much(now)
            else:
                self._rounds.aborted(now, culprit.partition if together and culprit is not None else None)
        for turn in turns:
            own = turn is culprit or not together
            _refuse(turn, error if own else AbortedError(str(error), with_others=True))

    def _end(self, error: Exception) -> None:
        """No more turns: whoever owns these partitions next goes on from what is committed."""
        with self._changed:
            self._error = error
            waiting, self._waiting = list(self._waiting.values()), {}
        for turn in waiting:
            _refuse(turn, error)


def _refuse(turn: Offered, error: Exception) -> None:
    try:
        turn.writer.drop(turn.folded.turn.area)
    finally:
        turn.taken.set_exception(error)


def _ended(taken: Future[Done], finishing: Future[Done]) -> None:
    if error := finishing.exception():
        taken.set_exception(error)
    else:
        taken.set_result(finishing.result())
