"""Event to delivered change, exactly once, under an open-loop load with intended send times.

The broker is one that has run for a while, as a shop's has: Java's second compiler is done with it before.

python -m benchmarks.latency --comments --json benchmarks/out/latency.json --plot docs/latency.svg
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.harness import JOB, BenchmarkError, cpu_seconds, machine, mean, worker_settings, write_json
from benchmarks.latency import floor
from benchmarks.latency.reading import Arrivals, caused, read
from benchmarks.latency.sending import Sending, send
from benchmarks.load import Spread
from benchmarks.plots import Line, line_plot
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.tools.child import ChildWorker, child_worker, free_port
from streams.wire.topics import Topics

WORDS = Path(__file__).with_name("words.toml")


@dataclass(frozen=True)
class Load:
    """Who does something, and what is decided of them."""

    users: int
    spread: Spread
    rules: Path


#: shop: what the throughput benchmark has; churn: each event is of somebody else, and one in ten changes a membership
LOADS = {
    "shop": Load(10_000, "zipf", JOB),
    "churn": Load(50_000, "uniform", Path(__file__).with_name("churn.toml")),
}
RATES = (1_000.0, 10_000.0, 50_000.0)
#: comments a second that no CPU here can encode (int8 does some 120), and that any can
SATURATING, FEW = 300.0, 10.0
#: events a second beside the few comments
BESIDE_COMMENTS = 1_000.0
_QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
_DRAIN_SECONDS = 180.0
_spawn = multiprocessing.get_context("spawn")


def measure(
    broker: EmbeddedBroker, directory: Path, name: str, rate: float, comment_rate: float, options: argparse.Namespace
) -> dict[str, Any]:
    """One worker under one load; latencies in ms of changes by events (``ms``) and by comments (``comment_ms``)."""
    topics, bootstrap = Topics(name, f"{name}-"), broker.bootstrap
    segments = directory / f"{name}.toml"
    segments.write_text(LOADS[options.load].rules.read_text() + WORDS.read_text())
    create_topics({"bootstrap.servers": bootstrap}, topics.specs(options.partitions), 1)
    given = dict(each.split("=", 1) for each in options.set)
    settings = worker_settings(
        bootstrap, topics, directory / name, segments, **{"processing_guarantee": options.guarantee, **given}
    )
    with child_worker(free_port(), directory / f"{name}.log", **settings) as worker:
        worker.wait_ready()
        seconds = options.warm_up + options.seconds
        processes = {"worker": worker.pid, "broker": broker.pid or 0}
        processes |= {f"encoder {child.pid}": child.pid for child in psutil.Process(worker.pid).children()}
        before = {who: cpu_seconds(pid) for who, pid in processes.items()}
        start, sent, status, arrivals = _under_load(worker, bootstrap, topics, options, seconds, rate, comment_rate)
        cpu = {who: round(cpu_seconds(pid) - before[who], 2) for who, pid in processes.items()}
        sums = worker.metrics()
    every = sent["events"] + sent["comments"]
    if status["counted"] != every:
        raise BenchmarkError(f"{every} events were sent and {status['counted']} counted")
    return {
        "rate": rate,
        "sent_per_second": round(sent["events"] / sent["seconds"], 1),
        "comments_per_second": round(sent["comments"] / sent["seconds"], 1),
        "lag_at_end_records": every - status["at_end"],
        "drained_after_seconds": round(status["drained_after"], 2),
        "encode_queue_at_end": status["encode_queue"],
        "comments_encoded_per_second": round(status["encoded"] / sent["seconds"], 1),
        "sender_late_ms": {"p99": round(sent["late_ms_p99"], 2), "max": round(sent["late_ms_max"], 2)},
        "records_per_turn": round(mean(sums, "segments_batch_records"), 1),
        "commit_ms_mean": round(1e3 * mean(sums, "segments_commit_seconds"), 2),
        "turns": int(sums["segments_batch_records_count"]),
        "cpu_seconds": cpu,
        "other_changes": arrivals.others,
        "ms": _latencies(arrivals, "e", rate, start, options.warm_up),
        "comment_ms": _latencies(arrivals, "c", comment_rate, start, options.warm_up),
    }


def measure_floor(
    broker: EmbeddedBroker, rate: float, saturated: bool, warm_up: float, options: argparse.Namespace
) -> dict[str, Any]:
    """The same load answered by nothing but transactions."""
    state = "saturated" if saturated else "idle"
    topics, bootstrap = Topics("floor", f"floor-{state}-"), broker.bootstrap
    create_topics({"bootstrap.servers": bootstrap}, topics.specs(options.partitions), 1)
    ended = _spawn.Event()
    names = (bootstrap, topics.events, topics.changes, topics.changelog)
    pause = Settings(app="floor").turn_interval_ms / 1e3
    workers = [
        _spawn.Process(target=floor.answer, args=(*names, number, pause, ended), daemon=True)
        for number in range(options.partitions)
    ]
    if saturated:
        ready = _spawn.Event()
        workers.append(_spawn.Process(target=floor.encode, args=(ready, ended)))
    for worker in workers:
        worker.start()
    if saturated and not ready.wait(60.0):
        raise BenchmarkError("the text process of the floor did not begin")
    subscriber = _Subscriber(bootstrap, topics.changes, options.partitions, floor.answered)
    before = cpu_seconds(broker.pid or 0)
    seconds = warm_up + options.seconds
    start, sent = _sent(bootstrap, topics, options, seconds, rate, 0.0)
    cpu = cpu_seconds(broker.pid or 0) - before
    ended.set()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise BenchmarkError("a process of the floor failed")
    found = quantiles(_latencies(subscriber.arrivals(), "e", rate, start, warm_up))
    return {"rate": rate, "encode_lane": state, "broker_cores": round(cpu / sent["seconds"], 2), **found}


class _Subscriber:
    """The process that reads the changes; it reads from now on."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, causes: Callable[[bytes], list[str]]) -> None:
        reading, self._stop = _spawn.Event(), _spawn.Event()
        self._changes, there = _spawn.Pipe(duplex=False)
        arguments = (bootstrap, topic, partitions, causes, reading, self._stop, there)
        self._process = _spawn.Process(target=read, args=arguments, daemon=True)
        self._process.start()
        there.close()
        if not reading.wait(60.0):
            raise BenchmarkError("the subscriber did not begin to read")

    def arrivals(self) -> Arrivals:
        """All that came until nothing more comes."""
        self._stop.set()
        found: Arrivals = _received(self._changes, 60.0, "subscriber")
        self._process.join()
        return found


