"""What a second worker brings, and the processor time of an event against the number of users and of follows.

python -m benchmarks.scale --json benchmarks/out/scale.json
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from collections import Counter
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
from benchmarks.hotpath import Partition, fetches
from benchmarks.load import load
from benchmarks.restore import Template, fill
from encoders.artifact import load_encoders
from state import layout
from state.layout2 import CHUNK
from state.tables import ids_numbers, open_record
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.steps.models import make_models
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
#: distinct states that users have before, each with another number of ids in its block
TEMPLATES: Final = 640
#: events of everybody before, whatever the number of users: so many, and up to a record of ids more. Then records are
#: as long as they get, and as many close a record of ids at any time: how many events more come does not matter
EVENTS_BEFORE: Final = CHUNK
#: seconds that those take, and that they are over when measuring begins: the window of ten minutes is empty again
_BEFORE: Final = 3_600.0
#: less than the copies of two turns: nobody stays
LEAST_CACHE_MB: Final = 1
#: in memory such a user takes less
_USER_BYTES: Final = 4_096
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


def in_turn(
    numbers: range, users: int, start: float, follows: int = 0, rate: float = _RATE, ids: bytes = b"t"
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of events of all users in turn, a shop's mix; each ``follows``-th is a follow (0: none).

    Each user does all of it in turn as well, whatever the number of users. ``ids``: what ids begin with.
    """
    for number in numbers:
        user = b"user-%08d" % (number * _STRIDE % users)
        time_of = start + (number - numbers.start) / rate
        head = b'{"user":"%s","id":"%s%d","time":%.3f,' % (user, ids, number, time_of)
        what = number % users + number // users
        if follows and number % follows == 0:
            yield user, head + b'"kind":"follow","target":"star-%d"}' % (number // follows % 1_000)
        elif what % 20 == 1:
            yield user, head + b'"kind":"purchase","item":"i%d","category":"c%d","amount":%.2f}' % (
                what % 5_000, what % 40, 5 + what % 90,
            )  # fmt: skip
        else:
            kind = b"click" if what % 4 == 3 else b"view"
            yield user, head + b'"kind":"%s","item":"i%d","category":"c%d","dwell":%.1f}' % (
                kind, what % 5_000, what % 40, what % 60 / 4,
            )  # fmt: skip


def alike(now: float) -> list[Template]:
    """States after ``EVENTS_BEFORE`` to ``EVENTS_BEFORE`` + 63 events of ``in_turn``, as the service makes them."""
    numbers = range(TEMPLATES * (EVENTS_BEFORE + CHUNK))
    taken: Counter[bytes] = Counter()

    def history() -> Iterator[tuple[bytes, bytes]]:
        rate = len(numbers) / _BEFORE
        for user, value in in_turn(numbers, TEMPLATES, now - 2.0 * _BEFORE, rate=rate, ids=b"before-"):
            if taken[user] < EVENTS_BEFORE + int(user.rpartition(b"-")[2]) % CHUNK:
                taken[user] += 1
                yield user, value

    plan = load_plan(JOB)
    found = []
    with tempfile.TemporaryDirectory(prefix="segments-scale-") as name:
        partition = Partition(Path(name), plan, make_models(load_encoders(device="cpu"), plan), 256)
        for offset, data in fetches(history(), 20_000, now):
            partition.take(offset, data)
        store = partition.store
        for user in map(bytes.decode, sorted(taken)):
            block = store.get(layout.user_key(user))
            assert block is not None
            numbers = ids_numbers(block)
            ids = zip(numbers, store.get_many(layout.seen_keys(user, numbers)), strict=True)
            record = open_record(user, block)
            found.append(
                Template(block, {n: data for n, data in ids if data}, record.count, tuple(record.members.segments()))
            )
        store.close()
    return found


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
    cache_mb: int | None = None,
    batch_records: int | None = None,
) -> dict[str, float]:
    """Rate and processor time of ``count`` records, for workers that are there, ready and at rest before they come."""
    topic, pid = Topics(app, f"{app}-").events, place.broker.pid
    assert pid is not None
    limits = {"cache_mb": cache_mb, "batch_records": batch_records}
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
        sums = [child.metrics() for child in children]
    events = last.events - first.events
    return {
        "events_per_second": round(events / (last.time - first.time)),
        "cpu_microseconds_per_event": round(1e6 * (last.cpu - first.cpu) / events, 2),
        "compaction_microseconds_per_event": round(1e6 * compacted / count, 2),
        "broker_cpu_microseconds_per_event": round(1e6 * (last.beside - first.beside) / events, 2),
        "users_in_memory": round(sum(each["segments_users_cached"] for each in sums)),
        "bytes_in_memory": round(sum(each["segments_cache_bytes"] for each in sums)),
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

    Either each user is in memory, or nearly none: then as little is kept there as the setting allows. All have had as
    many events before.
    """
    found = {}
    plan, made = load_plan(JOB), alike(time.time())
    for users in sizes:
        app = f"{'cached' if cached else 'read'}{users}"
        topic = place.topics(app, partitions).events
        settings = Settings(app=app, bootstrap=place.broker.bootstrap, topic_prefix=f"{app}-", segments_file=JOB)
        filled = fill(settings, plan, users, partitions, made)

        def warm(worker: ChildWorker, users: int = users, topic: str = topic) -> None:
            before = worker.status()["events_total"]
            produce(place.broker.bootstrap, topic, in_turn(range(users), users, time.time() - 60.0))
            worker.wait_idle(before + users, 300.0)

        records = in_turn(range(users, users + events), users, time.time())
        cost = measure(
            place, app, partitions, events, records,
            prepare=warm if cached else None, batch_records=BATCH,
            cache_mb=LEAST_CACHE_MB + (users * _USER_BYTES // 2**20 if cached else 0),
        )  # fmt: skip
        before = round(statistics.fmean(template.events for template in made), 1)
        found[str(users)] = cost | {"events_before_mean": before, "record_bytes_mean": filled["record_bytes_mean"]}
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
        "of a partition, so that no batch meets a user twice whatever their number, each with the same history; as few "
        "are in memory as the setting allows (cost_by_users), or all (cost_by_users_cached). By edges: 10,000 people, "
        "a tenth of their events follows; the follows that are there already are mostly of others. Rules only: no "
        "model runs.",
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
