"""Helpers for tests with real parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks.harness import produce
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker
from streams.wire.events import Event, encode_event
from streams.wire.topics import Topics
from tests.verifier import read_all

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


def send_events(broker: EmbeddedBroker, topics: Topics, *events: Event, deadline_s: float = 30.0) -> None:
    """Send events to their users' partitions; all are written when this returns, ``deadline_s`` after the last one."""
    records = ((event.user.encode(), encode_event(event)) for event in events)
    produce(broker.bootstrap, topics.events, records, deadline_s)


def changes_of(broker: EmbeddedBroker, topics: Topics) -> list[dict[str, Any]]:
    """All committed changes, partition by partition."""
    return [json.loads(message.value()) for message in read_all(broker.bootstrap, topics.changes)]


def settled(statuses: list[dict[str, Any]], partitions: int) -> bool:
    """All partitions are owned by workers that are ready, have read all there is, and nobody waits to be encoded."""
    owned = {part["partition"]: part["lag_records"] for status in statuses for part in status.get("partitions", ())}
    ready = all(status and status["ready"] and not status["encode_queue_depth"] for status in statuses)
    return ready and len(owned) == partitions and all(lag == 0 for lag in owned.values())
