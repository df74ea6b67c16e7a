"""What arrived for a partition and waits for its turn: bounded in records and in bytes, and so is a turn."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from streams.kafka.batches import fitting
from streams.settings import Settings
from streams.steps.effects import Record

#: of the records of one turn, and of what waits for one
BATCH_BYTES: Final = 64 * 1024 * 1024
Ack = Callable[[], None]


@dataclass(frozen=True)
class Room:
    """How much goes into one turn, and how many bytes may wait before nothing more is fetched. ``written``: bytes of
    state that a turn should write at most."""

    records: int
    bytes: int = BATCH_BYTES
    waiting: int = BATCH_BYTES
    written: int = BATCH_BYTES

    @classmethod
    def of(cls, settings: Settings, partitions: int) -> Self:
        """Of each of so many partitions on one worker."""
        waiting = min(settings.batch_bytes, settings.queued_bytes // max(1, partitions))
        written = settings.cache_bytes // max(4, 2 * partitions)  # the copies are in the cache's bound as well
        return cls(settings.batch_records, settings.batch_bytes, waiting, written)

    def quarter(self) -> Room:
        """For what comes beside and is little."""
        return replace(
            self, records=max(1, self.records // 4), bytes=max(1, self.bytes // 4), waiting=max(1, self.waiting // 4)
        )


@dataclass
class _Arrival:
    topic: str
    records: Sequence[Record]
    size: int
    ack: Ack


class Arrivals:
    """The queue. ``on_pressure`` is told when there is more than may wait, and when there is less again."""

    def __init__(self, room: Room, on_pressure: Callable[[bool], None]) -> None:
        self._room = room
        self._on_pressure = on_pressure
        self._waiting: deque[_Arrival] = deque()
        self.records = 0
        self.bytes = 0
        self.held = False
        """More waits than can be processed at once, so that nothing more is fetched."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """A whole turn waits."""
        return self.records >= self._room.records or self.bytes >= self._room.bytes

    def leading(self, ripe: Callable[[Record], bool]) -> int:
        """How many records wait before the first that is not ``ripe``."""
        count = 0
        for arrival in self._waiting:
            for record in arrival.records:
                if not ripe(record):
                    return count
                count += 1
        return count

    def add(self, topic: str, records: Sequence[Record], ack: Ack) -> None:
        size = fitting(records, sys.maxsize)[1]
        self._waiting.append(_Arrival(topic, records, size, ack))
        self.records += len(records)
        self.bytes += size
        if not self.held and (self.records > self._room.records or self.bytes > self._room.waiting):
            self.held = True
            self._on_pressure(True)

    def take(self, most: int = sys.maxsize) -> tuple[list[tuple[str, Sequence[Record]]], list[Ack]]:
        """At most ``most`` records of the next turn, at least one if there are any, and the acks of what is through
        with it."""
        taken: list[tuple[str, Sequence[Record]]] = []
        acks: list[Ack] = []
        records, left = min(self._room.records, most), self._room.bytes
        while self._waiting and records > 0:
            arrival = self._waiting[0]
            count, size = len(arrival.records), arrival.size
            if size > left or count > records:
                count, size = fitting(arrival.records[:records], left)
            if not count:
                if taken:
                    break
                count, size = 1, fitting(arrival.records[:1], sys.maxsize)[1]
            taken.append((arrival.topic, arrival.records[:count]))
            records -= count
            left -= size
            self.records -= count
            self.bytes -= size
            if count == len(arrival.records):
                self._waiting.popleft()
                acks.append(arrival.ack)
            else:  # a fetch is as large as it is compressed: the rest, and the ack, with the next turn
                arrival.records = arrival.records[count:]
                arrival.size -= size
                break
        if self.held and self.records < self._room.records and self.bytes < self._room.waiting:
            self.held = False
            self._on_pressure(False)
        return taken, acks
