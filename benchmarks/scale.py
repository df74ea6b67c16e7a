"""What a second worker brings, and the processor time of an event against the number of users and of follows.

python -m benchmarks.scale --json benchmarks/out/scale.json
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import (
    JOB,
    BenchmarkError,
    between,
    cpu_seconds,
    held,
    machine,
    produce,
    progress,
    worker_settings,
    write_json,
)
from benchmarks.load import load
from benchmarks.restore import fill
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.steps.segments import load_plan
from streams.tools.child import ChildWorker, child_worker, free_port
from streams.wire.topics import Topics

#: far-jumping order in which all users take turns: coprime to every count of users used here
_STRIDE: Final = 7_919_777_777
#: who sends what is measured against the number of follows; each of them follows one
ACTIVE: Final = 10_000
#: follows of each of the others
OF_ANOTHER: Final = 10
#: records in a transaction: less than users of a partition, so that no batch meets a user twice
BATCH: Final = 2_000
#: events a second of event time
_RATE: Final = 5_000.0
#: what RocksDB's log says of each compaction that ended
_COMPACTED: Final = re.compile(r'"compaction_time_cpu_micros": (\d+)')


@dataclass(frozen=True)
class Place:
    """A broker, and a directory for the workers."""

    broker: EmbeddedBroker
    directory: Path

    def settings(self, app: str, name: str) -> dict[str, str]:
        return worker_settings(
            self.broker.bootstrap, Topics(app, f"{app}-"), self.directory / name, JOB,
            worker_name=name, clock="event",
            stuck_seconds="900",  # what is held back is no standstill
        )  # fmt: skip

    def topics(self, app: str, partitions: int) -> Topics:
        topics = Topics(app, f"{app}-")
        create_topics({"bootstrap.servers": self.broker.bootstrap}, topics.specs(partitions), 1)
        return topics


def in_turn(numbers: range, users: int, start: float, follows: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of events of all users in turn, a shop's mix; each ``follows``-th is a follow (0: none)."""
    for number in numbers:
        user = b"user-%08d" % (number * _STRIDE % users)
        head = b'{"user":"%s","id":"t%d","time":%.3f,' % (user, number, start + (number - numbers.start) / _RATE)
        if follows and number % follows == 0:
            yield user, head + b'"kind":"follow","target":"star-%d"}' % (number // follows % 1_000)
        elif number % 20 == 1:
            yield user, head + b'"kind":"purchase","item":"i%d","category":"c%d","amount":%.2f}' % (
                number % 5_000, number % 40, 5 + number % 90,
            )  # fmt: skip
        else:
            kind = b"click" if number % 4 == 3 else b"view"
            yield user, head + b'"kind":"%s","item":"i%d","category":"c%d","dwell":%.1f}' % (
                kind, number % 5_000, number % 40, number % 60 / 4,
            )  # fmt: skip


def settle(workers: Sequence[ChildWorker], partitions: int, deadline: float = 180.0) -> None:
    """Until the workers share the partitions, are ready, and rest (RocksDB compacts what a restore wrote)."""
    until = time.monotonic() + deadline
    resting = False
    while not resting:
        if time.monotonic() > until:
            raise BenchmarkError(f"the workers did not come to rest within {deadline:.0f} s")
        before = sum(cpu_seconds(worker.pid) for worker in workers)
        time.sleep(1.0)
        status = [worker.status() for worker in workers]
        shares = [len(each.get("partitions", ())) for each in status]
        resting = (
            all(each.get("ready") for each in status)
            and shares == [partitions // len(workers)] * len(workers)
            and sum(cpu_seconds(worker.pid) for worker in workers) - before < 0.2
        )


def compaction_seconds(directory: Path) -> float:
    """Processor time of all compactions that have ended in the RocksDBs under ``directory``."""
    return sum(int(each) for log in directory.rglob("LOG*") for each in _COMPACTED.findall(log.read_text())) / 1e6


def measure(
    place: Place,
    app: str,
    partitions: int,
    count: int,
    records: Iterable[tuple[bytes, bytes]],
    prepare: Callable[[ChildWorker], None] | None = None,
    workers: int = 1,
    cached_users: int | None = None,
    batch_records: int | None = None,
) -> dict[str, float]:
    """Rate and processor time of ``count`` records, for workers that are there, ready and at rest before they come."""
    topic, pid = Topics(app, f"{app}-").events, place.broker.pid
    assert pid is not None
    limits = {"cached_users": cached_users, "batch_records": batch_records}
    settings = {name: str(value) for name, value in limits.items() if value is not None}
    with ExitStack() as stack:
        children = []
        for number in range(workers):
            name = f"{app}-{number}"
            given = place.settings(app, name) | settings
            children.append(stack.enter_context(child_worker(free_port(), place.directory / f"{name}.log", **given)))
        settle(children, partitions)
        if prepare is not None:
            prepare(children[0])
        before = sum(child.status()["events_total"] for child in children)
        release = stack.enter_context(held(place.broker.bootstrap, topic, records))
        settle(children, partitions)
        stores = [Path(place.settings(app, f"{app}-{number}")["data_dir"]) for number in range(workers)]
        compacted = sum(map(compaction_seconds, stores))
        release()
        first, last = between(progress(children, before + count, 300.0, (pid,)), before)
        compacted = sum(map(compaction_seconds, stores)) - compacted
    events = last.events - first.events
    return {
        "events_per_second": round(events / (last.time - first.time)),
        "cpu_microseconds_per_event": round(1e6 * (last.cpu - first.cpu) / events, 2),
        "compaction_microseconds_per_event": round(1e6 * compacted / count, 2),
        "broker_cpu_microseconds_per_event": round(1e6 * (last.beside - first.beside) / events, 2),
        "events": events,
        "load_1m": round(os.getloadavg()[0], 2),
    }


def by_workers(place: Place, events: int, partitions: int, seed: int) -> dict[str, Any]:
    """One worker, then two, each in a process of its own, with the same load."""
    found = {}
    for workers in (1, 2):
        app = f"workers{workers}"
        place.topics(app, partitions)
        found[workers] = measure(place, app, partitions, events, load(events, 20_000, "uniform", seed), workers=workers)
    one, two = found[1], found[2]
    cores = os.cpu_count() or 1
    needed = two["cpu_microseconds_per_event"] + two["broker_cpu_microseconds_per_event"]
    return {
        "speedup": round(two["events_per_second"] / one["events_per_second"], 2),
        "speedup_by_cpu": round(2.0 * one["cpu_microseconds_per_event"] / two["cpu_microseconds_per_event"], 2),
        "cores": cores,
        "events_per_second_if_all_cores_were_busy": round(cores * 1e6 / needed),
        "one": one,
        "two": two,
        "what": "speedup_by_cpu: two workers with a core each and the broker elsewhere; events_per_second_if_all_cores_"
        "were_busy: the most that these cores allow two workers with the broker beside them",
    }


def by_users(
    place: Place, sizes: Sequence[int], events: int, partitions: int, cached: bool
) -> dict[str, dict[str, float]]:
    """The same events of all users in turn, who are there already, against how many they are.

    Either each user is in the cache, or none ever is: with users in turn a cache that is a little too small has none.
    """
    found = {}
    plan = load_plan(JOB)
    for users in sizes:
        app = f"{'cached' if cached else 'read'}{users}"
        topic = place.topics(app, partitions).events
        settings = Settings(app=app, bootstrap=place.broker.bootstrap, topic_prefix=f"{app}-", segments_file=JOB)
        # so deep that records are alike half-way through what is measured
        depth = 2 + events // (2 * min(*sizes, 10_000)) - events // (2 * users)
        filled = fill(settings, plan, users, partitions, depth)

        def warm(worker: ChildWorker, users: int = users, topic: str = topic) -> None:
            before = worker.status()["events_total"]
            produce(place.broker.bootstrap, topic, in_turn(range(users), users, time.time() - 60.0))
            worker.wait_idle(before + users, 300.0)

        records = in_turn(range(users, users + events), users, time.time())
        cost = measure(
            place, app, partitions, events, records,
            prepare=warm if cached else None, cached_users=users if cached else BATCH, batch_records=BATCH,
        )  # fmt: skip
        found[str(users)] = cost | {"events_before": depth, "record_bytes_mean": filled["record_bytes_mean"]}
    return found


def follows(edges: int, at: float) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of follows that are there before: one of each active user, the rest of others."""
    for number in range(edges):
        user = b"user-%08d" % (number if number < ACTIVE else ACTIVE + (number - ACTIVE) // OF_ANOTHER)
        yield user, b'{"user":"%s","id":"f%d","time":%.3f,"kind":"follow","target":"star-%d"}' % (
            user, number, at, number * 31 % 1_000,
        )  # fmt: skip


def by_edges(place: Place, sizes: Sequence[int], events: int, partitions: int) -> dict[str, Any]:
    """The same events of the same people, one in ten a follow, against how many follows of others are there."""
    found = {}
    for edges in sizes:
        app = f"edges{edges}"
        topic = place.topics(app, partitions).events
        produce(place.broker.bootstrap, topic, follows(edges, time.time() - 60.0))

        def there(worker: ChildWorker, edges: int = edges) -> None:
            worker.wait_idle(edges, 300.0)

        records = in_turn(range(events), ACTIVE, time.time(), follows=10)
        found[str(edges)] = measure(place, app, partitions, events, records, there, batch_records=BATCH)
    return found


def steepness(found: dict[str, Any]) -> float:
    """The dearest by the cheapest."""
    costs: list[float] = [each["cpu_microseconds_per_event"] for each in found.values()]
    return round(max(costs) / min(costs), 3)


def run(users: Sequence[int], edges: Sequence[int], events: int, load_events: int, seed: int) -> dict[str, Any]:
    """All of it on an own broker."""
    partitions = 2
    with tempfile.TemporaryDirectory(prefix="segments-scale-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        place = Place(broker, Path(name))
        workers = by_workers(place, load_events, partitions, seed)
        cost_by_users = by_users(place, users, events, partitions, cached=False)
        cost_by_users_cached = by_users(place, users, events, partitions, cached=True)
        cost_by_edges = by_edges(place, edges, events, partitions)
    return {
        "speedup": workers["speedup"],
        "speedup_by_cpu": workers["speedup_by_cpu"],
        "workers": workers,
        "cost_by_users": cost_by_users,
        "cost_by_users_ratio": steepness(cost_by_users),
        "cost_by_users_cached": cost_by_users_cached,
        "cost_by_users_cached_ratio": steepness(cost_by_users_cached),
        "cost_by_edges": cost_by_edges,
        "cost_by_edges_ratio": steepness(cost_by_edges),
        "batch_records": BATCH,
        "partitions": partitions,
        "seed": seed,
        "what": "Processor time of the worker for an event. By users: all in turn, in batches smaller than the users "
        "of a partition, so that no batch meets a user twice whatever their number; each is read from RocksDB "
        "(cost_by_users), or each is in the cache (cost_by_users_cached). By edges: 10,000 people, a tenth of their "
        "events follows; the follows that are there already are mostly of others. Rules only: no model runs.",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--edges", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=int, default=600_000, help="at each size, so many that RocksDB compacts")
    parser.add_argument("--load", type=int, default=1_200_000, help="events for one worker and for two")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    write_json(given.json, run(given.users, given.edges, given.events, given.load, given.seed))


if __name__ == "__main__":
    main()
