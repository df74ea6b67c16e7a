"""Each error of Kafka means one of four things, and says what to do where somebody must do something."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.kafka.errors import (
    AbortedError,
    FencedError,
    PermanentError,
    TooMuchError,
    classified,
    is_missing,
)

CASES = [
    (KafkaError.MSG_SIZE_TOO_LARGE, TooMuchError),
    (KafkaError.RECORD_LIST_TOO_LARGE, TooMuchError),
    (KafkaError.INVALID_RECORD, TooMuchError),
    (KafkaError._QUEUE_FULL, TooMuchError),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, PermanentError),
    (KafkaError.SASL_AUTHENTICATION_FAILED, PermanentError),
    (KafkaError.INVALID_TRANSACTION_TIMEOUT, PermanentError),
    (KafkaError._FENCED, FencedError),
    (KafkaError.PRODUCER_FENCED, FencedError),
    (KafkaError.INVALID_PRODUCER_ID_MAPPING, FencedError),
    (KafkaError.UNKNOWN_PRODUCER_ID, FencedError),
    (KafkaError._TIMED_OUT, AbortedError),
    (KafkaError.NOT_ENOUGH_REPLICAS, AbortedError),
    (KafkaError._TRANSPORT, AbortedError),
    (KafkaError.UNKNOWN_TOPIC_OR_PART, AbortedError),
    (KafkaError.UNKNOWN, AbortedError),
]


@pytest.mark.parametrize(("code", "kind"), CASES)
def test_an_error_of_kafka_has_one_meaning(code: int, kind: type[Exception]) -> None:
    found = classified(KafkaException(KafkaError(code)))
    assert type(found) is kind
    assert "\n" not in str(found)


def test_a_fatal_error_of_the_producer_ends_its_partition() -> None:
    assert type(classified(KafkaException(KafkaError(KafkaError.UNKNOWN, "x", True)))) is FencedError


def test_a_full_queue_of_the_client_asks_for_less() -> None:
    assert type(classified(BufferError("Local: Queue full"))) is TooMuchError


def test_what_may_be_a_missing_topic_is_known() -> None:
    assert is_missing(KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION)))
    assert is_missing(KafkaException(KafkaError(KafkaError._INCONSISTENT)))
    assert not is_missing(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    assert not is_missing(BufferError("full"))
