"""What changes when nothing happens, by the wall clock: on time, and exactly once although the worker is killed."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from streams.kafka.broker import EmbeddedBroker
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import Start, changes_of, send_events, wait_for

DEFINITIONS = """
[[segment]]
id = "cart"
rule = 'absent("purchase", after="click", wait="3s", within="6s")'
[[segment]]
id = "looking"
rule = 'count("view", within="4s") >= 1'
"""


class Subscriber:
    """Reads the changes as they come, with the time at which each arrived."""

    def __init__(self, broker: EmbeddedBroker, topics: Topics) -> None:
        self.arrived: list[tuple[dict[str, Any], float]] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": "subscriber",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.subscribe([topics.changes])

    def read(self, count: int, deadline: float) -> None:
        """Until ``count`` changes are there. Fails after ``deadline`` seconds."""
        until = time.monotonic() + deadline
        while len(self.arrived) < count:
            assert time.monotonic() < until, f"{len(self.arrived)} of {count} changes: {self.arrived}"
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None and (value := message.value()) is not None:
                self.arrived.append((json.loads(value), time.time()))

    def close(self) -> None:
        self._consumer.close()


def told(broker: EmbeddedBroker, topics: Topics) -> list[tuple[str, str, str, int]]:
    changes = changes_of(broker, topics)
    return [(each["segment"], each["change"], each["origin"], each["sequence"]) for each in changes]


@pytest.fixture
def segments_file(tmp_path: Path) -> str:
    file = tmp_path / "segments.toml"
    file.write_text(DEFINITIONS)
    return str(file)


def test_absence_and_expiry_are_delivered_within_a_second_of_their_time_with_no_event_arriving(
    broker: EmbeddedBroker, topics: Topics, start: Start, segments_file: str
) -> None:
    subscriber = Subscriber(broker, topics)
    start(segments_file=segments_file).wait_ready()
    began = time.time()
    send_events(broker, topics, Event("u", "click", began, "c"), Event("v", "view", began, "v"))
    subscriber.read(4, 30.0)
    subscriber.close()

    due = {
        ("u", "entered"): began + 3.0,
        ("u", "exited"): began + 6.0,
        ("v", "exited"): float(int(began)) + 1.0 + 4.0,  # its bucket of a second ends, then the window
    }
    found = {(change["user"], change["change"]): (change, arrived) for change, arrived in subscriber.arrived}
    assert found.keys() == {*due, ("v", "entered")}
    for key, moment in due.items():
        change, arrived = found[key]
        assert change["origin"] == "expiry"
        assert change["event_time"] == pytest.approx(moment, abs=0.001)
        assert moment <= change["processed_at"] <= moment + 1.0
        assert arrived <= moment + 1.0


@pytest.mark.parametrize("step", ["3.produced", "3-4"])
def test_a_worker_killed_in_the_timer_turn_tells_it_exactly_once(
    broker: EmbeddedBroker,
    topics: Topics,
    start: Start,
    segments_file: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    file = Path(segments_file)
    file.write_text(DEFINITIONS.replace('"6s"', '"1h"'))
    monkeypatch.setenv("SEGMENTS_TEST_KILL_AT", f"timers.{step}")
    first = start(segments_file=segments_file)
    first.wait_ready()
    send_events(broker, topics, Event("u", "click", time.time(), "c"))
    wait_for(lambda: not first.running, 30.0, "the worker kills itself in the timer turn")
    assert first.exit_status == -signal.SIGKILL
    before = told(broker, topics)
    assert before == ([("cart", "entered", "expiry", 1)] if step == "3-4" else [])
    monkeypatch.delenv("SEGMENTS_TEST_KILL_AT")

    second = start(segments_file=segments_file)
    second.wait(lambda status: status["changes_total"] >= 1, 120.0, "through the timer")
    assert told(broker, topics) == [("cart", "entered", "expiry", 1)]
    send_events(broker, topics, Event("u", "purchase", time.time(), "p"))
    second.wait(lambda status: status["changes_total"] >= 2, 120.0, "through the purchase")
    second.stop()
    assert told(broker, topics) == [("cart", "entered", "expiry", 1), ("cart", "exited", "event", 2)]


@pytest.mark.parametrize("step", ["3.produced", "3-4"])
def test_an_event_ahead_of_the_clock_counts_once_at_its_time_although_the_worker_is_killed_just_then(
    broker: EmbeddedBroker,
    topics: Topics,
    start: Start,
    segments_file: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    Path(segments_file).write_text(DEFINITIONS.replace('"4s"', '"1h"'))
    monkeypatch.setenv("SEGMENTS_TEST_KILL_AT", f"timers.{step}")
    first = start(segments_file=segments_file)
    first.wait_ready()
    due = time.time() + 8.0
    early = Event("u", "view", due, "early")
    send_events(broker, topics, early, early, Event("v", "view", time.time(), "now"))
    wait_for(lambda: not first.running, 60.0, "the worker kills itself in the turn in which the event's time comes")
    assert first.exit_status == -signal.SIGKILL
    assert time.time() >= due
    before = [each["user"] for each in changes_of(broker, topics)]
    assert before.count("v") == 1
    assert before.count("u") == (step == "3-4")
    monkeypatch.delenv("SEGMENTS_TEST_KILL_AT")

    second = start(segments_file=segments_file)
    second.wait(lambda status: status["events_total"] == 2, 120.0, "through with the early one")
    second.stop()
    (change,) = (each for each in changes_of(broker, topics) if each["user"] == "u")
    assert (change["segment"], change["change"], change["origin"]) == ("looking", "entered", "event")
    assert change["event_time"] == pytest.approx(due, abs=0.001)
    assert change["processed_at"] >= due
