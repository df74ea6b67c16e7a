"""What a second worker brings, and the processor time of an event against the number of users and of follows.

python -m benchmarks.scale --jvm --json benchmarks/out/scale.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import JOB, machine, produce, write_json
from benchmarks.in_turn import ACTIVE, follows_before, in_turn
from benchmarks.known_users import beside
from benchmarks.load import load
from benchmarks.restore import Template, fill
from benchmarks.sizes import Place, Service, Size, alike, growth, in_rounds, measure, share_read, start
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.steps.segments import load_plan

PARTITIONS: Final = 2
#: records in a transaction: less than users of a partition, so that no turn meets a user twice, whatever their number
BATCH: Final = 4_000
#: less than the copies of two turns: nobody stays
LEAST_CACHE_MB: Final = 1
#: in memory such a user takes less
_USER_BYTES: Final = 4_096
#: of all events, one in so many is about a follow
_FOLLOWS: Final = 10
#: events after which all rules are decided, and all follows are as they were
_SETTLED: Final = 2 * _FOLLOWS * ACTIVE
#: of users who are read, and of follows, fewer events: each takes longer
_READ: Final = 0.4
PARTS: Final = ("workers", "rocksdb", "cached", "follows", "peers")


def by_workers(place: Place, events: int, seed: int) -> dict[str, Any]:
    """One worker, then two, each in a process of its own, with the same load."""
    found = {}
    for workers in (1, 2):
        app = f"workers{workers}"
        place.topics(app, PARTITIONS)
        with ExitStack() as stack:
            service = start(place, stack, app, PARTITIONS, workers)
            found[workers] = measure(place, service, events, load(events, 20_000, "uniform", seed))
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
    place: Place, sizes: Sequence[int], events: int, rounds: int, cached: bool, made: Sequence[Template]
) -> dict[str, dict[str, Any]]:
    """The same events of all users in turn, who are there already, against how many they are.

    Either each user is in memory, or nearly none: then as little is kept there as the setting allows. All have had as
    many events before.
    """
    plan, name, began = load_plan(JOB), "cached" if cached else "rocksdb", time.time()
    with ExitStack() as stack:
        running, filled = [], {}
        for users in sizes:
            app = f"{name}{users}"
            place.topics(app, PARTITIONS)
            settings = Settings(app=app, bootstrap=place.broker.bootstrap, topic_prefix=f"{app}-", segments_file=JOB)
            filled[users] = fill(settings, plan, users, PARTITIONS, made)
            cache_mb = LEAST_CACHE_MB + (users * _USER_BYTES // 2**20 if cached else 0)
            service = start(place, stack, app, PARTITIONS, cache_mb=cache_mb, batch_records=BATCH)
            before = users if cached else 0
            if cached:
                visit(place, service, in_turn(range(users), users, began))
            running.append(Size(users, service, partial(in_turn, users=users, start=began), before))
        found = in_rounds(place, running, events, rounds)
    history = round(statistics.fmean(template.events for template in made), 1)
    for users in sizes:
        mean = filled[users]["record_bytes_mean"]
        found[str(users)] |= {"events_before_mean": history, "record_bytes_mean": mean}
    return found


def by_edges(place: Place, sizes: Sequence[int], events: int, rounds: int) -> dict[str, dict[str, Any]]:
    """The same events of the same people, one in ten about a follow, against how many follows of others are there."""
    began = time.time()
    with ExitStack() as stack:
        running = []
        for edges in sizes:
            app = f"follows{edges}"
            place.topics(app, PARTITIONS)
            service = start(place, stack, app, PARTITIONS, batch_records=BATCH)
            visit(place, service, follows_before(edges, began - 60.0))
            records = partial(in_turn, users=ACTIVE, start=began, follows=_FOLLOWS)
            visit(place, service, records(range(_SETTLED)))
            running.append(Size(edges, service, records, _SETTLED))
        return in_rounds(place, running, events, rounds)


def visit(place: Place, service: Service, records: Iterable[tuple[bytes, bytes]]) -> None:
    """What is there before: not measured."""
    (worker,) = service.workers
    before = worker.status()["events_total"]
    count = produce(place.broker.bootstrap, service.topic, records)
    worker.wait_idle(before + count, 900.0)


def run(
    users: Sequence[int], edges: Sequence[int], events: int, rounds: int, load_events: int, seed: int,
    jvm: bool, only: Collection[str] = PARTS,
) -> dict[str, Any]:  # fmt: skip
    """All of it or the parts in ``only``, each on a broker of its own."""
    report: dict[str, Any] = {}
    of_read = round(_READ * events)
    if "workers" in only:
        with own_broker() as place:
            workers = by_workers(place, load_events, seed)
        report |= {"speedup": workers["speedup"], "speedup_by_cpu": workers["speedup_by_cpu"], "workers": workers}
    made = alike(time.time())
    if "rocksdb" in only:
        with own_broker() as place:
            report |= grown("rocksdb", by_users(place, users, of_read, rounds, False, made))
        report["rocksdb_share_read"] = share_read(min(users), BATCH, LEAST_CACHE_MB)
    if "cached" in only:
        with own_broker() as place:
            report |= grown("cached", by_users(place, users, events, rounds, True, made))
    if "follows" in only:
        with own_broker() as place:
            report |= grown("follows", by_edges(place, edges, of_read, rounds))
    if "peers" in only:
        with own_broker() as place:
            report |= beside(place, (min(users), max(users)), PARTITIONS, jvm)
    return report | {
        "batch_records": BATCH,
        "partitions": PARTITIONS,
        "seed": seed,
        "what": "Processor time of the worker for an event, median of the rounds; ratios are the largest size's by the "
        "smallest's. cached, rocksdb: all users in turn, in turns smaller than the users of a partition, so that each "
        "event is a visit whatever their number, each user with the same history; all are in memory, or as few as the "
        "setting allows. follows: 10,000 people, a tenth of their events about follows; the follows that are there "
        "already are mostly of others. peers: turns as they ship, so that events share visits where users are few; "
        "histories differ, as many events of fewer users are more each. Rules only: no model runs.",
        "machine": machine(),
    }


def grown(name: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A part of the report with its ratios, between commits and until the workers rest."""
    until_rest = growth(found, "cpu_microseconds_per_event_until_rest")
    return {name: found, f"{name}_ratio": growth(found), f"{name}_ratio_until_rest": until_rest}


@contextmanager
def own_broker() -> Iterator[Place]:
    """A broker and a directory that are gone with the block."""
    with tempfile.TemporaryDirectory(prefix="segments-scale-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        yield Place(broker, Path(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--jvm", action="store_true", help="Kafka Streams and Flink beside it (Maven and a JDK)")
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--edges", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--events", type=int, default=900_000, help="of users in memory at each size, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=int, default=1_200_000, help="events for one worker and for two")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sizes = (given.users, given.edges)
    write_json(given.json, run(*sizes, given.events, given.rounds, given.load, given.seed, given.jvm, given.only))


if __name__ == "__main__":
    main()
