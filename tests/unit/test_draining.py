"""What is worked off before partitions become more: all of it, whatever comes at once, in turns that one transaction
holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest

from state.layout import Meta
from streams.kafka import audit, draining
from streams.kafka.audit import TopicReader
from streams.kafka.errors import TooMuchError
from streams.kafka.pieces import units
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects, Place, Record
from tests.small_partition import PLACE, Sent

SETTINGS = Settings(data_dir=Path("unused"))


@dataclass
class Message:
    """As the client has it."""

    at: int

    def error(self) -> None: ...
    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_000

    def headers(self) -> None: ...
    def key(self) -> bytes:
        return b"u"

    def value(self) -> bytes:
        return b"{}"


class Log:
    """A topic's partition; the client hands on what it has fetched, however much that is."""

    def __init__(self, count: int, *chunks: int) -> None:
        self.left = [Message(at) for at in range(count)]
        self.count = count
        self.chunks = iter(chunks)

    def take(self, _consumer: Any, most: int, _timeout: float) -> list[Message]:
        size = min(next(self.chunks, most), most)
        found, self.left = self.left[:size], self.left[size:]
        return found

    def get_watermark_offsets(self, _place: Any, timeout: float) -> tuple[int, int]:
        del timeout
        return 0, self.count

    def assign(self, _places: Any) -> None: ...


def test_who_stops_reading_in_between_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(10, 3, 5, 5)
    monkeypatch.setattr(audit, "Consumer", lambda *_arguments, **_more: log)
    monkeypatch.setattr(audit, "take", log.take)
    reader = TopicReader(SETTINGS, "t", 0, 0)
    found: list[int] = []
    for size in (5, 4, 9):
        found += [record.offset for record in islice(reader.to_end(), size)]
    assert found == list(range(10))


@dataclass
class Writer:
    """Takes turns of up to ``most`` units."""

    most: int
    place: Place = PLACE
    meta: Meta = field(default_factory=Meta)
    taken: list[Work] = field(default_factory=list)

    def open(self, *_arguments: Any) -> None: ...
    def close(self) -> None: ...
    def process(self, work: Work) -> Done:
        if units(work) > self.most:
            raise TooMuchError("too much")
        self.taken.append(work)
        return Done(Effects(), 0, [], 0.0)


class Reader:
    """Everything waits in the topic of events."""

    waiting: tuple[Record, ...] = ()

    def __init__(self, _settings: Settings, topic: str, _partition: int, _start: int) -> None:
        self._left = list(self.waiting) if topic == PLACE.topics.events else []

    def to_end(self) -> Iterator[Record]:
        while self._left:
            yield self._left.pop(0)

    def close(self) -> None: ...


def test_turns_are_bounded_and_what_is_too_much_for_one_transaction_is_taken_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reader, "waiting", tuple(Sent(at, b"x" * 1_000) for at in range(500)))
    monkeypatch.setattr(draining, "TopicReader", Reader)
    monkeypatch.setattr(draining, "_BYTES", 100_000)
    writer = Writer(30)
    draining.drain(SETTINGS, [cast(PartitionWriter, writer)])
    assert [record.offset for work in writer.taken for _, records in work.sources for record in records] == [
        *range(500)
    ]
    assert max(len(records) for work in writer.taken for _, records in work.sources) > 10

    monkeypatch.setattr(draining, "_BYTES", 1)
    writer = Writer(30)
    turns: list[str] = []
    draining.drain(SETTINGS, [cast(PartitionWriter, writer)], turns.append)
    assert len(turns) == 500
