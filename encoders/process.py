"""The encoders that need torch, in a process of their own.

A worker without torch starts sooner and has half a gigabyte less, and running a model never takes the interpreter from
the turns.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

from encoders.base import F32, I64, Halves
from encoders.pipe import (
    Answer,
    Array,
    Failed,
    Layer,
    Measure,
    Measurements,
    Ready,
    Request,
    Setup,
    Texts,
    printable,
    receive_answer,
    send,
)
from encoders.precision import Choice, Measured, choose

log = logging.getLogger(__name__)

#: seconds that the child has to end by itself
_CLOSE_SECONDS = 2.0
#: with the imports; a processor without the instructions may compute them one by one
_MEASURE_SECONDS = 90.0
#: meant for the worker; they must not reach the child before it can ignore them
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MODULE = "encoders.serving"


class EncodingError(RuntimeError):
    """The encoders failed on this in their process; the message says how."""


class ProcessEndedError(EncodingError):
    """The encoders' process ended, or gave no answer in time, and so did the one that was started in its place."""


class Started(Protocol):
    """What is needed of a process; ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


class Child(NamedTuple):
    connection: Connection
    process: Started


def start_child(module: str = _MODULE) -> Child:
    """A new interpreter that runs ``module`` with one end of a pipe. It shares nothing, so it may be started at any
    time, beside any threads."""
    ours, theirs = Pipe()
    where = os.pathsep.join(path or os.getcwd() for path in sys.path)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": where},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return Child(ours, process)


class EncodingProcess:
    """Text model and graph layers behind a pipe: the same vectors, computed by a child of lower priority.

    The child is started here and now, and loads its libraries while the worker has other things to do. It ends with
    this process, however that ends. Should it end first, what it was asked is asked once more of a new one; should that
    end as well, ``ProcessEndedError`` is raised, and whoever asks next has the next one started. Threads may share one.
    """

    def __init__(self, start: Callable[[], Child] | None = None) -> None:
        self._start = start or start_child
        self._lock = threading.Lock()
        self._setup: Setup | None = None
        self._ready: Ready | None = None
        self._closing = False
        self._child: Child | None = self._start()
        # whoever forgets it waits for no batch
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Of the child; None when there is none."""
        return None if self._child is None else self._child.process.pid

    # what it is asked

    def set_up(self, setup: Setup) -> None:
        """Load the models. Raises EncodingError, also when a later child makes other vectors of the same setup."""
        with self._lock:
            self._setup, self._ready = setup, None
            self._ask(None)

    @property
    def dim(self) -> int:
        """Of the text model."""
        return self._known.dim

    @property
    def version(self) -> str:
        """Of the text model."""
        return self._known.version

    @property
    def _known(self) -> Ready:
        if self._ready is None:
            raise EncodingError("the encoders' process is not set up")
        return self._ready

    def weights(self) -> dict[str, F32]:
        """None: the text model is used as it is."""
        return {}

    def encode(self, texts: Sequence[str]) -> F32:
        """f32[n, dim], as the text encoder gives them. Raises EncodingError where the encoder raises anything."""
        return self._vectors(Texts(printable(list(texts))), len(texts))

    def layer(self, number: int, own: F32, followees: Halves, dst: I64) -> F32:
        """As ``Layers.layer``. Raises EncodingError where that raises anything."""
        return self._vectors(Layer(number), len(own), own, followees, dst)

    def measure(self, text_model: str, device: str, patience: float) -> list[Measured]:
        """What ``encoders.precision.measure`` finds there, within ``patience`` seconds; the child is of no use after
        that. Raises EncodingError, ProcessEndedError."""
        with self._lock:
            head, _ = self._once(Measure(text_model, device), (), patience)
        if not isinstance(head, Measurements):
            raise EncodingError(f"the encoders' process answers {type(head).__name__} to Measure")
        return head.measured

    def _vectors(self, request: Texts | Layer, rows: int, *arrays: Array) -> F32:
        with self._lock:
            _, found = self._ask(request, *arrays)
        (vectors,) = found
        if vectors.dtype != "float32" or len(vectors) != rows:
            raise EncodingError(f"the encoders' process gives {vectors.shape} vectors for {rows}")
        return vectors.astype("float32", copy=False)

    def _ask(self, request: Request | None, *arrays: Array) -> tuple[Answer, list[Array]]:
        """Of the child that there is, else of a new one; None: nothing but to be set up."""
        try:
            return self._of_one_that_is_set_up(request, arrays)
        except ProcessEndedError as error:
            if self._closing:
                raise
            log.warning("%s; a new one is started", error)
            return self._of_one_that_is_set_up(request, arrays)

    def _of_one_that_is_set_up(self, request: Request | None, arrays: tuple[Array, ...]) -> tuple[Answer, list[Array]]:
        fresh = self._child is None
        if self._setup is not None and (fresh or self._ready is None):
            head, _ = self._once(self._setup, ())
            if not isinstance(head, Ready) or self._ready not in (None, head):
                self._end()
                raise EncodingError(f"the text model is another one now: {head}, it was {self._ready}; start it anew")
            self._ready = head
        return self._once(request, arrays) if request is not None else (self._known, [])

    def _once(
        self, request: Request, arrays: tuple[Array, ...], patience: float | None = None
    ) -> tuple[Answer, list[Array]]:
        if self._closing:
            raise ProcessEndedError("the encoders' process is closed")
        if self._child is None:
            self._child = self._start()
        try:
            send(self._child.connection, request, *arrays)
            if not self._child.connection.poll(patience):
                self._end()
                raise ProcessEndedError(f"no answer within {patience:.0f} s")
            head, found = receive_answer(self._child.connection)
        except (EOFError, OSError):
            raise ProcessEndedError(f"the encoders' process ended, exit status {self._end()}") from None
        if isinstance(head, Failed):
            if isinstance(request, Texts | Layer):
                raise EncodingError(f"{head.kind}: {head.why}")
            self._end()  # whoever tries again begins anew
            raise EncodingError(head.why)
        return head, found

    # how it ends

    def _end(self) -> int | None:
        """Its exit status; None: it is not known."""
        child, self._child = self._child, None
        if child is None:
            return None
        child.connection.close()
        return _reaped(child.process, 1.0)

    def kill(self) -> None:
        """At once, whatever it does; whoever waits for its answer is told that there is none."""
        self._closing = True
        if (child := self._child) is not None:
            child.process.kill()

    def close(self) -> None:
        """End the child, by force where it does not end within a moment (a batch takes too long, or it hangs)."""
        atexit.unregister(self.close)
        self._closing = True
        if not self._lock.acquire(timeout=_CLOSE_SECONDS):
            self.kill()
            self._lock.acquire()
        try:
            if (child := self._child) is not None:
                self._child = None
                child.connection.close()
                _reaped(child.process, _CLOSE_SECONDS)
        finally:
            self._lock.release()


def _reaped(process: Started, patience: float) -> int | None:
    """How it ended, by force after ``patience`` seconds; None where others take all processors, and it has no time even
    to die: then it is waited for beside all else."""
    for seconds in (patience, _CLOSE_SECONDS):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    threading.Thread(target=process.wait, name="ended encoders", daemon=True).start()
    return None


def choose_here(process: EncodingProcess, text_model: str, device: str) -> Choice:
    """What texts had best be encoded in on this machine, by measuring there; takes some seconds. Where an instruction
    is not there that should be, the child ends, not the worker; where it does, or takes too long, it is float32.

    Raises EncodingError with what is wrong with the model.
    """
    try:
        return choose(process.measure(text_model, device, _MEASURE_SECONDS))
    except ProcessEndedError as error:
        log.warning("text precision: nothing could be measured: %s; it is float32", error)
        return Choice("float32", f"nothing could be measured: {error}")
