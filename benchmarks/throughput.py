"""Events a second of one worker, exactly once; beside it the peers with the same job on the same topic in the same run.

python -m benchmarks.throughput --peers --jvm --json benchmarks/out/throughput.json
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import (
    JOB,
    between,
    contestant,
    machine,
    mean,
    produce,
    progress,
    rates,
    worker_settings,
    write_json,
)
from benchmarks.load import Spread, load
from benchmarks.peers.environments import PEERS, Peer, python_of, versions
from benchmarks.peers.environments import run as run_peer
from benchmarks.peers.jvm.check import check
from benchmarks.peers.jvm.contestants import JAVA_PEERS, JavaPeer, build, java_versions, missing
from benchmarks.peers.jvm.contestants import run as run_java
from benchmarks.plots import Bar, bar_chart
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics, TopicSpec

PREFIX = "bench-"
Report = dict[str, Any]
#: the contestants that are there whatever is asked for; the last two only with the first load
OURS, WEAK, STOCK = "ours", "ours-at-least-once", "stock-faust"
_PYTHON: Final = frozenset(peer.name for peer in PEERS)


@dataclass(frozen=True)
class Load:
    """How many users take turns how; ``events`` as many as the fastest contestant needs for some commits."""

    users: int
    spread: Spread
    events: int

    @property
    def name(self) -> str:
        return f"{self.spread}-{self.users}"


LOADS: Final = (
    Load(10_000, "zipf", 12_000_000),
    Load(200_000, "uniform", 5_000_000),
    Load(1_000_000, "uniform", 5_000_000),
)


@dataclass(frozen=True)
class Track:
    """Where a load's contestants run: one topic of one broker."""

    bootstrap: str
    topic: str
    partitions: int
    directory: Path
    prefix: str = PREFIX
    """Of our own topics, that one included."""


@dataclass(frozen=True)
class Contestant:
    """``run`` is given the track, a name of this round's own and the number of events."""

    name: str
    guarantee: str
    run: Callable[[Track, str, int], Report]
    events: int | None = None
    """The most that it is given; ``None``: all."""
    packages: Mapping[str, str] = field(default_factory=dict)


def stock_faust(track: Track, name: str, count: int) -> Report:
    """Stock Faust's bare agent: raw bytes, nothing done with them."""
    command = [sys.executable, "-m", "benchmarks.stock_faust", track.bootstrap, track.topic, str(count)]
    return contestant(name, command, 600.0)


def ours(track: Track, name: str, count: int, **settings: str) -> Report:
    """Events a second that one worker counts and commits, between two commits well inside the load."""
    topics = Topics(name, track.prefix)
    create_topics({"bootstrap.servers": track.bootstrap}, topics.specs(track.partitions), 1)
    given = worker_settings(track.bootstrap, topics, track.directory / name, JOB, clock="event", **settings)
    with child_worker(free_port(), track.directory / f"{name}.log", **given) as worker:
        first, last = between(progress([worker], count, 900.0))
        status, sums = worker.status(), worker.metrics()
    return rates(first, last) | {
        "records_per_commit": mean(sums, "segments_batch_records"),
        "commit_seconds_mean": mean(sums, "segments_commit_seconds"),
        "changes": float(status["changes_total"]),
        "load_1m": os.getloadavg()[0],
    }


def _python(track: Track, name: str, count: int, *, peer: Peer) -> Report:
    _make_out(track, name)
    return run_peer(peer, track.bootstrap, track.topic, name, count, track.directory / name)


def _java(track: Track, name: str, count: int, *, peer: JavaPeer) -> Report:
    _make_out(track, name)
    return run_java(peer, track.bootstrap, track.topic, name, count, track.directory / name)


def _make_out(track: Track, name: str) -> None:
    create_topics({"bootstrap.servers": track.bootstrap}, [TopicSpec(name, "changes of a peer", track.partitions)], 1)


def names(peers: bool, jvm: bool) -> list[str]:
    """Who could be there."""
    others = [peer.name for peer in JAVA_PEERS if jvm] + [peer.name for peer in PEERS if peers]
    return [OURS, WEAK, *others, STOCK]


def contestants(wanted: Sequence[str]) -> list[Contestant]:
    """Those of ``wanted``, ready to run: what they need is installed and built."""
    exactly, weakly = (partial(ours, processing_guarantee=kind) for kind in ("exactly_once", "at_least_once"))
    found = [
        Contestant(OURS, "exactly once, changes seen at once; RocksDB, cache and changelog", exactly),
        Contestant(WEAK, "at least once", weakly),
        Contestant(STOCK, "none", stock_faust, 80_000),
    ]
    for java in JAVA_PEERS:
        if java.name in wanted:
            build()
            started = partial(_java, peer=java)
            found.append(Contestant(java.name, java.guarantee, started, java.events, java_versions(java)))
    for peer in PEERS:
        if peer.name in wanted:
            python_of(peer)
            found.append(
                Contestant(peer.name, peer.guarantee, partial(_python, peer=peer), peer.events, versions(peer))
            )
    by_name = {each.name: each for each in found}
    return [by_name[name] for name in wanted]


def spread(rounds: Sequence[Report]) -> Report:
    """Minimum, median and maximum of the rates, and all rounds."""
    found = [each["events_per_second"] for each in rounds]
    cpu = [each["cpu_microseconds_per_event"] for each in rounds if "cpu_microseconds_per_event" in each]
    return {
        "events_per_second": round(statistics.median(found)),
        "minimum": round(min(found)),
        "maximum": round(max(found)),
        "cpu_microseconds_per_event": round(statistics.median(cpu), 2) if cpu else None,
        "rounds": list(rounds),
    }


