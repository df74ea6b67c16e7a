"""The verifier must be able to fail: each kind of fault, planted into topics that are right, is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import pytest
from confluent_kafka import Producer

from state import layout
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.wire.emit import change_headers, change_value, membership_value
from streams.wire.refused import dead_letter_headers
from streams.wire.topics import Topics
from tests.chaos.load import RULES, load
from tests.helpers import APP
from tests.small_partition import SmallPartition
from tests.verifier import Findings, verify

NOW = 1_790_000_000.0


@dataclass(frozen=True)
class Written:
    """A record of one of the topics, which all have one partition here."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def right(topics: Topics) -> list[Written]:
    """What the service writes for 600 records of load: the real steps, without Kafka."""
    partition = SmallPartition("\n".join(rule.definition() for rule in RULES))
    sent = [each for each in islice(load(3, 12, lambda: NOW, comments=False), 600) if not each.label]
    written = [Written(topics.events, each.key, each.value) for each in sent]
    for at in range(0, len(sent), 100):
        effects = partition.raw(*(each.value for each in sent[at : at + 100]))
        for emitted in effects.changes:
            change = emitted.change
            headers = tuple(
                (name, value) for name, value in change_headers(change, b"/test") if isinstance(value, bytes)
            )
            written.append(Written(topics.changes, change.user.encode(), change_value(change), headers))
        written += [Written(topics.memberships, s.user.encode(), membership_value(s)) for s in effects.snapshots]
        for reject in effects.rejects:
            record = reject.record
            # the small partition numbers its records from 1
            letter = dead_letter_headers(reject.error, topics.events, 0, record.offset - 1, record.timestamp)
            written.append(Written(topics.dead_letters, record.key or b"", record.value, tuple(letter)))
    written += [Written(topics.changelog, key, value) for key, value in sorted(partition.memory.data.items())]
    return written


def of(written: list[Written], topic: str) -> list[Written]:
    return [record for record in written if record.topic == topic]


def without(written: list[Written], gone: Written) -> list[Written]:
    return [record for record in written if record is not gone]


def instead(written: list[Written], old: Written, new: Written) -> list[Written]:
    return [new if record is old else record for record in written]


def edited(record: Written, edit: Callable[[layout.UserState], None]) -> Written:
    assert record.value is not None
    state = layout.decode_user(record.value)
    edit(state)
    return replace(record, value=layout.encode_user(state))


def biggest(written: list[Written], topics: Topics) -> Written:
    """The state of the user with the most events, who has something of everything."""
    states = [record for record in of(written, topics.changelog) if record.key[:1] == b"u"]
    return max(states, key=lambda record: len(record.value or b""))


def lose_an_event_in_the_state(written: list[Written], topics: Topics) -> list[Written]:
    state = biggest(written, topics)

    def edit(user: layout.UserState) -> None:
        user.count -= 1

    return instead(written, state, edited(state, edit))


def lose_a_user(written: list[Written], topics: Topics) -> list[Written]:
    return without(written, biggest(written, topics))


def count_an_event_twice(written: list[Written], topics: Topics) -> list[Written]:
    state = biggest(written, topics)

    def edit(user: layout.UserState) -> None:
        user.decayed["click"][1] += 1.0

    return instead(written, state, edited(state, edit))


def put_an_event_into_the_wrong_bucket(written: list[Written], topics: Topics) -> list[Written]:
    state = biggest(written, topics)

    def edit(user: layout.UserState) -> None:
        tally = user.tallies["purchase|count|604800|"]
        tally.buckets[tally.head + 1] = tally.buckets.pop(tally.head)

    return instead(written, state, edited(state, edit))


def double_a_change(written: list[Written], topics: Topics) -> list[Written]:
    change = of(written, topics.changes)[0]
    return [*written, change]


def lose_a_change_in_the_middle(written: list[Written], topics: Topics) -> list[Written]:
    changes = of(written, topics.changes)
    user = next(c.key for at, c in enumerate(changes) if any(o.key == c.key for o in changes[at + 1 :]))
    return without(written, next(change for change in changes if change.key == user))


