"""Consumer lag from the broker's end offsets, in records and in seconds.

End offsets are asked freshly on every look and never taken from what was consumed: a stalled consumer sees no new
records, but the broker's end still moves away from it.

*Records*: ``end - position``, where the end is the high watermark. The last stable offset would hide records behind a
transaction that hangs, which is just when somebody must look.

*Seconds*: the age of the oldest record not yet processed. Each look leaves a sample (time, end offset). The record at
``position`` arrived between the last sample whose end had not passed the position and the first whose end had, at the
point between them where the straight line reaches it. This costs no reading of records and uses one clock only.

Two things samples cannot tell, so one record is read (``Probe``), only for a partition that lags and either has no
sample from before its oldest record (start-up) or stood still since the last look:

* at start-up the record's timestamp tells its age;
* **transaction markers take offsets**. A topic written in transactions ends with a marker that no consumer ever gets,
  so a consumer that has processed everything stands 1 (or, after aborted transactions, more) before the end. Where
  the read shows that nothing can be delivered before offset ``e``, the position counts as ``e``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition, admin

from streams.ops.metrics import Metrics
from streams.ops.outage import CLIENTS

log = logging.getLogger(__name__)
#: a broker that was away comes back with new leader epochs; and who asked in between still holds that nobody leads
_STALE = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,
    }
)

Partition = tuple[str, int]


@dataclass(frozen=True)
class PartitionLag:
    """Lag of one partition: ``records`` >= 0; ``seconds`` >= 0, and 0 when ``records`` is 0.

    ``end`` is the broker's next free offset. ``fresh`` is False when the broker did not answer this time and the end
    is the last one known. ``readable``: it answered, and somebody else could read a record there, which is looked at
    only when the position stood still since the last look.
    """

    topic: str
    partition: int
    position: int
    end: int
    records: int
    seconds: float
    fresh: bool = True
    readable: bool = False
    as_of: float = field(default=0.0, compare=False)
    """When the broker told the end (seconds since the epoch)."""


class EndSamples:
    """Bounded memory of when a partition's end offset was where. Pure: times are passed in, ascending.

    A stalled consumer needs the oldest samples most. When full, every second sample inside is dropped, so the whole
    span stays covered, only more coarsely.
    """

    def __init__(self, limit: int = 512) -> None:
        if limit < 4:
            raise ValueError("at least 4 samples are needed to halve them")
        self._limit = limit
        self._samples: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, now: float, end: int) -> None:
        """Remember that the end offset was ``end`` at ``now``. An end that went back (topic made anew) forgets all."""
        samples = self._samples
        if samples and (end < samples[-1][1] or now < samples[-1][0]):
            samples.clear()
        if len(samples) >= 2 and samples[-1][1] == samples[-2][1] == end:
            samples[-1] = (now, end)  # a quiet stretch keeps its first and its last moment
            return
        samples.append((now, end))
        if len(samples) > self._limit:
            self._samples = [samples[0], *samples[1:-1:2], samples[-1]]

    def forget_before(self, position: int) -> None:
        """Drop what no position at or after ``position`` needs: all but the last sample with end <= position."""
        keep = 0
        for index, (_, end) in enumerate(self._samples):
            if end > position:
                break
            keep = index
        del self._samples[:keep]

    def first_time(self) -> float:
        """The time of the first sample. Raises IndexError when there is none."""
        return self._samples[0][0]

    def arrival(self, offset: int) -> float | None:
        """When the record at ``offset`` arrived, interpolated; None when it was there before the first sample,
        or has not come yet."""
        before: tuple[float, int] | None = None
        for at, end in self._samples:
            if end > offset:
                if before is None:
                    return None
                then, low = before
                return then + (at - then) * (offset + 1 - low) / (end - low)
            before = (at, end)
        return None


@dataclass(frozen=True)
class Found:
    """What lies at or after a position: the first deliverable record's offset and its timestamp (seconds since the
    epoch, None if it has none), or, with ``record`` False, nothing up to ``offset``."""

    offset: int
    record: bool
    time: float | None = None


class Probe:
    """Reads the first deliverable record at a position, with a consumer that joins no group and commits nothing."""

    def __init__(self, conf: Mapping[str, Any], group: str) -> None:
        self._consumer = Consumer(
            {
                **conf,
                # needed by the client; the app's own name, so that its ACL suffices
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 65_536,
            },
            logger=CLIENTS,
        )

    def read(self, positions: Mapping[Partition, int], timeout: float) -> dict[Partition, Found]:
        """One answer for each partition that answered within ``timeout`` seconds."""
        found: dict[Partition, Found] = {}
        self._consumer.assign([TopicPartition(topic, part, offset) for (topic, part), offset in positions.items()])
        try:
            until = time.monotonic() + timeout
            while len(found) < len(positions) and (left := until - time.monotonic()) > 0:
                message = self._consumer.poll(left)
                if message is None:
                    continue
                topic, part, offset = message.topic(), message.partition(), message.offset()
                if topic is None or part is None or offset is None or (topic, part) in found:
                    continue
                error = message.error()
                if error is None:
                    kind, millis = message.timestamp()
                    found[topic, part] = Found(offset, True, millis / 1000 if kind and millis > 0 else None)
                elif error.code() == KafkaError._PARTITION_EOF:
                    found[topic, part] = Found(offset, False)
        finally:
            self._consumer.unassign()
        return found

    def close(self) -> None:
        self._consumer.close()


class _Watched:
    """What is remembered of one partition."""

    def __init__(self) -> None:
        self.samples = EndSamples()
        self.end: int | None = None
        self.asked_at = 0.0
        self.position: int | None = None
        self.found: Found | None = None

    def effective(self, position: int) -> int:
        """The position, moved over offsets that hold nothing deliverable."""
        return max(position, self.found.offset) if self.found is not None else position


class LagMonitor:
    """Lag of one group's partitions. Blocks on the network: call it from a thread, one call at a time.

    ``conf`` are librdkafka's connection settings; ``timeout`` (seconds) bounds each of the two network steps of a look.
    ``beacon`` is asked for when there is nothing else to ask, so that ``answered`` is known at any time.
    """

    def __init__(
        self, conf: Mapping[str, Any], group: str, metrics: Metrics, timeout: float = 5.0,
        beacon: Partition | None = None,
    ) -> None:  # fmt: skip
        self._conf = dict(conf)
        self._admin = self._new_admin()
        self._group = group
        self._metrics = metrics
        self._timeout = timeout
        self._beacon = beacon
        self.answered = True
        """At the last look a broker answered, if only with an error."""
        self._probe: Probe | None = None
        self._watched: dict[Partition, _Watched] = {}

    def observe(self, positions: Mapping[Partition, int], now: float) -> list[PartitionLag]:
        """Look once. ``positions``: the next offset to be processed, by (topic, partition); ``now``: seconds since the
        epoch.

        The gauges follow; partitions that are no longer in ``positions`` are no longer exposed. When the broker does
        not answer, the last known end is used, the age goes on growing, and ``segments_lag_failures_total`` counts;
        a partition whose end was never known is left out. Never raises for a broker that is down.
        """
        for gone in self._watched.keys() - positions.keys():
            del self._watched[gone]
            self._metrics.lag.remove(self._group, gone[0], str(gone[1]))
            self._metrics.lag_seconds.remove(self._group, gone[0], str(gone[1]))
        ends = self._ends(positions)
        asked: dict[Partition, int] = {}
        for key, position in positions.items():
            watched = self._watched.setdefault(key, _Watched())
            if watched.position is None or position != watched.position:
                watched.found = None
            if key in ends:
                watched.end, watched.asked_at = ends[key], now
                watched.samples.add(now, ends[key])
                if self._needs_probe(watched, position):
                    asked[key] = watched.effective(position)
            watched.position = position
        for key, found in self._read(asked).items():
            self._watched[key].found = found
        lags = []
        for key, position in positions.items():
            watched = self._watched[key]
            if watched.end is not None:
                lags.append(self._lag(key, position, watched, now, key in ends))
        return lags

    def close(self) -> None:
        """Close the private consumer."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    @staticmethod
    def _needs_probe(watched: _Watched, position: int) -> bool:
        at = watched.effective(position)
        if watched.end is None or watched.end <= at:
            return False
        if watched.found is not None and watched.found.record:
            return False
        return watched.position == position or watched.samples.arrival(at) is None

    def _lag(self, key: Partition, position: int, watched: _Watched, now: float, fresh: bool) -> PartitionLag:
        end = watched.end if watched.end is not None else position
        at = watched.effective(position)
        records = max(0, end - at)
        seconds = 0.0
        if records:
            arrived = watched.samples.arrival(at)
            if arrived is None and watched.found is not None:
                arrived = watched.found.time
            if arrived is None:
                arrived = watched.samples.first_time()  # it was there by then: a lower bound that still grows
            seconds = max(0.0, now - arrived)
        watched.samples.forget_before(at)
        labels = (self._group, key[0], str(key[1]))
        self._metrics.lag.labels(*labels).set(records)
        self._metrics.lag_seconds.labels(*labels).set(seconds)
        readable = fresh and records > 0 and watched.found is not None and watched.found.record
        return PartitionLag(key[0], key[1], position, end, records, seconds, fresh, readable, watched.asked_at)

    def _ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        # public and documented, but neither re-exported nor typed by the client
        latest = admin.OffsetSpec.latest()  # type: ignore[attr-defined, no-untyped-call]
        asked = list(partitions) or ([self._beacon] if self._beacon else [])
        wanted = {TopicPartition(topic, part): latest for topic, part in asked}
        if not wanted:
            return {}
        self.answered = False
        ends: dict[Partition, int] = {}
        futures = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=self._timeout
        )
        stale = False
        until = time.monotonic() + self._timeout + 1.0  # for all together: a broker that hangs fails none of them early
        for partition, future in futures.items():
            try:
                offset = future.result(max(0.0, until - time.monotonic())).offset
            except (KafkaException, TimeoutError) as error:
                offset = -1
                if isinstance(error, KafkaException):
                    stale |= error.args[0].code() in _STALE
                    self.answered |= error.args[0].code() > 0  # those of the client itself are negative
            if offset >= 0:
                self.answered = True
                ends[partition.topic, partition.partition] = offset
            else:  # for a broker that hangs the client answers in time, without an error, but with no offset
                self._metrics.lag_failures.inc()
        if stale:  # this client goes on asking by the leaders that it knows; a new one learns the present ones
            self._admin = self._new_admin()
        return ends

    def _new_admin(self) -> admin.AdminClient:
        return admin.AdminClient(dict(self._conf), logger=CLIENTS)

    def _read(self, positions: Mapping[Partition, int]) -> dict[Partition, Found]:
        if not positions:
            return {}
        if self._probe is None:
            self._probe = Probe(self._conf, self._group)
        return self._probe.read(positions, self._timeout)
