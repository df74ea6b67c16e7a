"""Records that no client library would send, and what they make the service want to write: nothing stops it."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from state import layout
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.errors import PermanentError
from streams.kafka.output import Output
from streams.kafka.transactions import Transactions, own_id
from streams.settings import Settings
from streams.steps.effects import Effects
from streams.steps.partitioner import partition_of
from streams.wire.emit import UserSegments
from streams.wire.topics import Topics
from tests.helpers import Start, wait_for
from tests.raw_batches import raw_batch, send_batches
from tests.small_partition import PLACE
from tests.verifier import read_all


def click(user: str, event_id: str) -> bytes:
    return json.dumps({"user": user, "kind": "click", "time": time.time(), "id": event_id}).encode()


def test_names_of_headers_that_are_no_utf8_and_headers_too_large_to_reroute_stop_nothing(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    home = partition_of("u", 2)
    name = b"\xff\xfename"
    batches = [
        raw_batch([(b"u", click("u", "e1"), [(name, b"1")]), (b"bad", b"{", [(name, b"2"), (b"ok", b"3")])]),
        raw_batch([(b"u", click("u", "e2"), [])], codec=4),
    ]
    send_batches(broker.bootstrap, topics.events, home, batches)
    # misrouted: one with such a name
    send_batches(broker.bootstrap, topics.events, 1 - home, [raw_batch([(b"u", click("u", "e3"), [(name, b"4")])])])
    worker = start_with_rules()
    worker.wait_ready()
    worker.wait(
        lambda status: status["events_total"] == 3 and status["changes_total"] == 1 and status["ready"], 60.0, "counted"
    )
    (letter,) = read_all(broker.bootstrap, topics.dead_letters)
    assert letter.headers()[:3] == [
        ("\\xff\\xfename", b"2"), ("ok", b"3"), ("escaped-names", b'{"0":"%s"}' % name.hex().encode()),
    ]  # fmt: skip


def test_what_cannot_be_written_alone_is_a_dead_letter_and_the_rest_goes_on(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    """A record in a wrong partition whose headers fit only because they came compressed cannot be rerouted."""
    home = partition_of("u", 2)
    large = [(b"h", b"x" * 17 * 1024 * 1024)]
    batches = [
        raw_batch([(b"u", click("u", "e1"), [])]),
        raw_batch([(b"u", click("u", "e2"), large)], codec=4),
        raw_batch([(b"u", click("u", "e3"), [])]),
    ]
    send_batches(broker.bootstrap, topics.events, 1 - home, batches)
    worker = start_with_rules()
    worker.wait_ready()
    worker.wait(lambda status: status["events_total"] == 2 and status["ready"], 120.0, "the others are counted")
    (letter,) = read_all(broker.bootstrap, topics.dead_letters)
    headers = dict(letter.headers())
    assert headers["reason-code"] == b"unwritable"
    assert b"what follows from it cannot be written" in headers["reason"]
    assert int(headers["cut-from"]) > 17 * 1024 * 1024
    assert headers["origin-offset"] == b"1"


def test_an_output_topic_that_loses_a_partition_is_told_in_a_sentence_and_not_retried(
    broker: EmbeddedBroker, topics: Topics
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for each in admin.delete_topics([topics.memberships]).values():
        each.result(30.0)
    wait_for(lambda: topics.memberships not in admin.list_topics(timeout=10.0).topics, 30.0, "the topic is gone")
    for each in admin.create_topics([NewTopic(topics.memberships, 1, 1)]).values():
        each.result(30.0)
    settings = Settings(app=topics.app, bootstrap=broker.bootstrap, topic_prefix=topics.prefix)
    place = replace(PLACE, topics=topics, partition=1, partitions=2)
    effects = Effects(puts={layout.POSITION_KEY: b"p"}, snapshots=[UserSegments("u", {}, 1, 0.0)])
    told = f"{topics.memberships} has 1 partitions and the events have 2; give these topics as many"
    with pytest.raises(PermanentError, match=told):
        Transactions(settings, own_id(place)).write(Output(settings, place), effects)