def _sent(
    bootstrap: str, topics: Topics, options: argparse.Namespace, seconds: float, rate: float, comment_rate: float
) -> tuple[float, dict[str, Any]]:
    """When the load began (monotonic), and what was sent; returns when all is."""
    start = time.monotonic() + 3.0
    load = LOADS[options.load]
    sending = Sending(
        bootstrap, topics.events, start, seconds, rate, load.users, load.spread, comment_rate, options.seed
    )  # fmt: skip
    done, there = _spawn.Pipe(duplex=False)
    sender = _spawn.Process(target=send, args=(sending, there), daemon=True)
    sender.start()
    there.close()
    sent = _received(done, seconds + 60.0, "sender")
    sender.join()
    return start, sent


def _under_load(
    worker: ChildWorker,
    bootstrap: str,
    topics: Topics,
    options: argparse.Namespace,
    seconds: float,
    rate: float,
    comment_rate: float,
) -> tuple[float, dict[str, Any], dict[str, Any], Arrivals]:
    """Start, what was sent, how far the worker was at the end, and what the subscriber saw."""
    subscriber = _Subscriber(bootstrap, topics.changes, options.partitions, caused)
    start, sent = _sent(bootstrap, topics, options, seconds, rate, comment_rate)
    ended = time.monotonic()
    at_end = worker.status()
    encoded = worker.metrics()["segments_encoded_texts_total"]
    every = sent["events"] + sent["comments"]
    drained = worker.wait(lambda status: bool(status["events_total"] >= every), _DRAIN_SECONDS, "through all events")
    if rate and comment_rate == FEW:
        drained = worker.wait_idle(every, _DRAIN_SECONDS)
    after = time.monotonic() - ended
    arrivals = subscriber.arrivals()
    found = {
        "at_end": at_end["events_total"],
        "encode_queue": at_end["encode_queue_depth"],
        "encoded": encoded,
        "counted": drained["events_total"],
        "drained_after": after,
    }
    return start, sent, found, arrivals


def _received(connection: Connection, timeout: float, who: str) -> Any:
    if not connection.poll(timeout):
        raise BenchmarkError(f"the {who} did not report")
    try:
        return connection.recv()
    except EOFError:
        raise BenchmarkError(f"the {who} ended without a report") from None


