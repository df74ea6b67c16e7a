"""Somebody is erased: the bytes of the id are gone from every file, and no crash does that twice or by halves."""

from __future__ import annotations

import json
import secrets
import signal
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, but the package has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from typer.testing import CliRunner

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.tools.child import child_worker, free_port
from streams.tools.cli import app
from streams.wire.events import GROUP_KINDS, Event, Kind, Label, encode_event
from streams.wire.topics import Topics, TopicSpec
from tests.helpers import APP, Start, changes_of, wait_for
from tests.verifier import read_all

SEGMENTS = """
[[segment]]
id = "active"
rule = 'count("view", within="30d") >= 1'

[[segment]]
id = "buyers"
rule = 'count("purchase", within="30d") >= 1'

[[segment]]
id = "taste"
learned = "tastes"
"""
THEIRS: tuple[Kind, ...] = ("follow", "unfollow", "view")
SECRET = "a-secret-of-the-installation"
#: the broker rolls, deletes and compacts within a second where a topic's configuration lets it
QUICK = {
    "log.cleaner.backoff.ms": "100",
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.index.size.max.bytes": "65536",
}
PLAIN = {"compression.type": "uncompressed", "file.delete.delay.ms": "100"}
SHORT = {"segment.ms": "500", "retention.ms": "1000"}
COMPACT = {
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "100",
    "max.compaction.lag.ms": "500",
}


