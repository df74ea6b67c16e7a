"""Follows the topic of learned heads: every worker predicts with the same published heads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from encoders.base import FUSED
from encoders.heads import PublishedHead
from streams.kafka.reading import take
from streams.ops.outage import CLIENTS

log = logging.getLogger(__name__)


class HeadsFollower:
    """A thread that reads the compacted topic from its start and hands on what is newer than what it had."""

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        topic: str,
        on_heads: Callable[[dict[str, PublishedHead]], None],
    ) -> None:
        self._conf = dict(conf)
        self._topic = topic
        self._on_heads = on_heads
        self._versions: dict[str, int] = {}
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heads-follower", daemon=True)
        self.next_offset = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=10.0)

    @property
    def ready(self) -> bool:
        """All heads that were there at the start are known."""
        return self._caught_up.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        consumer = Consumer(
            {
                **self._conf,
                "group.id": f"{self._topic}-follower",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            },
            logger=CLIENTS,
        )
        try:
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            while not self._stopping.is_set():
                self._take(take(consumer, 500, 0.2))
        except KafkaException:
            log.exception("cannot follow the heads topic %s", self._topic)
        finally:
            consumer.close()

    def _take(self, messages: list[Message]) -> None:
        newer: dict[str, PublishedHead] = {}
        ended = False
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ended = True
                    self.next_offset = max(self.next_offset, message.offset() or 0)
                elif not error.retriable():
                    log.warning("heads topic %s: %s", self._topic, error)
                continue
            self.next_offset = (message.offset() or 0) + 1
            value = message.value()
            if value is None:
                continue
            try:
                group, head = read_head(message.key(), value)
            except ValueError as error:  # a bad record must not end the follower, and with it the worker
                log.warning("heads topic %s: offset %s is passed over: %s", self._topic, message.offset(), error)
                continue
            if head.version > self._versions.get(group, -1):
                self._versions[group] = head.version
                newer[group] = head
        if newer:
            self._on_heads(newer)
        if ended:
            self._caught_up.set()


def read_head(key: bytes | None, value: bytes) -> tuple[str, PublishedHead]:
    """(group, head) of a record. Raises ValueError for what is no head or does not fit the fused vectors."""
    head = PublishedHead.from_bytes(value)
    if head.dim != FUSED:
        raise ValueError(f"the head takes {head.dim} numbers, a fused vector has {FUSED}")
    if len(set(head.classes)) != len(head.classes):
        raise ValueError("the head names a class twice")
    return (key or b"").decode(), head
