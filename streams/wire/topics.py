"""The topics: names, what they are for, how they are kept. The one catalogue of them."""

from __future__ import annotations

from dataclasses import dataclass, field

#: The largest record the broker takes for topics that carry what producers sent (a refused 10 MB record must fit).
MAX_RECORD_BYTES = 16 * 1024 * 1024
#: receipts of erasure are kept for longer than a year
RECEIPT_DAYS = 400
#: A dead letter is such a record with some more headers.
MAX_DEAD_LETTER_BYTES = MAX_RECORD_BYTES + 65_536
_DAY_MS = 86_400_000
#: compaction keeps a tombstone at least this long: who reads a compacted topic more rarely misses deletions
TOMBSTONE_SECONDS = _DAY_MS / 1000.0


#: of a topic of which nothing may go, and of whose records it must be known when they came
KEPT_FOR_GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
}


@dataclass(frozen=True)
class TopicSpec:
    """One topic: ``config`` is Kafka's own topic configuration."""

    name: str
    what: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Topics:
    """Names of all topics of one installation; ``prefix`` separates installations on one cluster.

    ``inputs``: the prefix of events, labels and definitions, where they are another installation's, as for an audit.
    """

    app: str
    prefix: str = ""
    inputs: str | None = None

    @property
    def installation(self) -> str:
        """As ``Settings.installation``."""
        return f"{self.prefix}{self.app}"

    @property
    def _input_prefix(self) -> str:
        return self.prefix if self.inputs is None else self.inputs

    @property
    def events(self) -> str:
        return f"{self._input_prefix}user-events"

    @property
    def labels(self) -> str:
        return f"{self._input_prefix}segment-labels"

    @property
    def definitions(self) -> str:
        return f"{self._input_prefix}segment-definitions"

    @property
    def changes(self) -> str:
        return f"{self.prefix}segment-changes"

    @property
    def memberships(self) -> str:
        return f"{self.prefix}user-segments"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}dead-letters"

    @property
    def receipts(self) -> str:
        return f"{self.prefix}erasure-receipts"

    @property
    def changelog(self) -> str:
        return f"{self.prefix}{self.app}-state-changelog"

    @property
    def graph(self) -> str:
        return f"{self.prefix}{self.app}-graph"

    @property
    def reroute(self) -> str:
        return f"{self.prefix}{self.app}-reroute"

    @property
    def examples(self) -> str:
        return f"{self.prefix}{self.app}-examples"

    @property
    def heads(self) -> str:
        return f"{self.prefix}{self.app}-heads"

    @property
    def workers(self) -> str:
        return f"{self.prefix}{self.app}-workers"

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics consumed by the worker's group, co-partitioned by user id (internal ones: by explicit partition)."""
        return (self.events, self.labels, self.graph, self.examples, self.reroute)

    @property
    def by_partition(self) -> tuple[str, ...]:
        """Topics that have as many partitions as the state."""
        outputs = (self.changelog, self.changes, self.memberships, self.dead_letters, self.receipts)
        return (*self.sources, *outputs)

    def specs(self, partitions: int, events_retention_days: int = 30) -> list[TopicSpec]:
        """All topics with partitions and retention.

        Source topics stamp records with the broker's append time: a replay of years-old events must not be deleted
        by retention at once, and lag in seconds and latency are measured from arrival.
        """
        keep = {"cleanup.policy": "delete", "retention.ms": str(events_retention_days * _DAY_MS)}
        arrival = {"message.timestamp.type": "LogAppendTime"}
        big = {"max.message.bytes": str(MAX_RECORD_BYTES)}
        bigger = {"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)}
        week = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)}
        compact = {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.2",
            "delete.retention.ms": str(_DAY_MS),
            "segment.ms": str(_DAY_MS),
            # what was erased goes within a bounded time, however little is written
            "max.compaction.lag.ms": str(7 * _DAY_MS),
        }
        # each worker writes every few seconds, and what is older than an hour is read by nobody
        hour = {
            "cleanup.policy": "compact,delete",
            "retention.ms": str(_DAY_MS // 24),
            "segment.ms": str(_DAY_MS // 24),
        }
        proof = {"cleanup.policy": "delete", "retention.ms": str(RECEIPT_DAYS * _DAY_MS)}
        return [
            TopicSpec(self.events, "what users do", partitions, keep | arrival | big),
            TopicSpec(self.labels, "feedback for learned segments", partitions, keep | arrival),
            # not compacted: of two proposals of one version the first counts, and compaction would keep the last
            TopicSpec(self.definitions, "versioned segment definitions", 1, KEPT_FOR_GOOD | big),
            TopicSpec(self.changes, "one record for each entered / exited", partitions, keep),
            TopicSpec(self.memberships, "current membership of each user", partitions, compact),
            TopicSpec(self.dead_letters, "refused records, untouched", partitions, keep | bigger),
            TopicSpec(self.receipts, "proof that a user was erased", partitions, proof),
            TopicSpec(self.changelog, "state of each user (internal)", partitions, compact | big),
            TopicSpec(self.graph, "vectors and subscriptions of the graph (internal)", partitions, week | arrival),
            TopicSpec(
                self.reroute, "records and states on the way to their user (internal)", partitions, week | arrival | big
            ),
            TopicSpec(self.examples, "labelled vectors for the trainers (internal)", partitions, week | arrival | big),
            TopicSpec(self.heads, "learned heads (internal)", 1, compact | big),
            TopicSpec(self.workers, "what the workers tell of themselves (internal)", 1, hour | arrival),
        ]
