"""What the clock of a partition's timers may know. Pure: times and offsets are passed in.

By the wall clock, timers may go to a moment only when all that Kafka had taken until then is processed: an event that
waits may be just what a timer asks the absence of. Silence proves nothing, since a fetch may be slow, held back, or not
sent at all. A fetch does prove it: sent at some moment, and answered with nothing beyond what was handed on (see
``Ends`` in ``streams.kafka.ends``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: a misrouted record that arrived at its origin longer ago than this (seconds) shows that its origin is behind …
LATE = 2.0
#: … and for so long (seconds) more of the sort may be on their way
FOLLOWS = 1.0


class Told(NamedTuple):
    """All that Kafka had committed until ``until`` (seconds) lies before the offset ``upto``."""

    upto: int
    until: float


class _Topic:
    """How far one topic lets the clock go."""

    __slots__ = ("arrived", "known", "waits")

    def __init__(self) -> None:
        self.known = 0.0
        """All that was committed until then is processed, a fetch says."""
        self.arrived = 0.0
        """When the last processed record arrived: all before it are processed."""
        self.waits = False
        """Something was handed on that is not processed yet."""


class TimerClock:
    """The clock of one partition since its assignment. ``direct`` are topics whose records arrive in order of their
    time; what comes by the topic ``rerouted`` arrived elsewhere before."""

    def __init__(self, direct: Iterable[str], rerouted: str) -> None:
        self._direct = {topic: _Topic() for topic in direct}
        self._rerouted = rerouted
        self._topics = {**self._direct, rerouted: _Topic()}
        self._came_at = 0.0

    @property
    def topics(self) -> list[str]:
        """Those that bring events."""
        return list(self._topics)

    def told(self, topic: str, told: Told | None, position: int) -> None:
        """The newest of what fetches said of a topic; ``position``: all before this offset is processed."""
        of = self._topics[topic]
        of.waits = told is not None and position < told.upto
        if told is not None and not of.waits:
            of.known = max(of.known, told.until)

    def processed(self, topic: str, arrived: float, now: float) -> None:
        """Records are processed and committed; the last of them had first arrived at ``arrived`` (seconds)."""
        if topic not in self._topics:
            return
        self._topics[topic].arrived = arrived
        if topic == self._rerouted:
            self._came_at = now

    def at(self, now: float) -> float:
        """How far the timers may go; 0: nothing is known yet."""
        return min(now, self._topics[self._rerouted].known, self.direct_until(), self._origin(now))

    def direct_until(self) -> float:
        """All that had arrived until then by the direct topics is processed; 0: nothing is known yet."""
        return min(max(topic.known, topic.arrived) for topic in self._direct.values())

    def _origin(self, now: float) -> float:
        """How far the partition got from which misrouted records come, as the last of them says."""
        last = self._topics[self._rerouted]
        if not last.arrived or self._came_at - last.arrived <= LATE:
            return now
        return last.arrived if last.waits or now - self._came_at <= FOLLOWS else now
