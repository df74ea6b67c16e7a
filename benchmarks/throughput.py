"""Events a second of one worker, exactly once; beside it the peers with the same job on the same topic in the same run.

python -m benchmarks.throughput --peers --json benchmarks/out/throughput.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, contestant, machine, produce, write_json
from benchmarks.load import Spread, load
from benchmarks.peers.environments import PEERS, python_of
from benchmarks.peers.environments import run as run_peer
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics, TopicSpec

PREFIX = "bench-"
JOB = Path(__file__).parent / "peers" / "segments.toml"


def stock_faust(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """Stock Faust's bare agent: raw bytes, nothing done with them."""
    command = [sys.executable, "-m", "benchmarks.stock_faust", bootstrap, topic, str(count)]
    return contestant("stock Faust", command, 600.0)


def ours(bootstrap: str, app: str, count: int, directory: Path, **settings: str) -> dict[str, float]:
    """Events a second that one worker counts and commits, from its first commit on."""
    settings = {
        "app": app,
        "bootstrap": bootstrap,
        "topic_prefix": PREFIX,
        "data_dir": str(directory / app),
        "clock": "event",
        "log_level": "WARNING",
        "segments_file": str(JOB),
        **settings,
    }
    with child_worker(free_port(), directory / f"{app}.log", **settings) as worker:
        looks: list[tuple[float, int, float]] = []

        def look(status: dict[str, Any]) -> bool:
            events = int(status["events_total"])
            if events:
                looks.append((time.perf_counter(), events, worker.cpu_seconds()))
            return events >= count

        status = worker.wait(look, 900.0, f"through {count} events")
        sums = worker.metrics()
    first, last = looks[0], looks[-1]
    if last[1] == first[1]:
        raise BenchmarkError("too few events to measure: all were counted before the first look")
    counted = last[1] - first[1]
    return {
        "events_per_second": counted / (last[0] - first[0]),
        "cpu_microseconds_per_event": 1e6 * (last[2] - first[2]) / counted,
        "records_per_commit": sums["segments_batch_records_sum"] / sums["segments_batch_records_count"],
        "commit_seconds_mean": sums["segments_commit_seconds_sum"] / sums["segments_commit_seconds_count"],
        "changes": float(status["changes_total"]),
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
            results.setdefault("stock", []).append(stock_faust(broker.bootstrap, topic, min(100_000, sent)))
    own, weak = spread(results["exactly_once"]), spread(results["at_least_once"])
    report: dict[str, Any] = {
        "events_per_second": own["events_per_second"],
        "exactly_once": own,
        "at_least_once": weak,
        "exactly_once_cost": round(1.0 - own["events_per_second"] / weak["events_per_second"], 3),
        "stock_faust_bare_agent": spread(results["stock"]),
    }
    if peers:
        found = {peer.name: spread(results[peer.name]) | {"guarantee": peer.guarantee} for peer in PEERS}
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
        "what": "per user: dedupe, decayed counters, window tallies, five rules, change records; survives a crash",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--peers", action="store_true", help="quixstreams, bytewax and Faust's table beside it")
    parser.add_argument("--events", type=int, default=1_500_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--spread", choices=("uniform", "zipf"), default="zipf")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(
        given.events, given.users, given.spread, given.partitions, given.rounds, given.seed, given.peers
    )  # fmt: skip
    write_json(given.json, report)


if __name__ == "__main__":
    main()
