"""What an event costs services of different sizes: measured in turns, so that all meet the machine in the same states.

Also the users that are there before, who are alike whatever their number.
"""

from __future__ import annotations

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
    progress,
    worker_settings,
)
from benchmarks.hotpath import Partition, fetches
from benchmarks.in_turn import in_turn
from benchmarks.restore import Template
from encoders.artifact import load_encoders
from state import layout
from state.layout2 import CHUNK
from state.tables import ids_numbers, open_record
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.steps.models import make_models
from streams.steps.segments import load_plan
from streams.tools.child import ChildWorker, child_worker, free_port
from streams.wire.topics import Topics

#: distinct states that users have before, each with another number of ids in its block
TEMPLATES: Final = 640
#: events of everybody before, whatever the number of users: so many, and up to a record of ids more. Then records are
#: as long as they get, and as many close a record of ids at any time: how many events more come does not matter
EVENTS_BEFORE: Final = CHUNK
#: seconds that those take, and that they are over when measuring begins: the window of ten minutes is empty again
_BEFORE: Final = 3_600.0
#: seconds that event time may be ahead: of a few users a round takes hours
MOST_AHEAD: Final = 86_400
#: processor seconds of a second in which a worker rests
_REST: Final = 0.1
#: what RocksDB's log says of each compaction that ended
_COMPACTED: Final = re.compile(r'"compaction_time_cpu_micros": (\d+)')


@dataclass(frozen=True)
class Place:
    """A broker, and a directory for the workers."""

    broker: EmbeddedBroker
    directory: Path

    def topics(self, app: str, partitions: int) -> Topics:
        topics = Topics(app, f"{app}-")
        create_topics({"bootstrap.servers": self.broker.bootstrap}, topics.specs(partitions), 1)
        return topics


@dataclass(frozen=True)
class Service:
    """Workers of one app."""

    workers: tuple[ChildWorker, ...]
    topic: str
    stores: tuple[Path, ...]
    partitions: int


def start(
    place: Place, stack: ExitStack, app: str, partitions: int, workers: int = 1, **settings: int | None
) -> Service:
    """Workers of ``app``, whose topics are there, once they share the partitions and rest. ``None``: as it ships."""
    topics = Topics(app, f"{app}-")
    children, stores = [], []
    for number in range(workers):
        name = f"{app}-{number}"
        given = worker_settings(
            place.broker.bootstrap, topics, place.directory / name, JOB,
            worker_name=name, clock="event",
            stuck_seconds="900",  # what is held back is no standstill
            max_ahead_seconds=str(MOST_AHEAD),
            **{key: str(value) for key, value in settings.items() if value is not None},
        )  # fmt: skip
        stores.append(place.directory / name)
        children.append(stack.enter_context(child_worker(free_port(), place.directory / f"{name}.log", **given)))
    settle(children, partitions)
    return Service(tuple(children), topics.events, tuple(stores), partitions)


