"""A partition's turns against a Kafka that may refuse them: tried again, taken in pieces, or given up in words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from streams.kafka.errors import AbortedError, TooMuchError
from streams.kafka.patience import GIVE_UP_SECONDS, Patience
from streams.kafka.pieces import Pieces, Size
from streams.kafka.turn_metrics import Occasionally
from streams.kafka.work import Done, Work
from streams.ops.metrics import Metrics
from streams.ops.outage import CLIENT_LINE

log = logging.getLogger(__name__)

#: attempts in a row after which the partition is not ready
_NOT_READY_AFTER: Final = 3
#: of so many aborted attempts in a row the last one makes the turn smaller: a large one may take too long
_HALVE_EACH: Final = 3


class Attempts:
    """Takes the turns of one partition. ``steps`` counts what moves where no position may: a turn that failed and is
    tried again, and a piece of one that is committed while all that arrived after it waits."""

    def __init__(
        self,
        partition: int,
        metrics: Metrics,
        stopping: Callable[[], bool],
        give_up_seconds: float = GIVE_UP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.steps = 0
        self.failing = ""
        """Why the present turn was refused several times in a row; empty when it was not."""
        self._partition = partition
        self._metrics = metrics
        self._stopping = stopping
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._sleep = sleep
        self._size = Size()
        self._patience = Patience("the same turn", give_up_seconds, clock)
        self._told = Occasionally()
        self._split_told = Occasionally()

    async def commit(self, work: Work, once: Callable[[Work], Awaitable[Done]], after: Callable[[Done], None]) -> None:
        """Do the work by ``once``, in as many turns as it takes; ``after`` is called for each that is committed.

        Raises PermanentError or FencedError; and AbortedError when the partition stops meanwhile, be it between two
        pieces: whoever is next goes on from there.
        """
        pieces = Pieces(work, self._size)
        while (piece := pieces.next()) is not None:
            try:
                try:
                    done = await once(piece)
                except TooMuchError as error:
                    self._take_less(error, pieces)
                    continue
            except AbortedError as error:
                if self._stopping():
                    raise
                if error.with_others:  # at once, in other company: whose fault it is shows soon
                    self.steps += 1
                    self._metrics.aborted_turns.inc()
                    continue
                await self._wait(error, pieces)
                if self._stopping():
                    raise
            else:
                self._went_well()
                self.steps += piece is not work
                pieces.done()
                after(done)
                if piece is not work and self._stopping():
                    raise AbortedError("the partition stops within a turn")

    def _take_less(self, error: TooMuchError, pieces: Pieces) -> None:
        """Raises what ``Pieces.too_much`` does."""
        pieces.too_much(error)
        self.steps += 1
        self._metrics.halved_turns.inc()
        if self._split_told.add(1, self._clock()):
            log.warning("partition %d: %s; the turn is taken in smaller ones", self._partition, error)

    async def _wait(self, error: AbortedError, pieces: Pieces) -> None:
        self.steps += 1
        self._metrics.aborted_turns.inc()
        pause = self._patience.pause(error)
        refused, failed = f"partition {self._partition}: {error}", self._patience.in_a_row
        if failed >= _NOT_READY_AFTER:
            self.failing = f"{refused} ({failed} times in a row)"
        if self._told.add(1, self._clock()):
            log.warning("%s; it is tried again for up to %.0f s", refused, self._give_up_seconds, extra=CLIENT_LINE)
        if failed % _HALVE_EACH == 0 and pieces.halve():
            self._metrics.halved_turns.inc()
        await self._sleep(pause)

    def _went_well(self) -> None:
        if self.failing:
            seconds = self._patience.seconds
            log.info("partition %d: turns are committed again, after %.0f s", self._partition, seconds)
        self._patience.went_well()
        self.failing = ""
