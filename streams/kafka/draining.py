"""Before partitions become more: what their workers have not processed is worked off with the old number.

What is between partitions was sent for that number. Events could take the reroute topic afterwards and count all the
same, but in another order than they arrived in, so that changes would be told that never were true.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from streams.kafka.audit import TopicReader
from streams.kafka.work import Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Record

#: of one topic in one turn
_RECORDS = 10_000


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
        topics, number = writer.place.topics, writer.place.partition

        def reader(topic: str) -> TopicReader:
            found = TopicReader(settings, topic, number, writer.meta.positions.get(topic, 0))
            stack.callback(found.close)
            return found

        self._outer = [(topic, reader(topic).to_end()) for topic in (topics.events, topics.labels)]
        self._inner = [(topic, reader(topic)) for topic in (topics.graph, topics.examples, topics.reroute)]

    def turn(self) -> int:
        """Returns how many records it was given."""
        writer = self._writer
        found = [(topic, list(islice(records, _RECORDS))) for topic, records in self._sources()]
        sources = [(topic, records) for topic, records in found if records]
        if sources:
            writer.process(Work(sources=[*sources], last_examples=True))
        return sum(len(records) for _, records in sources)

    def _sources(self) -> Iterator[tuple[str, Iterator[Record]]]:
        yield from self._outer
        for topic, reader in self._inner:
            yield topic, reader.to_end()
