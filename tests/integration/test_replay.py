"""The replay producer against a real Kafka."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, Message, TopicPartition
from rich.console import Console

from streams.kafka.admin import create_topics, end_offsets
from streams.kafka.broker import EmbeddedBroker
from streams.tools.replay import DeliveryError, MissingTopicsError, replay
from streams.tools.sources import JsonLines, Record, Records
from streams.tools.town import Town
from streams.wire.events import Event, Label, encode_event
from streams.wire.topics import Topics, TopicSpec
from tests.helpers import wait_for

Conf = dict[str, str | int | float | bool]
START = 1_700_000_000.0


@pytest.fixture
def conf(broker: EmbeddedBroker) -> Conf:
    return {"bootstrap.servers": broker.bootstrap}


@pytest.fixture
def topics(conf: Conf, unique_prefix: str) -> Topics:
    """Fresh topics of four partitions."""
    names = Topics("app", unique_prefix)
    create_topics(conf, [spec for spec in names.specs(4) if spec.name in {names.events, names.labels}], 1)
    return names


def _read(conf: Conf, topic: str) -> list[Message[bytes, bytes]]:
    """All records of the topic, partition by partition."""
    ends = end_offsets(conf, [topic])
    consumer = Consumer({**conf, "group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": False})
    consumer.assign([TopicPartition(topic, partition, 0) for _, partition in ends])
    records: list[Message[bytes, bytes]] = []

    def all_read() -> bool:
        for message in consumer.consume(10_000, timeout=0.2):
            assert message.error() is None
            records.append(message)
        return len(records) >= sum(ends.values())

    wait_for(all_read, 30, f"{sum(ends.values())} records of {topic}")
    consumer.close()
    return sorted(records, key=lambda record: (record.partition() or 0, record.offset() or 0))


def _murmur2_partition(key: bytes, partitions: int) -> int:
    """Kafka's default partitioner, written after org.apache.kafka.common.utils.Utils.murmur2."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def test_a_town_arrives_whole_in_order_by_user_in_the_partitions_of_murmur2(conf: Conf, topics: Topics) -> None:
    records = list(Town(5, people=50).events(5_000, START, 100.0))
    report = replay(Records("town", records, len(records), {"asleep": 3}), conf, topics)
    labels = [r for r in records if isinstance(r, Label)]
    assert (report.events, report.labels, report.failed) == (5_000 - len(labels), len(labels), 0)
    assert report.skipped == {"asleep": 3}
    assert report.rate > 0
    kinds: dict[str, type[Event] | type[Label]] = {topics.events: Event, topics.labels: Label}
    for topic, kind in kinds.items():
        sent = [r for r in records if isinstance(r, kind)]
        messages = _read(conf, topic)
        decoded: list[Event | Label] = [msgspec.json.decode(m.value() or b"", type=kind) for m in messages]
        assert sorted(decoded, key=lambda r: r.id) == sorted(sent, key=lambda r: r.id)
        for user in {r.user for r in sent}:
            assert [r for r in decoded if r.user == user] == [r for r in sent if r.user == user]
        assert all(m.key() == r.user.encode() for m, r in zip(messages, decoded, strict=True))
        assert all(m.partition() == _murmur2_partition(m.key() or b"", 4) for m in messages)
        assert {m.timestamp()[0] for m in messages} == {TIMESTAMP_LOG_APPEND_TIME}


def test_lines_of_a_file_arrive_byte_for_byte_with_labels_in_their_topic(
    conf: Conf, topics: Topics, tmp_path: Path
) -> None:
    label = encode_event(Label("ann", "taste-food", True, 6.0))
    lines = [encode_event(Event("ann", "view", 5.0)), b'{"user":"broken', b"\xff", b"x" * 2_000_000, label]
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = replay(JsonLines(path), conf, topics)
    assert (report.events, report.labels) == (4, 1)
    received = {m.value(): m.key() for m in _read(conf, topics.events)}
    assert received == {lines[0]: b"ann", **dict.fromkeys(lines[1:4])}
    assert [m.value() for m in _read(conf, topics.labels)] == [label]


def test_a_rate_is_kept(conf: Conf, topics: Topics) -> None:
    began = time.monotonic()
    report = replay(Records("town", Town(1).events(400, START, 1.0)), conf, topics, rate=400.0)
    assert report.events + report.labels == 400
    assert time.monotonic() - began >= 0.98
    assert report.seconds >= 0.98


