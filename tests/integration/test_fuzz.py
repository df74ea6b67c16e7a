"""Mutated records through a real worker; ``python -m tests.fuzz --service 50000`` sends more."""

from __future__ import annotations

import time

from confluent_kafka import Producer

from streams.kafka.broker import EmbeddedBroker
from streams.wire.topics import MAX_RECORD_BYTES, Topics
from tests.fuzz.service import fuzz_service
from tests.helpers import Start
from tests.verifier import read_all


def test_of_five_thousand_mutated_records_each_is_counted_a_duplicate_or_a_dead_letter(
    broker: EmbeddedBroker, topics: Topics, start: Start
) -> None:
    worker = start()
    worker.wait_ready()
    found = fuzz_service(broker.bootstrap, topics, worker, seed=22, records=5_000)
    assert found.differences == []
    assert found.sent == 5_000
    assert worker.running
    assert found.events > 1_000
    assert found.dead_letters > 1_000


def test_records_of_any_size_become_dead_letters(broker: EmbeddedBroker, topics: Topics, start: Start) -> None:
    """Also one as large as the topic takes, and one that is larger and only fits because it is compressed."""
    worker = start()
    largest = b"x" * (MAX_RECORD_BYTES - 200)
    bomb = b"y" * (3 * MAX_RECORD_BYTES)
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "message.max.bytes": 4 * MAX_RECORD_BYTES, "compression.type": "gzip"}
    )
    for key, value in (
        (b"largest", largest),
        (b"bomb", bomb),
        (b"good", b'{"user":"u","kind":"click","time":%d}' % time.time()),
    ):
        producer.produce(topics.events, value, key, partition=0)
    assert producer.flush(60.0) == 0
    worker.wait_idle(0)
    worker.wait(
        lambda status: status["dead_letters"] == {"too-large": 2} and not status["partitions"][0]["lag_records"],
        60.0,
        "done",
    )

    letters = {message.key(): message for message in read_all(broker.bootstrap, topics.dead_letters)}
    assert letters[b"largest"].value() == largest
    assert letters[b"bomb"].value() == bomb[: len(letters[b"bomb"].value())]
    assert dict(letters[b"bomb"].headers())["cut-from"] == b"%d" % (len(bomb) + len(b"bomb"))
