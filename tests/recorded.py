"""A small cluster of one partition, and all that it writes, as records of topics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from streams.steps.effects import Effects, Record
from streams.wire.emit import change_headers, change_value, membership_value
from streams.wire.refused import dead_letter_headers
from streams.wire.topics import Topics
from tests.chaos.load import RULES, Sent
from tests.helpers import APP
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE
from tests.small_partition import Sent as Arrived
from tests.verifier.memory import Written

TOPICS = Topics(APP)


class Recorded(SmallCluster):
    """``now`` is when things happen, in seconds: each step writes then."""

    def __init__(self, now: float) -> None:
        definitions = "\n".join(rule.definition() for rule in RULES)
        super().__init__(definitions, 1, replace(PLACE, topics=TOPICS))
        self.now = now
        self.written: list[Written] = []
        (self.partition,) = self.partitions

    def send(self, records: Iterable[Sent], batch: int, step: float) -> None:
        """Records of ``user-events``, one each ``step`` seconds, in batches; timers fire by the events' time."""
        waiting: list[Record] = []
        offset = sum(record.topic == TOPICS.events for record in self.written)
        for each in records:
            self._write(TOPICS.events, each.key, each.value)
            waiting.append(Arrived(offset, each.value, int(self.now * 1_000), each.key))
            offset += 1
            if len(waiting) == batch:
                self._take(waiting)
                waiting = []
            self.now += step
        if waiting:
            self._take(waiting)

    def _take(self, records: list[Record]) -> None:
        partition = self.partition
        partition.now = self.now + 0.1
        self.took(partition.take(TOPICS.events, records))
        while partition.due_keys(partition.meta.watermark):
            self.took(partition.fire(partition.meta.watermark))
        self.flow()

    def took(self, effects: Effects) -> Effects:
        for emitted in effects.changes:
            change = emitted.change
            headers = [(name, value) for name, value in change_headers(change, b"/test") if isinstance(value, bytes)]
            self._write(TOPICS.changes, change.user.encode(), change_value(change), headers)
        for snapshot in effects.snapshots:
            self._write(TOPICS.memberships, snapshot.user.encode(), membership_value(snapshot))
        for user in effects.erased:
            self._write(TOPICS.memberships, user.encode(), None)
        for message in effects.messages:
            if message.topic == TOPICS.receipts:
                self._write(message.topic, message.key or b"", message.value)
        for reject in effects.rejects:
            record = reject.record
            letter = dead_letter_headers(reject.error, reject.topic, 0, record.offset, record.timestamp)
            self._write(TOPICS.dead_letters, record.key or b"", record.value, letter)
        return super().took(effects)

    def _write(self, topic: str, key: bytes, value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> None:
        self.written.append(Written(topic, key, value, tuple(headers), self.now))

    def whole(self) -> list[Written]:
        """All topics, the changelog as what is left of it."""
        changelog = [
            Written(TOPICS.changelog, key, value, (), self.now)
            for key, value in sorted(self.partition.memory.data.items())
        ]
        return [*(record for record in self.written if record.topic != TOPICS.changelog), *changelog]