def test_a_speedup_divides_the_gaps_between_events(conf: Conf, topics: Topics) -> None:
    sent: list[float] = []  # the producer asks for the next record when it has sent the one before

    def events() -> Iterator[Record]:
        for second in (0, 1_800, 900, 3_600):
            yield Event("a", "view", START + second)
            sent.append(time.monotonic())

    report = replay(Records("hour", events()), conf, topics, speedup=3_600.0)
    assert report.events == 4
    assert report.seconds >= 0.98
    assert sent[1] - sent[0] >= 0.48
    assert sent[2] - sent[1] < sent[3] - sent[2]  # the late one follows at once
    assert sent[3] - sent[0] >= 0.98


def test_a_stop_ends_the_replay_and_what_was_sent_is_counted(conf: Conf, topics: Topics) -> None:
    taken = 0

    def endless() -> Iterator[Record]:
        nonlocal taken
        for record in Town(1, labels_share=0.0).events(10**9, START, 1.0):
            taken += 1
            yield record

    report = replay(Records("endless", endless()), conf, topics, stop=lambda: taken > 1_000)
    assert (report.events, report.labels) == (1_000, 0)
    assert len(_read(conf, topics.events)) == 1_000


def test_a_stop_is_heard_while_waiting_for_a_distant_event(conf: Conf, topics: Topics) -> None:
    events = [Event("a", "view", START), Event("a", "view", START + 1e6)]
    until = time.monotonic() + 0.3
    report = replay(Records("gap", events), conf, topics, speedup=1.0, stop=lambda: time.monotonic() > until)
    assert report.events == 1
    assert report.seconds < 30


def test_records_that_the_broker_refuses_are_counted_and_raised_at_the_end(conf: Conf, unique_prefix: str) -> None:
    topics = Topics("app", unique_prefix)
    small = TopicSpec(topics.labels, "feedback", 1, {"max.message.bytes": "500"})
    create_topics(conf, [TopicSpec(topics.events, "events", 1), small], 1)
    # random-looking, for the limit holds after compression
    segment = "".join(r.text for r in islice(Town(1).events(1_000, START, 1.0), 1_000) if isinstance(r, Event))
    records: list[Record] = [Event("a", "view", START + i, f"{i}") for i in range(20)]
    records.append(Label("a", segment, True, START))
    with pytest.raises(DeliveryError, match=r"1 records were not delivered; .*MSG_SIZE_TOO_LARGE") as caught:
        replay(Records("big", records), conf, topics)
    assert (caught.value.report.events, caught.value.report.labels, caught.value.report.failed) == (20, 0, 1)
    assert len(_read(conf, topics.events)) == 20


def test_a_record_too_large_for_any_broker_does_not_end_the_replay(conf: Conf, topics: Topics) -> None:
    records = [
        Event("a", "view", START),
        Event("a", "comment", START, text="x" * (17 << 20)),
        Event("a", "view", START),
    ]
    with pytest.raises(DeliveryError, match="1 records were not delivered") as caught:
        replay(Records("huge", records), conf, topics)
    assert caught.value.report.events == 2


def test_a_full_local_queue_slows_the_replay_but_loses_nothing(conf: Conf, topics: Topics) -> None:
    source = Records("town", Town(2, labels_share=0.0).events(500, START, 1.0))
    report = replay(source, {**conf, "queue.buffering.max.messages": 10}, topics)
    assert report.events == 500
    assert len(_read(conf, topics.events)) == 500


def test_the_progress_bar_tells_name_count_and_rate(conf: Conf, topics: Topics) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120)
    replay(Records("town", Town(2).events(3_000, START, 1.0), total=3_000), conf, topics, progress=console)
    last = written.getvalue()
    assert "town" in last
    assert "3000/3000" in last
    assert "/s" in last


def test_a_pace_that_makes_no_sense_is_refused(conf: Conf, topics: Topics) -> None:
    nothing = Records("nothing", [])
    with pytest.raises(ValueError, match="not by both"):
        replay(nothing, conf, topics, rate=1.0, speedup=1.0)
    with pytest.raises(ValueError, match="rate must be above 0"):
        replay(nothing, conf, topics, rate=0.0)


def test_missing_topics_are_named_before_anything_is_sent(conf: Conf, unique_prefix: str) -> None:
    topics = Topics("app", unique_prefix)
    with pytest.raises(MissingTopicsError, match=f"{topics.events}, {topics.labels}"):
        replay(Records("one", [Event("a", "view", START)]), conf, topics)
