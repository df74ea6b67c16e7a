"""What many partitions cost: one worker, so many partitions, few events a second in each.

python -m benchmarks.partitions --json benchmarks/out/partitions.json

``broker_cores`` and ``worker_cores`` while events arrive, ``broker_cores_without_worker`` when only they do;
``turns_per_second`` and ``transactions_per_second``;
``latency_ms``: from an event's time to when a reader of committed records has the change that it caused. The reader
comes when the cores are measured, for it costs the broker more than the worker does.
The sender has what is to be sent in 50 ms in one request, a batch for each partition, as Kafka's own client (Java)
sends it. librdkafka sends a request for each partition: ``--sender librdkafka``.
``ready_seconds``: from the start of a worker's process until it is ready, after the one before was killed in its turns
and after it was stopped (with static membership: it gets its partitions at once).
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.harness import cpu_seconds, machine, worker_settings, write_json
from streams.kafka.admin import create_topics, offsets
from streams.kafka.broker import QUICK_JAVA, EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.tools.child import ChildWorker, free_port
from streams.wire.emit import Change
from streams.wire.topics import Topics

SEGMENTS = """
[[segment]]
id = "clicking"
rule = 'count("click", within="7d") >= 1'
"""
#: users of each partition; who comes anew has a change
_USERS = 200
#: the sender waits for so long for more
_LINGER_MS = 50
#: every so many events are of a new user
_NEW = 20
#: for which the broker is looked at while events arrive and nobody reads them
_FLOOR_SECONDS = 8.0
_decode = msgspec.json.Decoder(Change).decode


class Load(threading.Thread):
    """Sends so many events a second to each partition, one partition after the other, until it is stopped."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, rate: float, sender: str) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.sent = 0
        self._servers, self._sender = bootstrap, sender
        self._topic, self._partitions, self._rate = topic, partitions, rate
        self._users: list[list[str]] = [[] for _ in range(partitions)]
        number = 0
        while min(map(len, self._users)) < _USERS:
            user = f"u{number}"
            self._users[partition_of(user, partitions)].append(user)
            number += 1

    def run(self) -> None:
        if self._sender == "librdkafka":
            self._by_librdkafka()
        else:
            asyncio.run(self._by_requests())

    def _due(self, began: float) -> Iterator[tuple[bytes, bytes, int]]:
        """(value, key, partition) of what is to be sent by now."""
        due = int((time.monotonic() - began) * self._rate * self._partitions)
        while self.sent < due:
            home = self._users[self.sent % self._partitions]
            each = self.sent // self._partitions
            user = home[each % _USERS]
            if each % _NEW == 0:  # of any partition
                user = f"{user}-{each}"
            value = b'{"user":"%s","kind":"click","id":"%d","time":%.4f}' % (user.encode(), self.sent, time.time())
            self.sent += 1
            yield value, user.encode(), partition_of(user, self._partitions)

    def _by_librdkafka(self) -> None:
        producer = Producer({"bootstrap.servers": self._servers, "linger.ms": _LINGER_MS, "log_level": 0})
        began = time.monotonic()
        while not self.stopping.is_set():
            for value, key, partition in self._due(began):
                producer.produce(self._topic, value, key, partition)
            producer.poll(0.001)
        producer.flush(30.0)

    async def _by_requests(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._servers, linger_ms=_LINGER_MS, acks="all")
        await producer.start()
        began = time.monotonic()
        while not self.stopping.is_set():
            for value, key, partition in self._due(began):
                await producer.send(self._topic, value, key, partition)
            await asyncio.sleep(0.005)
        await producer.stop()


