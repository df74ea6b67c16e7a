"""Step 3 of the commit protocol: everything that a turn wants done in Kafka, as records of one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from state import layout
from streams.settings import Settings
from streams.steps.effects import Effects, Place, Reject
from streams.wire.emit import (
    Change,
    Headers,
    audience_value,
    change_headers,
    change_value,
    event_source,
    membership_value,
)
from streams.wire.headers import sendable
from streams.wire.refused import dead_letter_headers
from streams.wire.topics import MAX_RECORD_BYTES

#: of records that are sent together
BATCH_BYTES = 1_000_000
_TIMEOUT = 30.0
#: of a header beside its name and content, at most
_HEADER_BYTES = 10
#: records that are handed to librdkafka at once
_PIECE = 250
#: what is kept of a record that is too large to be sent again
_CUT_BYTES = 1_048_576


class Produced:
    """What a turn handed to the producer."""

    def __init__(self, output: Output, effects: Effects) -> None:
        self.output = output
        self.offset: int | None = None
        """Of its position record in the changelog; None until its delivery is reported."""
        puts = len(effects.puts)
        self.loose = effects.count - puts + min(puts, puts * BATCH_BYTES // max(1, effects.written))
        """So many of its records at most wait until a batch is full."""

    def on_position(self, error: KafkaError | None, message: Message) -> None:
        if error is None and self.offset is None:
            self.offset = message.offset()


class Output:
    """Of one partition: turns what a turn came to into records, for whichever producer."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._place = place
        self._source = event_source(place.topics.installation, place.partition)
        self._value: Callable[[Change], bytes] = audience_value if settings.value_format == "audience" else change_value

    def produce(self, producer: Producer, effects: Effects) -> Produced:
        """Hand over what a turn wants done, the position record last. Waits for nothing. Raises KafkaException,
        BufferError."""
        topics, partition = self._place.topics, self._place.partition
        produced = Produced(self, effects)
        puts = effects.puts
        last = puts.pop(layout.POSITION_KEY)
        _produce_all(producer, topics.changelog, puts.items(), partition)
        for emitted in effects.changes:
            change = emitted.change
            producer.produce(
                topics.changes, self._value(change), change.user.encode(), partition,
                headers=change_headers(change, self._source),
            )  # fmt: skip
        erased = ((user.encode(), None) for user in effects.erased)
        snapshots = ((each.user.encode(), membership_value(each)) for each in effects.snapshots)
        _produce_all(producer, topics.memberships, chain(erased, snapshots), partition)
        for message in effects.messages:
            where = -1 if message.partition is None else message.partition
            producer.produce(message.topic, message.value, message.key, where, headers=message.headers)
        for reject in effects.rejects:
            key, value, headers = dead_letter(reject)
            producer.produce(topics.dead_letters, value, key, partition, headers=headers)
        producer.produce(topics.changelog, last, layout.POSITION_KEY, partition, on_delivery=produced.on_position)
        puts[layout.POSITION_KEY] = last
        return produced

    def missing(self, producer: Producer) -> str:
        """Which topics have too few partitions; empty when none has, or nobody says."""
        place = self._place
        try:
            found = producer.list_topics(timeout=_TIMEOUT).topics
        except KafkaException:
            return ""
        lacking = [
            f"{topic} has {len(found[topic].partitions) if topic in found else 0}"
            for topic in place.topics.by_partition
            if topic not in found or len(found[topic].partitions) < place.partitions
        ]
        if not lacking:
            return ""
        return (
            f"partition {place.partition} cannot write its results, for {', '.join(lacking)} partitions and the events "
            f"have {place.partitions}; give these topics as many (`segments topics` makes those that are not there)"
        )


def dead_letter(reject: Reject) -> tuple[bytes | None, bytes | None, Headers]:
    """(key, value, headers): the record untouched, and after its own headers why it was refused and where it lies.

    What no producer could send again (it was compressed when it came) is cut, and ``cut-from`` says its size in bytes:
    else the transaction could never be committed, and the partition would stand still.
    """
    record = reject.record
    why = dead_letter_headers(reject.error, reject.topic, reject.partition, record.offset, record.timestamp)
    own = sendable(record.headers)
    size = len(record.key or b"") + len(record.value or b"")
    size += sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in own)
    if size <= (reject.cut or MAX_RECORD_BYTES):
        return record.key, record.value, [*own, *why]
    most = min(_CUT_BYTES, reject.cut) if reject.cut else _CUT_BYTES
    key, value = (content[:most] if content is not None else None for content in (record.key, record.value))
    return key, value, [*why, ("cut-from", b"%d" % size)]


def _produce_all(producer: Producer, topic: str, records: Iterable[tuple[bytes, bytes | None]], partition: int) -> None:
    """In pieces: each has the memory of the one before, which is in the processor's cache."""
    left = iter(records)
    piece: list[dict[str, Any]]
    while piece := [{"key": key, "value": value} for key, value in islice(left, _PIECE)]:
        if producer.produce_batch(topic, piece, partition) != len(piece):
            raise KafkaException(next(message["_error"] for message in piece if "_error" in message))
