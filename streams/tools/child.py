"""A worker as a child process whose progress can be waited for: for the benchmarks and the tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.tools.terminal import CommandError
from streams.tools.workers import WorkerProcess


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ChildWorker(WorkerProcess):
    """``segments worker`` as a child process with its page on ``port``."""

    def __init__(self, port: int, log: Path, **settings: str) -> None:
        super().__init__({**settings, "web_port": str(port)}, log)
        self.port = port

    def status(self) -> dict[str, Any]:
        """The worker's ``/api/status``; empty while it does not answer. Raises CommandError when it has ended."""
        self.check()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request("GET", "/api/status")
            found: dict[str, Any] = json.load(connection.getresponse())
        except OSError:
            return {}
        finally:
            connection.close()
        return found

    def metrics(self) -> dict[str, float]:
        """``/metrics``: samples by name, those with labels as ``name{…}``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def wait(self, reached: Callable[[dict[str, Any]], bool], deadline: float, what: str) -> dict[str, Any]:
        """Look at the status until it is as wanted. Raises CommandError when ``deadline`` seconds are over."""
        until = time.monotonic() + deadline
        while True:
            status = self.status()
            if status and reached(status):
                return status
            if time.monotonic() > until:
                raise CommandError(f"not {what} within {deadline:.0f} s; status {status}; its log ends:\n{self.tail()}")
            time.sleep(0.25)

    def wait_ready(self, deadline: float = 90.0) -> None:
        """Until partitions are assigned and restored and the models are loaded."""
        self.wait(lambda status: bool(status["ready"]), deadline, "ready")

    def wait_idle(self, events: int, deadline: float = 150.0) -> dict[str, Any]:
        """Until at least ``events`` events are counted, nothing waits for the encode lane and there is no lag."""

        def idle(status: dict[str, Any]) -> bool:
            # unknown is not 0
            lag = any(partition["lag_records"] != 0 for partition in status["partitions"])
            waiting = status["encode_queue_depth"] or lag
            return bool(status["events_total"] >= events and not waiting)

        return self.wait(idle, deadline, f"through {events} events and idle")

    def wait_settled(self, deadline: float, still: float = 3.0) -> dict[str, Any]:
        """Until nothing was counted and nothing changed for ``still`` seconds: timers and refreshes are done too."""
        last: tuple[int, int] = (-1, -1)
        since = time.monotonic()

        def settled(status: dict[str, Any]) -> bool:
            nonlocal last, since
            now = (status["events_total"], status["changes_total"])
            if now != last or status["encode_queue_depth"]:
                last, since = now, time.monotonic()
            return time.monotonic() - since > still

        return self.wait(settled, deadline, "settled")

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self.stop()


@contextmanager
def child_worker(port: int, log: Path, **settings: str) -> Iterator[ChildWorker]:
    """A worker that is stopped with the block."""
    worker = ChildWorker(port, log, **settings)
    try:
        yield worker
    finally:
        worker.stop()
