"""The command line against a real Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from streams.kafka.admin import create_topics, describe_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.agreement import Memberships
from streams.tools.cli import app
from streams.tools.reader import TopicReader, ends_of
from streams.tools.terminal import CommandError
from streams.tools.workers import WorkerProcess
from streams.wire.emit import Change, MembershipNow, Reason, UserSegments, change_value, membership_value
from streams.wire.events import Event, Label, encode_event
from streams.wire.topics import Topics
from tests.helpers import wait_for

Conf = dict[str, str | int | float | bool]


@pytest.fixture
def conf(broker: EmbeddedBroker) -> Conf:
    return {"bootstrap.servers": broker.bootstrap}


@pytest.fixture
def topics(conf: Conf, unique_prefix: str) -> Topics:
    """All topics, fresh, in two partitions."""
    names = Topics("segments", unique_prefix)
    create_topics(conf, names.specs(2), 1)
    return names


def run(broker: EmbeddedBroker, prefix: str, *arguments: str) -> Result:
    environment = {"COLUMNS": "200", "SEGMENTS_BOOTSTRAP": broker.bootstrap, "SEGMENTS_TOPIC_PREFIX": prefix}
    return CliRunner(env=environment).invoke(app, arguments)


@contextmanager
def started(*arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, with pipes; it is gone afterwards, whatever happened."""
    environment = os.environ | {f"SEGMENTS_{name.upper()}": value for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "streams.tools.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def change(user: str, segment: str, sequence: int) -> bytes:
    return change_value(
        Change(user, segment, "entered", 1.0, sequence, 1, None, None, "event", Reason("because"), 5.0, 6.0)
    )


def publish(conf: Conf, topic: str, values: list[bytes], commit: bool = True) -> None:
    """In one transaction, as a worker does."""
    producer = Producer({**conf, "transactional.id": f"test-{topic}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, msgspec.json.decode(value)["user"].encode())
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


# topics


def test_topics_are_created_once_and_differences_are_told(broker: EmbeddedBroker, unique_prefix: str) -> None:
    names = Topics("segments", unique_prefix)
    first = run(broker, unique_prefix, "topics", "--partitions", "3")
    assert first.exit_code == 0, first.output
    found = describe_topics({"bootstrap.servers": broker.bootstrap}, [spec.name for spec in names.specs(3)])
    assert {name: topic.partitions for name, topic in found.items()} == {
        spec.name: spec.partitions for spec in names.specs(3)
    }
    assert first.stdout.count("created") == len(found)
    again = run(broker, unique_prefix, "topics", "--partitions", "3")
    assert again.stdout.count("exists") == len(found)
    assert "warning" not in again.stdout
    replicas = run(broker, unique_prefix, "topics", "--partitions", "3", "--replication", "2")
    assert "warning: " in replicas.stdout
    assert "replication is 1, not 2" in replicas.stdout
    other = run(broker, unique_prefix, "topics", "--partitions", "5")
    assert other.exit_code == 1
    assert "has 3 partitions, not 5" in other.stderr


def test_no_kafka_is_told_with_its_address_and_what_to_do(broker: EmbeddedBroker, unique_prefix: str) -> None:
    for command in (["topics"], ["watch"]):
        result = run(broker, unique_prefix, *command, "--bootstrap", "127.0.0.1:1")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: no Kafka answers at 127.0.0.1:1 (")
        assert "Connection refused" in result.stderr
        assert result.stderr.endswith("; `segments broker` starts one on this machine\n")


# replay


def test_a_file_is_replayed_and_summed_up(broker: EmbeddedBroker, topics: Topics, conf: Conf, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    lines = [encode_event(Event("ann", "view", 5.0, f"e{n}")) for n in range(40)]
    lines += [encode_event(Label("ann", "taste-food", True, 6.0)), b"", b"broken"]
    path.write_bytes(b"\n".join(lines))
    result = run(broker, topics.prefix, "replay", "jsonl", str(path))
    assert result.exit_code == 0, result.output
    told = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert told[f"sent to {topics.events}"] == "41"
    assert told[f"sent to {topics.labels}"] == "1"
    assert told["skipped: blank line"] == "1"
    assert sum(ends_of(conf, topics.events).values()) == 41


def test_a_town_with_a_start_is_the_same_each_time(broker: EmbeddedBroker, topics: Topics, conf: Conf) -> None:
    arguments = ["replay", "town", "--events", "300", "--people", "20", "--start", "2026-01-01T00:00:00Z"]
    for _ in range(2):
        assert run(broker, topics.prefix, *arguments).exit_code == 0
    with TopicReader(conf, topics.events, from_start=True) as reader:
        values = sorted(record.value() or b"" for record in reader.read_to_end())
    assert values[::2] == values[1::2]
    times = [msgspec.json.decode(value, type=Event).time for value in values]
    assert 1_767_225_600 <= min(times) <= max(times) < 1_767_225_600 + 3.01


def test_a_replay_that_is_interrupted_tells_what_was_sent(broker: EmbeddedBroker, topics: Topics, conf: Conf) -> None:
    arguments = ["replay", "town", "--events", "1000000", "--rate", "200"]
    with started(*arguments, bootstrap=broker.bootstrap, topic_prefix=topics.prefix) as process:
        wait_for(lambda: sum(ends_of(conf, topics.events).values()) > 10, 30, "the first records")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped before its end" in out
    told = dict(line.rsplit(maxsplit=1) for line in out.splitlines() if line.startswith("sent to"))
    assert int(told[f"sent to {topics.events}"]) == sum(ends_of(conf, topics.events).values())


def test_a_replay_without_topics_says_what_to_do(broker: EmbeddedBroker, unique_prefix: str) -> None:
    result = run(broker, unique_prefix, "replay", "town", "--events", "1")
    assert result.exit_code == 1
    assert f"no such topic: {unique_prefix}user-events" in result.stderr
    assert "segments topics" in result.stderr


# watch


def test_watch_shows_committed_changes_from_the_start(broker: EmbeddedBroker, topics: Topics, conf: Conf) -> None:
    committed = [change("ann", "cooks", 1), change("bob", "keen", 1), change("ann", "keen", 2)]
    publish(conf, topics.changes, committed)
    publish(conf, topics.changes, [change("ann", "aborted", 3)], commit=False)
    publish(conf, topics.changes, [change("ann", "travels", 3)])
    result = run(broker, topics.prefix, "watch", "--from-start", "--json", "--user", "ann", "--max", "3")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["segment"] for line in result.stdout.splitlines()] == ["cooks", "keen", "travels"]
    one = run(broker, topics.prefix, "watch", "--from-start", "--segment", "keen", "--user", "bob", "--max", "1")
    assert one.stdout.strip().endswith("+ bob entered keen  because")


def test_watch_follows_new_changes_only_and_ends_in_order(broker: EmbeddedBroker, topics: Topics, conf: Conf) -> None:
    publish(conf, topics.changes, [change("ann", "old", 1)])
    with started("watch", "--json", bootstrap=broker.bootstrap, topic_prefix=topics.prefix) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "watching" in process.stderr.readline()
        publish(conf, topics.changes, [change("ann", "new", 2)])
        assert json.loads(process.stdout.readline())["segment"] == "new"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_record_that_is_no_change_does_not_end_watch(broker: EmbeddedBroker, topics: Topics, conf: Conf) -> None:
    publish(conf, topics.changes, [b'{"user": "ann", "nonsense": 1}', change("ann", "cooks", 1)])
    result = run(broker, topics.prefix, "watch", "--from-start", "--max", "1")
    assert "is not a change" in result.stderr
    assert "ann entered cooks" in result.stdout


def test_watch_without_its_topic_says_so(broker: EmbeddedBroker, unique_prefix: str) -> None:
    result = run(broker, unique_prefix, "watch")
    assert result.exit_code == 1
    assert f"no such topic: {unique_prefix}segment-changes" in result.stderr


# readers


def test_memberships_are_the_newest_committed_of_each_user(topics: Topics, conf: Conf) -> None:
    def snapshot(user: str, segment: str, sequence: int) -> bytes:
        return membership_value(UserSegments(user, {segment: MembershipNow(0.0, 1.0, 1)}, sequence, 0.0))

    memberships = Memberships(conf, topics.memberships)
    assert memberships.now() == {}
    publish(conf, topics.memberships, [snapshot("ann", "taste-food", 1), snapshot("bob", "taste-sport", 1)])
    publish(conf, topics.memberships, [snapshot("ann", "taste-travel", 2)])
    publish(conf, topics.memberships, [snapshot("ann", "taste-value", 3)], commit=False)
    found = memberships.now()
    assert {user: list(each.segments) for user, each in found.items()} == {
        "ann": ["taste-travel"],
        "bob": ["taste-sport"],
    }
    memberships.close()


def test_a_reader_says_when_the_brokers_are_gone_and_goes_on_when_they_are_back(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as own:
        conf: Conf = {"bootstrap.servers": own.bootstrap, "log_level": 0}
        names = Topics("segments")
        create_topics(conf, [spec for spec in names.specs(1) if spec.name == names.changes], 1)
        with TopicReader(conf, names.changes, from_start=True) as reader:
            own.kill()

            def troubled() -> str:
                reader.read()
                return reader.trouble

            wait_for(troubled, 30, "the reader to notice")
            own.start()
            publish(conf, names.changes, [change("ann", "cooks", 1)])
            wait_for(reader.read, 60, "the record")
            assert reader.trouble == ""


# broker and worker


def test_broker_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    with started("broker", "--port", "0", "--data-dir", str(tmp_path / "kafka")) as process:
        assert process.stdout is not None
        assert "starting" in process.stdout.readline()
        name, address = process.stdout.readline().split()
        assert name == "bootstrap"
        assert describe_topics({"bootstrap.servers": address}, ["none"]) == {}
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
    assert process.returncode == 0


def test_a_worker_without_topics_says_what_to_do_and_its_starter_notices(
    broker: EmbeddedBroker, unique_prefix: str, tmp_path: Path
) -> None:
    settings = {"bootstrap": broker.bootstrap, "topic_prefix": unique_prefix, "data_dir": str(tmp_path)}
    worker = WorkerProcess(settings, tmp_path / "worker.log")

    def ended() -> str:
        try:
            worker.check()
        except CommandError as error:
            return str(error)
        return ""

    message = wait_for(ended, 90, "the worker to end")
    worker.stop()
    assert "exit status 1" in message
    last = message.splitlines()[-1].strip()
    assert last.startswith("error: no such topic: ")
    assert "segments topics" in last
    assert "Traceback" not in message
