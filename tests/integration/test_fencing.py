"""What a producer left open is aborted by who takes over, before the client library is asked for it."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaException, Producer

from streams.kafka.admin import create_topics, offsets
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.fencing import end_transaction
from streams.wire.topics import TopicSpec


def test_after_it_nothing_is_open_and_the_old_producer_commits_nothing(broker: EmbeddedBroker) -> None:
    conf: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap}
    create_topics(conf, [TopicSpec("fencing", "of this test", 1)], 1)
    key = ("fencing", 0)
    assert end_transaction(conf, "fencing-0", 60_000)  # of somebody who never was
    old = Producer({**conf, "transactional.id": "fencing-0", "log_level": 0})
    old.init_transactions(20.0)
    old.begin_transaction()
    old.produce("fencing", b"open", b"k", 0)
    assert old.flush(20.0) == 0
    assert offsets(conf, [key], "end", "read_committed")[key] == 0
    assert end_transaction(conf, "fencing-0", 60_000)
    assert offsets(conf, [key], "end", "read_committed")[key] == offsets(conf, [key], "end")[key] == 2
    with pytest.raises(KafkaException, match=r"fenced|newer producer|epoch"):
        old.commit_transaction(20.0)
    new = Producer({**conf, "transactional.id": "fencing-0"})
    new.init_transactions(20.0)
    new.begin_transaction()
    new.produce("fencing", b"committed", b"k", 0)
    new.commit_transaction(20.0)
    assert offsets(conf, [key], "end", "read_committed")[key] == 4


def test_where_nobody_answers_it_is_left_to_the_client_library() -> None:
    assert not end_transaction({"bootstrap.servers": "127.0.0.1:1"}, "fencing-0", 60_000)
