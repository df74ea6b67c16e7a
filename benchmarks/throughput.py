"""Events a second of one worker, exactly once; beside it the peers with the same job on the same topic in the same run.

python -m benchmarks.throughput --peers --json benchmarks/out/throughput.json
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import (
    JOB,
    between,
    contestant,
    machine,
    mean,
    produce,
    progress,
    worker_settings,
    write_json,
)
from benchmarks.load import Spread, load
from benchmarks.peers.environments import PEERS, python_of, versions
from benchmarks.peers.environments import run as run_peer
from benchmarks.plots import Bar, bar_chart
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics, TopicSpec

PREFIX = "bench-"


def stock_faust(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Stock Faust's bare agent: raw bytes, nothing done with them."""
    command = [sys.executable, "-m", "benchmarks.stock_faust", bootstrap, topic, str(count)]
    return contestant("stock Faust", command, 600.0)


def ours(bootstrap: str, app: str, count: int, directory: Path, **settings: str) -> dict[str, float]:
    """Events a second that one worker counts and commits, between two commits well inside the load."""
    given = worker_settings(bootstrap, Topics(app, PREFIX), directory / app, JOB, clock="event", **settings)
    with child_worker(free_port(), directory / f"{app}.log", **given) as worker:
        first, last = between(progress([worker], count, 900.0))
        status, sums = worker.status(), worker.metrics()
    counted = last.events - first.events
    return {
        "events_per_second": counted / (last.time - first.time),
        "seconds": round(last.time - first.time, 2),
        "events": counted,
        "cpu_microseconds_per_event": 1e6 * (last.cpu - first.cpu) / counted,
        "records_per_commit": mean(sums, "segments_batch_records"),
        "commit_seconds_mean": mean(sums, "segments_commit_seconds"),
        "changes": float(status["changes_total"]),
        "load_1m": os.getloadavg()[0],
    }


def spread(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Minimum, median and maximum of the rates, and all rounds."""
    rates = [each["events_per_second"] for each in rounds]
    cpu = [each["cpu_microseconds_per_event"] for each in rounds if "cpu_microseconds_per_event" in each]
    return {
        "events_per_second": round(statistics.median(rates)),
        "minimum": round(min(rates)),
        "maximum": round(max(rates)),
        "cpu_microseconds_per_event": round(statistics.median(cpu), 2) if cpu else None,
        "rounds": rounds,
    }


def run(events: int, users: int, shape: Spread, partitions: int, rounds: int, seed: int, peers: bool) -> dict[str, Any]:
    """All contestants in turn, ``rounds`` times."""
    results: dict[str, list[dict[str, Any]]] = {}
    for peer in PEERS if peers else ():
        python_of(peer)
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        conf, directory = {"bootstrap.servers": broker.bootstrap}, Path(name)
        topic = Topics("any", PREFIX).events
        create_topics(conf, Topics("any", PREFIX).specs(partitions), 1)
        sent = produce(broker.bootstrap, topic, load(events, users, shape, seed))
        for number in range(rounds):
            for guarantee in ("exactly_once", "at_least_once"):
                app = f"{guarantee}-{number}"
                create_topics(conf, Topics(app, PREFIX).specs(partitions), 1)
                done = ours(broker.bootstrap, app, sent, directory, processing_guarantee=guarantee)
                results.setdefault(guarantee, []).append(done)
            for peer in PEERS if peers else ():
                out = f"{peer.name}-{number}"
                create_topics(conf, [TopicSpec(out, "changes of a peer", partitions)], 1)
                count = max(20_000, round(sent * peer.share))
                done = run_peer(peer, broker.bootstrap, topic, out, min(count, sent), directory / out)
                results.setdefault(peer.name, []).append(done)
            results.setdefault("stock", []).append(stock_faust(broker.bootstrap, topic, min(80_000, sent)))
    own, weak = spread(results["exactly_once"]), spread(results["at_least_once"])
    report: dict[str, Any] = {
        "events_per_second": own["events_per_second"],
        "exactly_once": own,
        "at_least_once": weak,
        "exactly_once_cost": round(1.0 - own["events_per_second"] / weak["events_per_second"], 3),
        "stock_faust_bare_agent": spread(results["stock"]),
    }
    if peers:
        found = {
            peer.name: spread(results[peer.name]) | {"guarantee": peer.guarantee, "packages": versions(peer)}
            for peer in PEERS
        }
        report["peers"] = found
        fastest = max(each["events_per_second"] for each in found.values())
        report["ratio_to_fastest_peer"] = round(own["events_per_second"] / fastest, 2)
        report["ratio_to_faust_table"] = round(own["events_per_second"] / found["faust-table"]["events_per_second"], 1)
    return report | {
        "events": events,
        "users": users,
        "spread": shape,
        "partitions": partitions,
        "seed": seed,
        "what": "per user: dedupe, decayed counters, window tallies, five rules, change records; survives a crash. "
        "Measured inside the load: from a tenth of it on. Peers: their own code for the job, a share of the events.",
        "machine": machine(),
    }


def chart(report: dict[str, Any], path: Path) -> None:
    """Medians as bars, least to most as whiskers."""
    shown = {
        "live-segments, exactly once": report["exactly_once"],
        "live-segments, at least once": report["at_least_once"],
        "bytewax, at least once": report.get("peers", {}).get("bytewax"),
        "quixstreams, exactly once": report.get("peers", {}).get("quixstreams"),
        "Faust with a table, exactly once": report.get("peers", {}).get("faust-table"),
        "Faust, does nothing": report["stock_faust_bare_agent"],
    }
    bars = [
        Bar(name, found["events_per_second"], found["minimum"], found["maximum"])
        for name, found in shown.items()
        if found is not None
    ]
    bar_chart(path, f"Events a second, {report['users']:,} {report['spread']} users, one process", bars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE", help="the same as an SVG")
    parser.add_argument("--peers", action="store_true", help="quixstreams, bytewax and Faust's table beside it")
    parser.add_argument("--events", type=int, default=2_500_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--spread", choices=("uniform", "zipf"), default="zipf")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(
        given.events, given.users, given.spread, given.partitions, given.rounds, given.seed, given.peers
    )  # fmt: skip
    if given.plot is not None:
        chart(report, given.plot)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
