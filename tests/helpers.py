"""Helpers for tests with real parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from streams.tools.child import ChildWorker

T = TypeVar("T")
#: the app of workers that tests start
APP = "svc"
#: starts a worker: name, then settings
Start = Callable[..., ChildWorker]


def wait_for(condition: Callable[[], T], deadline_s: float, what: str, interval_s: float = 0.05) -> T:
    """Ask ``condition`` until its answer is true (not falsy) and return that answer.

    Fails with ``what`` and the last answer after ``deadline_s`` seconds.
    """
    end = time.monotonic() + deadline_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise AssertionError(f"after {deadline_s:g} s still waiting for {what}; last answer: {answer!r}")
        time.sleep(interval_s)
