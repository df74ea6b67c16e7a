"""Which turns of a worker's partitions share the next transaction, and when (ADR 0043). Pure: the time is passed in.

A *slot* is one transactional producer; it has a part of the worker's partitions and commits a round of their turns at a
time. The costs of a commit hardly depend on what is in it, so what is ready goes together, and a round does not begin
sooner than a pace that grows with the partitions that are busy.

When a round is aborted, all of its turns are dropped and come again. Whose fault it was is found by halves: partitions
of an aborted round are *suspects*, and those of different halves share no round until theirs was committed. One that
is aborted alone, while others are committed, has rounds of its own until a minute has passed without an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: seconds from the begin of a round to that of the next, for each of its slot's partitions that is busy; of more than
#: so many by as much more as they are more: they have turns less often, and a round should have several
PACE: Final = 0.0012
MANY: Final = 12
#: so many busy partitions of a worker have their turns as soon as they can
FREE: Final = 8
#: seconds from the begin of a partition's turn to that of its next, for each partition beyond these, and at most
SPACE: Final = 0.0045
MOST_SPACE: Final = 0.25
#: a partition is busy for so many seconds after it had a turn
BUSY: Final = 1.0
#: seconds after a commit until its markers are likely in all partitions: a transaction that begins sooner is refused by
#: the coordinator, and librdkafka asks again after 20 ms
MARKERS: Final = 0.003
#: what one transaction holds at most, unless a single turn has more
MOST_RECORDS: Final = 400_000
MOST_BYTES: Final = 256 * 2**20
#: seconds for which a partition is alone after its turn was refused
ALONE: Final = 60.0


def slot_of(partition: int, assigned: Sequence[int], slots: int) -> int:
    """Which of so many slots a partition of this assignment goes by: by its rank, for the numbers of one worker may all
    be even. Raises ValueError when it is not assigned."""
    return sorted(assigned).index(partition) % slots


def space(busy: int) -> float:
    """Seconds from the begin of a partition's turn to that of its next, where so many of the worker's are busy.

    Each turn costs the broker a request, a marker and an index for each of its topics, however little is in it: of
    many partitions a worker has not many more turns a second than of a few.
    """
    return min(MOST_SPACE, SPACE * max(0, busy - FREE))


@dataclass(frozen=True)
class Ready:
    """A partition's turn is folded and waits for its round."""

    partition: int
    records: int
    """That it writes."""
    bytes: int

    @property
    def is_large(self) -> bool:
        return self.records >= MOST_RECORDS / 2 or self.bytes >= MOST_BYTES / 2


class Rounds:
    """The rounds of one slot, one at a time: ``offer``, ``begin`` when it is ``due``, then one of ``committed``,
    ``aborted``, ``too_much``. ``pace``: 0 where a round costs nothing, as without transactions."""

    def __init__(self, pace: float = PACE, markers: float = MARKERS) -> None:
        self._ready: dict[int, Ready] = {}  # in order of arrival
        self._round: tuple[int, ...] = ()
        self.busy = 0
        """Partitions that were when the last round began; 0 where a round costs nothing."""
        self._began = self._ended = -math.inf
        self._pace, self._markers = pace, markers
        self._busy: dict[int, float] = {}  # partition -> when it last had a turn
        self._alone: dict[int, float] = {}  # partition -> until when
        self._groups: dict[int, int] = {}  # suspect -> number of its group
        self._groups_made = 0
        self._blamed: set[int] = set()  # aborted alone, with nothing committed since the abort that made it a suspect

    def offer(self, turn: Ready) -> None:
        """A turn waits for its round. Raises ValueError when the partition has one already."""
        if turn.partition in self._ready or turn.partition in self._round:
            raise ValueError(f"partition {turn.partition} has a turn already")
        self._ready[turn.partition] = turn

    def due(self, now: float) -> float:
        """When the next round may begin; infinite while nothing waits, or a round is under way."""
        if not self._ready or self._round:
            return math.inf
        busy = self._count(now)
        if busy == 1:  # it had its pause while it folded
            return self._began
        pace = self._pace * (1 if self._groups else busy * max(1.0, busy / MANY))  # a suspect is not kept waiting
        return max(self._began + pace, self._ended + self._markers)

    def begin(self, now: float) -> list[Ready]:
        """The turns of a round that begins now, in order of arrival; empty while none is due."""
        if now < self.due(now):
            return []
        waiting = iter(self._ready.values())
        first = next(waiting)
        found, records, size = [first], first.records, first.bytes
        group, alone = self._groups.get(first.partition), first.is_large or self._is_alone(first.partition, now)
        for turn in waiting if not alone else ():
            fits = records + turn.records <= MOST_RECORDS and size + turn.bytes <= MOST_BYTES
            apart = turn.is_large or self._is_alone(turn.partition, now)
            if fits and not apart and self._groups.get(turn.partition) == group:
                found.append(turn)
                records, size = records + turn.records, size + turn.bytes
        self._round = tuple(turn.partition for turn in found)
        self._began = now
        self.busy = self._count(now) if self._pace else 0
        for partition in self._round:
            del self._ready[partition]
            self._busy[partition] = now
        return found

    def committed(self, now: float) -> None:
        """The round under way is committed: its partitions are no suspects any more."""
        for partition in self._end(now):
            self._groups.pop(partition, None)
        self._blamed.clear()

    def aborted(self, now: float, culprit: int | None = None) -> None:
        """The round under way is aborted; its turns are dropped. ``culprit``: the partition whose turn was refused, if
        that is known. It is known as well when a turn was alone, and others were committed since it was one of those to
        blame."""
        partitions = self._end(now)
        if culprit is None and len(partitions) == 1:
            (alone,) = partitions
            if alone in self._alone or (alone in self._groups and alone not in self._blamed):
                culprit = alone
        if culprit is not None:
            self._alone[culprit] = now + ALONE
            self._groups.pop(culprit, None)
            self._blamed.discard(culprit)
            return
        half = (len(partitions) + 1) // 2
        for suspects in (partitions[:half], partitions[half:]):
            self._suspect(suspects)
        self._blamed.update(partitions)

    def too_much(self, now: float) -> None:
        """The round under way was more than Kafka takes; its turns are dropped. Each is alone the next time."""
        partitions = self._end(now)
        for partition in partitions:
            self._suspect((partition,))
        self._blamed.update(partitions)

    def _count(self, now: float) -> int:
        return len(self._ready.keys() | {partition for partition, at in self._busy.items() if now - at < BUSY})

    def _is_alone(self, partition: int, now: float) -> bool:
        return now < self._alone.get(partition, -math.inf)

    def _suspect(self, partitions: tuple[int, ...]) -> None:
        self._groups_made += 1
        for partition in partitions:
            self._groups[partition] = self._groups_made

    def _end(self, now: float) -> tuple[int, ...]:
        partitions, self._round = self._round, ()
        self._ended = now
        return partitions
