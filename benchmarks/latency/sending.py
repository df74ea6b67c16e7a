"""The sender, in a process of its own: an open loop, each event due at its time whatever became of those before."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.load import Spread, load

#: between two looks at what is due, and for how long the producer collects (seconds)
TICK = 0.002
LINGER_MS = 2
#: distinct openings keep the text cache of the encoder out of it; nouns that belong to the two descriptions
_OPENINGS = ("I love", "we enjoyed", "nothing beats", "always glad of", "my weekend was", "dreaming of")
_SUBJECTS = (
    "cooking fresh pasta with basil at home",
    "a long dinner in a small restaurant",
    "cheap flights and a hotel near the beach",
    "travelling by night train to faraway places",
)


@dataclass(frozen=True)
class Sending:
    """Event ``e<i>`` is due ``i / rate`` seconds after ``start``, comment ``c<i>`` ``i / comment_rate``."""

    bootstrap: str
    topic: str
    start: float
    """Of the monotonic clock, which all processes of a machine share (seconds)."""
    seconds: float
    rate: float
    users: int
    spread: Spread
    comment_rate: float
    seed: int


def comments(sending: Sending, start: float) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of comments, each by somebody new and with a text that nobody wrote before."""
    rng = np.random.default_rng(sending.seed + 1)
    for number in itertools.count():
        opening, subject = _OPENINGS[rng.integers(len(_OPENINGS))], _SUBJECTS[rng.integers(len(_SUBJECTS))]
        user, when = f"writer-{number:07d}", start + number / sending.comment_rate
        text = f"{opening} {subject}, {rng.integers(1_000_000)} times"
        value = f'{{"user":"{user}","kind":"comment","time":{when:.3f},"id":"c{number}","text":"{text}"}}'
        yield user.encode(), value.encode()


class _Stream:
    """Records of one kind, each due ``1 / rate`` seconds after the one before."""

    def __init__(self, records: Iterator[tuple[bytes, bytes]], rate: float, seconds: float) -> None:
        self._records = records
        self._rate = rate
        self._all = int(rate * seconds)
        self.sent = 0

    def due(self, now: float) -> list[dict[str, Any]]:
        """What is due ``now`` seconds after the start and was not given yet."""
        count = min(self._all, int(now * self._rate) + 1) - self.sent
        self.sent += max(0, count)
        return [{"key": key, "value": value} for key, value in itertools.islice(self._records, max(0, count))]

    @property
    def ended(self) -> bool:
        return self.sent >= self._all


def send(sending: Sending, report: Connection) -> None:
    """Sends all, then reports how many of each kind, in what time, and by how much the sender itself was late."""
    failed: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": sending.bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": LINGER_MS,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 2_000_000,
            "on_delivery": delivered,
        }
    )
    producer.list_topics(sending.topic, timeout=10.0)  # connected before the first event is due
    wall = time.time() - time.monotonic() + sending.start
    events = load(
        int(sending.rate * sending.seconds) + 1, sending.users, sending.spread, sending.seed, wall, sending.rate
    )  # fmt: skip
    streams = [_Stream(events, sending.rate, sending.seconds)]
    if sending.comment_rate:
        streams.append(_Stream(comments(sending, wall), sending.comment_rate, sending.seconds))
    gc.freeze()
    gc.disable()
    late: list[float] = []
    time.sleep(max(0.0, sending.start - time.monotonic()))
    before = 0.0
    while not all(stream.ended for stream in streams):
        now = time.monotonic() - sending.start
        for stream in streams:
            records = stream.due(now)
            if records and producer.produce_batch(sending.topic, records) != len(records):
                failed.append("the sender's queue is full")
        producer.poll(0)
        late.append(now - before)  # the oldest of this look was due just after the last one
        before = now
        time.sleep(max(0.0, TICK - (time.monotonic() - sending.start - now)))
    took = time.monotonic() - sending.start
    left = producer.flush(30.0)
    if left or failed:
        raise RuntimeError(f"{left} records were not delivered, {len(failed)} failed: {failed[:1]}")
    report.send(
        {
            "events": streams[0].sent,
            "comments": streams[1].sent if len(streams) > 1 else 0,
            "seconds": took,
            "late_ms_p99": 1e3 * float(np.quantile(late, 0.99)),
            "late_ms_max": 1e3 * max(late),
        }
    )
