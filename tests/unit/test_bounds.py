"""Where a changelog begins and ends, asked of a Kafka that does not know for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka import admin
from streams.kafka.changelog import RestoreStoppedError, bounds


class Asked:
    """Stands for a client, because no broker loses a leader at will: it fails so often, and then knows. ``left`` goes
    down when it learns who leads, as librdkafka does: the question alone is answered from memory."""

    def __init__(self, code: int, times: int) -> None:
        self.code, self.left = code, times

    def get_watermark_offsets(self, _partition: object, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        if self.left:
            raise KafkaException(KafkaError(self.code))
        return 3, 8

    def list_offsets(self, asked: Mapping[TopicPartition, object], **_how: Any) -> dict[TopicPartition, Future[Any]]:
        answer: Future[Any] = Future()
        if self.left:
            answer.set_exception(KafkaException(KafkaError(self.code)))
        else:
            answer.set_result(SimpleNamespace(offset=8))
        return dict.fromkeys(asked, answer)

    def list_topics(self, topic: str, timeout: float) -> None:
        assert topic == "log"
        assert timeout > 0
        self.left -= 1


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
    assert refused.left == 9


def test_who_stops_meanwhile_waits_for_nothing() -> None:
    with pytest.raises(RestoreStoppedError):
        ask(Asked(KafkaError._UNKNOWN_PARTITION, 9), stopping=lambda: True)


def test_who_asks_for_offsets_as_an_admin_learns_the_leader_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "_POLL_SECONDS", 0.0)
    asked = Asked(KafkaError.LEADER_NOT_AVAILABLE, 2)
    monkeypatch.setattr(admin, "client", lambda _conf: asked)
    assert admin.offsets({}, [("log", 4)], "end") == {("log", 4): 8}
