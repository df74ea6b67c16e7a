"""What is counted of a turn, and what is told only now and then."""

from __future__ import annotations

import time
from collections import Counter

from streams.kafka.work import Done
from streams.kafka.writer import PartitionWriter
from streams.ops.metrics import Metrics


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


def note_turn(metrics: Metrics, writer: PartitionWriter, done: Done) -> None:
    """Count what a turn did."""
    effects = done.effects
    if done.records:
        metrics.batch_records.observe(done.records)
    metrics.commit_seconds.observe(done.commit_seconds)
    metrics.duplicates.inc(effects.duplicates)
    metrics.forgotten_ids.inc(effects.forgotten_ids)
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
