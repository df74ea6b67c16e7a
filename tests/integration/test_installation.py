"""An installation notices what is not its own or no longer what it was: before anything is written, in a sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # public, without __all__
from typer.testing import CliRunner, Result

from state.layout import POSITION_KEY, Meta, encode_meta
from streams.auditing import run_audit
from streams.kafka.admin import create_topics, offsets
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.installation import Identity, InstallationError
from streams.kafka.losses import Losses
from streams.kafka.positions import read_positions
from streams.settings import Settings
from streams.tools.child import ChildWorker
from streams.tools.cli import app
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, changes_of, send_events, wait_for
from tests.verifier import verify


def clicks(users: int, each: int = 3, name: str = "u") -> list[Event]:
    now = time.time() - 60.0
    return [
        Event(user=f"{name}{user}", kind="click", time=now + place, id=f"{name}{user}-{place}")
        for user in range(users)
        for place in range(each)
    ]


@pytest.fixture
def admin(broker: EmbeddedBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap})


def remake(broker: EmbeddedBroker, admin: AdminClient, topics: Topics, *names: str) -> None:
    """Delete topics and create them anew; all where none are named."""
    specs = [spec for spec in topics.specs(2) if not names or spec.name in names]
    for future in admin.delete_topics([spec.name for spec in specs]).values():
        future.result(30.0)
    wanted = {spec.name for spec in specs}
    wait_for(lambda: not wanted & set(admin.list_topics(timeout=5.0).topics), 15.0, "the topics are deleted")
    create_topics({"bootstrap.servers": broker.bootstrap}, specs, 1)


def ends(worker: ChildWorker, *words: str) -> None:
    """The worker ends by itself, with status 1 and a last line that has these words."""
    wait_for(lambda: not worker.running, 60.0, "the worker ends")
    last = worker.tail(1)
    assert worker.exit_status == 1, worker.tail()
    assert all(word in last for word in ("error: ", *words)), worker.tail()


def test_a_staging_installation_leaves_production_alone(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    production = start_with_rules("one")
    production.wait_ready()
    staging_topics = Topics(APP, f"{topics.prefix}staging-")
    create_topics({"bootstrap.servers": broker.bootstrap}, staging_topics.specs(2), 1)
    staging = start_with_rules("one", topic_prefix=staging_topics.prefix)  # on the same machine, too
    staging.wait_ready()
    send_events(broker, staging_topics, *clicks(20, name="s"))
    send_events(broker, topics, *clicks(30))
    assert production.wait_idle(90)["changes_total"] == 30
    assert staging.wait_idle(60)["changes_total"] == 20
    for worker in (staging, production):
        worker.stop()
        assert worker.exit_status == 0, worker.tail()
    for each, prefix in ((30, topics.prefix), (20, staging_topics.prefix)):
        found = verify(broker.bootstrap, APP, prefix)
        assert (found.changes, found.differences) == (each, [])


def test_local_state_of_other_topics_is_thrown_away(
    broker: EmbeddedBroker, admin: AdminClient, topics: Topics, start_with_rules: Start
) -> None:
    send_events(broker, topics, *clicks(6, name="old"))
    before = start_with_rules("one")
    before.wait_idle(18)
    before.stop()
    remake(broker, admin, topics)
    send_events(broker, topics, *clicks(30, name="new"))
    other = start_with_rules("two")  # so that the new changelog reaches beyond where the old one was read to
    other.wait_idle(90)
    other.stop()
    after = start_with_rules("one")
    send_events(broker, topics, *clicks(30, each=4, name="new"))
    after.wait_idle(120)
    after.stop()
    found = verify(broker.bootstrap, APP, topics.prefix)
    assert (found.changes, found.differences) == (30, [])
    assert "the local state is of another topic" in after.log_path.read_text()


def test_events_of_a_topic_that_was_made_anew_are_not_passed_over(
    broker: EmbeddedBroker, admin: AdminClient, topics: Topics, start_with_rules: Start
) -> None:
    send_events(broker, topics, *clicks(40))
    before = start_with_rules("one")
    before.wait_idle(120)
    before.stop()
    remake(broker, admin, topics, topics.events)
    send_events(broker, topics, *clicks(10, name="new"))
    found = f"the topic {topics.events} was made anew", f"`segments accept-topic {topics.events}`"
    ends(start_with_rules("one"), *found)

    def accept() -> Result:
        where = ["--bootstrap", broker.bootstrap, "--app", APP, "--prefix", topics.prefix]
        return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["accept-topic", topics.events, *where])

    assert accept().stdout.count(": goes on at 0, no longer at ") == 2
    assert "nothing was changed" in accept().stdout
    after = start_with_rules("one")
    after.wait_idle(150)
    assert "stop them first" in accept().stderr
    remake(broker, admin, topics, topics.events)  # while it runs
    ends(after, *found)
    assert len(changes_of(broker, topics)) == 50


def test_what_retention_took_unread_is_counted_and_told(
    broker: EmbeddedBroker, admin: AdminClient, topics: Topics, start_with_rules: Start
) -> None:
    send_events(broker, topics, *clicks(10))
    before = start_with_rules("one")
    before.wait_idle(30)
    before.stop()
    send_events(broker, topics, *clicks(10, name="lost"))
    for future in admin.delete_records([TopicPartition(topics.events, number, -1) for number in range(2)]).values():
        future.result(30.0)
    send_events(broker, topics, *clicks(10, name="new"))
    told: list[tuple[str, int]] = []
    losses = Losses(0)  # as a turn notes them that runs into such a gap, and into a transaction's marker
    (_, end) = offsets(admin, [(topics.events, 0)], "start").popitem()
    losses.note(topics.events, end - 5, end + 3)
    losses.note(topics.events, end + 3, end + 4)
    losses.commit()
    Identity({"bootstrap.servers": broker.bootstrap}, topics, lambda topic, count: told.append((topic, count))).judge(
        [losses]
    )
    assert (told, losses.found) == ([(topics.events, 5)], 5)

    after = start_with_rules("one")
    status = after.wait_idle(60)
    assert sum(part["lost"] for part in status["partitions"]) == 30
    assert after.metrics()[f'segments_lost_records_total{{topic="{topics.events}"}}'] == 30
    assert "retention removed" in after.log_path.read_text()
    assert {change["user"][:3] for change in changes_of(broker, topics)} == {*(f"u{n}" for n in range(10)), "new"}


def test_more_partitions_end_a_worker_before_a_user_has_two_homes(
    broker: EmbeddedBroker, admin: AdminClient, topics: Topics, start_with_rules: Start, tmp_path: Path
) -> None:
    send_events(broker, topics, *clicks(20))
    worker = start_with_rules("one")
    worker.wait_idle(60)
    admin.create_partitions([NewPartitions(topics.events, 4)])[topics.events].result(30.0)
    words = f"{topics.events} has 4 partitions", "`segments repartition 4`"
    ends(worker, *words)
    ends(start_with_rules("one"), *words)
    for name in set(topics.by_partition) - {topics.events}:
        admin.create_partitions([NewPartitions(name, 4)])[name].result(30.0)
    send_events(broker, topics, *clicks(20, name="new"))
    ends(
        start_with_rules("one"),
        f"{topics.events} (and 9 more topics) has 4 partitions",
        "was made with 2",
        "`segments repartition 4`",
    )
    assert {change["user"][0] for change in changes_of(broker, topics)} == {"u"}


def test_an_audit_beside_a_worker_leaves_it_undisturbed(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start, tmp_path: Path
) -> None:
    worker = start_with_rules("one")
    send_events(broker, topics, *clicks(20))
    worker.wait_idle(60)
    settings = Settings(
        bootstrap=broker.bootstrap, app=APP, topic_prefix=topics.prefix, clock="event", worker_name="one",
        data_dir=tmp_path / "state", segments_file=tmp_path / "segments.toml",
    )  # fmt: skip
    audited = run_audit(settings, 10)
    assert (audited.events, audited.changes, audited.members) == (60, 20, {"clicking": 20})
    with pytest.raises(InstallationError, match="stop them"):
        run_audit(settings, 10, scope=None)

    send_events(broker, topics, *clicks(10, name="new"))
    assert worker.wait_idle(90)["changes_total"] == 30
    worker.stop()
    assert worker.exit_status == 0, worker.tail()
    audit = Topics(APP, f"{topics.prefix}audit-")
    assert audited.topic == audit.changes
    assert [len(changes_of(broker, each)) for each in (topics, audit)] == [30, 20]
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []
    assert run_audit(settings, 10).changes == 30, "it goes on where it was"


@pytest.mark.timeout(50)  # an open transaction is waited for a minute
def test_what_a_killed_worker_left_open_does_not_hold_up_who_asks_for_the_positions(
    broker: EmbeddedBroker, topics: Topics
) -> None:
    conf = {"bootstrap.servers": broker.bootstrap}
    killed = Producer({**conf, "transactional.id": f"{topics.prefix}killed", "transaction.timeout.ms": 60_000})
    killed.init_transactions(30.0)
    killed.begin_transaction()
    killed.produce(topics.changelog, encode_meta(Meta(users=7)), POSITION_KEY, 0)
    killed.commit_transaction(30.0)
    killed.begin_transaction()
    for number in range(500):
        killed.produce(topics.changelog, b"", b"q%d" % number, 0)
    killed.produce(topics.changelog, encode_meta(Meta(users=8)), POSITION_KEY, 0)
    assert killed.flush(30.0) == 0
    found = read_positions(conf, topics.changelog, 2)
    assert {number: meta.users for number, meta in found.items()} == {0: 7}
    killed.abort_transaction(30.0)
