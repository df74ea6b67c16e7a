"""Before partitions become more: what their workers have not processed is worked off with the old number.

What is between partitions was sent for that number. Events could take the reroute topic afterwards and count all the
same, but in another order than they arrived in, so that changes would be told that never were true.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from streams.kafka.audit import TopicReader
from streams.kafka.pieces import Size, in_pieces
from streams.kafka.work import Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Record

#: of one topic in one turn
_RECORDS = 10_000
_BYTES = 16 * 2**20


def drain(
    settings: Settings, writers: Sequence[PartitionWriter], note: Callable[[str], None] = lambda _what: None
) -> None:
    """Ordinary turns of all partitions: events and labels up to their present ends, and whatever comes of them between
    partitions. Timers, and who waits for the encode lane, are left to the workers."""
    with contextlib.ExitStack() as stack:
        drains = []
        for writer in writers:
            stack.callback(writer.close)
            writer.open(lambda _count: None, lambda: False)
            drains.append(_Drain(settings, writer, stack))
        total, count = 0, -1
        while count:  # what a turn sends may be for any partition
            count = sum(each.turn() for each in drains)
            total += count
            if count:
                note(f"{total:,} records worked off")


class _Drain:
    def __init__(self, settings: Settings, writer: PartitionWriter, stack: contextlib.ExitStack) -> None:
        self._writer = writer
        self._size = Size()
        topics, number = writer.place.topics, writer.place.partition

        def reader(topic: str) -> TopicReader:
            found = TopicReader(settings, topic, number, writer.meta.positions.get(topic, 0))
            stack.callback(found.close)
            return found

        self._outer = [(topic, reader(topic).to_end()) for topic in (topics.events, topics.labels)]
        self._inner = [(topic, reader(topic)) for topic in (topics.graph, topics.examples, topics.reroute)]

    def turn(self) -> int:
        """Returns how many records it was given."""
        found = [(topic, list(_some(records))) for topic, records in self._sources()]
        sources = [(topic, records) for topic, records in found if records]
        if sources:
            deque(in_pieces(Work(sources=[*sources], last_examples=True), self._size, self._writer.process), maxlen=0)
        return sum(len(records) for _, records in sources)

    def _sources(self) -> Iterator[tuple[str, Iterator[Record]]]:
        yield from self._outer
        for topic, reader in self._inner:
            yield topic, reader.to_end()


def _some(records: Iterator[Record]) -> Iterator[Record]:
    """The next ones, as many as one turn should have of a topic."""
    size = 0
    for record in islice(records, _RECORDS):
        yield record
        size += len(record.value or b"")
        if size >= _BYTES:
            return
