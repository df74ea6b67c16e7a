"""Resident memory of one worker while many more users than are kept in memory take turns, and what one in memory takes.

python -m benchmarks.memory --json benchmarks/out/memory.json --plot docs/memory.svg --users 2000000 --minutes 8
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks import cached_user
from benchmarks.harness import BenchmarkError, machine, produce, worker_settings, write_json
from benchmarks.plots import Line, line_plot
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker, child_worker, free_port
from streams.wire.topics import Topics

START = 1_790_000_000.0
SEGMENTS = """
[[segment]]
id = "regulars"
rule = 'count("view", within="7d") >= 3'
[[segment]]
id = "spenders"
rule = 'total("purchase", "amount", within="30d") >= 100'
[[segment]]
id = "window-shoppers"
rule = 'count("click", within="7d") >= 2 and count("purchase", within="7d") == 0'
[[segment]]
id = "food"
words = "people who love cooking and restaurants"
"""
#: a step that visits every number below the count once, far from its neighbours, whatever is cached
_STRIDE = 7_919_777_777
#: records that may wait for the worker: the load is what it bears, not what the disk takes
_AHEAD = 150_000
_WORDS = ("pasta", "match", "flight", "parliament", "basil", "shoes", "hotel", "tax")


def records(users: int, comments: float, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Endless passes over all users in one far-jumping order; a share of ``comments`` write something."""
    draw = random.Random(seed)
    number = 0
    while True:
        user = b"user-%d" % (number * _STRIDE % users)
        roll = draw.random()
        head = b'{"user":"%s","id":"e%d","time":%.3f,' % (user, number, START + number / 1_000.0)
        if roll < comments:
            text = " ".join(draw.choices(_WORDS, k=8)).encode()
            yield user, head + b'"kind":"comment","text":"I wrote about %s"}' % text
        elif roll < 0.02:
            yield user, head + b'"kind":"follow","target":"user-%d"}' % draw.randrange(users)
        elif roll < 0.10:
            amount = draw.randrange(100, 9_000) / 100
            yield user, head + b'"kind":"purchase","item":"i%d","category":"c%d","amount":%.2f}' % (
                draw.randrange(5_000), draw.randrange(20), amount,
            )  # fmt: skip
        else:
            kind = b"click" if roll < 0.4 else b"view"
            yield user, head + b'"kind":"%s","item":"i%d","category":"c%d"}' % (
                kind, draw.randrange(5_000), draw.randrange(20),
            )  # fmt: skip
        number += 1


class Load(threading.Thread):
    """Produces until told to stop, never more than ``_AHEAD`` records before the worker."""

    def __init__(self, bootstrap: str, topic: str, source: Iterator[tuple[bytes, bytes]]) -> None:
        super().__init__(name="load", daemon=True)
        self._servers = bootstrap
        self._topic = topic
        self._source = source
        self.sent = 0
        self.counted = 0
        self.ended = threading.Event()

    def run(self) -> None:
        produce(self._servers, self._topic, self._paced())

    def _paced(self) -> Iterator[tuple[bytes, bytes]]:
        for record in self._source:
            while self.sent - self.counted > _AHEAD and not self.ended.is_set():
                time.sleep(0.02)
            if self.ended.is_set():
                return
            self.sent += 1
            yield record


def disk_bytes(directory: Path) -> int:
    """Bytes of all files below."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def resident_mb(processes: Iterable[psutil.Process]) -> float:
    """MiB of them together."""
    return round(sum(each.memory_info().rss for each in processes) / 2**20, 1)


def watch(worker: ChildWorker, load: Load, seconds: float) -> list[dict[str, float]]:
    """One sample a second: time, resident memory (``beside``: of the encoders' process), and what was counted."""
    process = psutil.Process(worker.pid)
    samples: list[dict[str, float]] = []
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        status = worker.status()
        if status:
            load.counted = status["events_total"]
            samples.append(
                {
                    "seconds": round(now, 1),
                    "rss_mb": resident_mb([process]),
                    "beside_mb": resident_mb(process.children(recursive=True)),
                    "events": status["events_total"],
                    "users": sum(partition["users"] for partition in status["partitions"]),
                    "encode_queue": status["encode_queue_depth"],
                }
            )
        if not load.is_alive():
            raise BenchmarkError("the load ended")
        time.sleep(max(0.0, 1.0 - (time.monotonic() - began - now)))
    return samples


def run(
    users: int, minutes: float, partitions: int, comments: float, seed: int, settings: dict[str, str]
) -> dict[str, Any]:
    """``rss_flat_ratio``: the most by the least resident memory after the first third of the run."""
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        directory = Path(name)
        topics = Topics("memory", "bench-")
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
        (directory / "segments.toml").write_text(SEGMENTS)
        load = Load(broker.bootstrap, topics.events, records(users, comments, seed))
        given = worker_settings(
            broker.bootstrap, topics, directory / "state", directory / "segments.toml", **{"clock": "event", **settings}
        )
        with child_worker(free_port(), directory / "worker.log", **given) as worker:
            worker.wait_ready(180.0)
            idle = resident_mb([psutil.Process(worker.pid)])
            load.start()
            samples = watch(worker, load, minutes * 60.0)
            load.ended.set()
            load.join()
            sums = worker.metrics()
            on_disk = disk_bytes(directory / "state")
        tail = (directory / "worker.log").read_text(errors="replace").splitlines()[-5:]
    last = samples[-1]
    steady = [sample["rss_mb"] for sample in samples if sample["seconds"] >= minutes * 20.0]
    return {
        "users": int(last["users"]),
        "events": int(last["events"]),
        "passes": round(last["events"] / users, 2),
        "events_per_second": round(last["events"] / last["seconds"]),
        "bytes_per_user_on_disk": round(on_disk / max(1.0, last["users"])),
        "users_in_memory": round(sums["segments_users_cached"]),
        "bytes_in_memory": round(sums["segments_cache_bytes"]),
        "rss_idle_mb": idle,
        "rss_min_mb": min(steady),
        "rss_max_mb": max(steady),
        "rss_beside_max_mb": max(sample["beside_mb"] for sample in samples),
        "rss_flat_ratio": round(max(steady) / min(steady), 4),
        "minutes": minutes,
        "partitions": partitions,
        "comments": comments,
        "seed": seed,
        "settings": settings,
        "samples": samples,
        "log": tail,
        "what": "one worker; all users in turn, so that nearly no event meets a user in memory; samples once a second, "
        "resident memory compared after the first third",
        "machine": machine(),
    }


def plot(report: dict[str, Any], path: Path) -> None:
    """Resident memory over time, and how many users were there."""
    samples = report["samples"]
    line_plot(
        path,
        f"Resident memory of one worker, {report['users']:,} users, {report['events']:,} events",
        "minutes",
        "MiB",
        [Line("resident memory", [(sample["seconds"] / 60.0, sample["rss_mb"]) for sample in samples])],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE", help="the same as an SVG")
    parser.add_argument("--users", type=int, default=2_000_000)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--comments", type=float, default=0.001, help="share of events that are comments")
    parser.add_argument("--cache-mb", type=int, default=32, help="of users in memory, of all partitions")
    parser.add_argument("--rocksdb-cache-mb", type=int, default=128)
    parser.add_argument("--batch-records", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    settings = {
        "cache_mb": str(given.cache_mb),
        "rocksdb_cache_mb": str(given.rocksdb_cache_mb),
        "batch_records": str(given.batch_records),
    }
    report = run(given.users, given.minutes, given.partitions, given.comments, given.seed, settings)
    report["cached_user"] = cached_user.measure()
    if given.plot is not None:
        plot(report, given.plot)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
