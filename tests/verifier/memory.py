"""Topics in memory, of one partition each, as the verifier reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Written:
    """A record of one of the topics."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    time: float = 1_790_000_000.0
    """When it was written, in seconds."""


class Message:
    """As confluent-kafka has it."""

    def __init__(self, record: Written, offset: int) -> None:
        self._record, self._offset = record, offset

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self._record.headers)

    def timestamp(self) -> tuple[int, int]:
        return (2, int(self._record.time * 1_000))


class Memory:
    """The topics of a test."""

    def __init__(self, written: Sequence[Written]) -> None:
        self._written = written

    def read(self, topic: str) -> Iterator[Message]:
        return (Message(record, offset) for offset, record in enumerate(of(self._written, topic)))

    def partitions(self, topic: str) -> int:
        return 1


def of(written: Sequence[Written], topic: str) -> list[Written]:
    return [record for record in written if record.topic == topic]
