"""Where a changelog begins and ends, asked of a Kafka that does not know for a moment."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from streams.kafka.changelog import RestoreStoppedError, bounds


class Asked:
    """Stands for a consumer, because no broker loses a leader at will: it fails so often, and then knows."""

    def __init__(self, code: int, times: int) -> None:
        self.code, self.left = code, times

    def get_watermark_offsets(self, _partition: object, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        if self.left:
            self.left -= 1
            raise KafkaException(KafkaError(self.code))
        return 3, 8


def ask(asked: Asked, **how: Any) -> tuple[int, int]:
    return bounds(cast("Consumer", asked), "log", 4, sleep=lambda _seconds: None, **how)


@pytest.mark.parametrize(
    "code", [KafkaError._UNKNOWN_PARTITION, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._TIMED_OUT]
)
def test_what_passes_is_asked_again(code: int) -> None:
    assert ask(Asked(code, 3)) == (3, 8)


def test_it_is_given_up_after_a_while_and_at_once_where_it_stays() -> None:
    with pytest.raises(KafkaException):
        ask(Asked(KafkaError._UNKNOWN_PARTITION, 1), patience=-1.0)
    refused = Asked(KafkaError.TOPIC_AUTHORIZATION_FAILED, 9)
    with pytest.raises(KafkaException):
        ask(refused)
    assert refused.left == 8


def test_who_stops_meanwhile_waits_for_nothing() -> None:
    with pytest.raises(RestoreStoppedError):
        ask(Asked(KafkaError._UNKNOWN_PARTITION, 9), stopping=lambda: True)
