"""Reading with a plain consumer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

log = logging.getLogger(__name__)


def take(consumer: Consumer, most: int, timeout: float) -> list[Message]:
    """What is there, at most ``most``; waits for the first one only, ``timeout`` seconds.

    ``Consumer.consume`` waits for all of them or the whole timeout.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(most - 1, timeout=0.0)]


class _Client(Protocol):
    def list_topics(self, topic: str, timeout: float) -> object: ...


def learn_leaders(client: _Client, topic: str, timeout: float = 5.0) -> None:
    """Ask the brokers who leads a topic's partitions, before a question about its offsets is asked again.

    librdkafka keeps "nobody leads it" for minutes, as long as any answer about a topic, and by that refuses all
    questions at once: with ``_UNKNOWN_PARTITION`` to a consumer, with ``LEADER_NOT_AVAILABLE`` to an admin client.
    """
    with suppress(KafkaException):  # the question itself tells
        client.list_topics(topic, timeout=timeout)


def is_unread(
    conf: Mapping[str, str | int | float | bool], topic: str, starts: Mapping[int, int], timeout: float = 60.0
) -> bool:
    """Whether there is a committed record at or after a partition's start.

    Offsets do not tell: transactions' markers take some, and so does what was aborted. Raises KafkaException.
    """
    consumer = Consumer(
        {
            **conf,
            "group.id": f"{topic}-unread",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        },
        logger=log,
    )
    deadline = time.monotonic() + timeout
    try:
        consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in starts.items()])
        unended = set(starts)
        while unended:
            for message in take(consumer, 100, 0.5):
                error = message.error()
                if error is None:
                    return True
                if error.code() == KafkaError._PARTITION_EOF:
                    unended.discard(message.partition() or 0)
                elif not error.retriable():
                    raise KafkaException(error)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"the end of {topic} was not reached"))
        return False
    finally:
        consumer.close()
