"""Every metric of the service, declared once. Base units (seconds, records); names that dashboards know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

#: The lanes of ``segments_event_to_change_seconds``.
LANES: tuple[str, ...] = ("fold", "encode", "timer")

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TURNS_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
BATCH_BUCKETS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)

#: Cumulative counts of a histogram: (upper bound, observations at or below it), bounds ascending, the last one +inf.
Buckets = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Declared:
    """One row of the catalogue. ``name`` is the name a query uses (a histogram's without ``_bucket``)."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names of the time series that Prometheus stores."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)


class Metrics:
    """All metrics of one worker, on a registry of their own.

    Two instances never share a count, so tests and several workers in one process do not disturb each other.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._declared: list[Declared] = []
        ProcessCollector(registry=self.registry)

        self.events = self._counter("segments_events_total", "Records consumed from source topics.", "topic")
        self.duplicates = self._counter("segments_duplicates_total", "Events dropped: their id was seen before.")
        self.forgotten_ids = self._counter(
            "segments_forgotten_ids_total", "Ids of events forgotten within a day: their user has too many."
        )
        self.dropped_labels = self._counter(
            "segments_dropped_labels_total", "Labels dropped: too many of their user wait for a vector."
        )
        self.expired = self._counter("segments_expired_users_total", "Users whose state expired without events.")
        self.late_events = self._counter("segments_late_events_total", "Events that arrived late, by event time.")
        self.misrouted = self._counter("segments_misrouted_total", "Records met outside their user's partition.")
        self.merged = self._counter("segments_merged_total", "Ids that turned out to be another user's.")
        self.outlived_events = self._counter(
            "segments_outlived_events_total", "Events and labels dropped: not newer than their user's erasure."
        )
        self.lost = self._counter(
            "segments_lost_records_total",
            "Records of source topics that retention removed before they were read.",
            "topic",
        )
        self.dead_letters = self._counter(
            "segments_dead_letters_total",
            "Records refused by this worker since its start, by short reason; sum over workers.",
            "reason",
        )
        self.changes = self._counter(
            "segments_changes_total", "Membership changes committed.", "segment", "change", "origin"
        )
        self.event_to_change = self._histogram(
            "segments_event_to_change_seconds",
            "From the arrival of the event (timer lane: from the due time) to its committed change.",
            LATENCY_BUCKETS,
            "lane",
        )
        self.aborted_turns = self._counter(
            "segments_aborted_turns_total", "Turns that Kafka refused for now; they are tried again."
        )
        self.halved_turns = self._counter(
            "segments_halved_turns_total", "Turns whose results one transaction could not hold; less is tried."
        )
        self.commit_seconds = self._histogram(
            "segments_commit_seconds", "One commit: transaction and store write.", COMMIT_BUCKETS
        )
        self.transaction_turns = self._histogram(
            "segments_transaction_turns", "Turns of partitions in one transaction.", TURNS_BUCKETS
        )
        self.batch_records = self._histogram("segments_batch_records", "Source records in one commit.", BATCH_BUCKETS)
        self.encode_queue_depth = self._gauge("segments_encode_queue_depth", "Users waiting to be encoded.")
        self.encode_queue_age = self._gauge(
            "segments_encode_queue_age_seconds", "How long the user at the head of the encode queue has waited."
        )
        self.encoded_users = self._counter("segments_encoded_users_total", "Users encoded anew.")
        self.encoded_texts = self._counter("segments_encoded_texts_total", "Texts that went through the text encoder.")
        self.encode_failures = self._counter("segments_encode_failures_total", "Times that the models failed.")
        self.texts_skipped = self._counter(
            "segments_texts_skipped_total", "Texts that the encoder fails on: encoded as if they were empty."
        )
        self.encode_set_aside = self._counter(
            "segments_encode_set_aside_total", "Users on whom the models fail whatever their texts."
        )
        self.graph_messages = self._counter(
            "segments_graph_messages_total", "Messages on the graph topic, sent or received.", "direction"
        )
        self.restore_records = self._counter(
            "segments_restore_records_total", "Changelog records read while restoring partitions."
        )
        self.restoring_partitions = self._gauge("segments_restoring_partitions", "Partitions being restored now.")
        self.standby_lag = self._gauge(
            "segments_standby_lag_records",
            "Changelog records that the store of a followed partition is behind.",
            "partition",
        )
        self.assigned_partitions = self._gauge("segments_assigned_partitions", "Partitions assigned to this worker.")
        self.users_cached = self._gauge("segments_users_cached", "Users whose states are in memory.")
        self.cache_bytes = self._gauge(
            "segments_cache_bytes", "Memory that users' states take, free slots included: SEGMENTS_CACHE_MB bounds it."
        )
        self.segment_users = self._gauge(
            "segments_segment_users",
            "Members of a segment in the partitions of this worker; sum over workers.",
            "segment",
        )
        self.head_accuracy = self._gauge(
            "segments_head_accuracy", "Prequential accuracy of a learned head, as a ratio.", "group"
        )
        self.head_version = self._gauge("segments_head_version", "Version of the head in use.", "group")
        self.head_drift = self._counter("segments_head_drift_total", "Drift alarms of a learned head.", "group")
        self.ready = self._gauge("segments_ready", "1 when /readyz says ready, else 0; set at each scrape.")
        self.lag = self._gauge(
            "kafka_consumergroup_lag",
            "Records between the group's position and the broker's end offset.",
            "consumergroup",
            "topic",
            "partition",
        )
        self.lag_seconds = self._gauge(
            "kafka_consumergroup_lag_seconds",
            "Age of the oldest record that is not yet processed.",
            "consumergroup",
            "topic",
            "partition",
        )
        self.lag_failures = self._counter(
            "segments_lag_failures_total", "Partitions whose end offset the broker did not tell when asked."
        )
        self.kafka_silent = self._gauge(
            "segments_kafka_silent_seconds", "How long Kafka has not answered this worker; 0 while it does."
        )
        # a series that begins at 0 lets rate() see the first observation
        for lane in LANES:
            self.event_to_change.labels(lane=lane)

    def catalogue(self) -> tuple[Declared, ...]:
        """Every metric declared here, in order (the process metrics of the client library are not in it)."""
        return tuple(self._declared)

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type, as ``/metrics`` answers."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def _note(self, name: str, kind: str, text: str, labels: tuple[str, ...]) -> None:
        self._declared.append(Declared(name, kind, text, labels))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        self._note(name, "counter", text, labels)
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self._note(name, "gauge", text, labels)
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> Histogram:
        self._note(name, "histogram", text, labels)
        return Histogram(name, text, labels, registry=self.registry, buckets=bounds)


def buckets(histogram: Histogram, labels: Mapping[str, str] | None = None) -> Buckets:
    """The cumulative counts of one series of a histogram; empty when it has no observations and no such labels."""
    wanted = dict(labels or {})
    found: list[tuple[float, float]] = []
    for family in histogram.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                rest = {key: value for key, value in sample.labels.items() if key != "le"}
                if rest == wanted:
                    found.append((float(sample.labels["le"]), sample.value))
    return sorted(found)


def quantile(
    histogram: Histogram, labels: Mapping[str, str] | None, q: float, since: Buckets | None = None
) -> float | None:
    """The ``q`` quantile in the histogram's unit; None when nothing was observed.

    As PromQL's ``histogram_quantile``: linear inside the bucket that holds the rank, the first bucket starting at 0;
    a rank beyond the last finite bound gives that bound. With ``since`` (an earlier ``buckets(…)``) only the
    observations made after it count.

    Raises ValueError for ``q`` outside [0, 1].
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile lies in [0, 1], not {q}")
    before = dict(since or ())
    counts = [(bound, count - before.get(bound, 0.0)) for bound, count in buckets(histogram, labels)]
    if not counts or counts[-1][1] <= 0:
        return None
    rank = q * counts[-1][1]
    low_bound = low_count = 0.0
    for bound, count in counts:
        if count >= rank and count > low_count:
            if math.isinf(bound):
                return low_bound
            return low_bound + (bound - low_bound) * (rank - low_count) / (count - low_count)
        low_bound, low_count = bound, count
    return low_bound
