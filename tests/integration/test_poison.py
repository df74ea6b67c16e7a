"""Records that no client library would send, and what they make the service want to write: nothing stops it."""

from __future__ import annotations

import json
import time

from streams.kafka.broker import EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.wire.topics import Topics
from tests.helpers import Start
from tests.raw_batches import raw_batch, send_batches
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
