"""What benchmarks share: the broker, a worker as a child process, and what machine this is."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from streams.wire.topics import MAX_RECORD_BYTES


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
    packages = ("faust-streaming", "aiokafka", "confluent-kafka", "rocksdict", "msgspec", "torch")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_1m": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]], timeout: float = 60.0) -> int:
    """Send (key, value) records as fast as the broker takes them; returns how many.

    Raises BenchmarkError when not all are written ``timeout`` seconds after the last one was sent.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "compression.type": "lz4",
            "message.max.bytes": MAX_RECORD_BYTES,
            "queue.buffering.max.messages": 500_000,
        }
    )
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
