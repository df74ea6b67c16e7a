"""What benchmarks share: the broker, a worker as a child process, and what machine this is."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
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


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Send (key, value) records as fast as the broker takes them; returns how many."""
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
    if left := producer.flush(60.0):
        raise BenchmarkError(f"{left} records were not delivered")
    return count


class ChildWorker:
    """``segments worker`` as a child process."""

    def __init__(self, port: int, log: Path, **env: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log_path = log
        self._log = log.open("ab")
        settings = {f"SEGMENTS_{name.upper()}": value for name, value in env.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.tools.cli", "worker"],
            env={**os.environ, **settings, "SEGMENTS_WEB_PORT": str(port)},
            stdout=self._log,
            stderr=self._log,
        )

    def status(self) -> dict[str, Any]:
        """The worker's ``/api/status``; empty while it does not answer."""
        if self.process.poll() is not None:
            raise BenchmarkError(f"the worker ended with {self.process.returncode}: {self.log_tail()}")
        try:
            with urllib.request.urlopen(f"{self.url}/api/status", timeout=5.0) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}

    def wait_events(self, count: int, deadline: float) -> Iterator[tuple[float, int]]:
        """(seconds, events) samples until the worker has counted ``count`` events."""
        until = time.monotonic() + deadline
        while True:
            status = self.status()
            events = int(status.get("events_total", 0))
            yield time.perf_counter(), events
            if events >= count:
                return
            if time.monotonic() > until:
                raise BenchmarkError(f"the worker counted {events} of {count} events in {deadline:.0f} s")
            time.sleep(0.1)

    def log_tail(self) -> str:
        return self._log_path.read_text(errors="replace")[-2_000:]

    def cpu_seconds(self) -> float:
        """Processor time of the worker so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


@contextmanager
def child_worker(port: int, log: Path, **env: str) -> Iterator[ChildWorker]:
    """A worker that is ended with the block."""
    worker = ChildWorker(port, log, **env)
    try:
        yield worker
    finally:
        worker.kill()


def write_json(path: Path | None, report: dict[str, Any]) -> None:
    """Print the report, and write it where asked."""
    text = json.dumps(report, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