def lose_a_dead_letter(written: list[Written], topics: Topics) -> list[Written]:
    return without(written, of(written, topics.dead_letters)[2])


def double_a_dead_letter(written: list[Written], topics: Topics) -> list[Written]:
    return [*written, of(written, topics.dead_letters)[2]]


def tell_an_old_membership(written: list[Written], topics: Topics) -> list[Written]:
    told = of(written, topics.memberships)[0]
    assert told.value is not None
    return [*written, replace(told, value=json.dumps(json.loads(told.value) | {"segments": {}}).encode())]


def count_a_duplicate_less(written: list[Written], topics: Topics) -> list[Written]:
    position = next(record for record in of(written, topics.changelog) if record.key == layout.POSITION_KEY)
    assert position.value is not None
    meta = layout.decode_meta(position.value)
    meta.duplicates -= 1
    return instead(written, position, replace(position, value=layout.encode_meta(meta)))


def leave_a_user_waiting(written: list[Written], topics: Topics) -> list[Written]:
    return [*written, Written(topics.changelog, b"q" + biggest(written, topics).key[1:], b"")]


FAULTS = {
    lose_an_event_in_the_state: "events counted",
    lose_a_user: "has no state",
    count_an_event_twice: "decayed click",
    put_an_event_into_the_wrong_bucket: "tally purchase|count|604800|",
    double_a_change: "doubled change",
    lose_a_change_in_the_middle: "hole: sequence",
    lose_a_dead_letter: "has 0 dead letters",
    double_a_dead_letter: "has 2 dead letters",
    tell_an_old_membership: "user-segments has",
    count_a_duplicate_less: "duplicates, the recount",
    leave_a_user_waiting: "waits for the encode lane",
}


def publish_and_verify(broker: EmbeddedBroker, topics: Topics, written: list[Written]) -> Findings:
    create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(1), 1)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for record in written:
        producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
    assert producer.flush(30.0) == 0
    return verify(broker.bootstrap, APP, topics.prefix, RULES)


def test_topics_that_are_right_have_no_difference(broker: EmbeddedBroker, unique_prefix: str) -> None:
    topics = Topics(APP, unique_prefix)
    found = publish_and_verify(broker, topics, right(topics))
    assert found.differences == []
    assert found.duplicates > 20
    assert found.dead_letters == found.refused > 3
    assert found.changes > 10


@pytest.mark.parametrize(("fault", "told"), FAULTS.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_each_kind_of_fault_is_found(
    broker: EmbeddedBroker,
    unique_prefix: str,
    fault: Callable[[list[Written], Topics], list[Written]],
    told: str,
) -> None:
    topics = Topics(APP, unique_prefix)
    found = publish_and_verify(broker, topics, fault(right(topics), topics))
    assert any(told in difference for difference in found.differences), found.differences


def test_memberships_that_the_rules_do_not_give_are_found(broker: EmbeddedBroker, unique_prefix: str) -> None:
    topics = Topics(APP, unique_prefix)
    create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(1), 1)
    publish_and_verify(broker, topics, right(topics))
    stricter = [replace(rule, terms=(replace(rule.terms[0], bound=1e6), *rule.terms[1:])) for rule in RULES]
    found = verify(broker.bootstrap, APP, topics.prefix, stricter)
    assert any("wrong membership" in difference for difference in found.differences)
    # nothing else is wrong: state, changes and memberships agree with each other
    assert all("wrong membership" in difference for difference in found.differences)


def test_a_timer_that_did_not_fire_is_found(broker: EmbeddedBroker, unique_prefix: str) -> None:
    topics = Topics(APP, unique_prefix)
    publish_and_verify(broker, topics, right(topics))
    found = verify(broker.bootstrap, APP, topics.prefix, RULES, stopped_at=NOW + 3_600.0)
    assert any("wrong membership" in difference for difference in found.differences)
