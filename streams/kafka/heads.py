"""Follows the topic of learned heads: every worker predicts with the same published heads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import Message

from encoders.base import FUSED
from encoders.heads import PublishedHead
from streams.kafka.follower import TopicFollower

log = logging.getLogger(__name__)


class HeadsFollower(TopicFollower):
    """Hands on the heads that are newer than what it had."""

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        topic: str,
        on_heads: Callable[[dict[str, PublishedHead]], None],
    ) -> None:
        super().__init__(conf, topic, "heads", self._take_heads)
        self._on_heads = on_heads
        self._versions: dict[str, int] = {}

    def _take_heads(self, messages: list[Message]) -> None:
        newer: dict[str, PublishedHead] = {}
        for message in messages:
            value = message.value()
            if value is None:
                continue
            try:
                group, head = read_head(message.key(), value)
            except ValueError as error:  # a bad record must not end the follower, and with it the worker
                log.warning("heads topic: offset %s is passed over: %s", message.offset(), error)
                continue
            if head.version > self._versions.get(group, -1):
                self._versions[group] = head.version
                newer[group] = head
        if newer:
            self._on_heads(newer)


def read_head(key: bytes | None, value: bytes) -> tuple[str, PublishedHead]:
    """(group, head) of a record. Raises ValueError for what is no head or does not fit the fused vectors."""
    head = PublishedHead.from_bytes(value)
    if head.dim != FUSED:
        raise ValueError(f"the head takes {head.dim} numbers, a fused vector has {FUSED}")
    if len(set(head.classes)) != len(head.classes):
        raise ValueError("the head names a class twice")
    return (key or b"").decode(), head
