"""The newest position record of each partition, read from the end of the changelog: without fencing or restoring."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from state.layout import POSITION_KEY, Meta, decode_meta
from streams.kafka.admin import offsets
from streams.kafka.changelog import CHUNK, RestoreError, changelog_consumer
from streams.kafka.reading import take

#: offsets looked at from the end; a position record is the last of its transaction, so only aborted ones need more
_TAIL = 64
_MORE = 64


def read_positions(
    conf: Mapping[str, str | int | float | bool], changelog: str, partitions: int, timeout: float = 10.0
) -> dict[int, Meta]:
    """Partition → its newest committed position record; those that have none are left out.

    Raises RestoreError, AdminError.
    """
    consumer = changelog_consumer(conf, changelog, "positions", 10)
    found: dict[int, Meta] = {}
    try:
        keys = [(changelog, number) for number in range(partitions)]
        # an admin client asks again while leaders move, as they do when a topic or a broker is new
        low = offsets(conf, keys, "start", timeout=timeout)
        # the last stable offset: behind it a killed worker's transaction may be open, and until that times out nobody
        # who begins to read there is told an end
        high = offsets(conf, keys, "end", "read_committed", timeout=timeout)
        bounds = {number: (low[changelog, number], high[changelog, number]) for number in range(partitions)}
        tail = _TAIL
        while bounds:
            starts = {number: max(low, high - tail) for number, (low, high) in bounds.items() if low < high}
            found.update(_read(consumer, changelog, starts))
            bounds = {number: bounds[number] for number, start in starts.items() if start > bounds[number][0]}
            bounds = {number: bound for number, bound in bounds.items() if number not in found}
            tail *= _MORE
    except KafkaException as error:
        raise RestoreError(f"cannot read the changelog {changelog}: {error.args[0]}") from error
    finally:
        consumer.close()
    return found


def _read(consumer: Consumer, changelog: str, starts: Mapping[int, int]) -> dict[int, Meta]:
    """The newest position records from these offsets to the ends."""
    found: dict[int, Meta] = {}
    left = set(starts)
    consumer.assign([TopicPartition(changelog, number, start) for number, start in starts.items()])
    while left:
        for message in take(consumer, CHUNK, 0.5):
            error, number = message.error(), message.partition()
            if number is None:
                continue
            if error is None:
                if message.key() == POSITION_KEY and (value := message.value()):
                    found[number] = decode_meta(value)
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(number)
            elif not error.retriable():
                raise RestoreError(f"cannot read the changelog {changelog}-{number}: {error}")
    return found
