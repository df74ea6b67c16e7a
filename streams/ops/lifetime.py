"""From the first moment of a worker to its last: signals are heard, and what was opened is closed, within a time."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import NoReturn, Self

log = logging.getLogger(__name__)

#: seconds for the end of a worker that could not start
START_PATIENCE = 5.0
_LOOK_SECONDS = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
Close = Callable[[], Awaitable[object] | object]


async def end_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel all, and wait until they have ended; what they failed of was told by others."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Lifetime:
    """What a worker opened: closed in reverse at its end, however it ends, and by force when that takes too long.

    ``explain`` puts an error into a sentence; ``say`` tells it, as the last thing that is heard of the worker.
    """

    def __init__(
        self,
        explain: Callable[[BaseException], str] = str,
        say: Callable[[str], None] = log.error,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self.patience: Callable[[], float] = lambda: START_PATIENCE
        """Seconds that closing may take in all; asked again and again meanwhile."""
        self._explain = explain
        self._say = say
        self._leave = leave
        self._opened: list[tuple[str, Close]] = []
        self._kills: list[Callable[[], object]] = []
        self._on_signal: Callable[[], object] | None = None
        self._done = threading.Event()

    # signals

    def hear_signals(self) -> None:
        """From now on SIGTERM and SIGINT are obeyed at any moment; call it before there are other threads.

        They are taken by a thread: the main one may be in a library's call for half a minute, and the first process of
        a container is not ended by a signal that it does not take.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._hear, name="signals", daemon=True).start()

    def on_signal(self, stop: Callable[[], object]) -> None:
        """What a signal does from now on, called by another thread. Until then it ends the process."""
        self._on_signal = stop

    def _hear(self) -> None:
        while True:
            number = signal.sigwait(_SIGNALS)
            if self._on_signal is not None:
                self._on_signal()
            else:
                log.info("ended by %s while starting", signal.Signals(number).name)
                self._end(0)

    # closing

    def opened(self, name: str, close: Close, kill: Callable[[], object] | None = None) -> None:
        """Something was opened, or is about to be; ``close`` (blocking, or a coroutine function) ends it.

        ``kill`` ends a process at once, also when it has ended already: it is called where there is no time to close.
        """
        self._opened.append((name, close))
        if kill is not None:
            self._kills.append(kill)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all, the last opened first. What fails is told, and the rest is closed."""
        threading.Thread(target=self._end_by_force, args=(error,), name="deadline", daemon=True).start()
        while self._opened:
            name, close = self._opened[-1]
            try:
                if inspect.iscoroutinefunction(close):
                    await close()
                else:
                    await asyncio.to_thread(close)
            except Exception as trouble:
                log.warning("closing the %s: %s: %s", name, type(trouble).__name__, trouble)
            self._opened.pop()

    def _end_by_force(self, error: BaseException | None) -> None:
        # a thread, because what hangs may be the event loop itself, or the end of the interpreter
        began = time.monotonic()
        while (left := began + self.patience() - time.monotonic()) > 0:
            if self._done.wait(min(left, _LOOK_SECONDS)):
                return
        still = self._opened[-1][0] if self._opened else "interpreter"
        log.warning("not stopped in order within %.0f s (still open: %s); ending as it is", self.patience(), still)
        if error is not None:
            self._say(self._explain(error))
        self._end(1)

    def end(self, error: BaseException | None = None) -> NoReturn:
        """The end of the process, when all is closed: an orderly end of the interpreter would only make libraries
        report what they leak, and wait for what they started."""
        self._done.set()
        if error is not None:
            self._say(self._explain(error))
        self._end(0 if error is None else 1)
        raise SystemExit  # only where ``leave`` came back, in tests

    def _end(self, status: int) -> None:
        for kill in self._kills:  # a child would notice by itself, but perhaps not at once
            kill()
        logging.shutdown()
        sys.stdout.flush()
        self._leave(status)