def send(bootstrap: str, topic: str, values: Iterable[tuple[str, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for key, value in values:
        producer.produce(topic, value, key.encode())
    assert producer.flush(30.0) == 0


def send_events(bootstrap: str, topics: Topics, events: Iterable[Event]) -> None:
    send(bootstrap, topics.events, [(event.user, encode_event(event)) for event in events])


def alter(bootstrap: str, topic: str, config: dict[str, str]) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(20.0)


def files_with(user: str, *roots: Path) -> list[str]:
    """Files in which eight bytes of the id follow each other: a compressor or a shared key prefix may take the rest."""
    parts = [user[at : at + 8].encode() for at in range(0, len(user) - 7, 8)]
    found = []
    for path in (path for root in roots for path in root.rglob("*") if path.is_file()):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # deleted by its owner meanwhile
        if any(part in data for part in parts):
            found.append(str(path))
    return sorted(found)


def erasure(bootstrap: str, topics: Topics, user: str) -> tuple[int, dict[str, Any]]:
    """Exit status and answer of ``segments erasure``."""
    environment = {
        "SEGMENTS_BOOTSTRAP": bootstrap,
        "SEGMENTS_APP": APP,
        "SEGMENTS_TOPIC_PREFIX": topics.prefix,
        "SEGMENTS_ERASURE_SECRET": SECRET,
    }
    result = CliRunner(env=environment).invoke(app, ["erasure", user, "--json"])
    return result.exit_code, json.loads(result.stdout)


def two_friends() -> list[str]:
    """One in each of two partitions."""
    names = [f"friend-{number}" for number in range(99)]
    return [next(name for name in names if partition_of(name, 2) == partition) for partition in (0, 1)]


def life_of(user: str, friends: list[str], now: float) -> list[Event]:
    """Events of all kinds, whose ids and texts name the user."""
    events = [
        Event(
            user=user,
            kind=kind,
            time=now + place,
            id=f"{user}-{kind}",
            item="thing",
            category="things",
            text=f"I am {user} and like to cook" if kind == "comment" else "",
            target={"follow": friends[0], "unfollow": friends[1]}.get(kind, f"anonymous-{user}"),
            group="cooks" if kind in GROUP_KINDS else "",
        )
        for place, kind in enumerate(kind for kind in get_args(Kind) if kind != "delete")
    ]
    again = [Event(user=user, kind="follow", time=now + 20, id=f"{user}-{each}", target=each) for each in friends]
    return events + again


def test_after_a_delete_and_compaction_no_file_holds_a_byte_of_the_id(tmp_path: Path) -> None:
    user = secrets.token_hex(12)
    friends = two_friends()
    now = time.time() - 3_600.0
    kafka, local = tmp_path / "kafka", tmp_path / "local"
    local.mkdir()
    (tmp_path / "segments.toml").write_text(SEGMENTS)
    topics = Topics(APP)
    specs = [TopicSpec(spec.name, spec.what, spec.partitions, spec.config | PLAIN) for spec in topics.specs(2)]
    with EmbeddedBroker(kafka, extra=QUICK) as broker:
        bootstrap = broker.bootstrap
        create_topics({"bootstrap.servers": bootstrap}, specs, 1)
        with child_worker(
            free_port(), local / "worker.log", app=APP, bootstrap=bootstrap, data_dir=str(local / "state"),
            worker_name="one", session_timeout="3", segments_file=str(tmp_path / "segments.toml"), scrub_seconds="1",
            erasure_secret=SECRET, log_level="DEBUG",
        ) as worker:  # fmt: skip
            life = life_of(user, friends, now)
            theirs = [
                Event(user=friend, kind=kind, time=now + 30 + at, id=f"{friend}-{kind}", target=user)
                for friend in friends
                for at, kind in enumerate(THEIRS)
                if (friend, kind) != (friends[0], "unfollow")
            ]
            send_events(bootstrap, topics, [*life, *theirs])
            label = Label(user=user, segment="taste", member=True, time=now + 40, id=f"label-{user}")
            send(bootstrap, topics.labels, [(user, encode_event(label))])
            send(bootstrap, topics.events, [(user, json.dumps({"user": user, "kind": "nonsense"}).encode())])
            worker.wait_idle(len(life) + len(theirs))
            worker.wait_settled(30.0, still=1.0)

            def written() -> bool:
                """Others go on living, and RocksDB writes what it has in memory to its files."""
                send_events(
                    bootstrap, topics, [Event(user=f"early-{n}", kind="view", time=time.time()) for n in range(8)]
                )
                return bool(files_with(user, local / "state"))

            wait_for(written, 60.0, "the local files have the id", interval_s=0.5)
            before = " ".join(files_with(user, kafka, local))
            for topic in (topics.events, topics.labels, topics.changes, topics.memberships, topics.dead_letters,
                          topics.changelog, topics.graph):  # fmt: skip
                assert f"/{topic}-" in before
            assert "/state/one/" in before
            assert "worker.log" not in before
            assert erasure(bootstrap, topics, user)[0] == 1

            send_events(bootstrap, topics, [Event(user=user, kind="delete", time=now + 60, id=f"{user}-delete")])
            proof = wait_for(lambda: complete(bootstrap, topics, user), 30.0, "receipts of both partitions")
            assert user not in json.dumps(proof)
            assert sum(each["memberships_ended"] for each in proof["receipts"]) == 2
            assert sum(each["edges_removed"] for each in proof["receipts"]) == 3

            # old events again, and a follow of the erased that comes late: nobody is brought back
            late = [Event(user=each, kind="follow", time=now + 59, id=f"late-{each}", target=user) for each in friends]
            send_events(bootstrap, topics, [*life, *theirs, *late])
            wait_for(
                lambda: worker.metrics()["segments_outlived_events_total"] == len(life), 30.0, "old events are dropped"
            )
            worker.wait_idle(len(life) + len(theirs) + len(late))

            for spec in specs:
                if spec.name != topics.receipts:
                    alter(bootstrap, spec.name, COMPACT if "compact" in spec.config["cleanup.policy"] else SHORT)
            filled = 0

            def gone() -> bool:
                """Others go on living; what they write rolls the segments."""
                nonlocal filled
                people = [f"other-{filled}-{n}" for n in range(8)]
                filled += 1
                send_events(bootstrap, topics, [Event(user=each, kind="view", time=time.time()) for each in people])
                return not files_with(user, kafka, local)

            try:
                wait_for(gone, 90.0, "no file holds the id", interval_s=0.5)
            except AssertionError:
                raise AssertionError(f"the id is still in {files_with(user, kafka, local)}") from None
            assert erasure(bootstrap, topics, user)[0] == 0
            assert worker.status()["ready"]
        assert files_with(user, kafka, local) == []


def complete(bootstrap: str, topics: Topics, user: str) -> dict[str, Any]:
    """The proof, once it is complete."""
    status, proof = erasure(bootstrap, topics, user)
    return proof if status == 0 else {}


def test_a_delete_that_is_killed_at_every_step_ends_each_membership_once(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, now = "ada", time.time() - 3_600.0
    friends = two_friends()
    (tmp_path / "segments.toml").write_text(SEGMENTS)
    settings = {"segments_file": str(tmp_path / "segments.toml"), "erasure_secret": SECRET, "scrub_seconds": "0"}
    life = life_of(user, friends, now)
    theirs = [Event(user=friend, kind="follow", time=now + 1, id=friend, target=user) for friend in friends]
    send_events(broker.bootstrap, topics, [*life, *theirs])
    worker = start(**settings)
    worker.wait_idle(len(life) + len(theirs))
    worker.wait_settled(30.0, still=1.0)
    worker.stop()
    send_events(broker.bootstrap, topics, [Event(user=user, kind="delete", time=now + 60, id="bye")])
    # the delete before its transaction, within it and after it; then the message to the partitions before its ack
    for step in ("2-3", "3.produced", "3-4", "4-5"):
        monkeypatch.setenv("SEGMENTS_TEST_KILL_AT", f"{step}:1")
        worker = start(**settings)
        wait_for(lambda killed=worker: not killed.running, 60.0, f"the worker kills itself at {step}")  # type: ignore[misc]
        assert worker.exit_status == -signal.SIGKILL
    monkeypatch.delenv("SEGMENTS_TEST_KILL_AT")
    worker = start(**settings)
    wait_for(lambda: complete(broker.bootstrap, topics, user), 60.0, "receipts of both partitions")
    worker.wait_idle(0)
    worker.stop()

    told = [
        (change["segment"], change["change"], change["origin"])
        for change in changes_of(broker, topics)
        if change["user"] == user
    ]
    assert sorted(told) == [
        ("active", "entered", "event"),
        ("active", "exited", "erasure"),
        ("buyers", "entered", "event"),
        ("buyers", "exited", "erasure"),
    ]
    receipts = [json.loads(message.value()) for message in read_all(broker.bootstrap, topics.receipts)]
    names = {receipt["receipt"] for receipt in receipts}
    assert len(names) == 2, "the user's and the anonymous id's"
    assert sorted((receipt["receipt"], receipt["partition"]) for receipt in receipts) == sorted(product(names, (0, 1)))
    latest: dict[bytes, bytes | None] = {}
    for message in read_all(broker.bootstrap, topics.changelog):
        latest[message.key()] = message.value()
    assert [key for key, value in latest.items() if value is not None and b"ada" in key + value] == []