def ratios(found: Mapping[str, Report]) -> Report:
    """How many times the others' rates ours is; only of those who were there."""
    rate = {name: each["events_per_second"] for name, each in found.items()}
    if OURS not in rate:
        return {}
    told: Report = {}
    if python := [rate[name] for name in rate.keys() & _PYTHON]:
        told["ratio_to_fastest_python_peer"] = round(rate[OURS] / max(python), 2)
    for peer in JAVA_PEERS:
        if peer.name in rate:
            told[f"ratio_to_{peer.name.replace('-', '_')}"] = round(rate[OURS] / rate[peer.name], 2)
    if WEAK in rate:
        told["exactly_once_cost"] = round(1.0 - rate[OURS] / rate[WEAK], 3)
    return told


def measure(given: Load, starters: Sequence[Contestant], partitions: int, rounds: int, seed: int) -> Report:
    """All contestants in turn, ``rounds`` times, on one load and a broker of its own."""
    results: dict[str, list[Report]] = {each.name: [] for each in starters}
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        topics = Topics("any", PREFIX)
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(partitions), 1)
        sent = produce(broker.bootstrap, topics.events, load(given.events, given.users, given.spread, seed))
        track = Track(broker.bootstrap, topics.events, partitions, Path(name))
        for number in range(rounds):
            for each in starters:
                turn = f"{each.name}-{number}"
                done = each.run(track, turn, min(each.events or sent, sent))
                results[each.name].append(done)
                rate = f"{done['events_per_second']:,.0f} events/s"
                print(f"{given.name}, round {number + 1}: {each.name} {rate}", file=sys.stderr, flush=True)
                shutil.rmtree(track.directory / turn, ignore_errors=True)
    found = {
        each.name: spread(results[each.name]) | {"guarantee": each.guarantee, "packages": dict(each.packages)}
        for each in starters
    }
    return found | ratios(found) | {"users": given.users, "spread": given.spread, "events": sent}


def run(loads: Sequence[Load], starters: Sequence[Contestant], partitions: int, rounds: int, seed: int) -> Report:
    """All loads; what does not depend on the load is measured with the first one only."""
    everywhere = [each for each in starters if each.name not in (WEAK, STOCK)]
    measured = {
        given.name: measure(given, everywhere if number else starters, partitions, rounds, seed)
        for number, given in enumerate(loads)
    }
    return {
        "loads": measured,
        "partitions": partitions,
        "seed": seed,
        "what": "per user: dedupe, decayed counters, window tallies, five rules, change records; survives a crash. "
        "Measured inside the load: from a tenth of it on; ours and the JVM peers between two commits. Peers: their own "
        "code for the job, as many events as their pace asks for.",
        "machine": machine(),
    }


#: contestant → its bar
_SHOWN: Final = {
    OURS: "live-segments, exactly once",
    WEAK: "live-segments, at least once",
    "kafka-streams": "Kafka Streams, exactly once",
    "flink-heap": "Flink, heap, exactly once",
    "flink-rocksdb": "Flink, RocksDB, exactly once",
    "bytewax": "bytewax, at least once",
    "quixstreams": "quixstreams, exactly once",
    "faust-table": "Faust with a table, exactly once",
    STOCK: "Faust, does nothing",
}


def chart(report: Report, path: Path) -> None:
    """Of the first load: medians as bars, least to most as whiskers."""
    first = next(iter(report["loads"].values()))
    bars = [
        Bar(name, first[key]["events_per_second"], first[key]["minimum"], first[key]["maximum"])
        for key, name in _SHOWN.items()
        if key in first
    ]
    bar_chart(path, f"Events a second, {first['users']:,} {first['spread']} users, one process", bars)


def loads_of(users: int | None, shape: Spread | None, events: int | None) -> tuple[Load, ...]:
    """The three of the table, or the one that is asked for."""
    chosen: tuple[Load, ...] = LOADS
    if users is not None or shape is not None:
        chosen = (Load(users or LOADS[0].users, shape or LOADS[0].spread, LOADS[1].events),)
    return tuple(replace(each, events=events) for each in chosen) if events is not None else chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE", help="the first load's as an SVG")
    parser.add_argument("--peers", action="store_true", help="quixstreams, bytewax and Faust's table beside it")
    parser.add_argument("--jvm", action="store_true", help="Kafka Streams and Flink beside it (Maven and a JDK)")
    parser.add_argument("--check", action="store_true", help="measure nothing: hold the JVM peers against the job")
    parser.add_argument("--only", nargs="+", default=None, metavar="CONTESTANT", help="of those there would be")
    parser.add_argument("--events", type=int, default=None, help="as many for each load")
    parser.add_argument("--users", type=int, default=None, help="one load instead of the table's three")
    parser.add_argument("--spread", choices=("uniform", "zipf"), default=None, help="of that load")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    left_out = missing() if given.jvm or given.check else None
    if left_out is not None:
        print(left_out, file=sys.stderr)
    there = names(given.peers, given.jvm and left_out is None)
    if given.check:
        there = [peer.name for peer in JAVA_PEERS]
    wanted = [name for name in there if given.only is None or name in given.only]
    if unknown := set(given.only or ()) - set(there):
        parser.error(f"--only: no {', '.join(sorted(unknown))} among {', '.join(there)}")
    if given.check:
        if left_out is None:
            build()
            sys.exit(1 if check(wanted) else 0)
        return
    report = run(
        loads_of(given.users, given.spread, given.events),
        contestants(wanted),
        given.partitions,
        given.rounds,
        given.seed,
    )
    if left_out is not None:
        report["left_out"] = left_out
    if given.plot is not None:
        chart(report, given.plot)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
