"""What retention took before a partition read it: noticed by the turn, judged by whoever may ask the brokers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_GAPS = 1_000


@dataclass(frozen=True)
class Gap:
    """Offsets from ``start`` to before ``end`` without a record that was read: transaction markers, or lost records."""

    topic: str
    partition: int
    start: int
    end: int


class Losses:
    """Of one partition. The turn's thread notes gaps and counts what was found; one other thread judges the gaps.

    A turn begins with ``begin`` and ends with ``commit``; else it has met nothing: it is tried again, or in pieces.
    """

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        self._met: list[Gap] = []
        self.found = 0
        """Records that turned out to be lost so far; written by who judges."""
        self.counted = 0
        """So many of them are in the position record; written by the turn."""

    def begin(self) -> None:
        """Nothing was met in this turn so far."""
        self._met = []

    def note(self, topic: str, position: int, first: int) -> None:
        """A turn's first record lies at ``first``."""
        if position < first:
            self._met.append(Gap(topic, self._partition, position, first))

    def commit(self) -> None:
        """What the turn met is to be judged."""
        self._gaps.extend(self._met)

    def again(self, gap: Gap) -> None:
        """It could not be judged."""
        self._gaps.append(gap)

    def gaps(self) -> list[Gap]:
        """Those that were committed since the last call."""
        return [self._gaps.popleft() for _ in range(len(self._gaps))]


def lost_in(gap: Gap, start: int) -> int:
    """How many of a gap's offsets lie before ``start``, the first that is kept: markers do not go by themselves."""
    return max(0, min(start, gap.end) - gap.start)
