"""One set of definitions in force, whatever files the workers have (issue 11, fault 8)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.definitions import not_kept, read_ledger
from streams.steps.segments import load_plan, parse_plan
from streams.tools.applying import apply_definitions
from streams.tools.cli import app
from streams.wire.events import Event
from streams.wire.topics import Topics, TopicSpec
from tests.helpers import APP, Start, changes_of, send_events, wait_for

VIEWERS = '[[segment]]\nid = "viewers"\nrule = \'count("view", within="7d") >= 1\'\n'
NOT_BOUGHT = '[[segment]]\nid = "not-bought"\nrule = \'count("purchase", within="30d") == 0\'\n'


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_two_workers_with_different_files_decide_by_one_set_and_no_buyer_is_told_to_have_bought_nothing(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    conf = {"bootstrap.servers": broker.bootstrap}
    users = [f"u{number}" for number in range(40)]
    now = time.time()
    send_events(broker, topics, *(Event(user, "purchase", now - 60, f"{user}-p", amount=1.0) for user in users))
    send_events(broker, topics, *(Event(user, "view", now - 50, f"{user}-v") for user in users))
    one = start("one", segments_file=write(tmp_path / "one.toml", VIEWERS))
    one.wait_idle(80)
    two = start("two", segments_file=write(tmp_path / "two.toml", NOT_BOUGHT))  # a rolling deploy, and back
    wait_for(lambda: len(two.status().get("partitions", [])) == 1, 60.0, "the second worker owns a partition")
    two.wait_ready()
    one.wait_settled(30.0, still=1.0)
    assert "differs from version 1 (published by worker one at " in two.status()["definitions_note"]
    assert "differs from version 1" in two.log_path.read_text()
    send_events(broker, topics, *(Event(user, "view", time.time(), f"{user}-w") for user in users))
    two.stop()
    one.wait(lambda status: len(status["partitions"]) == 2, 120.0, "the first worker owns both again")
    one.wait_settled(30.0, still=1.0)
    assert {(each["segment"], each["change"]) for each in changes_of(broker, topics)} == {("viewers", "entered")}
    assert len(changes_of(broker, topics)) == len(users)

    # the other file as the next version: who bought before is not known to have bought nothing; who is new is
    plan = load_plan(tmp_path / "two.toml")
    assert apply_definitions(conf, topics.definitions, plan, "ada", "") == (
        "version 2: added: not-bought; removed: viewers"
    )
    assert "already; nothing was published" in apply_definitions(conf, topics.definitions, plan, "bob", "")
    one.wait(lambda status: status["definitions"] == 2, 120.0, "at version 2")
    one.wait(lambda status: status["changes_total"] == 2 * len(users), 120.0, "through the sweep")
    send_events(broker, topics, Event("new", "view", time.time(), "new-v"))
    one.wait(lambda status: status["changes_total"] == 2 * len(users) + 1, 120.0, "through the new user")
    told = changes_of(broker, topics)
    assert Counter((each["segment"], each["change"], each["origin"]) for each in told) == {
        ("viewers", "entered", "event"): len(users),
        ("viewers", "exited", "definition"): len(users),
        ("not-bought", "entered", "event"): 1,
    }
    assert [each["user"] for each in told if each["segment"] == "not-bought"] == ["new"]


def test_a_worker_without_a_file_waits_for_definitions_and_consumes_nothing(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    conf = {"bootstrap.servers": broker.bootstrap}
    send_events(broker, topics, Event("ada", "view", time.time() - 5, "v"))
    worker = start(segments_file="")
    waiting = worker.wait(lambda status: bool(status["definitions_note"]), 120.0, "waiting")
    assert waiting["definitions_note"] == "no segment definitions are in force yet: segments apply FILE"
    assert (waiting["ready"], waiting["partitions"], waiting["definitions"]) == (False, [], 0)
    producer = Producer(conf)
    producer.produce(topics.definitions, b"{not a version", b"1")
    assert producer.flush(30.0) == 0
    (tmp_path / "segments.toml").write_text(VIEWERS)
    done = apply_definitions(conf, topics.definitions, load_plan(tmp_path / "segments.toml"), "ada", "the first")
    assert done == "version 1: 1 segments"
    worker.wait(lambda status: status["changes_total"] == 1, 120.0, "through the event")
    assert [(version.number, version.author) for version in read_ledger(conf, topics.definitions).versions] == [
        (1, "ada")
    ]
    worker.stop()


def test_commands_put_a_file_in_force_list_the_versions_and_mend_the_topic_of_an_earlier_release(
    broker: EmbeddedBroker, unique_prefix: str, tmp_path: Path
) -> None:
    conf = {"bootstrap.servers": broker.bootstrap}
    topic = Topics(APP, unique_prefix).definitions
    create_topics(conf, [TopicSpec(topic, "of an earlier release", 1, {"cleanup.policy": "compact,delete"})], 1)
    where = ["--bootstrap", broker.bootstrap, "--prefix", unique_prefix]
    (tmp_path / "segments.toml").write_text(VIEWERS)

    def run(*arguments: str) -> str:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments, *where])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert f"{topic} is kept for good from now on" in run("topics", "--app", APP)
    wait_for(lambda: not not_kept(conf, topic), 30.0, "the topic is kept for good")
    assert "is kept for good" not in run("topics", "--app", APP)
    assert run("definitions").strip() == "no segment definitions are in force yet: segments apply FILE"
    assert run("apply", str(tmp_path / "segments.toml"), "--author", "ada", "--comment", "the first") == (
        "version 1: 1 segments\n"
    )
    (tmp_path / "segments.toml").write_text(VIEWERS + NOT_BOUGHT)
    assert run("apply", str(tmp_path / "segments.toml")) == "version 2: added: not-bought\n"
    assert "nothing was published" in run("apply", str(tmp_path / "segments.toml"))
    lines = run("definitions").splitlines()
    assert [line.split()[0] for line in lines] == ["version", "2", "1"]
    assert "in force" in lines[1]
    assert "ada" in lines[2]
    assert "the first" in lines[2]
    (tmp_path / "nothing.toml").write_text("")
    refused = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["apply", str(tmp_path / "nothing.toml"), *where])
    assert refused.exit_code == 1
    assert "say --empty if that is meant" in refused.stderr
    assert run("apply", str(tmp_path / "nothing.toml"), "--empty", "--author", "\udcff") == (
        "version 3: removed: not-bought, viewers\n"
    )


def test_topics_that_are_deleted_while_a_worker_runs_are_told_once_and_the_worker_goes_on(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    worker = start_with_rules()
    worker.wait_ready()
    for future in admin.delete_topics([topics.definitions, topics.workers]).values():
        future.result(30.0)
    gone = worker.wait(lambda status: not status["ready"], 120.0, "not ready")
    assert gone["definitions_note"].startswith(f"the topic {topics.definitions} is not there any more, since ")
    now = time.time()
    send_events(broker, topics, *(Event("ada", "click", now, f"c{number}") for number in range(3)))
    worker.wait(lambda status: status["changes_total"] == 1, 120.0, "through the events")

    def told(words: str) -> int:
        return worker.log_path.read_text().count(words)

    wait_for(lambda: told(f"the topic {topics.workers} is not there any more") == 1, 30.0, "the other one is told")
    assert told(f"the topic {topics.definitions} is not there any more") == 1
    specs = [spec for spec in topics.specs(2) if spec.name in (topics.definitions, topics.workers)]
    create_topics({"bootstrap.servers": broker.bootstrap}, specs, 1)
    wait_for(lambda: told("was made anew while this worker ran") == 2, 60.0, "both topics are made anew")
    conf = {"bootstrap.servers": broker.bootstrap}
    for number, rules in enumerate((VIEWERS, NOT_BOUGHT), 1):
        assert apply_definitions(conf, topics.definitions, parse_plan(rules), "ada", "").startswith(f"version {number}")
    worker.wait(lambda status: status["ready"] and status["definitions"] == 2, 120.0, "at the version above its own")