def settle(workers: Sequence[ChildWorker], partitions: int, deadline: float = 600.0) -> None:
    """Until the workers share the partitions, are ready, and rest (RocksDB compacts what a restore wrote)."""
    until = time.monotonic() + deadline
    resting = False
    while not resting:
        if time.monotonic() > until:
            raise BenchmarkError(f"the workers did not come to rest within {deadline:.0f} s")
        before = sum(cpu_seconds(worker.pid) for worker in workers)
        time.sleep(1.0)
        spent = sum(cpu_seconds(worker.pid) for worker in workers) - before
        status = [worker.status() for worker in workers]
        shares = [len(each.get("partitions", ())) for each in status]
        resting = (
            all(each.get("ready") for each in status)
            and shares == [partitions // len(workers)] * len(workers)
            and spent < _REST * len(workers)
        )


def compaction_seconds(directory: Path) -> float:
    """Processor time of all compactions that have ended in the RocksDBs under ``directory``."""
    return sum(int(each) for log in directory.rglob("LOG*") for each in _COMPACTED.findall(log.read_text())) / 1e6


def measure(place: Place, service: Service, count: int, records: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """What ``count`` records cost workers that rest before they come: between two commits, and until they rest again.

    The latter has all that was put off (RocksDB's files, what is written behind), and some seconds of an idle worker.
    """
    workers, pid = service.workers, place.broker.pid
    assert pid is not None

    def total(name: str) -> float:
        return sum(worker.metrics()[name] for worker in workers)

    def counted(name: str) -> int:
        return sum(int(worker.status()[name]) for worker in workers)

    before, changes = counted("events_total"), counted("changes_total")
    with held(place.broker.bootstrap, service.topic, records) as release:
        settle(workers, service.partitions)
        turns, cpu = total("segments_batch_records_count"), sum(cpu_seconds(worker.pid) for worker in workers)
        compacted = sum(map(compaction_seconds, service.stores))
        release()
        looks = progress(workers, before + count, 300.0, (pid,))
        first, last = between(looks, before)
        turns = total("segments_batch_records_count") - turns
        settle(workers, service.partitions)
    cpu = sum(cpu_seconds(worker.pid) for worker in workers) - cpu
    compacted = sum(map(compaction_seconds, service.stores)) - compacted
    events = last.events - first.events
    return {
        "events_per_second": round(events / (last.time - first.time)),
        "cpu_microseconds_per_event": round(1e6 * (last.cpu - first.cpu) / events, 2),
        "cpu_microseconds_per_event_until_rest": round(1e6 * cpu / count, 2),
        "compaction_microseconds_per_event": round(1e6 * compacted / count, 2),
        "broker_cpu_microseconds_per_event": round(1e6 * (last.beside - first.beside) / events, 2),
        "changes_per_event": round((counted("changes_total") - changes) / count, 4),
        "records_per_turn": round(count / max(turns, 1.0)),
        "users_in_memory": round(total("segments_users_cached")),
        "bytes_in_memory": round(total("segments_cache_bytes")),
        "load_1m": round(os.getloadavg()[0], 2),
    }


@dataclass
class Size:
    """A service, and what its users do next."""

    size: int
    service: Service
    records: Callable[[range], Iterable[tuple[bytes, bytes]]]
    done: int = 0
    """Events so far: numbers begin here."""


def in_rounds(place: Place, sizes: Sequence[Size], events: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Size → medians of ``rounds`` measurements of ``events`` events each; every other round goes the other way."""
    found: dict[int, list[dict[str, Any]]] = {each.size: [] for each in sizes}
    for number in range(rounds):
        for each in sizes if number % 2 == 0 else reversed(sizes):
            records = each.records(range(each.done, each.done + events))
            found[each.size].append(measure(place, each.service, events, records))
            each.done += events
    return {str(size): middle(measured) for size, measured in found.items()}


def middle(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, least and most of the cost, and all rounds."""
    costs = [each["cpu_microseconds_per_event"] for each in rounds]
    return {
        **{name: round(statistics.median(each[name] for each in rounds), 4) for name in rounds[0]},
        "least": min(costs),
        "most": max(costs),
        "rounds": list(rounds),
    }


def growth(found: dict[str, dict[str, Any]], what: str = "cpu_microseconds_per_event") -> float:
    """What the largest size costs by what the smallest costs."""
    small, large = min(found, key=int), max(found, key=int)
    return round(float(found[large][what] / found[small][what]), 3)


def alike(now: float) -> list[Template]:
    """States after ``EVENTS_BEFORE`` to ``EVENTS_BEFORE`` + 63 events of ``in_turn``, as the service makes them."""
    numbers = range(TEMPLATES * (EVENTS_BEFORE + CHUNK))
    taken: Counter[bytes] = Counter()

    def history() -> Iterator[tuple[bytes, bytes]]:
        pace = _BEFORE * TEMPLATES / len(numbers)
        for user, value in in_turn(numbers, TEMPLATES, now - 2.0 * _BEFORE, pace=pace, ids=b"before-"):
            if taken[user] < EVENTS_BEFORE + int(user.rpartition(b"-")[2]) % CHUNK:
                taken[user] += 1
                yield user, value

    found = []
    with tempfile.TemporaryDirectory(prefix="segments-scale-") as name:
        partition = _partition(Path(name), 256)
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


def share_read(users: int, batch: int, cache_mb: int, rounds: int = 3) -> float:
    """What share of the visits of ``users`` in turn finds nobody in memory, so that the store is read: counted.

    One partition without Kafka, which has all of ``cache_mb``; nobody's first visit is counted.
    """
    asked = 0

    def count(keys: list[bytes]) -> list[bytes | None]:
        nonlocal asked
        asked += sum(key.startswith(b"u") for key in keys)
        return read(keys)

    with tempfile.TemporaryDirectory(prefix="segments-scale-") as name:
        partition = _partition(Path(name), cache_mb)
        now = time.time()
        for offset, data in fetches(in_turn(range(users), users, now), batch, now):
            partition.take(offset, data)
        read, partition.store.get_many = partition.store.get_many, count  # type: ignore[method-assign]
        visits = range(users, users * (1 + rounds))
        for offset, data in fetches(in_turn(visits, users, now), batch, now):
            partition.take(offset, data)
        partition.store.close()
    return round(asked / len(visits), 4)


def _partition(directory: Path, cache_mb: int) -> Partition:
    plan = load_plan(JOB)
    return Partition(directory, plan, make_models(load_encoders(device="cpu"), plan), cache_mb)
