"""Helpers for tests with real parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from streams.tools.child import ChildWorker

T = TypeVar("T")
#: the app of workers that tests start
APP = "svc"
#: segments that need no encoder
RULES = """
[[segment]]
id = "clicking"
rule = 'count("click", within="1d") >= 3'

[[segment]]
id = "lookers"
rule = 'count("view", within="7d") >= 5 and count("purchase", within="7d") == 0'
"""
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


def settled(statuses: list[dict[str, Any]], partitions: int) -> bool:
    """All partitions are owned by workers that are ready, have read all there is, and nobody waits to be encoded."""
    owned = {part["partition"]: part["lag_records"] for status in statuses for part in status.get("partitions", ())}
    ready = all(status and status["ready"] and not status["encode_queue_depth"] for status in statuses)
    return ready and len(owned) == partitions and not any(owned.values())
