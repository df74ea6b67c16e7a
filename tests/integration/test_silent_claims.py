"""Kafka falls silent while partitions are claimed: they are claimed anew when it answers, and the worker goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import free_port
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.forked import ForkedWorker, ForkServer
from tests.helpers import APP, RULES, send_events, wait_for
from tests.pausing import is_paused, paused

PARTITIONS = 4
#: for longer than the broker's lease: it comes back with new epochs of all leaders
SILENT_SECONDS = 5.0


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka of these tests alone, which may be stopped."""
    with EmbeddedBroker(tmp_path_factory.mktemp("own-kafka")) as running:
        yield running


@pytest.mark.parametrize("step", ["open.fenced:2", "open.restored:1", "open.claimed:1"])
def test_a_broker_that_is_silent_while_partitions_are_claimed_costs_time_and_no_worker(
    fork_server: ForkServer, own_broker: EmbeddedBroker, tmp_path: Path, step: str
) -> None:
    topics, file = Topics(APP, f"{step.replace(':', '-')}-"), tmp_path / "segments.toml"
    file.write_text(RULES)
    create_topics({"bootstrap.servers": own_broker.bootstrap}, topics.specs(PARTITIONS), 1)
    send_events(own_broker, topics, *(Event(f"u{each}", "click", time.time(), f"c{each}") for each in range(20)))
    worker = ForkedWorker(
        fork_server, free_port(), tmp_path / "worker.log", app=APP, bootstrap=own_broker.bootstrap,
        topic_prefix=topics.prefix, data_dir=str(tmp_path / "state"), session_timeout="10", segments_file=str(file),
        test_stop_at=step,
    )  # fmt: skip
    try:
        wait_for(lambda: is_paused(worker.pid), 60.0, f"the worker waits at {step}")
        with paused(own_broker.pid):
            worker.signal(signal.SIGCONT)
            time.sleep(SILENT_SECONDS)  # the silence itself
        worker.wait_idle(20)
        assert worker.running, worker.tail()
    finally:
        worker.kill()
