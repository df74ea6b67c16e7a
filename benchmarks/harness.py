"""What benchmarks share: the broker, a worker as a child process, and what machine this is."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from state.compiled import COMPILED
from streams.tools.child import ChildWorker
from streams.wire.topics import MAX_RECORD_BYTES, Topics

#: the definitions of the peers' job
JOB: Final = Path(__file__).parent / "peers" / "segments.toml"
#: seconds between two looks at a worker
_LOOK: Final = 0.1


class BenchmarkError(RuntimeError):
    """The benchmark could not be carried out."""


def machine() -> dict[str, Any]:
    """Where the figures were taken."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    packages = ("faust-streaming", "aiokafka", "confluent-kafka", "rocksdict", "msgspec", "numpy", "torch", "uvloop")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1m": os.getloadavg()[0],
        "python": platform.python_version(),
        "compiled_fold": COMPILED is not None,
        "packages": {name: version(name) for name in packages},
    }


def _producer(bootstrap: str, **more: Any) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "compression.type": "lz4",
            "message.max.bytes": MAX_RECORD_BYTES,
            "queue.buffering.max.messages": 500_000,
            **more,
        }
    )


def _send(producer: Producer, topic: str, records: Iterable[tuple[bytes, bytes]], timeout: float) -> int:
    count = 0
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if count % 1_000 == 0:
            producer.poll(0)
    if left := producer.flush(timeout):
        raise BenchmarkError(f"{left} records were not delivered")
    return count


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]], timeout: float = 60.0) -> int:
    """Send (key, value) records as fast as the broker takes them; returns how many.

    Raises BenchmarkError when not all are written ``timeout`` seconds after the last one was sent.
    """
    return _send(_producer(bootstrap), topic, records, timeout)


@contextmanager
def held(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> Iterator[Callable[[], None]]:
    """Records that lie in the topic, in an open transaction: no worker sees them before the yielded function is called.

    So workers can start and share the partitions first, and producing takes no processor time while they are measured.
    """
    producer = _producer(bootstrap, **{"transactional.id": f"held-{topic}", "transaction.timeout.ms": 900_000})
    producer.init_transactions(60.0)
    producer.begin_transaction()
    _send(producer, topic, records, 60.0)
    yield lambda: producer.commit_transaction(60.0)


def worker_settings(bootstrap: str, topics: Topics, data_dir: Path, segments: Path, **more: str) -> dict[str, str]:
    """What the workers of all benchmarks have in common, and ``more``."""
    return {
        "app": topics.app,
        "bootstrap": bootstrap,
        "topic_prefix": topics.prefix,
        "data_dir": str(data_dir),
        "log_level": "WARNING",
        "segments_file": str(segments),
        "text_precision": "float32",  # figures of different processors are of the same work
        **more,
    }


def mean(sums: Mapping[str, float], name: str) -> float:
    """Of a histogram among a worker's metrics."""
    return sums[f"{name}_sum"] / sums[f"{name}_count"]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Look:
    """What was counted when: taken as soon as the count had grown."""

    time: float
    events: int
    cpu: float
    """Processor seconds of the workers so far."""
    beside: float
    """Processor seconds of the other processes so far."""


def progress(workers: Sequence[ChildWorker], count: int, deadline: float, beside: Sequence[int] = ()) -> list[Look]:
    """Look at workers, and at processes ``beside`` them, until the workers have counted ``count`` events together.

    Events are counted when their commit is done. A look is kept only where the count grew since the one before, so the
    rate between two looks is that of whole commits. Raises BenchmarkError after ``deadline`` seconds.
    """
    looks: list[Look] = []
    until = time.monotonic() + deadline
    while not looks or looks[-1].events < count:
        events = sum(int(worker.status().get("events_total", 0)) for worker in workers)
        if events > (looks[-1].events if looks else 0):
            cpu = sum(cpu_seconds(worker.pid) for worker in workers)
            looks.append(Look(time.perf_counter(), events, cpu, sum(map(cpu_seconds, beside))))
        if time.monotonic() > until:
            raise BenchmarkError(f"only {events} of {count} events within {deadline:.0f} s:\n{workers[0].tail()}")
        time.sleep(_LOOK)
    return looks


def between(
    looks: Sequence[Look], before: int = 0, low: float = 0.1, high: float = 0.95, least: int = 3
) -> tuple[Look, Look]:
    """The first look at ``low`` of the events or more, and the last one at ``high`` or less; ``before``: not of them.

    Neither the start (imports, cold caches) nor the end (a partition that is through before the other) is in between.
    Raises BenchmarkError when there are fewer than ``least`` looks from the one to the other: too few to be trusted.
    """
    total = looks[-1].events - before if looks else 0
    inner = [look for look in looks if low * total <= look.events - before <= high * total]
    if len(inner) < least:
        raise BenchmarkError("too few commits to measure: give more events")
    return inner[0], inner[-1]


def rates(first: Look, last: Look) -> dict[str, float]:
    """What was done between two looks, a second and an event."""
    counted = last.events - first.events
    return {
        "events_per_second": counted / (last.time - first.time),
        "seconds": round(last.time - first.time, 2),
        "events": counted,
        "cpu_microseconds_per_event": 1e6 * (last.cpu - first.cpu) / counted,
    }


def contestant(name: str, command: list[str], timeout: float, **options: Any) -> dict[str, Any]:
    """Run a contestant as a child process for at most ``timeout`` seconds; returns what its stop watch printed.

    ``options`` are ``subprocess.run``'s.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchmarkError(f"{name} gave no figure: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Print the report, and write it where asked."""
    text = json.dumps(report, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
