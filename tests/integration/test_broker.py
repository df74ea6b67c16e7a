"""The embedded Apache Kafka and the administration of topics, on the real thing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from streams.kafka.admin import (
    AdminError,
    TopicMismatchError,
    create_topics,
    describe_topics,
    end_offsets,
    wait_for_topics,
)
from streams.kafka.broker import BrokerError, EmbeddedBroker, answers, fetch_jars
from streams.wire.topics import MAX_RECORD_BYTES, Topics, TopicSpec
from tests.conftest import REPOSITORY
from tests.helpers import wait_for

START_AND_SLEEP = """
import sys, time
from pathlib import Path
from streams.kafka.broker import EmbeddedBroker
broker = EmbeddedBroker(Path(sys.argv[1]), detached=sys.argv[2] == "detached").start()
print(broker.pid, flush=True)
time.sleep(600)
"""


def conf(broker: EmbeddedBroker) -> dict[str, str | int | float | bool]:
    return {"bootstrap.servers": broker.bootstrap}


def produce(producer: Producer, topic: str, values: list[bytes]) -> None:
    refused: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error)

    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=on_delivery)
    assert producer.flush(30) == 0
    assert refused == []


def read(broker: EmbeddedBroker, topic: str, isolation: str = "read_committed") -> list[bytes]:
    """All records of partition 0 up to its end, as a reader with this isolation level sees them."""
    consumer = Consumer(
        conf(broker)
        | {
            "group.id": "unused",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if (error := message.error()) is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                return values
            value = message.value()
            assert isinstance(value, bytes)
            values.append(value)
        raise AssertionError(f"no end of {topic} after 30 s")
    finally:
        consumer.close()


def processes_with(path: Path) -> list[psutil.Process]:
    """Processes whose command line names ``path``: Kafka and its keeper."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if str(path) in " ".join(process.info["cmdline"] or ())
    ]


def test_all_topics_are_created_once_with_their_configuration(broker: EmbeddedBroker, unique_prefix: str) -> None:
    specs = Topics("t", unique_prefix).specs(4)
    first = create_topics(conf(broker), specs, replication=1)
    second = create_topics(conf(broker), specs, replication=1)
    names = tuple(spec.name for spec in specs)
    assert (first.created, first.existing, first.warnings) == (names, (), ())
    assert (second.created, second.existing, second.warnings) == ((), names, ())
    described = describe_topics(conf(broker), names)
    assert {name: topic.partitions for name, topic in described.items()} == {s.name: s.partitions for s in specs}
    assert {topic.replication for topic in described.values()} == {1}
    events = described[Topics("t", unique_prefix).events]
    assert events.config["message.timestamp.type"] == "LogAppendTime"
    assert events.config["max.message.bytes"] == str(MAX_RECORD_BYTES)


def test_another_configuration_is_a_warning_and_stays_as_it_is(broker: EmbeddedBroker, unique_prefix: str) -> None:
    name = f"{unique_prefix}configured"
    create_topics(conf(broker), [TopicSpec(name, "", 1, {"retention.ms": "1000"})], replication=1)
    again = create_topics(conf(broker), [TopicSpec(name, "", 1, {"retention.ms": "2000"})], replication=3)
    assert again.warnings == (
        f"{name}: retention.ms is 1000, not 2000",
        f"{name}: replication is 1, not 3",
        f"{name}: min.insync.replicas is 1, not 2: what was acknowledged is lost with one broker",
    )
    assert describe_topics(conf(broker), [name])[name].config["retention.ms"] == "1000"


def test_another_number_of_partitions_is_an_error_and_creates_nothing(
    broker: EmbeddedBroker, unique_prefix: str
) -> None:
    kept, new = f"{unique_prefix}kept", f"{unique_prefix}new"
    create_topics(conf(broker), [TopicSpec(kept, "", 2)], replication=1)
    with pytest.raises(TopicMismatchError, match=f"{kept} has 2 partitions, not 3"):
        create_topics(conf(broker), [TopicSpec(new, "", 1), TopicSpec(kept, "", 3)], replication=1)
    assert set(describe_topics(conf(broker), [kept, new])) == {kept}


def test_a_refused_topic_and_a_missing_topic_are_named(broker: EmbeddedBroker, unique_prefix: str) -> None:
    with pytest.raises(AdminError, match=f"{unique_prefix}odd could not be created: .*no.such.setting"):
        create_topics(conf(broker), [TopicSpec(f"{unique_prefix}odd", "", 1, {"no.such.setting": "1"})], replication=1)
    with pytest.raises(AdminError, match=f"not ready after 0.2 s: {unique_prefix}never"):
        wait_for_topics(conf(broker), [f"{unique_prefix}never"], timeout=0.2)
    with pytest.raises(AdminError, match=f"no such topic: {unique_prefix}never"):
        end_offsets(conf(broker), [f"{unique_prefix}never"])


