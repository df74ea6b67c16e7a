"""Records that met another partition than their user's: they travel untouched and count at home, once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from state import layout
from streams.kafka.turn_metrics import Occasionally
from streams.steps import reroute, sources
from streams.steps.effects import Effects, Message
from streams.wire.refused import Code
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0, Sent
from tests.unit.membership_cases import TWO_VIEWS, view

#: at home in partition 2 of 3
USER = "known"
TOPICS = PLACE.topics
LABELLED = '[[segment]]\nid = "s"\nlearned = "g"\n'


def received(cluster: SmallCluster, record: Sent, partition: int = 0, topic: str = TOPICS.events) -> Effects:
    return cluster.took(cluster.partitions[partition].take(topic, [record]))


def record_of(event: dict[str, Any], offset: int = 17, **more: Any) -> Sent:
    return Sent(offset, msgspec.json.encode({"user": USER, "id": "e"} | event), **more)


def test_a_record_in_another_partition_is_sent_home_untouched_with_its_origin() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    record = record_of(view(0), key=b"some key", headers=[("trace", b"1"), ("origin-topic", b"theirs"), ("none", None)])
    effects = received(cluster, record)
    (message,) = effects.messages
    assert (message.topic, message.partition) == (TOPICS.reroute, 2)
    assert (message.key, message.value) == (record.key, record.value)
    assert message.headers[:3] == record.headers
    assert dict(message.headers[3:7]) == {
        "origin-topic": TOPICS.events.encode(),
        "origin-partition": b"0",
        "origin-offset": b"17",
        "origin-timestamp": b"%d" % record.timestamp,
    }
    assert effects.misrouted == 1
    assert cluster.partitions[0].state(USER) is None


def test_it_is_handled_as_if_it_had_arrived_at_home_at_its_first_arrival() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    first = int((T0 + 100) * 1_000)
    received(cluster, record_of(view(0, id="a"), timestamp=first))
    received(cluster, record_of(view(1, id="b"), timestamp=first + 5_000))
    effects = cluster.step(TOPICS.reroute, 2, 2)
    state = cluster.state(USER)
    assert state is not None
    assert [second for _, second in state.ids.items()] == [T0 + 105, T0 + 105]  # of sixteen the latest
    assert [(each.change.segment, each.arrived) for each in effects.changes] == [("keen", T0 + 105)]
    assert effects.misrouted == 0
    assert cluster.partitions[2].meta.watermark == T0 + 1


def test_a_duplicate_counts_once_by_whichever_way_it_comes() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for partition in (None, 0, 1, 0):
        cluster.publish({"user": USER, "id": "same"} | view(0), partition)
    cluster.flow()
    state = cluster.state(USER)
    assert state is not None
    assert state.count == 1
    assert sum(partition.meta.duplicates for partition in cluster.partitions) == 3


def test_a_label_in_another_partition_reaches_its_user() -> None:
    cluster = SmallCluster(LABELLED, 3)
    cluster.publish({"user": USER, "id": "e"} | view(0))
    cluster.flow()
    cluster.publish_label({"user": USER, "segment": "s", "member": True, "time": T0}, 1)
    cluster.flow()
    state = cluster.state(USER)
    assert state is not None
    assert [label.segment for label in state.labels] == ["s"]
    assert cluster.misrouted == 1


def rerouted(message: Message, **changed: Any) -> Sent:
    headers = [
        (name, changed.get(name, value.encode() if isinstance(value, str) else value))
        for name, value in message.headers
    ]
    return Sent(3, changed.get("value", message.value), key=message.key, headers=headers)


def one_message() -> Message:
    return received(SmallCluster(TWO_VIEWS, 3), record_of(view(0), headers=[("trace", b"1")])).messages[0]


def test_a_rerouted_record_that_is_refused_names_its_origin_and_is_untouched() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    effects = received(cluster, rerouted(one_message(), value=b"{"), 2, TOPICS.reroute)
    (reject,) = effects.rejects
    assert (reject.topic, reject.partition, reject.record.offset) == (TOPICS.events, 0, 17)
    assert list(reject.record.headers) == [("trace", b"1")]
    assert reject.record.value == b"{"
    assert reject.error.code == Code.NOT_JSON


@pytest.mark.parametrize(
    "record",
    [
        Sent(3, b"{}"),
        Sent(3, b"{}", headers=[(reroute.KIND, b"what")]),
        Sent(3, b"{}", headers=[(reroute.KIND, reroute.RECORD)]),
        Sent(3, b"not msgpack", headers=[(reroute.KIND, reroute.MERGE)]),
        Sent(3, None, headers=[(reroute.KIND, reroute.MERGE)]),
        rerouted(one_message(), **{"origin-offset": b"x"}),
        rerouted(one_message(), **{"reroute-path": b"x"}),
        rerouted(one_message(), **{"reroute-user": b"\xff"}),
        rerouted(one_message(), **{"origin-topic": TOPICS.reroute.encode()}),
    ],
    ids=lambda record: str(record.headers)[-60:],
)
def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(record: Sent) -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    good = rerouted(one_message())
    cluster.took(cluster.partitions[2].take(TOPICS.reroute, [record, good]))
    assert [(each.topic, each.partition, each.error.code) for each in cluster.rejects] == [
        (TOPICS.reroute, 2, Code.BROKEN_INTERNAL)
    ]
    state = cluster.state(USER)
    assert state is not None
    assert state.count == 1


def test_a_rerouted_record_in_a_wrong_partition_is_never_sent_on() -> None:
    effects = received(SmallCluster(TWO_VIEWS, 3), rerouted(one_message()), 1, TOPICS.reroute)
    assert effects.messages == []
    assert [(each.topic, each.partition, each.error.code) for each in effects.rejects] == [
        (TOPICS.events, 0, Code.BROKEN_INTERNAL)
    ]


def test_rerouted_records_arrived_when_their_origin_took_them() -> None:
    record = rerouted(one_message(), **{"origin-timestamp": b"1500"})
    assert sources.arrived(TOPICS, TOPICS.reroute, record) == 1.5
    assert sources.arrived(TOPICS, TOPICS.events, record) == record.timestamp / 1_000
    assert sources.arrived(TOPICS, TOPICS.reroute, Sent(0, b"", 2_000)) == 2.0


def test_nobody_begins_a_life_outside_their_home() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for number in range(50):
        cluster.publish({"user": f"u{number}", "id": f"e{number}"} | view(0), number % 3)
    cluster.flow()
    assert len(cluster.states()) == 50
    assert not [key for partition in cluster.partitions for key in partition.memory.keys(layout.alias_key(""))]


def test_counts_are_told_at_once_and_then_together_now_and_then() -> None:
    rare = Occasionally(60.0)
    assert [rare.add(3, 0.0), rare.add(2, 59.0), rare.add(1, 60.0), rare.add(5, 61.0)] == [3, 0, 3, 0]
