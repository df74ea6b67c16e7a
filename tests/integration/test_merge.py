"""Records in wrong partitions and anonymous users who become known, in the whole service on a real Kafka."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.kafka.broker import EmbeddedBroker
from streams.tools.lookup import WorkerClient
from streams.tools.town import Town
from streams.wire.events import Event, encode_event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, changes_of, send_events, wait_for
from tests.verifier import read_all, verify

#: at home in different partitions of two
KNOWN, ANONYMOUS = "known", "anon-3"
SEGMENTS = """
[[segment]]
id = "keen"
rule = 'count("view", within="7d") >= 3'
[[segment]]
id = "looker"
rule = 'count("view", within="7d") >= 1 and count("purchase", within="7d") == 0'
"""


@pytest.fixture
def segments(tmp_path: Path) -> str:
    file = tmp_path / "segments.toml"
    file.write_text(SEGMENTS)
    return str(file)


def told(broker: EmbeddedBroker, topics: Topics, user: str) -> list[tuple[str, str, str]]:
    changes = changes_of(broker, topics)
    return [(each["segment"], each["change"], each["origin"]) for each in changes if each["user"] == user]


def test_records_of_a_producer_with_another_partitioner_count_once_and_it_is_told(
    broker: EmbeddedBroker, topics: Topics, start: Start, segments: str
) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": "consistent"})
    events = [
        event for event in Town(21, 40).events(3_000, time.time() - 600.0, 100.0)
        if isinstance(event, Event) and event.kind != "comment"
    ]  # fmt: skip
    for event in events:
        producer.produce(topics.events, encode_event(event), event.user.encode())
    producer.produce(topics.reroute, b"whose is this?", b"key", 1)
    assert producer.flush(30.0) == 0
    worker = start(segments_file=segments)
    status = worker.wait_idle(len(events))
    assert status["events_total"] == len(events)
    misrouted = worker.metrics()["segments_misrouted_total"]
    assert len(events) * 0.2 < misrouted < len(events) * 0.8
    warnings = [line for line in worker.log_path.read_text().splitlines() if "partitioner=murmur2_random" in line]
    assert 1 <= len(warnings) <= 2, "one of each partition"
    worker.stop()
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []
    (letter,) = read_all(broker.bootstrap, topics.dead_letters)
    headers = dict(letter.headers())
    assert (letter.value(), headers["reason-code"], headers["origin-topic"], headers["origin-partition"]) == (
        b"whose is this?", b"broken-internal", topics.reroute.encode(), b"1"
    )  # fmt: skip


@pytest.mark.parametrize(("step", "moved"), [("3.produced:2", False), ("4-5:2", True)])
def test_an_anonymous_user_becomes_known_once_whatever_dies_meanwhile(
    broker: EmbeddedBroker,
    topics: Topics,
    start: Start,
    segments: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    moved: bool,
) -> None:
    now = time.time() - 60.0
    views = [Event(user=ANONYMOUS, kind="view", time=now + number, id=f"a{number}") for number in range(3)]
    bought = Event(user=ANONYMOUS, kind="purchase", time=now + 3, id="a3", amount=5.0)
    first = start(segments_file=segments)
    first.wait_ready()
    send_events(broker, topics, *views, bought, Event(user=KNOWN, kind="view", time=now + 4, id="k0"))
    first.wait_idle(5)
    first.stop()

    # of the turns that follow, the second moves the state out and the third takes it in
    monkeypatch.setenv("SEGMENTS_TEST_KILL_AT", step)
    dying = start(segments_file=segments)
    dying.wait_ready()
    send_events(broker, topics, Event(user=KNOWN, kind="identify", time=now + 5, id="login", target=ANONYMOUS))
    wait_for(lambda: not dying.running, 60.0, "the worker kills itself")
    assert dying.exit_status == -signal.SIGKILL
    monkeypatch.delenv("SEGMENTS_TEST_KILL_AT")
    assert (told(broker, topics, ANONYMOUS)[-1] == ("keen", "exited", "merge")) is moved
    assert told(broker, topics, KNOWN) == [("looker", "entered", "event")]

    last = start(segments_file=segments)
    last.wait_ready()
    send_events(broker, topics, views[0], Event(user=ANONYMOUS, kind="view", time=now + 6, id="late"))
    last.wait_idle(7)
    view = json.loads(WorkerClient(f"http://127.0.0.1:{last.port}").user_json(ANONYMOUS))
    assert view["merged_into"] == KNOWN
    last.stop()

    assert told(broker, topics, ANONYMOUS) == [
        ("looker", "entered", "event"),
        ("keen", "entered", "event"),
        ("looker", "exited", "event"),
        ("keen", "exited", "merge"),
    ]
    assert told(broker, topics, KNOWN) == [
        ("looker", "entered", "event"),
        ("keen", "entered", "merge"),
        ("looker", "exited", "merge"),
    ]
    found = verify(broker.bootstrap, APP, topics.prefix)
    assert found.differences == []
    assert (found.users, found.distinct_events) == (1, 7)
