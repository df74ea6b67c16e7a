"""Kafka slow or away, the encoder slow: lag grows, memory stays bounded, nothing is lost, work resumes by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker, free_port
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, send_events, wait_for
from tests.pausing import paused
from tests.verifier import read_all, verify

RULES = '[[segment]]\nid = "clickers"\nrule = \'count("click", within="7d") >= 1\'\n'
WORDS = '[[segment]]\nid = "cooks"\nwords = "people who love cooking and restaurants"\n'


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A Kafka of this test alone, which may be stopped."""
    with EmbeddedBroker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "segments.toml"
    file.write_text(RULES)
    return str(file)


def clicks(count: int, users: int, tag: str) -> list[Event]:
    now = time.time() - 60.0
    return [
        Event(user=f"u{number % users}", kind="click", time=now + number / count, id=f"{tag}{number}", category="food")
        for number in range(count)
    ]


def test_a_broker_that_stops_answering_under_load_only_delays(
    own_broker: EmbeddedBroker, tmp_path: Path, rules: str
) -> None:
    """SIGSTOP for longer than the session timeout, the transaction's patience and the lag monitor's; then SIGCONT."""
    topics = Topics(APP, "stopped-")
    create_topics({"bootstrap.servers": own_broker.bootstrap}, topics.specs(2), 1)
    settings = {
        "app": APP, "bootstrap": own_broker.bootstrap, "topic_prefix": topics.prefix, "worker_name": "one",
        "data_dir": str(tmp_path / "state"), "segments_file": rules, "session_timeout": "3", "batch_records": "50",
        "lag_interval": "0.1",
    }  # fmt: skip
    worker = ChildWorker(free_port(), tmp_path / "one.log", **settings)
    try:
        worker.wait_ready()
        first, second = clicks(60_000, 500, "a"), clicks(2_000, 500, "b")  # seconds of work in batches of 50
        send_events(own_broker, topics, *first, deadline_s=60.0)
        worker.wait(lambda status: status["events_total"] > 1_000 and _behind(status) > 10_000, 60.0, "under load")
        before = psutil.Process(worker.pid).memory_info().rss
        with paused(own_broker.pid):
            silent = worker.wait(lambda status: not status["ready"], 60.0, "not ready")
            assert _behind(silent) > 0  # the last known end stays: a Kafka that hangs does not look like no lag
            assert psutil.Process(worker.pid).memory_info().rss < before + 200 * 2**20
        send_events(own_broker, topics, *second, deadline_s=60.0)
        if not _gets_through(worker, len(first) + len(second)):
            assert "partition" in worker.tail() or "Kafka" in worker.tail()
            worker.stop()
            worker = ChildWorker(free_port(), tmp_path / "two.log", **settings)  # as a supervisor would
            worker.wait_idle(len(first) + len(second))
        worker.stop()
        found = verify(own_broker.bootstrap, APP, topics.prefix)
        assert found.differences == []
        assert found.distinct_events == len(first) + len(second)
    finally:
        worker.kill()


def _behind(status: dict[str, Any]) -> int:
    return sum(each["lag_records"] or 0 for each in status["partitions"])


def _gets_through(worker: ChildWorker, events: int) -> bool:
    """Whether it counts them all; False when it ends instead."""

    def done() -> str:
        if not worker.running:
            return "ended"
        status = worker.status()
        through = status and status["events_total"] >= events and status["ready"]
        return "through" if through and not _behind(status) else ""

    return wait_for(done, 150.0, "through or ended", interval_s=0.25) == "through"


def test_a_slow_encoder_delays_no_click_and_every_text_is_encoded_once(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "both.toml"
    file.write_text(RULES + WORDS)
    monkeypatch.setenv("SEGMENTS_TEST_SLOW_ENCODER", "1.5")
    worker = start(segments_file=str(file), encode_batch="8")
    worker.wait_ready()
    now = time.time()
    comments = [
        Event(
            user=f"cook{number}",
            kind="comment",
            time=now,
            id=f"c{number}",
            text=f"I love to cook pasta, recipe {number}",
        )
        for number in range(64)
    ]
    send_events(broker, topics, *comments, deadline_s=60.0)
    worker.wait(lambda status: status["encode_queue_depth"] >= 24, 30.0, "behind with encoding")
    fresh = clicks(50, 50, "fresh")
    send_events(broker, topics, *fresh, deadline_s=60.0)
    status = worker.wait(lambda status: status["changes_total"] >= 50, 30.0, "through with the clicks")
    assert status["encode_queue_depth"] >= 8  # the texts still wait
    assert status["latency"]["fold"]["p99"] < 1.5
    wait_for(lambda: worker.metrics()["segments_encode_queue_age_seconds"] > 2.0, 10.0, "the metrics say so")
    assert worker.metrics()["segments_encode_queue_depth"] >= 8

    worker.wait_idle(len(comments) + len(fresh))
    assert worker.metrics()["segments_encoded_texts_total"] == len(comments)
    worker.stop()
    cooks = [message.key() for message in read_all(broker.bootstrap, topics.changes) if message.key()[:4] == b"cook"]
    assert sorted(cooks) == sorted(event.user.encode() for event in comments)
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []
