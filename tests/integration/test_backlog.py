"""A worker that comes back to a backlog: what waits in Kafka is known before timers speak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.harness import produce
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.wire.events import Event, encode_event
from streams.wire.topics import Topics
from tests.conftest import starting
from tests.forked import ForkServer
from tests.helpers import APP, Start, changes_of
from tests.pausing import paused

PARTITIONS = 8
USERS = 400
#: of each partition; in all twice what one answer to a fetch holds (50 MB)
BACKLOG_BYTES = 12_000_000
RECORD_BYTES = 8_000
RECORDS = PARTITIONS * (BACKLOG_BYTES // RECORD_BYTES)
WAIT = 20.0
DEFINITIONS = f"""
[[segment]]
id = "cart"
rule = 'absent("purchase", after="click", wait="{WAIT:.0f}s", within="1h")'
"""


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A Kafka of this test alone, which may be stopped."""
    with EmbeddedBroker(tmp_path / "kafka") as running:
        yield running


@pytest.fixture
def start_here(fork_server: ForkServer, own_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Start]:
    file = tmp_path / "segments.toml"
    file.write_text(DEFINITIONS)
    settings = {
        "app": APP, "bootstrap": own_broker.bootstrap, "data_dir": str(tmp_path / "state"), "segments_file": str(file),
        "session_timeout": "10",
    }  # fmt: skip
    with starting(fork_server, settings, tmp_path) as begin:
        yield begin


def backlog(now: float) -> Iterator[tuple[bytes, bytes]]:
    """Views of other users, large ones, in all partitions alike."""
    others = {partition_of(f"other-{number}", PARTITIONS): f"other-{number}" for number in range(PARTITIONS * 50)}
    padding = b',"note":"' + b"x" * RECORD_BYTES + b'"}'
    for number in range(RECORDS // PARTITIONS):
        for user in others.values():
            event = Event(user, "view", now, f"{user}-{number}")
            yield user.encode(), encode_event(event)[:-1] + padding


def test_who_bought_before_the_wait_was_over_never_enters_however_long_kafka_keeps_the_purchase(
    own_broker: EmbeddedBroker, start_here: Start
) -> None:
    topics = Topics(APP)
    create_topics({"bootstrap.servers": own_broker.bootstrap}, topics.specs(PARTITIONS), 1)
    users = [f"u{number}" for number in range(USERS)]
    first = start_here()
    first.wait_ready()
    began = time.time()
    clicks = ((user.encode(), encode_event(Event(user, "click", began, f"c-{user}"))) for user in users)
    produce(own_broker.bootstrap, topics.events, clicks, 30.0)
    first.wait(lambda status: status["events_total"] >= USERS, 120.0, "through with the clicks")
    first.stop()

    produce(own_broker.bootstrap, topics.events, backlog(time.time()), 60.0)
    now = time.time()
    purchases = ((user.encode(), encode_event(Event(user, "purchase", now, f"p-{user}"))) for user in users)
    produce(own_broker.bootstrap, topics.events, purchases, 30.0)
    bought = time.time()
    assert bought < began + WAIT, "the purchases came too late: this machine is too slow for the test"
    time.sleep(max(0.0, began + WAIT - bought))

    second = start_here()
    second.wait(lambda status: status["events_total"] > USERS, 120.0, "at work")
    with paused(own_broker.pid):
        time.sleep(3.0)  # the silence itself
    second.wait_idle(2 * USERS + RECORDS)
    second.stop()
    assert changes_of(own_broker, topics) == []
