"""Events a second of one worker, exactly once, beside stock Faust's bare agent on the same topic in the same run.

python -m benchmarks.throughput --json benchmarks/out/throughput.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, machine, produce, write_json
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.tools.town import Town
from streams.wire.topics import Topics

START = 1_790_000_000.0


def stock_faust(bootstrap: str, topic: str, count: int) -> float:
    """Messages a second of stock Faust's bare agent."""
    command = [sys.executable, "-m", "benchmarks.stock_faust", bootstrap, topic, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchmarkError(f"stock Faust gave no figure: {done.stderr[-2000:]}")
    return float(json.loads(lines[-1])["events_per_second"])


def ours(bootstrap: str, app: str, prefix: str, count: int, directory: Path) -> dict[str, float]:
    """Events a second that one worker counts and commits, from its first commit on."""
    port = free_port()
    settings = {
        "app": app,
        "bootstrap": bootstrap,
        "topic_prefix": prefix,
        "data_dir": str(directory / app),
        "clock": "event",
        "log_level": "WARNING",
    }
    with child_worker(port, directory / f"{app}.log", **settings) as worker:
        looks: list[tuple[float, int, float]] = []

        def look(status: dict[str, Any]) -> bool:
            events = int(status["events_total"])
            if events:
                looks.append((time.perf_counter(), events, worker.cpu_seconds()))
            return events >= count

        status = worker.wait(look, 600.0, f"through {count} events")
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
        "encode_queue_depth_at_end": float(status["encode_queue_depth"]),
    }


def run(events: int, stock_events: int, people: int, partitions: int, rounds: int, seed: int) -> dict[str, Any]:
    """Alternate the two on the same records."""
    own: list[dict[str, float]] = []
    stock: list[float] = []
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        conf = {"bootstrap.servers": broker.bootstrap}
        prefix = "bench-"
        for number in range(rounds):
            create_topics(conf, Topics(f"bench{number}", prefix).specs(partitions), 1)
        topics = Topics("bench0", prefix)
        town = Town(seed, people)
        sent = produce(broker.bootstrap, topics.events, town.encoded(events, START, 5_000.0))
        for number in range(rounds):
            own.append(ours(broker.bootstrap, f"bench{number}", prefix, sent, Path(name)))
            stock.append(stock_faust(broker.bootstrap, topics.events, min(stock_events, sent)))
    rates = [each["events_per_second"] for each in own]
    median, stock_median = statistics.median(rates), statistics.median(stock)
    return {
        "events_per_second": round(median),
        "stock_faust_events_per_second": round(stock_median),
        "ratio": round(median / stock_median, 2),
        "rounds": own,
        "stock_rounds": stock,
        "spread": {"minimum": min(rates), "median": median, "maximum": max(rates)},
        "events": events,
        "people": people,
        "partitions": partitions,
        "seed": seed,
        "what": "one worker, exactly once, all lanes on, built-in segments, town events; stock: no-op agent, raw bytes",
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--stock-events", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=10_000)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(given.events, given.stock_events, given.people, given.partitions, given.rounds, given.seed)
    write_json(given.json, report)


if __name__ == "__main__":
    main()
