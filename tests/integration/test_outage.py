"""Kafka is away for some seconds: what the worker says of it, in its log and on its page."""

from __future__ import annotations

import time
from pathlib import Path

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import free_port
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.forked import ForkedWorker, ForkServer
from tests.helpers import APP, RULES, send_events

AWAY_SECONDS = 12.0


def test_an_outage_is_a_handful_of_lines_and_the_lag_is_as_old_as_it_is(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    topics, file = Topics(APP), tmp_path / "segments.toml"
    file.write_text(RULES)
    with EmbeddedBroker(tmp_path / "kafka") as broker:
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(2), 1)
        worker = ForkedWorker(
            fork_server, free_port(), tmp_path / "worker.log", app=APP, bootstrap=broker.bootstrap,
            data_dir=str(tmp_path / "state"), session_timeout="3", segments_file=str(file), standby="true",
        )  # fmt: skip
        try:
            send_events(broker, topics, Event(user="ada", kind="click", time=time.time(), id="one"))
            worker.wait_idle(1)
            before = len(worker.log_path.read_text().splitlines())
            broker.kill()
            gone = time.time()
            away = worker.wait(lambda status: status["kafka_silent_since"] > 0, 30.0, "aware of the outage")
            assert away["state"] == "waits for Kafka"
            assert gone - 10.0 < away["kafka_silent_since"] < gone + 10.0
            worker.wait(lambda status: not status["ready"], 30.0, "not ready")
            time.sleep(max(0.0, AWAY_SECONDS - (time.time() - gone)))
            for partition in worker.status()["partitions"]:
                assert partition["lag_as_of"] < gone + 5.0, "an old figure is not called a fresh one"
            assert worker.metrics()["segments_kafka_silent_seconds"] > 5.0
            broker.start()
            worker.wait(lambda status: status["ready"] and not status["kafka_silent_since"], 90.0, "ready again")
            send_events(broker, topics, Event(user="ada", kind="click", time=time.time(), id="two"))
            worker.wait_idle(2)
        finally:
            worker.kill()
        lines = worker.log_path.read_text().splitlines()[before:]
    told = "\n".join(lines)
    assert "Kafka does not answer since" in told
    assert "Kafka answers again after" in told
    assert len(lines) <= 20, told
