"""The whole service as a child process on a real Kafka with a real BERT."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import Producer

from streams.kafka.broker import EmbeddedBroker
from streams.steps.segments import load_plan
from streams.tools.applying import apply_definitions
from streams.tools.replay import replay
from streams.tools.sources import Records
from streams.tools.town import Town
from streams.wire.events import Event, encode_event
from streams.wire.topics import MAX_RECORD_BYTES, Topics
from tests.bad_records import BAD_RECORDS
from tests.helpers import APP, Start, changes_of, send_events, wait_for
from tests.verifier import read_all, verify

COOKS = (
    "I love to cook pasta with fresh basil",
    "Best restaurant in town, the risotto was superb",
    "My sourdough bread recipe finally worked",
)
OTHERS = (
    "The match last night went to penalties",
    "My new running shoes are great",
    "The parliament voted on the tax bill",
)


def send(broker: EmbeddedBroker, topic: str, values: list[tuple[bytes | None, bytes | None]]) -> None:
    producer = Producer(
        {
            "bootstrap.servers": broker.bootstrap,
            "partitioner": "murmur2_random",
            "message.max.bytes": MAX_RECORD_BYTES,
        }
    )
    for key, value in values:
        producer.produce(topic, value, key)
    assert producer.flush(30.0) == 0


def send_comments(broker: EmbeddedBroker, topics: Topics) -> list[Event]:
    """A cook and somebody else write three comments each."""
    now = time.time()
    comments = [
        Event(user=user, kind="comment", time=now + place, id=f"{user}-{place}", text=text)
        for user, texts in (("cook", COOKS), ("other", OTHERS))
        for place, text in enumerate(texts)
    ]
    send_events(broker, topics, *comments)
    return comments


def events_of(town: Town, count: int) -> list[Event]:
    return [event for event in town.events(count, time.time() - 600.0, 100.0) if isinstance(event, Event)]


def test_a_killed_worker_loses_and_doubles_nothing(broker: EmbeddedBroker, topics: Topics, start: Start) -> None:
    town = Town(11, 80)
    records = [event for event in events_of(town, 12_000) if event.kind != "comment" or event.id.endswith(("0", "5"))]
    conf = {"bootstrap.servers": broker.bootstrap}
    first = start()
    first.wait_ready()
    replay(Records("town", records[:6_000], total=6_000), conf, topics)
    first.wait(lambda status: status["events_total"] > 1_000, 120.0, "in mid-load")
    first.kill()
    replay(Records("town", records[6_000:], total=None), conf, topics)
    second = start()
    second.wait_idle(len(records))
    second.stop()  # timers go on firing; the check wants topics that stand still

    found = verify(broker.bootstrap, APP, topics.prefix)
    assert found.differences == []
    assert found.distinct_events == len(records)
    assert found.changes > 50


def test_bad_records_become_dead_letters_and_all_good_ones_count(
    broker: EmbeddedBroker, topics: Topics, start: Start
) -> None:
    good = events_of(Town(13, 20), 400)
    mixed: list[tuple[bytes | None, bytes | None]] = [(event.user.encode(), encode_event(event)) for event in good]
    for place, bad in enumerate(BAD_RECORDS):
        mixed.insert(place * 10, (b"bad-%d" % place, bad.value))
    send(broker, topics.events, mixed)
    worker = start()
    status = worker.wait_idle(len(good))

    assert status["events_total"] == len(good)
    letters = {message.key(): message for message in read_all(broker.bootstrap, topics.dead_letters)}
    assert len(letters) == len(BAD_RECORDS)
    for place, bad in enumerate(BAD_RECORDS):
        letter = letters[b"bad-%d" % place]
        headers = dict(letter.headers())
        assert letter.value() == bad.value, f"{bad.name} is not untouched"
        assert headers["reason-code"].decode() == bad.code
        assert bad.phrase in headers["reason"].decode()
        assert headers["origin-topic"].decode() == topics.events


def test_a_description_in_words_finds_its_people_without_labels(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    comments = send_comments(broker, topics)
    file = tmp_path / "segments.toml"
    file.write_text('[[segment]]\nid = "cooks"\nwords = "people who love cooking and restaurants"\n')
    start(segments_file=str(file)).wait_idle(len(comments))

    changes = changes_of(broker, topics)
    assert {change["user"] for change in changes} == {"cook"}
    assert changes[0]["segment"] == "cooks"
    assert changes[0]["reason"]["words"] == "people who love cooking and restaurants"
    assert changes[0]["encoder_version"]


def test_a_description_added_later_finds_users_who_wrote_before(
    broker: EmbeddedBroker, topics: Topics, start: Start, tmp_path: Path
) -> None:
    comments = send_comments(broker, topics)
    file = tmp_path / "segments.toml"
    rule = '[[segment]]\nid = "writers"\nrule = \'count("comment", within="7d") >= 2\'\n'
    file.write_text(rule)
    before = start(segments_file=str(file))
    before.wait_idle(len(comments))
    file.write_text('[[segment]]\nid = "cooks"\nwords = "people who love cooking and restaurants"\n')
    conf = {"bootstrap.servers": broker.bootstrap}
    done = apply_definitions(conf, topics.definitions, load_plan(file), "ada", "cooks instead of writers")
    assert done == "version 2: added: cooks; removed: writers"
    before.wait(lambda status: status["changes_total"] == 5, 90.0, "through the sweep")

    told = {
        (change["user"], change["segment"], change["change"], change["origin"]) for change in changes_of(broker, topics)
    }
    assert told == {
        ("cook", "writers", "entered", "event"),
        ("other", "writers", "entered", "event"),
        ("cook", "writers", "exited", "definition"),
        ("other", "writers", "exited", "definition"),
        ("cook", "cooks", "entered", "definition"),
    }


def test_a_second_worker_takes_over_partitions_under_load_and_nothing_is_lost_or_doubled(
    broker: EmbeddedBroker, topics: Topics, start: Start
) -> None:
    records = events_of(Town(14, 60), 6_000)
    conf = {"bootstrap.servers": broker.bootstrap}
    first = start("one")
    first.wait_ready()
    replay(Records("town", records[:3_000]), conf, topics)
    second = start("two")
    replay(Records("town", records[3_000:], total=None), conf, topics, rate=300.0)

    def counted() -> bool:
        parts = [
            (status["events_total"], len(status["partitions"]))
            for status in (first.status(), second.status())
            if status
        ]
        return sum(events for events, _ in parts) == len(records) and [owned for _, owned in parts] == [1, 1]

    wait_for(counted, 90.0, "both workers own one partition and all events are counted")
    first.stop()
    second.wait_idle(len(records))
    second.stop()
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []
