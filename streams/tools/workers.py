"""A worker in this process, for ``segments worker``, and as a child process, for the demo."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn, Protocol

from streams.ops.lifetime import Lifetime
from streams.settings import Settings
from streams.tools.terminal import CommandError, explain, kafka_at, print_error

log = logging.getLogger(__name__)

#: a worker that is started without Kafka says so after a moment, and waits; then whoever runs it starts it anew
_KAFKA_FIRST_SECONDS = 3.0
_KAFKA_SECONDS = 30.0
_STOP_SECONDS = 20.0
_ORPHAN_SECONDS = 10.0


def serve(settings: Settings, *, stop_with_stdin: bool) -> NoReturn:
    """Run a worker here until it is stopped; the process ends with it, and says at last what went wrong.

    ``stop_with_stdin``: stop also when stdin ends, which a parent's death does.
    """
    # before numpy is there: threads of OpenBLAS wait in a loop for the next product of matrices, and take the processor
    # from the turns and from the encoders' process meanwhile
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    life = Lifetime(explain, print_error)
    life.hear_signals()
    if stop_with_stdin:
        threading.Thread(target=_stop_when_orphaned, name="parent", daemon=True).start()
    try:
        _wait_for_kafka(settings)
        from streams.loading import encoding_process  # noqa: PLC0415 - as below

        # it loads its libraries while this process loads its own
        models = encoding_process(life) if settings.encode_process else None
        from streams.app import run_worker  # noqa: PLC0415 - Faust takes a second

        run_worker(settings, life, models)
    except Exception as error:
        if explain(error).startswith("unexpected"):
            log.exception("the worker ended")
        life.end(error)
    life.end()


def _wait_for_kafka(settings: Settings) -> None:
    """Where all is started at once, Kafka takes longest. Raises CommandError when it takes too long."""
    try:
        with kafka_at(settings, patience=_KAFKA_FIRST_SECONDS):
            return
    except CommandError as error:
        log.warning("%s; waiting for it, %.0f s at most", error, _KAFKA_SECONDS)
    with kafka_at(settings, patience=_KAFKA_SECONDS):
        pass


def _stop_when_orphaned() -> None:
    while os.read(0, 1):  # not sys.stdin: Python cannot end while a thread holds its lock
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS)  # in order takes for ever where Kafka went with the parent
    os.kill(os.getpid(), signal.SIGKILL)


class Process(Protocol):
    """What is needed of a started process; ``subprocess.Popen`` has it."""

    stdin: IO[bytes] | None

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class WorkerProcess:
    """``segments worker`` as a child with its own log file. It ends when this process does, however that happens."""

    def __init__(self, settings: Mapping[str, str], log_path: Path) -> None:
        """Starts it. ``settings``: by name, on top of those in this process's environment."""
        self.log_path = log_path
        environment = os.environ | {f"SEGMENTS_{name.upper()}": value for name, value in settings.items()}
        environment.setdefault("HF_HUB_OFFLINE", "1")
        self._process = self._launch(environment)

    def _launch(self, environment: Mapping[str, str]) -> Process:
        with self.log_path.open("ab") as written:
            return subprocess.Popen(
                [sys.executable, "-m", "streams.tools.cli", "worker", "--stop-with-stdin"],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                env=environment,
                process_group=0,  # Ctrl-C in a terminal reaches the starter, which stops it in order
            )

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises CommandError with the tail of the log when the worker has ended."""
        if (code := self._process.poll()) is not None:
            raise CommandError(f"the worker ended (exit status {code}); the end of its log:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log, indented."""
        written = self.log_path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(f"  {line[:400]}" for line in written) or "  (it is empty)"

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 20 s. Does nothing when it has ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
