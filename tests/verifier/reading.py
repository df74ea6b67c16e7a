"""Reading whole topics: from Kafka, or from wherever a test keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, TopicPartition


class Source(Protocol):
    """Where topics are read from. Messages have the methods of confluent-kafka's."""

    def read(self, topic: str) -> Iterator[Any]:
        """Every committed record of a topic; none of a topic that is missing."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 when there is no such topic."""


class Kafka:
    """The topics of a cluster."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def read(self, topic: str) -> Iterator[Any]:
        return read_all(self._bootstrap, topic)

    def partitions(self, topic: str) -> int:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "verifier"})
        try:
            return _partitions(consumer, topic)
        finally:
            consumer.close()


def read_all(bootstrap: str, topic: str) -> Iterator[Any]:
    """Every committed record of a topic, partition by partition, up to the present end. A missing topic is empty."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "verifier",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 8 * 1024 * 1024,
        }
    )
    try:
        for partition in range(_partitions(consumer, topic)):
            consumer.assign([TopicPartition(topic, partition, 0)])
            ended = False
            while not ended:
                # consume() waits for all it was asked for, or the whole time
                for message in consumer.consume(5_000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended = True
                    elif not error.retriable():
                        raise RuntimeError(str(error))
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str) -> int:
    found = consumer.list_topics(timeout=20.0).topics.get(topic)
    return len(found.partitions) if found is not None else 0
