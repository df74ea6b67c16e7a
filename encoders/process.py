"""A text encoder in a process of its own: running a model never takes the interpreter from the turns."""

from __future__ import annotations

import atexit
import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from multiprocessing.connection import Connection

import msgspec
import numpy as np
import torch

from encoders.base import F32, TextEncoder, WrappedText

log = logging.getLogger(__name__)

#: the process takes what processor time the others leave
NICENESS = 10
#: seconds that the child has to end by itself
_CLOSE_SECONDS = 2.0
_fork = multiprocessing.get_context("fork")
_VECTORS, _FAILED = b"v", b"f"


class TextProcessError(RuntimeError):
    """The encoder failed on these texts in its process; the message says how."""


class TextProcess(WrappedText):
    """``encoder`` behind a pipe: the same vectors, computed by a child of lower priority that is forked here and now.

    Fork before other threads are started and before the encoder was used. The child shares the model's memory and ends
    with this process, however that ends. Should the child end first, texts are encoded in this process from then on.
    Only bytes go through the pipe: texts as msgpack, vectors as float32. Threads may share one.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__(encoder)
        self._lock = threading.Lock()
        self._connection, theirs = _fork.Pipe()
        self._process = _fork.Process(
            target=_serve, args=(encoder, theirs, self._connection), name="text-encoder", daemon=True
        )
        self._process.start()
        theirs.close()
        self._closing = False
        # multiprocessing waits for its children at the end of the interpreter, without a limit
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """Of the child; None when there is none any more."""
        return None if self._connection.closed else self._process.pid

    def encode(self, texts: Sequence[str]) -> F32:
        """f32[n, dim], as the encoder gives them. Raises TextProcessError where the encoder raises anything."""
        with self._lock:
            if not self._connection.closed:
                try:
                    self._connection.send_bytes(_packed(texts))
                    answer = self._connection.recv_bytes()
                except (EOFError, OSError):
                    self._connection.close()
                    self._process.join(1.0)
                    if not self._closing:
                        log.warning(
                            "the text encoder's process ended (exit status %s); "
                            "texts are encoded in the worker itself now",
                            self._process.exitcode,
                        )
                else:
                    if answer[:1] == _FAILED:
                        raise TextProcessError(answer[1:].decode())
                    # a copy, because what is read-only surprises whoever gets it
                    return np.frombuffer(answer, np.float32, offset=1).reshape(len(texts), self.dim).copy()
        return self._encoder.encode(texts)

    def close(self) -> None:
        """End the child, by force where it does not end within a moment (a batch takes too long, or it hangs)."""
        atexit.unregister(self.close)
        self._closing = True
        if not self._lock.acquire(timeout=_CLOSE_SECONDS):
            self._process.kill()  # whoever waits for its answer is told that there is none
            self._lock.acquire()
        try:
            self._connection.close()
            self._process.join(_CLOSE_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join(_CLOSE_SECONDS)  # where others take all processors, it has no time even to die
        finally:
            self._lock.release()


def _step_back() -> None:
    """Take only what processor time the turns, and a broker beside them, leave."""
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _stayer() -> Callable[[], AbstractContextManager[None]]:
    """What keeps this thread on the processor where it is.

    Else it is moved to each one that is idle for a moment, and leaves cold caches to whoever woke up there meanwhile.
    """
    where = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    if where is None or torch.get_num_threads() > 1:  # torch's own threads would stay there as well
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


def _packed(texts: Sequence[str]) -> bytes:
    # a lone surrogate has no UTF-8, and the encoder makes a question mark of it
    return msgspec.msgpack.encode([text.encode("utf-8", "replace").decode() for text in texts])


def _serve(encoder: TextEncoder, connection: Connection, theirs: Connection) -> None:
    """In the child: answer until the other end is closed."""
    theirs.close()
    gc.freeze()  # a look at every object would copy all the memory that is shared
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the worker, which finishes its work first
        signal.signal(number, signal.SIG_IGN)
    _step_back()
    stay = _stayer()
    unpack = msgspec.msgpack.Decoder(list[str]).decode
    while True:
        try:
            texts = unpack(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            with stay():
                answer = _VECTORS + np.ascontiguousarray(encoder.encode(texts), dtype=np.float32).tobytes()
        except Exception as error:
            answer = _FAILED + f"{type(error).__name__}: {error}".encode("utf-8", "replace")
        connection.send_bytes(answer)
