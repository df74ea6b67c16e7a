"""Restore from the changelog alone, and how long a partition stands still when its worker is killed.

python -m benchmarks.restore --json benchmarks/out/restore.json --users 1000000
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from benchmarks.harness import BenchmarkError, machine, write_json
from state import layout
from state.plain.record import PlainRecord
from state.store import SharedMemory, Store
from state.user import fold
from streams.app import make_place
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.changelog import restore
from streams.kafka.output import Output
from streams.kafka.transactions import Transactions, own_id
from streams.settings import Settings
from streams.steps.effects import Effects
from streams.steps.in_force import FIRST_EPOCH, change_over
from streams.steps.partitioner import partition_of
from streams.steps.segments import Plan, load_plan
from streams.tools.child import ChildWorker, free_port
from streams.tools.town import Town
from streams.wire.events import Event, encode_event
from streams.wire.topics import Topics

APP = "restore"
SESSION_SECONDS = 3.0
#: distinct states, repeated over the users
TEMPLATES = 5_000
#: events folded into each, in the mean
EVENTS = 12
#: records in one transaction, as a worker under backlog writes
TURN = 20_000
#: events a second while a worker is killed; each makes a change
LOAD = 400
SEGMENTS = """
[[segment]]
id = "clicked"
rule = 'count("click", within="1d") >= 1'

[[segment]]
id = "buyers"
rule = 'total("purchase", "amount", within="30d") >= 200'

[[segment]]
id = "viewers"
rule = 'count("view", within="7d") >= 12 and count("purchase", within="7d") == 0'
"""


@dataclass(frozen=True)
class Template:
    """Somebody's state, as the changelog has it."""

    block: bytes
    ids: Mapping[int, bytes]
    """Number → record of ids."""
    events: int
    members: tuple[str, ...] = ()


def templates(plan: Plan, now: float) -> list[Template]:
    """People who did about ``EVENTS`` things, as the service keeps them; their timers are weeks away."""
    town = Town(1, TEMPLATES)
    records: dict[str, PlainRecord] = {}
    events = town.events(TEMPLATES * EVENTS, now - 3_600.0, TEMPLATES * EVENTS / 3_600.0)
    for number, event in enumerate(events):
        if isinstance(event, Event):
            record = records.setdefault(event.user, PlainRecord(event.user, FIRST_EPOCH))
            fold(record, event, hash(event.id), plan.tallies, now)
            record.due = now + 30 * 86_400.0 + number
    found = []
    for record in records.values():
        record.settle(plan.specs, plan.absences)
        ids = {number: data for number, data in record.ids.unsaved.items() if data is not None}
        found.append(Template(record.pack(), ids, record.count))
    return found


def fill(settings: Settings, plan: Plan, users: int, partitions: int, made: Sequence[Template]) -> dict[str, float]:
    """Write the changelog of ``users`` users, who take turns in being like one of ``made``, in the transactions that
    workers make."""
    now = time.time()
    homes: list[list[int]] = [[] for _ in range(partitions)]
    for number in range(users):
        homes[partition_of(_name(number), partitions)].append(number)
    started = time.perf_counter()
    for partition, home in enumerate(homes):
        place = make_place(settings, partition, partitions)
        output, producer = Output(settings, place), Transactions(settings, own_id(place))
        meta = layout.Meta(watermark=now, queued=0)
        change_over(meta, plan, 0)
        meta.swept = meta.epoch
        for start in range(0, len(home), TURN):
            puts: dict[bytes, bytes | None] = {}
            for number in home[start : start + TURN]:
                user, template = _name(number), made[number % len(made)]
                puts[layout.user_key(user)] = template.block
                puts.update(zip(layout.seen_keys(user, template.ids), template.ids.values(), strict=True))
                meta.users += 1
                meta.events += template.events
                for segment in template.members:
                    meta.members[segment] = meta.members.get(segment, 0) + 1
            puts[layout.POSITION_KEY] = layout.encode_meta(meta)
            producer.write(output, Effects(puts=puts))
    return {
        "record_bytes_mean": round(statistics.fmean(len(template.block) for template in made)),
        "fill_seconds": round(time.perf_counter() - started, 1),
    }


def _name(number: int) -> str:
    return f"user-{number:08d}"


