"""The deterministic mode: the same writer and steps as the service, driven so that two runs are equal throughout.

Records are read up to the end offsets of the start, in batches cut at multiples of a fixed number of offsets, and
after each batch everything that follows from it (encode lane, graph, labels, training) is worked off before the next.
Faust is not involved. Where it writes: ``audit_scope``.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from encoders.heads import PublishedHead
from streams.kafka.changelog import bounds
from streams.kafka.pieces import Size, in_pieces
from streams.kafka.reading import take
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.ops.outage import CLIENTS
from streams.settings import Settings
from streams.steps import encode
from streams.steps.effects import Record
from streams.steps.in_force import InForce
from streams.wire.decode import decode_label
from streams.wire.refused import RefusedError

log = logging.getLogger(__name__)

_READ = 5_000
_ALL = 2**31


@dataclass(frozen=True)
class AuditRecord:
    """A consumed record, as the steps read it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class TopicReader:
    """Committed records of one partition of one topic, in order, up to an end that is asked when reading starts.

    Who stops in between goes on there the next time.
    """

    def __init__(self, settings: Settings, topic: str, partition: int, start: int) -> None:
        conf: dict[str, str | int | float | bool] = {
            **settings.librdkafka(),
            "group.id": f"{settings.installation}-audit",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
        self._consumer = Consumer({**conf, "isolation.level": "read_committed"}, logger=CLIENTS)
        # a commit returns before its markers are written: the committed end may still be behind what was committed,
        # the high watermark is not
        self._ends = Consumer({**conf, "isolation.level": "read_uncommitted"}, logger=CLIENTS)
        self._topic, self._partition = topic, partition
        self._next = start
        self._taken: deque[Message] = deque()
        self._consumer.assign([TopicPartition(topic, partition, start)])

    def to_end(self) -> Iterator[Record]:
        """Records up to the present end; call it again for what came later."""
        low, high = bounds(self._ends, self._topic, self._partition)
        if low >= high:
            return
        # the end is told once, after transaction markers, which take offsets but are not delivered
        while self._next < high:
            self._taken.extend(take(self._consumer, _READ, 1.0) if not self._taken else ())
            while self._taken:
                message = self._taken.popleft()
                error = message.error()
                if error is None:
                    self._next = (message.offset() or 0) + 1
                    yield _record(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    self._next = max(self._next, message.offset() or 0)
                elif not error.retriable():
                    raise RuntimeError(f"cannot read {self._topic}: {error}")

    def close(self) -> None:
        self._consumer.close()
        self._ends.close()


def _record(message: Message) -> AuditRecord:
    _, timestamp = message.timestamp()
    try:
        headers = message.headers() or []
    except (SystemError, UnicodeDecodeError):  # a name is no UTF-8: the client cannot say any of them then
        headers = [("unreadable-headers", None)]
    pairs = headers.items() if isinstance(headers, dict) else headers
    return AuditRecord(
        message.offset() or 0,
        timestamp,
        message.key(),
        message.value(),
        [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs],
    )


class Audit:
    """Works one partition off, deterministically. ``definitions`` is a cell, because heads are published meanwhile."""

    def __init__(
        self, settings: Settings, writer: PartitionWriter, definitions: DefinitionsCell, batch_offsets: int
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._definitions = definitions
        self._batch_offsets = batch_offsets
        self._size = Size()
        self._topics = writer.place.topics
        self._inner: dict[str, TopicReader] = {}
        self._waiting: dict[str, None] = {}
        self._refreshes: dict[str, None] = {}
        self.sent_on = False
        """Records or states went to other partitions: those have to be run (again) after this."""

    def run(self, progress: Callable[[int], None] = lambda _count: None) -> int:
        """From the stored positions to the present ends; returns the number of event records processed."""
        with contextlib.ExitStack() as opened:  # whatever fails on the way, what was opened is closed
            opened.callback(self._writer.close)
            self._writer.open(lambda _count: None, lambda: False)
            self._waiting.update(dict.fromkeys(self._writer.queued_users("", self._writer.meta.queued)))
            self._refreshes.update(dict.fromkeys(self._writer.waiting_refreshes("", _ALL)))

            def reader(topic: str, partition: int, position: int) -> TopicReader:
                found = TopicReader(self._settings, topic, partition, position)
                opened.callback(found.close)
                return found

            number, positions = self._writer.place.partition, self._writer.meta.positions
            readers = {topic: reader(topic, number, positions.get(topic, 0)) for topic in self._topics.sources}
            if self._writer.incomplete:
                self._do(Work(complete=True))
            self._sweep()
            self._inner = {
                topic: readers[topic] for topic in (self._topics.graph, self._topics.examples, self._topics.reroute)
            }
            return self._run(readers, reader(self._topics.heads, 0, 0), progress)

    def _run(self, readers: dict[str, TopicReader], heads: TopicReader, progress: Callable[[int], None]) -> int:
        labels = list(readers[self._topics.labels].to_end())
        count = 0
        self._drain(heads)
        for batch in cut(readers[self._topics.events].to_end(), self._batch_offsets):
            self._do(Work(sources=[(self._topics.events, batch)]))
            count += len(batch)
            self._drain(heads)
            # feedback joins by its own time, not by when it arrived: that differs from run to run
            due = list(itertools.takewhile(self._is_due, labels))
            labels = labels[len(due) :]
            if due:
                self._do(Work(sources=[(self._topics.labels, due)]))
                self._drain(heads)
            progress(count)
        if labels:
            self._do(Work(sources=[(self._topics.labels, labels)]))
            self._drain(heads)
        return count

    def _is_due(self, record: Record) -> bool:
        try:
            label = decode_label(record.value, record.timestamp / 1000.0, self._writer.place.limits)
        except RefusedError:
            return True  # it becomes a dead letter with the next batch
        return label.time <= self._writer.meta.watermark

    def _do(self, work: Work) -> None:
        for done in in_pieces(work, self._size, self._writer.process):
            self._note(done)
        while self._writer.timer_clock() >= self._writer.due.next:
            for done in in_pieces(Work(timers=True), self._size, self._writer.process):
                self._note(done)

    def _sweep(self) -> None:
        after = ""
        while self._writer.definitions_changed:
            users = self._writer.some_users(after, 500)
            self._do(Work(sweep=users, epoch=self._writer.meta.epoch))
            after = users[-1] if users else ""

    def _note(self, done: Done) -> None:
        here, reroute = self._writer.place.partition, self._topics.reroute
        self.sent_on |= any(each.topic == reroute and each.partition != here for each in done.effects.messages)
        self._waiting.update(dict.fromkeys((*done.effects.offers, *done.effects.later, *done.again)))
        self._refreshes.update(dict.fromkeys(done.effects.refreshes))

    def _drain(self, heads: TopicReader) -> None:
        """Until nothing follows any more: the encode lane, messages to ourselves, refreshes, heads."""
        while True:
            if self._waiting:
                taken = list(self._waiting)[: self._settings.encode_batch]
                for user in taken:
                    del self._waiting[user]
                self._encode(taken, refresh=False, refreshed=[])
                continue
            inner = [(topic, list(reader.to_end())) for topic, reader in self._inner.items()]
            if sources := [(topic, records) for topic, records in inner if records]:
                self._do(Work(sources=[*sources], last_examples=True))
                self._take_heads(heads)
                continue
            if not self._refreshes:
                return
            followees, users = list(self._refreshes), {}
            self._refreshes.clear()
            for followee in followees:
                users.update(dict.fromkeys(self._writer.followers(followee, "", _ALL)[0]))
            self._encode(list(users), refresh=True, refreshed=followees)

    def _encode(self, users: list[str], refresh: bool, refreshed: list[str]) -> None:
        jobs = self._writer.make_jobs(users, refresh)
        now = self._definitions.now
        encode.compute(now.models, jobs, now.plan.needs_vectors)
        self._do(Work(jobs=jobs, refreshed=refreshed))

    def _take_heads(self, heads: TopicReader) -> None:
        newest = {
            (record.key or b"").decode(): PublishedHead.from_bytes(record.value)
            for record in heads.to_end()
            if record.value
        }
        if newest:
            self._definitions.now = self._definitions.now.with_heads(newest)


@dataclass
class DefinitionsCell:
    """The definitions and models by which all is decided."""

    now: InForce


def cut(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    """Batches whose boundaries are multiples of ``size`` in offsets, however the records were fetched."""
    batch: list[Record] = []
    for record in records:
        if batch and record.offset // size != batch[0].offset // size:
            yield batch
            batch = []
        batch.append(record)
    if batch:
        yield batch
