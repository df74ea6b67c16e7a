"""A worker as a child process: for the demo, the benchmarks and the tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ChildError(RuntimeError):
    """The child ended, or did not get there in time; the message has the tail of its log."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
            raise ChildError(f"the worker ended with {self.process.returncode}: {self.log_tail()}")
        try:
            with urllib.request.urlopen(f"{self.url}/api/status", timeout=5.0) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}

    def wait(self, reached: Callable[[dict[str, Any]], bool], deadline: float, what: str) -> dict[str, Any]:
        """Look at the status until it is as wanted. Raises ChildError when ``deadline`` seconds are over."""
        until = time.monotonic() + deadline
        while True:
            status = self.status()
            if status and reached(status):
                return status
            if time.monotonic() > until:
                raise ChildError(f"not {what} within {deadline:.0f} s; the log ends: {self.log_tail()}")
            time.sleep(0.1)

    def wait_ready(self, deadline: float = 90.0) -> None:
        """Until partitions are assigned and restored and the models are loaded."""
        self.wait(lambda status: bool(status["ready"]), deadline, "ready")

    def wait_idle(self, events: int, deadline: float) -> dict[str, Any]:
        """Until at least ``events`` events are counted, nothing waits for the encode lane and there is no lag."""

        def idle(status: dict[str, Any]) -> bool:
            lag = sum(partition["lag_records"] for partition in status["partitions"])
            return bool(status["events_total"] >= events and status["encode_queue_depth"] == 0 and lag == 0)

        return self.wait(idle, deadline, f"through {events} events and idle")

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