def restore_all(settings: Settings, partitions: int, directory: Path) -> dict[str, float]:
    """Restore every partition into an empty store, at once, as one worker does that owns them all."""
    topics = Topics(settings.app, settings.topic_prefix)
    memory = SharedMemory(settings.rocksdb_cache_mb)
    stores = [Store(directory / str(partition), memory) for partition in range(partitions)]

    def one(partition: int) -> int:
        return restore(
            settings.librdkafka(), topics.changelog, partition, stores[partition], time.time(),
            lambda _count: None, lambda: False,
        )  # fmt: skip

    started, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(partitions) as threads:
        records = sum(threads.map(one, range(partitions)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    users = sum(store.meta.users for store in stores)
    for store in stores:
        store.close()
    return {
        "records": records,
        "users": users,
        "seconds": round(seconds, 3),
        "records_per_second": round(records / seconds),
        "cpu_microseconds_per_record": round(1e6 * cpu / records, 2),
    }


class Load:
    """Sends a click of somebody new ``LOAD`` times a second, each of which makes one change."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 2})
        self._topic = topic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        started, sent = time.time(), 0
        while not self._stopping.wait(0.01):
            now = time.time()
            while sent < (now - started) * LOAD:
                user = f"load-{started:.3f}-{sent}"
                event = Event(user=user, kind="click", time=now, id=user)
                self._producer.produce(self._topic, encode_event(event), user.encode())
                sent += 1
            self._producer.poll(0)
        self._producer.flush(10.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()


class Changes:
    """Follows the committed changes of some partitions from now on."""

    def __init__(self, bootstrap: str, topic: str, partitions: list[int]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "restore-benchmark",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
            }
        )
        ends = [
            self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20.0)[1]
            for partition in partitions
        ]
        self._consumer.assign(
            [TopicPartition(topic, partition, end) for partition, end in zip(partitions, ends, strict=True)]
        )

    def first_after(self, wall: float, deadline: float) -> dict[int, float]:
        """By partition, when its first change written after ``wall`` was seen committed (seconds since the epoch)."""
        seen: dict[int, float] = {}
        wanted = len(self._consumer.assignment())
        until = time.monotonic() + deadline
        while len(seen) < wanted and time.monotonic() < until:
            message = self._consumer.poll(0.05)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise BenchmarkError(str(error))
                continue
            partition, (_, written) = message.partition(), message.timestamp()
            if partition is not None and written / 1000.0 > wall:
                seen.setdefault(partition, time.time())
        if len(seen) < wanted:
            raise BenchmarkError(f"no change of all partitions within {deadline:.0f} s after the kill: {seen}")
        return seen

    def close(self) -> None:
        self._consumer.close()


@dataclass(frozen=True)
class Setup:
    """Where the workers run."""

    bootstrap: str
    prefix: str
    partitions: int
    directory: Path
    segments: Path


def failover(setup: Setup, *, standby: bool, name: str, deadline: float) -> dict[str, Any]:
    """Kill one of two workers under load: seconds until another commits changes of the dead one's partitions."""
    topics = Topics(APP, setup.prefix)
    workers: list[ChildWorker] = []

    def start(number: int) -> ChildWorker:
        worker = ChildWorker(
            free_port(), setup.directory / f"{name}-{number}.log",
            app=APP, bootstrap=setup.bootstrap, topic_prefix=setup.prefix, data_dir=str(setup.directory / "state"),
            worker_name=f"{name}-{number}", session_timeout=str(SESSION_SECONDS), standby=str(standby).lower(),
            segments_file=str(setup.segments),
        )  # fmt: skip
        workers.append(worker)
        return worker

    def settled(status: dict[str, Any]) -> bool:
        owned = {each["partition"] for each in status["partitions"]}
        shared = status["ready"] and len(owned) == setup.partitions // 2
        followed = {int(each) for each, lag in status["standby"].items() if lag < 1_000}
        return bool(shared and (not standby or owned | followed == set(range(setup.partitions))))

    try:
        start(1).wait_ready(deadline)
        start(2)
        for worker in workers:
            worker.wait(settled, deadline, "settled")
        victim, survivor = workers
        owned = [each["partition"] for each in victim.status()["partitions"]]
        changes = Changes(setup.bootstrap, topics.changes, owned)
        with Load(setup.bootstrap, topics.events).running():
            time.sleep(3.0)
            for worker in workers:
                worker.check()
            killed = time.time()
            victim.kill()
            seen = changes.first_after(killed, deadline)
        changes.close()
        status = survivor.status()
        taken = [each["restored"] for each in status["partitions"] if each["partition"] in owned]
        return {
            "seconds_first": round(min(seen.values()) - killed, 3),
            "seconds_all": round(max(seen.values()) - killed, 3),
            "records_restored": sum(taken),
            "log": survivor.tail(12).splitlines(),
        }
    finally:
        for worker in workers:
            worker.kill()


def run(users: int, partitions: int, rounds: int, deadline: float) -> dict[str, Any]:
    """All of it, on an own broker."""
    with (
        tempfile.TemporaryDirectory(prefix="segments-restore-") as name,
        EmbeddedBroker(Path(name) / "kafka") as broker,
    ):
        directory = Path(name)
        segments = directory / "segments.toml"
        segments.write_text(SEGMENTS)
        prefix = "bench-"
        settings = Settings(app=APP, bootstrap=broker.bootstrap, topic_prefix=prefix, segments_file=segments)
        create_topics(settings.librdkafka(), Topics(APP, prefix).specs(partitions), 1)
        plan = load_plan(segments)
        filled = fill(settings, plan, users, partitions, templates(plan, time.time()))
        restores = [restore_all(settings, partitions, directory / f"restore-{round_}") for round_ in range(rounds)]
        setup = Setup(broker.bootstrap, prefix, partitions, directory, segments)
        cold = failover(setup, standby=False, name="cold", deadline=deadline)
        warm = failover(setup, standby=True, name="warm", deadline=deadline)
    return {
        "records_per_second": round(statistics.median(each["records_per_second"] for each in restores)),
        "failover_seconds": cold["seconds_first"],
        "failover_standby_seconds": warm["seconds_first"],
        "users": users,
        "partitions": partitions,
        "session_timeout_seconds": SESSION_SECONDS,
        **filled,
        "restores": restores,
        "failover": cold,
        "failover_standby": warm,
        "what": "restore: all partitions of one worker from the changelog alone into empty stores; failover: from "
        "kill -9 of one of two workers under load to the first committed change of another for one of its partitions",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds for each wait")
    given = parser.parse_args()
    write_json(given.json, run(given.users, given.partitions, given.rounds, given.deadline))


if __name__ == "__main__":
    main()
