"""What exactly once costs by itself: fetch, a transaction, and nothing between, in a process for each partition.

No Python of ours or Faust's takes part: librdkafka fetches, sends and commits. What stays is the broker's work.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from multiprocessing.synchronize import Event

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from encoders.pipe import setup_of
from encoders.process import EncodingProcess
from encoders.social import graph_weights
from streams.settings import Settings

#: bytes of state that a worker writes for an event of this load
_STATE_BYTES = 67
#: events whose state goes into one record; texts encoded in one go
_TOGETHER, _TEXTS = 1_000, 32
#: one event in so many is answered by a change
_CHANGES = 20


def answer(bootstrap: str, events: str, changes: str, log: str, partition: int, pause: float, stop: Event) -> None:
    """Answer all events of a partition, a transaction for what is there, ``pause`` seconds between two begins.

    A change has the ids of the events that it answers. Ends when ``stop`` is set and nothing came for a while.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"floor-{partition}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(events, partition, 0)])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"floor-{partition}",
            "linger.ms": 5,
            "compression.type": "lz4",
            "log_level": 3,
        }
    )
    producer.init_transactions(30.0)
    state = bytes(_STATE_BYTES)
    begin = quiet_since = 0.0
    while not stop.is_set() or time.monotonic() - quiet_since < 1.0:
        found = consumer.consume(10_000, 0.001)
        if not found:
            continue
        time.sleep(max(0.0, begin - time.monotonic()))
        begin = quiet_since = time.monotonic()
        begin += pause
        found += consumer.consume(10_000, 0.0)
        ids = [msgspec.json.decode(message.value() or b"{}")["id"] for message in found[::_CHANGES]]
        producer.begin_transaction()
        producer.produce(changes, msgspec.json.encode(ids), partition=partition)
        for start in range(0, len(found), _TOGETHER):
            producer.produce(log, state * len(found[start : start + _TOGETHER]), b"state", partition)
        producer.commit_transaction(30.0)
    consumer.close()


def encode(ready: Event, stop: Event) -> None:
    """The process of a worker's encoders, with new texts without end until ``stop`` is set: a saturated encode lane."""
    settings = Settings(app="floor")
    process = EncodingProcess()
    process.set_up(setup_of(settings.text_model, settings.device, settings.torch_threads, "float32", graph_weights()))
    for number in itertools.count():
        process.encode([f"a quiet dinner in a small restaurant, {number} times and {each}" for each in range(_TEXTS)])
        ready.set()
        parent = multiprocessing.parent_process()
        if stop.is_set() or parent is None or not parent.is_alive():
            break
    process.close()


def answered(value: bytes) -> list[str]:
    """The events that a change of the floor answers."""
    return msgspec.json.decode(value, type=list[str])
