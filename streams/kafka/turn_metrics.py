"""What is counted of a turn, and what is told only now and then."""

from __future__ import annotations

import logging
import time
from collections import Counter

from state.layout2 import MOST_IDS
from state.user import MOST_LABELS
from streams.kafka.work import Done
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics
from streams.steps.effects import Effects

log = logging.getLogger(__name__)


class Occasionally:
    """Adds up what need not be told each time."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._told = -seconds
        self._count = 0

    def add(self, count: int, now: float) -> int:
        """The count to tell now: all since it was last told; 0 when that was less than ``seconds`` ago."""
        self._count += count
        if now - self._told < self._seconds:
            return 0
        self._told, count, self._count = now, self._count, 0
        return count


class Tellings:
    """What the log says of a partition's turns, each of it once a minute at most."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._misrouted = Occasionally()
        self._forgotten = Occasionally()
        self._dropped = Occasionally()

    def tell(self, effects: Effects, now: float) -> None:
        """``now``: of a clock that never goes back, in seconds."""
        if effects.misrouted and (count := self._misrouted.add(effects.misrouted, now)):
            log.warning(
                "partition %d: %d records since the last such line belong to users of other partitions and were sent "
                "on there; let their producer partition by murmur2 (librdkafka: partitioner=murmur2_random)",
                self._partition, count,
            )  # fmt: skip
        if effects.forgotten_ids and (count := self._forgotten.add(effects.forgotten_ids, now)):
            log.warning(
                "partition %d: %d ids of events were forgotten within a day since the last such line, because their "
                "users have more than %d: such an event counts again if it is sent again (docs/events.md)",
                self._partition, count, MOST_IDS,
            )  # fmt: skip
        if effects.labels_dropped and (count := self._dropped.add(effects.labels_dropped, now)):
            log.warning(
                "partition %d: %d labels were dropped since the last such line, because more than %d of a user wait "
                "for a vector: the user did nothing yet that is encoded, or the encode lane is behind",
                self._partition, count, MOST_LABELS,
            )  # fmt: skip


def note_turn(metrics: Metrics, writer: PartitionWriter, done: Done) -> None:
    """Count what a turn did."""
    effects = done.effects
    if done.records:
        metrics.batch_records.observe(done.records)
    metrics.commit_seconds.observe(done.commit_seconds)
    metrics.duplicates.inc(effects.duplicates)
    metrics.forgotten_ids.inc(effects.forgotten_ids)
    metrics.dropped_labels.inc(effects.labels_dropped)
    metrics.expired.inc(effects.expired)
    metrics.late_events.inc(effects.late)
    metrics.misrouted.inc(effects.misrouted)
    metrics.outlived_events.inc(effects.outlived)
    metrics.merged.inc(effects.merged)
    metrics.graph_messages.labels(direction="received").inc(effects.graph_received)
    topics = writer.place.topics
    metrics.graph_messages.labels(direction="sent").inc(sum(each.topic == topics.graph for each in effects.messages))
    for group in effects.drifts:
        metrics.head_drift.labels(group=group).inc()
    for reject in effects.rejects:
        metrics.dead_letters.labels(reason=str(reject.error.code)).inc()
    now = time.time()
    # finding a series costs more than counting, and this runs in the event loop
    kinds = Counter((each.change.segment, each.change.change, each.change.origin) for each in effects.changes)
    for (segment, change, origin), count in kinds.items():
        metrics.changes.labels(segment=segment, change=change, origin=origin).inc(count)
    delays = {lane: metrics.event_to_change.labels(lane=lane) for lane in {each.lane for each in effects.changes}}
    for emitted in effects.changes:
        if emitted.arrived:
            delays[emitted.lane].observe(max(0.0, now - emitted.arrived))
