"""What an error means for the work that met it: the one place where that is decided.

* ``AbortedError``: it may go away. The same work is tried again after growing pauses, and given up after a while.
* ``TooMuchError``: a smaller turn may be possible. The work is halved until what cannot be written stands alone; that
  becomes a dead letter.
* ``NoMemoryError``: the same, but what stands alone is not to blame: it is tried again, as after ``AbortedError``.
* ``PermanentError``: it stays until somebody does something. The worker ends with a sentence.
* ``FencedError``: this worker must not write here any more.

After the first two nothing of the turn has happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from state.record import TooLargeError
from streams.steps.effects import TooMuchError

__all__ = [
    "AbortedError", "FencedError", "NoMemoryError", "PermanentError", "TooMuchError", "classified", "in_bounds",
    "is_missing", "may_pass",
]  # fmt: skip


class FencedError(RuntimeError):
    """This worker must not write to the partition any more: another owns it, or what was committed is not known."""


class AbortedError(RuntimeError):
    """The transaction was aborted; the same work can be tried again.

    ``with_others``: turns of several partitions were in it, and it is not known that it was this one's fault."""

    def __init__(self, what: str, with_others: bool = False) -> None:
        super().__init__(what)
        self.with_others = with_others


class NoMemoryError(TooMuchError):
    """A turn found no memory for what it works on. Other partitions' turns may have it just now."""


class PermanentError(RuntimeError):
    """The work cannot be done until somebody does something; the message says what."""


FENCED: Final = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED})
#: after these a producer must neither abort nor go on: librdkafka would ask for a new epoch of its transactional id,
#: and a coordinator that has forgotten the id grants it, to whoever was fenced before
ENDS_PRODUCER: Final = FENCED | {
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
    KafkaError.UNKNOWN_PRODUCER_ID,
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
}
#: a record caused it, or all of them together did
_TOO_MUCH: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._QUEUE_FULL,
    }
)
#: topics that are made, or metadata that are old, look like this for a while
_MISSING: Final = frozenset(
    {
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._INCONSISTENT,  # "messages failed delivery": what librdkafka says of a topic that is not there
    }
)
_PERMANENT: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "let the worker's Kafka user write to all of its topics",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "let the worker's Kafka user use its consumer group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "give the worker's Kafka user the right IDEMPOTENT_WRITE",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "let the worker's Kafka user use its transactional ids",
    KafkaError.SASL_AUTHENTICATION_FAILED: "look at SEGMENTS_KAFKA_SASL_USERNAME and _PASSWORD",
    KafkaError._AUTHENTICATION: "look at SEGMENTS_KAFKA_SASL_USERNAME and _PASSWORD",
    KafkaError.INVALID_TRANSACTION_TIMEOUT: "lower SEGMENTS_TRANSACTION_TIMEOUT_MS, or raise the brokers' "
    "transaction.max.timeout.ms",
    KafkaError.POLICY_VIOLATION: "look at the brokers' policies",
    KafkaError.TOPIC_EXCEPTION: "look at the names of the topics and at min.insync.replicas",
    KafkaError.INVALID_REQUIRED_ACKS: "look at the topics' configuration",
    KafkaError.INVALID_CONFIG: "look at the topics' configuration",
    KafkaError.UNSUPPORTED_VERSION: "upgrade the brokers",
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: "let the topics have Kafka's message format 2",
    KafkaError._UNSUPPORTED_FEATURE: "upgrade the brokers",
}


def classified(error: Exception) -> Exception:
    """The error of this module for what a Kafka client raised while a turn was written."""
    cause = error.args[0] if error.args else None
    if isinstance(error, BufferError):
        return TooMuchError(f"the client's queue is full: {error}")
    if not isinstance(cause, KafkaError):
        return AbortedError(f"the transaction was aborted: {error}")
    code = cause.code()
    if code in FENCED:
        return FencedError(f"the partition was taken over by another worker: {cause}")
    if what := _PERMANENT.get(code):
        return PermanentError(f"Kafka refuses to take the results of a turn ({cause}); {what}")
    if cause.fatal() or code in ENDS_PRODUCER:
        return FencedError(f"the partition's producer cannot go on: {cause}")
    if code in _TOO_MUCH:
        return TooMuchError(f"Kafka does not take the results of a turn: {cause}")
    return AbortedError(f"the transaction was aborted: {cause}")


@contextmanager
def in_bounds() -> Iterator[None]:
    """Of a turn that is worked out: that it has too much for its memory, or for a record, is told as TooMuchError."""
    try:
        yield
    except MemoryError as error:
        raise NoMemoryError(
            "there is no memory for all the users of a turn: raise SEGMENTS_CACHE_MB (turns have twice as much and "
            "256 MiB), or lower SEGMENTS_BATCH_RECORDS"
        ) from error
    except TooLargeError as error:
        raise TooMuchError(str(error)) from error


def is_missing(error: Exception) -> bool:
    """A topic or a partition may not be there."""
    cause = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return isinstance(cause, KafkaError) and cause.code() in _MISSING


def may_pass(error: KafkaException) -> bool:
    """A question may be answered if it is asked again: what is between two leaders, or new, is not known for long."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, KafkaError) and not cause.fatal() and cause.code() not in _PERMANENT
