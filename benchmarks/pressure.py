"""Resident memory of one worker that meets what is small on the wire and large in it.

python -m benchmarks.pressure --json benchmarks/out/pressure.json

* ``records``: 20,000 compressed records of 100 KB, every other one refused.
* ``deletes``: 100,000 deletes that one partition of 64 has to tell the others: 6.4 million messages.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import machine, produce, worker_settings, write_json
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.tools.child import ChildWorker, child_worker, free_port
from streams.wire.topics import Topics

SEGMENTS = """
[[segment]]
id = "regulars"
rule = 'count("click", within="7d") >= 3'
"""
Records = Iterator[tuple[bytes, bytes]]


def large(count: int, size: int) -> Records:
    """Events of ``size`` bytes that compress well; every other one is no JSON."""
    for number in range(count):
        user = b"u%d" % (number % 1_000)
        head = b'{"user":"%s","kind":"click","id":"e%d","time":%.3f,"note":"' % (user, number, time.time())
        value = head + b"x" * (size - len(head) - 2) + (b'"}' if number % 2 else b"")
        yield user, value


def deletes(count: int, partitions: int) -> Records:
    """Of users whose home is one partition."""
    users = (f"u{number}" for number in itertools.count())
    at_home = (user for user in users if partition_of(user, partitions) == 0)
    for user in itertools.islice(at_home, count):
        yield user.encode(), b'{"user":"%s","kind":"delete","time":%.3f}' % (user.encode(), time.time())


def watch(worker: ChildWorker, done: Callable[[dict[str, float]], bool], seconds: float) -> dict[str, Any]:
    """Look at memory until ``done`` says so of the metrics, or the time is over."""
    process = psutil.Process(worker.pid)
    began, peak = time.monotonic(), 0
    idle = process.memory_info().rss
    finished, looked, metrics = False, began, worker.metrics()
    while not finished and time.monotonic() - began < seconds:
        peak = max(peak, process.memory_info().rss)
        if time.monotonic() - looked > 1.0:
            worker.check()
            looked = time.monotonic()
            with contextlib.suppress(OSError):  # it is busy
                metrics = worker.metrics()
            finished = done(metrics)
        time.sleep(0.05)
    names = ("segments_aborted_turns_total", "segments_halved_turns_total", "segments_ready")
    return {
        "finished": finished,
        "seconds": round(time.monotonic() - began, 1),
        "idle_mb": round(idle / 2**20),
        "peak_mb": round(peak / 2**20),
        **{name: metrics.get(name, 0.0) for name in names},
        "taken": {name: value for name, value in metrics.items() if name.startswith("segments_events_total")},
        "sent": metrics.get('segments_graph_messages_total{direction="sent"}', 0.0),
        "received": metrics.get('segments_graph_messages_total{direction="received"}', 0.0),
        "dead_letters": sum(value for name, value in metrics.items() if name.startswith("segments_dead_letters_total")),
    }


def measure(
    name: str, partitions: int, records: Iterable[tuple[bytes, bytes]],
    done: Callable[[Topics, dict[str, float]], bool], seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """The records lie in the topic before the worker starts."""
    with (
        tempfile.TemporaryDirectory(prefix="segments-bench-") as path,
        EmbeddedBroker(Path(path) / "kafka") as broker,
    ):
        directory = Path(path)
        topics = Topics(name, "bench-")
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
        (directory / "segments.toml").write_text(SEGMENTS)
        produce(broker.bootstrap, topics.events, records, 300.0)
        given = worker_settings(broker.bootstrap, topics, directory / "state", directory / "segments.toml")
        with child_worker(free_port(), directory / "worker.log", **given) as worker:
            worker.wait(lambda status: bool(status["partitions"]), 120.0, "started")
            return watch(worker, lambda metrics: done(topics, metrics), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--deletes", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=900.0, help="at most, for each")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    if asked.records:
        refused = asked.records // 2

        def through(_topics: Topics, metrics: dict[str, float]) -> bool:
            return bool(metrics.get('segments_dead_letters_total{reason="not-json"}', 0.0) >= refused)

        found["records"] = measure("records", 1, large(asked.records, 100_000), through, asked.seconds)
        print(found["records"], flush=True)
    if asked.deletes:
        messages = asked.deletes * asked.partitions

        def received(_topics: Topics, metrics: dict[str, float]) -> bool:
            return bool(metrics.get('segments_graph_messages_total{direction="received"}', 0.0) >= messages)

        sent = deletes(asked.deletes, asked.partitions)
        found["deletes"] = measure("deletes", asked.partitions, sent, received, asked.seconds)
        print(found["deletes"], flush=True)
    if asked.json:
        write_json(asked.json, found)


if __name__ == "__main__":
    main()