def _latencies(arrivals: Arrivals, kind: str, rate: float, start: float, warm_up: float) -> npt.NDArray[np.float64]:
    """Sorted milliseconds from the intended time of the event to the change; those due in the warm-up are left out."""
    mine = np.array([each == kind for each in arrivals.kinds], dtype=np.bool_)
    due = np.array(arrivals.indices, dtype=np.float64)[mine] / (rate or 1.0)
    waited = np.array(arrivals.times, dtype=np.float64)[mine] - start - due
    return np.sort(1e3 * waited[due >= warm_up])


def quantiles(milliseconds: npt.NDArray[np.float64], prefix: str = "") -> dict[str, float]:
    """Percentiles of sorted latencies, and how many there are. Raises BenchmarkError for fewer than a hundred."""
    if len(milliseconds) < 100:
        raise BenchmarkError(f"only {len(milliseconds)} changes were measured")
    found = {prefix + name: round(float(np.quantile(milliseconds, q)), 2) for name, q in _QUANTILES.items()}
    return found | {f"{prefix}samples": len(milliseconds)}


def curve(milliseconds: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """(number of nines, ms): 1 is 90 % of the changes, 2 is 99 %, as far as the samples carry."""
    nines = np.linspace(0.0, math.log10(len(milliseconds)), 200)
    return [(float(x), float(np.quantile(milliseconds, 1.0 - 10.0**-x))) for x in nines]


def run(options: argparse.Namespace) -> tuple[dict[str, Any], list[Line]]:
    """Every load that was asked for, each with a worker of its own; the report and the curves."""
    rates = [options.rate] if options.rate else list(RATES)
    states = [True] if options.saturate_encoder else [False] if options.rate else [False, True]
    runs: list[dict[str, Any]] = []
    lines: list[Line] = []
    report: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory(prefix="segments-bench-") as where,
        EmbeddedBroker(Path(where) / "kafka", java_options=()) as broker,
    ):
        # the first one makes the broker warm
        warm_ups = dict.fromkeys(states, options.warm_up) | {states[0]: options.broker_warm_up}
        report["floor"] = [
            measure_floor(broker, options.rate or 10_000.0, saturated, warm_up, options)
            for saturated, warm_up in warm_ups.items()
        ]
        for saturated in states:
            for rate in rates:
                state = "saturated" if saturated else "idle"
                name = f"{state}-{rate:.0f}"
                comment_rate = options.comment_rate if saturated else 0.0
                found = measure(broker, Path(where), name, rate, comment_rate, options)
                milliseconds = found.pop("ms")
                del found["comment_ms"]
                runs.append({"encode_lane": state, **quantiles(milliseconds), **found})
                lines.append(Line(f"{rate:,.0f}/s, encode lane {state}", curve(milliseconds)))
        if options.comments:
            found = measure(broker, Path(where), "comments", BESIDE_COMMENTS, FEW, options)
            del found["ms"]
            report["comments"] = quantiles(found.pop("comment_ms"), "comment_") | found
    # the bound speaks of 10,000 a second with the encode lane saturated
    first = next((each for each in reversed(runs) if each["rate"] == 10_000.0), runs[-1])
    top = {key: first[key] for key in (*_QUANTILES, "samples", "rate", "encode_lane")}
    if options.comments:
        top |= {f"comment_{key}": report["comments"][f"comment_{key}"] for key in ("p50_ms", "p99_ms")}
    return top | {
        "runs": runs,
        **report,
        "guarantee": options.guarantee,
        "load": options.load,
        "users": LOADS[options.load].users,
        "partitions": options.partitions,
        "seconds": options.seconds,
        "warm_up_seconds": options.warm_up,
        "seed": options.seed,
        "broker_warm_up_seconds": options.broker_warm_up,
        "what": "from when an event was due to be sent until a read_committed consumer has its change",
        "machine": machine(),
    }, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--plot", type=Path, default=None, metavar="FILE", help="latency by percentile as an SVG")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; without it 1,000, 10,000 and 50,000")
    parser.add_argument(
        "--saturate-encoder", action="store_true", help="comments beside the load, more than the encoder can do"
    )
    parser.add_argument("--comment-rate", type=float, default=SATURATING, help="comments a second that saturate it")
    parser.add_argument("--comments", action="store_true", help="comment to change as well, with few comments")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument(
        "--broker-warm-up", type=float, default=90.0, metavar="SECONDS", help="of transactions before all else"
    )
    parser.add_argument("--load", choices=tuple(LOADS), default="shop", help="whose events, and which rules")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--guarantee", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="of the worker")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report, lines = run(options)
    if options.plot is not None:
        line_plot(options.plot, "Event to delivered change", "nines of the changes: 1 is 90 %, 2 is 99 %", "ms", lines)
    write_json(options.json, report)


if __name__ == "__main__":
    main()
