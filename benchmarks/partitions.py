"""What many partitions cost: one worker, so many partitions, few events a second in each.

python -m benchmarks.partitions --json benchmarks/out/partitions.json

``broker_cores`` and ``worker_cores`` while events arrive, ``broker_cores_without_worker`` when only they do;
``turns_per_second`` and ``transactions_per_second``;
``latency_ms``: from an event's time to when a reader of committed records has the change that it caused (the sender
waits up to 50 ms for more, so that the events alone do not cost the broker half a core);
``ready_seconds``: from the start of a worker's process until it is ready, after the one before was killed in its turns
and after it was stopped (with static membership: it gets its partitions at once).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.harness import cpu_seconds, machine, worker_settings, write_json
from streams.kafka.admin import create_topics, offsets
from streams.kafka.broker import EmbeddedBroker
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
#: every so many events are of a new user
_NEW = 20
#: for which the broker is looked at while events arrive and nobody reads them
_FLOOR_SECONDS = 8.0
_decode = msgspec.json.Decoder(Change).decode


class Load(threading.Thread):
    """Sends so many events a second to each partition, one partition after the other, until it is stopped."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, rate: float) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.sent = 0
        self._topic, self._partitions, self._rate = topic, partitions, rate
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 50, "partitioner": "murmur2_random", "log_level": 0}
        )
        self._users: list[list[str]] = [[] for _ in range(partitions)]
        number = 0
        while min(map(len, self._users)) < _USERS:
            user = f"u{number}"
            self._users[partition_of(user, partitions)].append(user)
            number += 1

    def run(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set():
            due = int((time.monotonic() - began) * self._rate * self._partitions)
            while self.sent < due:
                home = self._users[self.sent % self._partitions]
                each = self.sent // self._partitions
                user = home[each % _USERS]
                if each % _NEW == 0:  # of any partition
                    user = f"{user}-{each}"
                value = b'{"user":"%s","kind":"click","id":"%d","time":%.4f}' % (user.encode(), self.sent, time.time())
                self._producer.produce(self._topic, value, user.encode(), partition_of(user, self._partitions))
                self.sent += 1
            self._producer.poll(0.001)
        self._producer.flush(30.0)


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


def measure(partitions: int, rate: float, warm_up: float, seconds: float, more: dict[str, str]) -> dict[str, Any]:
    """One worker and its broker, both started for this."""
    with (
        tempfile.TemporaryDirectory(prefix="segments-bench-") as path,
        EmbeddedBroker(Path(path) / "kafka") as broker,
    ):
        directory = Path(path)
        topics = Topics("partitions", "bench-")
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
        places = [(spec.name, number) for spec in topics.specs(partitions) for number in range(spec.partitions)]
        offsets({"bootstrap.servers": broker.bootstrap}, places, "end", timeout=120.0)  # it leads them all
        (directory / "segments.toml").write_text(SEGMENTS)
        given = worker_settings(broker.bootstrap, topics, directory / "state", directory / "segments.toml")
        given |= {"worker_name": "one", "static_membership": "true", "session_timeout": "30", **more}
        worker, first = started(directory, given)
        load = Load(broker.bootstrap, topics.events, partitions, rate)
        load.start()
        time.sleep(warm_up)
        reader = Reader(broker.bootstrap, topics.changes, partitions)
        reader.start()
        pids = {"worker": worker.pid, "broker": broker.pid or 0}
        before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
        turns, transactions, sent = *counts(worker), load.sent
        time.sleep(seconds)
        took = time.monotonic() - began
        cores = {f"{name}_cores": (cpu_seconds(pid) - before[name]) / took for name, pid in pids.items()}
        after = counts(worker)
        reader.stopping.set()
        reader.join()
        lag = load.sent - int(worker.status()["events_total"])
        sent = load.sent - sent
        worker.kill()
        before["broker"], began = cpu_seconds(pids["broker"]), time.monotonic()
        time.sleep(_FLOOR_SECONDS)
        floor = (cpu_seconds(pids["broker"]) - before["broker"]) / (time.monotonic() - began)
        load.stopping.set()
        load.join()
        worker, killed = started(directory, given)
        worker.stop()
        worker, stopped = started(directory, given)
        worker.stop()
    delays = [1e3 * delay for delay in reader.delays]
    found = statistics.quantiles(delays, n=100) if len(delays) > 1 else [math.nan] * 99
    return {
        "partitions": partitions,
        "events_per_second": sent / took,
        "behind_events": lag,
        **cores,
        "broker_cores_without_worker": floor,
        "turns_per_second": (after[0] - turns) / took,
        "transactions_per_second": (after[1] - transactions) / took,
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
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the worker")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    more = dict(each.split("=", 1) for each in asked.set)
    found = measure(asked.partitions, asked.rate, asked.warm_up, asked.seconds, more)
    write_json(asked.json, {"machine": machine(), "settings": more, **found})


if __name__ == "__main__":
    main()
