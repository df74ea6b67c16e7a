"""Which examples are learned together, and from where they are read again after a crash.

A head has hundreds of kilobytes. It is written once for each block, with the position behind that block: examples that
are read and not learned yet are read again by whoever comes next. Where a block ends follows from the examples alone,
so that what is learned does not depend on turns, fetches and crashes.
"""

from __future__ import annotations

from collections.abc import Sequence

from streams.steps.effects import Record

#: examples of one block, at most
MOST = 1_024
#: seconds of append time that one block spans, at most
SPAN = 1.0
#: seconds after which a block is learned that nothing was appended behind: all that belongs to it has come by then
PATIENCE = SPAN + 0.5


class Blocks:
    """Of one partition. A turn begins with ``begin`` and ends with ``commit``; else nothing of it has happened."""

    def __init__(self, position: int) -> None:
        """``position``: the offset from which the partition is read."""
        self._kept: tuple[list[Record], int, float] = ([], position, 0.0)
        self.begin()

    def begin(self) -> None:
        """What the last committed turn left."""
        waiting, self._next, self._since = self._kept
        self._waiting = list(waiting)

    def commit(self) -> None:
        self._kept = (self._waiting, self._next, self._since)

    @property
    def next(self) -> int:
        """The offset after the last example that was read."""
        return self._next

    @property
    def position(self) -> int:
        """The offset before which all is learned."""
        return self._waiting[0].offset if self._waiting else self._next

    def due(self, now: float) -> bool:
        """Examples that were committed as read wait for long enough. ``now``: of the clock that ``add`` was given."""
        waiting, _, since = self._kept
        return bool(waiting) and now >= since + PATIENCE

    def add(self, records: Sequence[Record], now: float) -> None:
        """Examples in order, from ``next`` on."""
        if not self._waiting:
            self._since = now
        self._waiting += records
        self._next = records[-1].offset + 1

    def take(self, now: float, everything: bool = False) -> list[list[Record]]:
        """The blocks that are complete; the others wait. ``everything``: nothing more comes."""
        found = []
        while end := _end(self._waiting):
            found.append(self._waiting[:end])
            self._waiting, self._since = self._waiting[end:], now
        if self._waiting and (everything or now >= self._since + PATIENCE):
            found.append(self._waiting)
            self._waiting = []
        return found


def _end(records: list[Record]) -> int:
    """How many of these are a complete block, whatever comes after them; 0: that is not known yet."""
    if not records:
        return 0
    until = records[0].timestamp + 1_000.0 * SPAN
    for place, record in enumerate(records[:MOST]):
        if record.timestamp >= until:
            return place
    return MOST if len(records) >= MOST else 0