class Reader(threading.Thread):
    """Notes how old each change is when a reader of committed records has it, in seconds."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.delays: list[float] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "partitions-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 1,
            }
        )
        self._consumer.assign([TopicPartition(topic, number) for number in range(partitions)])

    def run(self) -> None:
        while not self.stopping.is_set():
            for message in self._consumer.consume(500, 0.05):
                if message.error() is None and (value := message.value()):
                    self.delays.append(time.time() - _decode(value).event_time)
        self._consumer.close()


def counts(worker: ChildWorker) -> tuple[float, float]:
    """(turns, transactions) so far."""
    found = worker.metrics()
    turns = found["segments_commit_seconds_count"]
    return turns, found.get("segments_transaction_turns_count", turns)


def started(directory: Path, given: dict[str, str]) -> tuple[ChildWorker, float]:
    """A worker, and the seconds until it was ready."""
    began = time.monotonic()
    worker = ChildWorker(free_port(), directory / "worker.log", **given)
    while not worker.status().get("ready"):
        time.sleep(0.05)
    return worker, time.monotonic() - began


@dataclass(frozen=True)
class Asked:
    """What is to be measured, in seconds and events a second."""

    partitions: int
    rate: float
    warm_up: float
    seconds: float
    sender: str
    optimizing: bool
    """The broker's Java has its second compiler, as one that is to run for days."""
    more: dict[str, str]


def broker_cores(pid: int, seconds: float) -> float:
    """While so many seconds pass."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def measure(asked: Asked) -> dict[str, Any]:
    """One worker and its broker, both started for this."""
    java = () if asked.optimizing else QUICK_JAVA
    with (
        tempfile.TemporaryDirectory(prefix="segments-bench-") as path,
        EmbeddedBroker(Path(path) / "kafka", java_options=java) as broker,
    ):
        directory, pid = Path(path), broker.pid or 0
        topics = Topics("partitions", "bench-")
        conf, specs = {"bootstrap.servers": broker.bootstrap}, topics.specs(asked.partitions)
        create_topics(conf, specs, 1)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        offsets(conf, places, "end", timeout=120.0)  # it leads them all
        (directory / "segments.toml").write_text(SEGMENTS)
        given = worker_settings(broker.bootstrap, topics, directory / "state", directory / "segments.toml")
        given |= {"worker_name": "one", "static_membership": "true", "session_timeout": "30", **asked.more}
        worker, first = started(directory, given)
        load = Load(broker.bootstrap, topics.events, asked.partitions, asked.rate, asked.sender)
        load.start()
        time.sleep(asked.warm_up)
        counted, sent, cpu, began = counts(worker), load.sent, cpu_seconds(worker.pid), time.monotonic()
        cores = broker_cores(pid, asked.seconds)
        took = time.monotonic() - began
        sent, cpu = load.sent - sent, cpu_seconds(worker.pid) - cpu
        turns, transactions = (after - before for before, after in zip(counted, counts(worker), strict=True))
        lag = load.sent - int(worker.status()["events_total"])
        reader = Reader(broker.bootstrap, topics.changes, asked.partitions)
        reader.start()
        time.sleep(asked.seconds)
        reader.stopping.set()
        reader.join()
        worker.kill()
        floor = broker_cores(pid, _FLOOR_SECONDS)
        load.stopping.set()
        load.join()
        worker, killed = started(directory, given)
        worker.stop()
        worker, stopped = started(directory, given)
        worker.stop()
        log_text = (directory / "worker.log").read_text()
    Path("/tmp/parts-worker.log").write_text(log_text)
    delays = [1e3 * delay for delay in reader.delays]
    found = statistics.quantiles(delays, n=100) if len(delays) > 1 else [math.nan] * 99
    return {
        "partitions": asked.partitions,
        "sender": asked.sender,
        "optimizing_java": asked.optimizing,
        "events_per_second": sent / took,
        "behind_events": lag,
        "worker_cores": cpu / took,
        "broker_cores": cores,
        "broker_cores_without_worker": floor,
        "turns_per_second": turns / took,
        "transactions_per_second": transactions / took,
        "latency_ms": {"p50": found[49], "p99": found[98], "changes": len(delays)},
        "ready_seconds": {"first": first, "after_kill": killed, "after_stop": stopped},
        "seconds": took,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--rate", type=float, default=50.0, help="events a second in each partition")
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sender", choices=("requests", "librdkafka"), default="requests")
    parser.add_argument("--optimizing", action="store_true", help="the broker's Java with its second compiler")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the worker")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    more = dict(each.split("=", 1) for each in given.set)
    found = measure(
        Asked(given.partitions, given.rate, given.warm_up, given.seconds, given.sender, given.optimizing, more)
    )
    write_json(given.json, {"machine": machine(), "settings": more, **found})


if __name__ == "__main__":
    main()
