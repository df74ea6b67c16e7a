"""The work of a turn in pieces, where one transaction cannot hold it: halved until what cannot be written stands alone.

Nothing of a turn that failed has happened, so any part of its work may be tried instead, and the rest after it: each
piece moves the positions on in its own transaction. A record that cannot be taken alone is refused.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from streams.kafka.errors import AbortedError, NoMemoryError, PermanentError, TooMuchError
from streams.kafka.work import Done, Work
from streams.steps.effects import Record
from streams.wire.refused import Code, RefusedError, printable

log = logging.getLogger(__name__)

#: bytes kept of a record whose dead letter could not be written either
CUT: Final = 1_024


class Size:
    """How much work one transaction takes, as far as that is known: it is learned, and tried to be raised again."""

    def __init__(self) -> None:
        self.now = sys.maxsize

    def was_too_much(self, count: int) -> None:
        self.now = max(1, count // 2)

    def was_good(self, count: int) -> None:
        if count >= self.now:
            self.now += self.now // 4 + 1


class Pieces:
    """What is left of a turn's work."""

    def __init__(self, work: Work, size: Size) -> None:
        self._left = [work]
        self._size = size

    def next(self) -> Work | None:
        """What to try now; None when all is done."""
        while self._left:
            work = self._left[-1]
            if not units(work):
                self._left.pop()
            elif units(work) <= self._size.now:
                return work
            else:
                self._left[-1:] = [*reversed(split(work, self._size.now))]
        return None

    def done(self) -> None:
        """What ``next`` gave is committed."""
        self._size.was_good(units(self._left.pop()))

    def halve(self) -> bool:
        """Try less of it next time; False when it cannot be less."""
        count = units(self._left[-1])
        if count > 1:
            self._size.was_too_much(count)
        return count > 1

    def too_much(self, error: TooMuchError) -> None:
        """What ``next`` gave could not be written. When it cannot be less: raises AbortedError if memory is what lacks,
        PermanentError if it cannot be refused either."""
        if self.halve():
            return
        if isinstance(error, NoMemoryError):
            raise AbortedError(str(error)) from error
        self._left[-1] = _without(self._left[-1], error)


def in_pieces(work: Work, size: Size, once: Callable[[Work], Done]) -> Iterator[Done]:
    """Do the work by ``once``, in as many turns as it takes. Raises what ``once`` and ``Pieces.too_much`` do, but for
    TooMuchError."""
    pieces = Pieces(work, size)
    while (piece := pieces.next()) is not None:
        try:
            done = once(piece)
        except TooMuchError as error:
            pieces.too_much(error)
        else:
            pieces.done()
            yield done


def units(work: Work) -> int:
    """How much there is to be split."""
    count = sum(len(records) for _, records in work.sources)
    count += len(work.jobs) + len(work.refreshed) + len(work.guards) + len(work.idle)
    if work.sweep is not None:
        count += max(1, len(work.sweep))
    return count + (work.most_timers if work.timers else 0) + work.training + work.last_examples + work.complete


def split(work: Work, most: int) -> tuple[Work, Work]:
    """The first ``most`` of it, in the order in which a turn does it, and the rest."""
    first, rest = Work(refused=work.refused, cut=work.cut), dataclasses.replace(work, sources=[])
    for topic, records in work.sources:
        taken: Sequence[Record] = records[:most]
        if len(taken):
            first.sources.append((topic, taken))
        if len(taken) < len(records):
            rest.sources.append((topic, records[len(taken) :]))
        most -= len(taken)
    first.jobs, rest.jobs, most = work.jobs[:most], work.jobs[most:], max(0, most - len(work.jobs))
    first.refreshed, rest.refreshed = work.refreshed[:most], work.refreshed[most:]
    most = max(0, most - len(work.refreshed))
    if work.sweep is not None and most:
        first.sweep, rest.sweep, first.epoch = work.sweep[:most], work.sweep[most:] or None, work.epoch
        most -= max(1, len(first.sweep))
    first.guards, rest.guards, most = work.guards[:most], work.guards[most:], max(0, most - len(work.guards))
    first.idle, rest.idle, most = work.idle[:most], work.idle[most:], max(0, most - len(work.idle))
    if work.timers and most:  # those that are left are still due when somebody looks again
        first.timers, first.most_timers, rest.timers = True, min(most, work.most_timers), False
    return first, rest


def _without(work: Work, error: TooMuchError) -> Work:
    """What to do instead of a single thing that cannot be done."""
    if work.sources and not work.cut:
        ((topic, records),) = work.sources
        log.warning("the record at offset %d of %s becomes a dead letter: %s", records[0].offset, topic, error)
        refused = RefusedError(Code.UNWRITABLE, f"what follows from it cannot be written: {printable(error)}")
        return Work(sources=work.sources, refused=refused, cut=CUT if work.refused else 0)
    if work.jobs:
        log.error(
            "what was encoded of a user cannot be written; set aside until the partition is opened again: %s", error
        )
        return Work()
    raise PermanentError(f"what has to be written cannot be, however little it is: {error}")
