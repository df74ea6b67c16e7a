"""Where the tests stop a worker: it calls a function between its steps, which does nothing unless they ask for it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def checkpoint_of_tests() -> Callable[[str], None]:
    """For crash tests: what ``SEGMENTS_TEST_KILL_AT``, ``…STOP_AT`` (as a machine that is paused) or ``…HANG_AT`` (one
    thread) in the environment ask for."""
    if step := os.environ.get("SEGMENTS_TEST_KILL_AT"):
        return at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
    if step := os.environ.get("SEGMENTS_TEST_STOP_AT"):
        return at_step(step, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    if step := os.environ.get("SEGMENTS_TEST_HANG_AT"):
        return at_step(step, threading.Event().wait)
    return lambda _step: None


def at_step(wanted: str, act: Callable[[], object]) -> Callable[[str], None]:
    """``step`` or ``step:n``: ``act`` when the step is reached the n-th time."""
    step, _, nth = wanted.partition(":")
    left = int(nth or 1)

    def checkpoint(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                act()

    return checkpoint
