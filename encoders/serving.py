"""The process of the encoders, ``python -m encoders.serving FD``: here torch is, and no worker has it.

It answers one request after the other from the pipe it was started with, and ends when the other end is closed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.connection import Connection

from encoders.base import F32, NODE_DIM, Precision, Served, TextEncoder
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
    Vectors,
    layers_of,
    receive_request,
    send,
)
from encoders.precision import Measured, measure

#: on a CPU the process takes what processor time the others leave
NICENESS = 10
Stay = Callable[[], AbstractContextManager[None]]


class Models:
    """What answers requests. Tests have others."""

    def load(self) -> None:
        """What takes long and depends on nothing, while the worker has not said yet what it wants."""
        import encoders.sage  # noqa: PLC0415 - torch takes seconds, and a test's process does without
        import encoders.text  # noqa: F401, PLC0415

    def make(self, setup: Setup) -> tuple[Served, bool]:
        """Text model and graph layers, and whether they compute on a CPU. Raises whatever the models are good for."""
        from encoders.device import choose_device, use_threads  # noqa: PLC0415 - as above
        from encoders.sage import SageLayers  # noqa: PLC0415
        from encoders.text import BertTextEncoder  # noqa: PLC0415

        use_threads(setup.threads)
        device = choose_device(setup.device)
        text = BertTextEncoder(setup.text_model, device, precision=setup.precision)
        return Served(text, SageLayers(layers_of(setup, NODE_DIM), device)), device == "cpu"

    def measure(self, request: Measure) -> list[Measured]:
        """With one thread: several would wait for each other, in loops, where others have the processors, and measure
        that. On a CPU the clock is the processor's own time, which is the same beside others."""
        from encoders import cuda  # noqa: PLC0415 - as above
        from encoders.device import choose_device, use_threads  # noqa: PLC0415
        from encoders.text import BertTextEncoder  # noqa: PLC0415

        use_threads(1)
        device = choose_device(request.device)

        def make(precision: Precision) -> TextEncoder:
            return BertTextEncoder(request.text_model, device, cache=0, precision=precision)

        return measure(make, time.process_time if device == "cpu" else cuda.clock(device))


class _Server:
    """The state of one process: nothing before ``Setup``."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._served: Served | None = None
        self._stay: Stay = nullcontext

    def answer(self, request: Request, arrays: list[Array]) -> tuple[Answer, list[Array]]:
        try:
            match request:
                case Setup():
                    return self._set_up(request), []
                case Measure():
                    return Measurements(self._models.measure(request)), []
                case Texts() | Layer():
                    with self._stay():
                        return Vectors(), [self._vectors(request, arrays)]
        except Exception as error:
            return Failed(type(error).__name__, str(error).encode("utf-8", "replace").decode()), []

    def _set_up(self, setup: Setup) -> Ready:
        served, on_cpu = self._models.make(setup)
        ready = Ready(served.text.dim, served.text.version)
        if on_cpu:  # a graphics card would wait
            _step_back()
            self._stay = _stayer(setup.threads)
        self._served = served
        return ready

    def _vectors(self, request: Texts | Layer, arrays: list[Array]) -> F32:
        if self._served is None:
            raise RuntimeError("nothing is set up yet")
        if isinstance(request, Texts):
            return self._served.text.encode(request.texts)
        own, followees, dst = arrays
        return self._served.layers.layer(request.number, own, followees, dst)  # type: ignore[arg-type] # as sent


def serve(connection: Connection, models: Models) -> None:
    """Answer until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the worker, which finishes its work first
        signal.signal(number, signal.SIG_IGN)
    models.load()
    server = _Server(models)
    try:
        while True:
            head, arrays = server.answer(*receive_request(connection))
            send(connection, head, *arrays)
    except (EOFError, OSError):
        return


def _step_back() -> None:
    """Take only what processor time the turns, and a broker beside them, leave: all threads that there are."""
    for thread in map(int, os.listdir("/proc/self/task")):
        os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _stayer(threads: int) -> Stay:
    """What keeps this thread on the processor where it is.

    Else it is moved to each one that is idle for a moment, and leaves cold caches to whoever woke up there meanwhile.
    """
    where = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    if where is None or threads > 1:  # torch's own threads would stay there as well
        return nullcontext
    allowed = os.sched_getaffinity(0)

    @contextmanager
    def stay() -> Iterator[None]:
        os.sched_setaffinity(0, {where()})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)

    return stay


def run(models: Models | None = None) -> None:
    """The main function: the pipe is the file descriptor that the command line names."""
    faulthandler.enable()  # what a crash in compiled code leaves in the worker's log
    serve(Connection(int(sys.argv[1])), models or Models())
    sys.stderr.flush()
    os._exit(0)  # an orderly end of the interpreter takes time, of which this process may have little


if __name__ == "__main__":
    run()
