"""The subscriber, in a process of its own: notes when each change was there for a reader of committed records."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.wire.emit import Change

_decode = msgspec.json.Decoder(Change).decode


@dataclass(frozen=True)
class Arrivals:
    """Changes that an event caused: the event's kind of id (``e`` or ``c``), its index, when the change was there."""

    kinds: list[str]
    indices: list[int]
    times: list[float]
    """Of the monotonic clock (seconds)."""
    others: int
    """Changes that no single event caused: windows that ran out."""


def read(
    bootstrap: str,
    topic: str,
    partitions: int,
    causes: Callable[[bytes], list[str]],
    reading: Event,
    stop: Event,
    report: Connection,
) -> None:
    """Reads from the topic's end until told to stop, then until nothing is left; sets ``reading`` when it begins.

    ``causes`` gives the ids of the events that caused a change.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "latency-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 0,
            "fetch.queue.backoff.ms": 0,
        }
    )
    places = []
    for number in range(partitions):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10.0)
        places.append(TopicPartition(topic, number, end))
    consumer.assign(places)
    gc.freeze()
    gc.disable()
    got: list[tuple[float, bytes]] = []
    reading.set()
    while True:
        message = consumer.poll(0.2)
        if message is None:
            if stop.is_set():
                break
            continue
        if (error := message.error()) is not None:
            raise KafkaException(error)
        got.append((time.monotonic(), message.value() or b""))
    consumer.close()
    report.send(_arrivals(got, causes))


def caused(value: bytes) -> list[str]:
    """The event that caused a change of ours."""
    change = _decode(value)
    return [change.reason.event] if change.origin == "event" else []


def _arrivals(got: list[tuple[float, bytes]], causes: Callable[[bytes], list[str]]) -> Arrivals:
    found = Arrivals([], [], [], 0)
    others = 0
    for when, value in got:
        events = causes(value)
        others += not events
        for event in events:
            found.kinds.append(event[0])
            found.indices.append(int(event[1:]))
            found.times.append(when)
    return Arrivals(found.kinds, found.indices, found.times, others)
