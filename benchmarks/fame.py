"""What others notice while many people follow one: event to change before, during and after the crowd comes.

python -m benchmarks.fame --json benchmarks/out/fame.json
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer

from benchmarks.harness import BenchmarkError, machine, worker_settings, write_json
from benchmarks.latency.reading import Arrivals, caused, read
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics

#: somebody new enters with the first event; learned segments, so that vectors and the graph are needed
SEGMENTS = """
[[segment]]
id = "probed"
rule = 'count("click", within="7d") >= 1'

[[group]]
id = "taste"
exclusive = true

[[segment]]
id = "taste-food"
learned = "taste"

[[segment]]
id = "taste-travel"
learned = "taste"
"""
STAR = "the-star"
_TICK = 0.002
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Plan:
    """Seconds of the quiet time, of the crowd and of the time after it; who does how much."""

    warm_up: float
    idle: float
    crowd: float
    after: float
    followers: int
    probes: float
    """Events a second of other users, each of somebody new."""
    star: float
    """Events a second of the followed user, whose vectors move."""

    @property
    def seconds(self) -> float:
        return self.warm_up + self.idle + self.crowd + self.after

    @property
    def crowd_at(self) -> float:
        return self.warm_up + self.idle


def _event(user: str, kind: str, when: float, number: str, more: str = "") -> dict[str, bytes]:
    value = f'{{"user":"{user}","kind":"{kind}","time":{when:.3f},"id":"{number}"{more}}}'
    return {"key": user.encode(), "value": value.encode()}


def send(bootstrap: str, topic: str, plan: Plan, start: float) -> None:
    """An open loop: each event is due at its time, whatever became of those before. ``start``: monotonic."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 2,
            "queue.buffering.max.messages": 500_000,
        }
    )
    producer.list_topics(topic, timeout=10.0)
    wall = time.time() - time.monotonic() + start
    gc.disable()
    probes = follows = stars = 0
    time.sleep(max(0.0, start - time.monotonic()))
    while (now := time.monotonic() - start) < plan.seconds:
        records: list[dict[str, bytes]] = []
        while probes / plan.probes <= now:
            records.append(_event(f"probe-{probes}", "click", wall + probes / plan.probes, f"e{probes}"))
            probes += 1
        share = min(1.0, (now - plan.crowd_at) / plan.crowd) if now > plan.crowd_at else 0.0
        while follows < plan.followers * share:
            records.append(_event(f"fan-{follows}", "follow", wall + now, f"f{follows}", f',"target":"{STAR}"'))
            follows += 1
        while stars / plan.star <= now:
            kind, more = ("comment", f',"text":"dinner number {stars} with fresh pasta"') if stars % 2 else ("view", "")
            records.append(_event(STAR, kind, wall + now, f"s{stars}", more))
            stars += 1
        if records and producer.produce_batch(topic, records) != len(records):
            raise BenchmarkError("the sender's queue is full")
        producer.poll(0)
        time.sleep(max(0.0, _TICK - (time.monotonic() - start - now)))
    if producer.flush(60.0):
        raise BenchmarkError("not all was sent")


def _probed(value: bytes) -> list[str]:
    return [event for event in caused(value) if event[0] == "e"]


def _part(arrivals: Arrivals, plan: Plan, start: float, begin: float, end: float) -> dict[str, float]:
    due = np.array(arrivals.indices, dtype=np.float64) / plan.probes
    waited = 1e3 * (np.array(arrivals.times, dtype=np.float64) - start - due)
    mine = waited[(due >= begin) & (due < end)]
    if len(mine) < 100:
        raise BenchmarkError(f"only {len(mine)} changes were measured between {begin:.0f} s and {end:.0f} s")
    found = {name: round(float(np.quantile(mine, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
    return {**found, "changes": len(mine)}


def run(plan: Plan, partitions: int, given: dict[str, str], keep: Path | None) -> dict[str, Any]:
    """One broker, one worker, one crowd."""
    topics = Topics("fame", "fame-")
    with (
        tempfile.TemporaryDirectory(prefix="segments-fame-") as where,
        EmbeddedBroker(Path(where) / "kafka", java_options=()) as broker,
    ):
        segments = Path(where) / "segments.toml"
        segments.write_text(SEGMENTS)
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
        settings = worker_settings(broker.bootstrap, topics, Path(where) / "state", segments, **given)
        log = keep or Path(where) / "worker.log"
        with child_worker(free_port(), log, **settings) as worker:
            worker.wait_ready()
            reading, stop = _spawn.Event(), _spawn.Event()
            changes, there = _spawn.Pipe(duplex=False)
            arguments = (broker.bootstrap, topics.changes, partitions, _probed, reading, stop, there)
            reader = _spawn.Process(target=read, args=arguments, daemon=True)
            reader.start()
            there.close()
            if not reading.wait(60.0):
                raise BenchmarkError("the subscriber did not begin to read")
            start = time.monotonic() + 3.0
            sender = _spawn.Process(target=send, args=(broker.bootstrap, topics.events, plan, start), daemon=True)
            sender.start()
            depths: list[tuple[float, int]] = []
            ended = threading.Event()
            while sender.is_alive() and not ended.wait(2.0):
                depths.append((round(time.monotonic() - start, 1), worker.status().get("encode_queue_depth", -1)))
            if sender.exitcode:
                raise BenchmarkError("the sender failed")
            stop.set()
            if not changes.poll(60.0):
                raise BenchmarkError("the subscriber did not report")
            arrivals: Arrivals = changes.recv()
            sums = worker.metrics()
    crowd = plan.crowd_at
    after = crowd + plan.crowd
    return {
        "idle_ms": _part(arrivals, plan, start, plan.warm_up, crowd),
        "crowd_ms": _part(arrivals, plan, start, crowd, after),
        "after_ms": _part(arrivals, plan, start, after, plan.seconds),
        "second_half_after_ms": _part(arrivals, plan, start, after + plan.after / 2, plan.seconds),
        "missing": int(plan.probes * plan.seconds) - len(arrivals.indices),
        "users_encoded": int(sums["segments_encoded_users_total"]),
        "encode_queue": depths,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--followers", type=int, default=50_000)
    parser.add_argument("--warm-up", type=float, default=15.0)
    parser.add_argument("--idle", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--crowd", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--after", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--probes", type=float, default=100.0, help="events a second of others")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="of the worker")
    parser.add_argument("--log", type=Path, default=None, metavar="FILE", help="keep the worker's log there")
    options = parser.parse_args()
    plan = Plan(
        options.warm_up, options.idle, options.crowd, options.after, options.followers, options.probes, star=5.0
    )  # fmt: skip
    given = dict(each.split("=", 1) for each in options.set)
    report = run(plan, options.partitions, given, options.log)
    what = "from when an event of another user was due until a read_committed consumer has its change"
    more = {"followers": options.followers, "crowd_seconds": options.crowd, "partitions": options.partitions}
    write_json(options.json, report | more | {"what": what, "machine": machine()})


if __name__ == "__main__":
    main()
