"""Finds out that a partition stands still although there is something to do. Pure: looks and times are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streams.ops.lag import PartitionLag


@dataclass(frozen=True)
class Stuck:
    """A partition that did not move for ``seconds``. ``topic`` "": its restore, at ``position`` records."""

    topic: str
    partition: int
    position: int
    end: int
    seconds: float

    def __str__(self) -> str:
        if not self.topic:
            return f"the restore of partition {self.partition} stands still at {self.position} records"
        return (
            f"partition {self.partition} of {self.topic} stands still at offset {self.position} "
            f"for {self.seconds:.0f} s, and there are records up to {self.end}"
        )


@dataclass
class _Watched:
    mark: tuple[int, int]
    stood: float = 0.0


class Watchdog:
    """Adds up how long each partition stood still while the broker answered and a record could have been read."""

    def __init__(self, stuck_seconds: float) -> None:
        """One look adds a quarter of ``stuck_seconds`` at most: when the whole process slept, it gets time to move."""
        self._stuck_seconds = stuck_seconds
        self._watched: dict[tuple[str, int], _Watched] = {}
        self._last: float | None = None

    def look(
        self, lags: Iterable[PartitionLag], attempts: Mapping[int, int], restoring: Mapping[int, int], now: float
    ) -> Stuck | None:
        """The first partition that is stuck, None when none is.

        ``lags``: of the partitions that run. ``attempts``: partition → turns that were tried and will be again (Kafka
        refuses for now, but the partition is not stuck). ``restoring``: partition → changelog records read so far.
        ``now``: seconds on a clock that never goes back.
        """
        counted = min(now - self._last, self._stuck_seconds / 4.0) if self._last is not None else 0.0
        self._last = now
        seen: dict[tuple[str, int], _Watched] = {}
        stuck: Stuck | None = None
        for lag in lags:
            key = (lag.topic, lag.partition)
            stood = self._stood(seen, key, (lag.position, attempts.get(lag.partition, 0)), counted, lag.readable)
            if stood >= self._stuck_seconds and stuck is None:
                stuck = Stuck(lag.topic, lag.partition, lag.position, lag.end, stood)
        for partition, read in restoring.items():
            stood = self._stood(seen, ("", partition), (read, 0), counted, waits=True)
            if stood >= self._stuck_seconds and stuck is None:
                stuck = Stuck("", partition, read, read, stood)
        self._watched = seen
        return stuck

    def _stood(
        self, seen: dict[tuple[str, int], _Watched], key: tuple[str, int], mark: tuple[int, int],
        counted: float, waits: bool,
    ) -> float:  # fmt: skip
        watched = self._watched.get(key)
        if watched is None or watched.mark != mark:
            watched = _Watched(mark)
        elif waits:
            watched.stood += counted
        seen[key] = watched
        return watched.stood
