"""Mutated records through a real worker on a real Kafka, and what became of each of them.

Everything is recounted from what was sent and from the topics: counted events, duplicates and dead letters add up to
what was sent, and a dead letter is the record as it was sent. Deletions and merges of users take events away from one
user, and so from this count: mutants that turned into them are sent last, and only have to be gone through.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Producer

from state.tables import open_record
from streams.steps import graph, learned
from streams.steps.segments import DEMO, load_plan
from streams.tools.child import ChildWorker
from streams.wire.decode import Limits, decode_event, decode_label
from streams.wire.refused import Code, RefusedError
from streams.wire.topics import MAX_RECORD_BYTES, Topics
from tests.fuzz.mutate import Mutator
from tests.verifier import read_all

_PARTITIONS = 2
_APART = frozenset({"delete", "identify", "alias"})
_SHARE = 20
"""Of so many event records one is accompanied by a label, a graph message, an example and a head."""
Letter = tuple[bytes | None, bytes | None]


@dataclass
class ServiceOutcome:
    """``sent``: event records; the dead letters of each topic are compared as (key, value)."""

    sent: int = 0
    events: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    expected_events: int = 0
    apart: int = 0
    internal: int = 0
    differences: list[str] = field(default_factory=list)


class _Sender:
    """Sends records and keeps what must come of them."""

    def __init__(self, bootstrap: str, topics: Topics, seed: int) -> None:
        self._random = random.Random(seed)
        self._topics = topics
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "message.max.bytes": MAX_RECORD_BYTES}
        )
        self.refused: dict[str, Counter[Letter]] = {
            topic: Counter() for topic in (topics.events, topics.labels, topics.graph, topics.examples)
        }
        self.distinct: set[tuple[str, str | bytes]] = set()
        self.good = self.sent = 0
        self.apart: list[tuple[bytes, bytes | None]] = []

    def event(self, value: bytes | None) -> None:
        """Under its user's key where it has one (in one of fifty under another), with headers now and then."""
        key = b"k-%d" % self._random.randrange(1_000)
        try:
            event = decode_event(value, time.time(), Limits())
        except RefusedError:
            self.refused[self._topics.events][key, value] += 1
        else:
            if self._random.random() > 0.02:
                key = event.user.encode()
            if event.kind in _APART:
                self.apart.append((key, value))
                return
            self.good += 1
            self.distinct.add((event.user, event.id or value or b""))
        self.sent += 1
        headers: list[tuple[str, bytes | None]] = [("h", b"\xff\x00"), ("reason", None)]
        self.produce(self._topics.events, key, value, headers=headers if self._random.random() < 0.1 else [])

    def other(self, topic: str, value: bytes | None, read: Callable[[], object]) -> None:
        """A record of another source topic; ``read`` raises RefusedError when it must become a dead letter."""
        try:
            read()
        except RefusedError:
            self.refused[topic][b"k", value] += 1
        self.produce(topic, b"k", value, partition=self._random.randrange(_PARTITIONS))

    def produce(self, topic: str, key: bytes | None, value: bytes | None, **how: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, **how)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(60.0) == 0


def fuzz_service(bootstrap: str, topics: Topics, worker: ChildWorker, seed: int, records: int) -> ServiceOutcome:
    """Send ``records`` mutated events (and a fifth as many labels and internal records), wait, and account for all.

    The topics have two partitions and are empty; the worker runs with the built-in segments. Raises CommandError when
    the worker ends or does not get through.
    """
    mutator, sender = Mutator(seed), _Sender(bootstrap, topics, seed)
    learned_segments = {segment.id for segment in load_plan(DEMO).segments.values() if segment.group}

    def label(value: bytes | None) -> None:
        if decode_label(value, time.time(), Limits()).segment not in learned_segments:
            raise RefusedError(Code.UNKNOWN_SEGMENT, "not a learned segment")

    outcome = ServiceOutcome()
    number = 0
    while sender.sent < records:
        sender.event(mutator.event())
        number += 1
        if number % _SHARE == 0:
            value = mutator.label()
            sender.other(topics.labels, value, lambda value=value: label(value))  # type: ignore[misc]
            value = mutator.graph()
            sender.other(topics.graph, value, lambda value=value: graph.read_message(value, _PARTITIONS))  # type: ignore[misc]
            value = mutator.example()
            sender.other(topics.examples, value, lambda value=value: learned.read_example(value))  # type: ignore[misc]
            sender.produce(topics.heads, mutator.head()[:9], mutator.head(), partition=0)
            outcome.internal += 4
    sender.flush()
    worker.wait_idle(len(sender.distinct), 60.0 + records / 200.0)
    worker.wait_settled(120.0, still=1.0)
    _account(outcome, bootstrap, topics, sender)
    for key, value in sender.apart:
        sender.produce(topics.events, key, value)
    sender.flush()
    worker.wait_idle(0)
    worker.wait_settled(120.0, still=1.0)
    outcome.apart = len(sender.apart)
    return outcome


def _account(outcome: ServiceOutcome, bootstrap: str, topics: Topics, sender: _Sender) -> None:
    counted = Counter[str]()
    latest: dict[bytes, bytes | None] = {}
    for message in read_all(bootstrap, topics.changelog):
        key = message.key()
        latest[key if key[:1] == b"u" else b"%s%d" % (key[:1], message.partition())] = message.value()
    states = sum(open_record("", value).count for key, value in latest.items() if key[:1] == b"u" and value)
    for key, value in latest.items():
        if key[:1] == b"p" and value:
            meta = msgspec.msgpack.decode(value[1:])
            counted["events"] += meta["events"]
            counted["duplicates"] += meta["duplicates"]
    letters: dict[str, Counter[Letter]] = {topic: Counter() for topic in sender.refused}
    origins = Counter[tuple[bytes, ...]]()
    for message in read_all(bootstrap, topics.dead_letters):
        headers = dict(message.headers())
        letters[headers["origin-topic"].decode()][message.key(), message.value()] += 1
        origins[headers["origin-topic"], headers["origin-partition"], headers["origin-offset"]] += 1
    outcome.sent, outcome.expected_events = sender.sent, len(sender.distinct)
    outcome.events, outcome.duplicates = counted["events"], counted["duplicates"]
    outcome.dead_letters = letters[topics.events].total()

    def same(what: str, found: int, expected: int) -> None:
        if found != expected:
            outcome.differences.append(f"{what}: {found}, not {expected}")

    same("counted events", outcome.events, len(sender.distinct))
    same("events in the states", states, len(sender.distinct))
    same("duplicates", outcome.duplicates, sender.good - len(sender.distinct))
    same("events, duplicates and dead letters", outcome.events + outcome.duplicates + outcome.dead_letters, sender.sent)
    same("records with more than one dead letter", sum(count > 1 for count in origins.values()), 0)
    for topic, expected in sender.refused.items():
        for (key, value), count in (expected - letters[topic]).items():
            outcome.differences.append(f"{topic}: {count} dead letters missing for {key!r}: {value!r:.300}")
        for (key, value), count in (letters[topic] - expected).items():
            outcome.differences.append(f"{topic}: {count} dead letters too many for {key!r}: {value!r:.300}")
