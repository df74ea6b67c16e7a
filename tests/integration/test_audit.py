"""The deterministic mode: two runs over the same input are equal in everything but the time of processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from streams.auditing import run_audit
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.tools.replay import replay
from streams.tools.sources import Records
from streams.tools.town import Town
from streams.wire.events import Event, encode_event
from streams.wire.topics import Topics
from tests.helpers import changes_of
from tests.verifier import verify

T0 = 1_790_000_000.0
SEGMENTS = """
[[segment]]
id = "busy"
rule = 'count("click", within="10m") >= 5 and count("purchase", within="1h") == 0'
[[segment]]
id = "food-lovers"
words = "people who love cooking and restaurants"
[[group]]
id = "taste"
min_labels = 10
[[segment]]
id = "taste-food"
learned = "taste"
[[segment]]
id = "taste-sport"
learned = "taste"
[[segment]]
id = "taste-travel"
learned = "taste"
"""


def audited(broker: EmbeddedBroker, prefix: str, directory: Path, batch: int) -> list[dict[str, Any]]:
    topics = Topics("audit", prefix)
    conf = {"bootstrap.servers": broker.bootstrap}
    create_topics(conf, topics.specs(1), 1)
    town = Town(5, 25, labels_share=0.05)
    replay(Records("town", town.events(1_500, T0, 0.25)), conf, topics)
    file = directory / "segments.toml"
    file.write_text(SEGMENTS)
    settings = Settings(
        app="audit", bootstrap=broker.bootstrap, topic_prefix=prefix, clock="event",
        data_dir=directory / prefix, segments_file=file,
    )  # fmt: skip
    run_audit(settings, batch, scope=None)
    assert verify(broker.bootstrap, "audit", prefix).differences == []
    changes = changes_of(broker, topics)
    for change in changes:
        del change["processed_at"]
    return changes


def test_two_audits_of_the_same_input_are_equal_throughout(
    broker: EmbeddedBroker, unique_prefix: str, tmp_path: Path
) -> None:
    first, second = (audited(broker, f"{unique_prefix}{run}-", tmp_path, 400) for run in "ab")
    assert first == second
    kinds = {change["segment"] for change in first}
    assert {"busy", "food-lovers"} <= kinds
    assert any(segment.startswith("taste-") for segment in kinds), "learned segments took part"
    assert {change["origin"] for change in first} >= {"event", "expiry"}


def test_rules_and_descriptions_do_not_depend_on_where_batches_are_cut(
    broker: EmbeddedBroker, unique_prefix: str, tmp_path: Path
) -> None:
    runs = []
    for batch in (1_000_000, 37):
        changes = audited(broker, f"{unique_prefix}{batch}-", tmp_path, batch)
        runs.append(
            sorted(
                (change["user"], change["event_time"], change["segment"], change["change"], change["score"])
                for change in changes
                if not change["segment"].startswith("taste-")
            )
        )
    assert runs[0] == runs[1]


def test_what_travels_between_partitions_arrives_in_an_audit(
    broker: EmbeddedBroker, unique_prefix: str, tmp_path: Path
) -> None:
    topics = Topics("audit", unique_prefix)
    create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(2), 1)
    clicks = [
        Event(user="anon-3" if number % 2 else "known", kind="click", time=T0 + number, id=f"e{number}")
        for number in range(40)
    ]
    identify = Event(user="known", kind="identify", time=T0 + 20.5, id="login", target="anon-3")
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for place, event in enumerate([*clicks, identify]):
        producer.produce(topics.events, encode_event(event), event.user.encode(), place // 2 % 2)
    assert producer.flush(30.0) == 0
    file = tmp_path / "segments.toml"
    file.write_text(SEGMENTS[: SEGMENTS.index("[[segment]]", 5)])
    settings = Settings(
        app="audit", bootstrap=broker.bootstrap, topic_prefix=unique_prefix, clock="event", data_dir=tmp_path,
        segments_file=file,
    )  # fmt: skip
    audited = run_audit(settings, 10, scope=None)
    assert (audited.events, audited.users, audited.members) == (41, 1, {"busy": 1})
    assert verify(broker.bootstrap, "audit", unique_prefix).differences == []
