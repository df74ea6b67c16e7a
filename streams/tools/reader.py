"""Reads a topic as a subscriber would: committed records only, every partition, with no group and no commits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.admin import ConfValue, end_offsets

_BATCH = 1_000
_POLL_SECONDS = 0.1
_ENDS_SECONDS = 10.0


def ends_of(conf: Mapping[str, ConfValue], topic: str, timeout: float = _ENDS_SECONDS) -> dict[int, int]:
    """Of each partition the offset where its committed records end now.

    A partition that is between two leaders, as just after its creation, is asked again for ``timeout`` seconds.
    Raises AdminError when the topic does not exist or cannot be asked.
    """
    return {partition: end for (_, partition), end in end_offsets(conf, [topic], timeout=timeout).items()}


class TopicReader:
    """One topic from its start, or from where it ended when the reader was made.

    ``group`` is only a name that the client wants; nothing joins it. Raises AdminError when the topic does not exist
    or no broker answers. ``trouble`` holds what kept the reader from reading since it last read, in words; it goes on
    trying meanwhile.
    """

    def __init__(self, conf: Mapping[str, ConfValue], topic: str, *, from_start: bool, group: str = "reader") -> None:
        self._conf, self._topic = conf, topic
        ends = ends_of(conf, topic)
        self._at = dict.fromkeys(ends, 0) if from_start else ends
        self.trouble = ""
        self._consumer = Consumer(
            {
                **conf,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 1_000,  # somebody is waiting
                "error_cb": self._note,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in self._at.items()])

    def read(self, timeout: float = _POLL_SECONDS) -> list[Message[bytes, bytes]]:
        """What has come within ``timeout`` seconds, at most; raises KafkaException for what does not pass by itself."""
        records = []
        for message in self._consumer.consume(_BATCH, timeout):
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None:
                self.trouble = ""
                records.append(message)
                if partition is not None and offset is not None:
                    self._at[partition] = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # transaction markers take offsets, so only this tells that the end was reached
                self.trouble = ""
                if partition is not None and offset is not None:
                    self._at[partition] = max(self._at[partition], offset)
            else:
                raise KafkaException(error)
        return records

    def read_to_end(self, timeout: float = 30.0) -> list[Message[bytes, bytes]]:
        """All committed records up to where the topic ends now. Raises TimeoutError after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        ends = ends_of(self._conf, self._topic)
        records: list[Message[bytes, bytes]] = []
        while any(self._at.get(partition, 0) < end for partition, end in ends.items()):
            if time.monotonic() >= deadline:
                why = f": {self.trouble}" if self.trouble else ""
                raise TimeoutError(f"{self._topic} was not read to its end within {timeout:g} s{why}")
            records += self.read()
        return records

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()

    def _note(self, error: KafkaError) -> None:
        """Called within ``read`` for what librdkafka tells while it goes on trying."""
        self.trouble = error.str()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