def test_a_committed_transaction_is_read_and_an_aborted_one_is_not(broker: EmbeddedBroker, unique_prefix: str) -> None:
    topic = Topics("t", unique_prefix).changes
    create_topics(conf(broker), Topics("t", unique_prefix).specs(4), replication=1)
    producer = Producer(conf(broker) | {"transactional.id": f"{unique_prefix}0"})
    producer.init_transactions(30)
    for values, end in (([b"a", b"b"], producer.commit_transaction), ([b"lost"], producer.abort_transaction)):
        producer.begin_transaction()
        produce(producer, topic, values)
        end(30)
    assert read(broker, topic) == [b"a", b"b"]
    assert read(broker, topic, "read_uncommitted") == [b"a", b"b", b"lost"]


def test_end_offsets_stop_before_an_open_transaction_when_read_committed(
    broker: EmbeddedBroker, unique_prefix: str
) -> None:
    topic = f"{unique_prefix}open"
    create_topics(conf(broker), [TopicSpec(topic, "", 2)], replication=1)
    producer = Producer(conf(broker) | {"transactional.id": f"{unique_prefix}0"})
    producer.init_transactions(30)
    producer.begin_transaction()
    produce(producer, topic, [b"a", b"b", b"c"])
    assert end_offsets(conf(broker), [topic], "read_committed") == {(topic, 0): 0, (topic, 1): 0}
    assert end_offsets(conf(broker), [topic], "read_uncommitted") == {(topic, 0): 3, (topic, 1): 0}
    producer.commit_transaction(30)
    # the commit marker takes an offset of its own
    wait_for(lambda: end_offsets(conf(broker), [topic])[topic, 0] == 4, 10, "the end offset to include the commit")


def test_a_record_of_ten_megabytes_passes_on_the_events_topic(broker: EmbeddedBroker, unique_prefix: str) -> None:
    topic = Topics("t", unique_prefix).events
    create_topics(conf(broker), Topics("t", unique_prefix).specs(4), replication=1)
    value = os.urandom(10 * 1024 * 1024)
    produce(Producer(conf(broker) | {"message.max.bytes": MAX_RECORD_BYTES}), topic, [value])
    assert read(broker, topic) == [value]


@pytest.mark.kafka
def test_data_survives_restart_and_kill_and_stop_leaves_no_process(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    with pytest.raises(BrokerError, match="no port"):
        _ = broker.bootstrap
    broker.start()
    try:
        address = broker.bootstrap
        with pytest.raises(BrokerError, match="already running"):
            broker.start()
        create_topics(conf(broker), [TopicSpec("kept", "", 1)], replication=1)
        producer = Producer(conf(broker) | {"acks": "all"})
        produce(producer, "kept", [b"before restart"])
        broker.restart()
        assert broker.bootstrap == address
        produce(producer, "kept", [b"before kill"])  # the same client finds the broker again
        assert read(broker, "kept") == [b"before restart", b"before kill"]
        broker.kill()
        assert not answers(address, 1.0)
        broker.start()
        assert read(broker, "kept") == [b"before restart", b"before kill"]
        assert psutil.pid_exists(broker.pid or 0)
    finally:
        broker.stop()
    assert broker.pid is None
    assert processes_with(tmp_path) == []
    broker.stop()  # harmless when stopped


@pytest.mark.kafka
@pytest.mark.parametrize("mode", ["attached", "detached"])
def test_a_killed_starter_leaves_a_broker_only_when_detached(tmp_path: Path, mode: str) -> None:
    command = [sys.executable, "-c", START_AND_SLEEP, str(tmp_path), mode]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        kafka = psutil.Process(int(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
    if mode == "attached":
        wait_for(lambda: not processes_with(tmp_path), 20, "the broker of a killed starter to end")
    else:
        with pytest.raises(psutil.TimeoutExpired):
            kafka.wait(2)
        kafka.kill()
        wait_for(lambda: not processes_with(tmp_path), 20, "the detached broker to end after kill")


@pytest.mark.kafka
def test_a_taken_port_is_an_error_with_the_tail_of_the_log(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        broker = EmbeddedBroker(tmp_path, port=holder.getsockname()[1])
        with pytest.raises(BrokerError, match=r"(?s)server\.log.*Address already in use"):
            broker.start()
    assert not broker.running
    assert processes_with(tmp_path) == []


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every download is sent to a closed port."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_network")
def test_a_refused_download_says_what_is_missing_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path / "jgo"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    with pytest.raises(BrokerError, match=r"could not fetch Apache Kafka \(.*kafka_2\.13:4\.1\.1.*") as caught:
        EmbeddedBroker(tmp_path / "data").start()
    message = str(caught.value)
    assert "What to do" in message
    assert str(tmp_path / "m2") in message
    assert len(message) < 1_200


def test_a_half_filled_cache_is_completed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = {jar.name for jar in fetch_jars()}  # from here on Maven's cache has all, and nothing is downloaded
    request.getfixturevalue("no_network")
    monkeypatch.setenv("JGO_CACHE_DIR", str(tmp_path))
    jars = {jar.name: jar for jar in fetch_jars()}
    assert set(jars) == whole
    torn = jars["kafka-clients-4.1.1.jar"]
    torn.unlink()  # not written in place: the file is a link to the one in Maven's cache
    torn.write_bytes(b"PK the beginning of an archive")
    assert {jar.name for jar in fetch_jars()} == whole
    assert zipfile.is_zipfile(torn)
