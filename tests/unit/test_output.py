"""What a turn writes comes to librdkafka whole and in order, in however many pieces."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from streams.kafka.output import _PIECE, _produce_all


class Queue:
    """Takes so many records, as a producer whose queue is bounded."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[tuple[bytes, bytes | None]] = []

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        assert (topic, partition) == ("changelog", 3)
        fits = self.room - len(self.taken)
        self.taken += [(message["key"], message["value"]) for message in messages[:fits]]
        for message in messages[fits:]:
            message["_error"] = KafkaError(KafkaError._QUEUE_FULL)
        return min(fits, len(messages))


def produce(queue: Queue, count: int) -> list[tuple[bytes, bytes | None]]:
    records = [(b"%d" % number, None if number % 3 else b"x") for number in range(count)]
    _produce_all(cast("Producer", queue), "changelog", records, 3)
    return records


@pytest.mark.parametrize("count", [0, 1, _PIECE - 1, _PIECE, _PIECE + 1, 4 * _PIECE])
def test_all_records_come_once_and_in_order(count: int) -> None:
    queue = Queue(count)
    assert produce(queue, count) == queue.taken


@pytest.mark.parametrize("room", [0, 10, _PIECE, _PIECE + 1])
def test_where_one_has_no_room_it_is_told_why(room: int) -> None:
    with pytest.raises(KafkaException) as told:
        produce(Queue(room), room + 1)
    assert told.value.args[0].code() == KafkaError._QUEUE_FULL
