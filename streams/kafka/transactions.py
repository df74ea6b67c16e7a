"""A producer and its transactions: each has the turns of one partition or of several (ADR 0043).

A transactional id is initialised once, when the producer is made: whoever had it before is fenced by that, and nobody
makes another of the same id but to fence this one.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka.errors import ENDS_PRODUCER, FencedError, PermanentError, classified, is_missing
from streams.kafka.output import BATCH_BYTES, Output, Produced
from streams.ops.outage import CLIENTS
from streams.settings import Settings
from streams.steps.effects import Effects, Place
from streams.wire.topics import MAX_DEAD_LETTER_BYTES

_TIMEOUT = 30.0
#: seconds without a delivery after which those that wait are flushed
_SILENCE = 0.05


def new_writer_id(installation: str) -> str:
    """A transactional id that nobody had."""
    return f"{installation}-w-{secrets.token_hex(8)}"


def own_id(place: Place) -> str:
    """By which a partition is claimed."""
    return f"{place.topics.installation}-{place.partition}"


class Transactions:
    """One producer. For one thread at a time."""

    def __init__(self, settings: Settings, identity: str) -> None:
        """Fences whoever has the transactional id ``identity`` and aborts what that has open; without transactions
        (``at_least_once``) nobody is fenced. Raises an error of ``streams.kafka.errors``."""
        self.identity = identity
        self._transactional = settings.processing_guarantee == "exactly_once"
        self._failed: list[KafkaError] = []
        self._producer = _new_producer(settings, identity if self._transactional else "", self._failed)

    def write(self, output: Output, effects: Effects, produced: Callable[[], None] = lambda: None) -> int:
        """A transaction with one turn; ``produced`` is called before its commit. Returns as ``commit``, raises too."""
        self.begin()
        handed = self.produce(output, effects)
        produced()
        (offset,) = self.commit([handed])
        return offset

    def begin(self) -> None:
        """Raises an error of ``streams.kafka.errors``."""
        if self._transactional:
            with self._aborting(None):
                self._producer.begin_transaction()

    def produce(self, output: Output, effects: Effects) -> Produced:
        """Hand a turn to the transaction that has begun. Waits for nothing.

        Raises an error of ``streams.kafka.errors``; then the transaction is aborted.
        """
        with self._aborting(output):
            return output.produce(self._producer, effects)

    def commit(self, handed: Sequence[Produced]) -> list[int]:
        """Commit all that was handed over, and wait for it; returns for each the changelog offset to continue from.

        Raises an error of ``streams.kafka.errors``; unless that is FencedError, nothing of it has happened.
        """
        self._deliver_batches(sum(each.loose for each in handed))
        if self._transactional:
            self._commit_transaction(handed[0].output)
        else:
            self._flush()
        until = time.monotonic() + _TIMEOUT
        while any(each.offset is None for each in handed) and time.monotonic() < until:
            self._producer.poll(0.01)
        offsets = [each.offset + 1 for each in handed if each.offset is not None]
        if len(offsets) != len(handed):
            raise FencedError("the delivery of a position record was not reported")
        return offsets

    def _deliver_batches(self, loose: int) -> None:
        """Wait until little more is left than records that have no full batch. A flush delivers all as well, but
        librdkafka's thread does not sleep then while it waits for the broker: half of its processor time under
        backlog."""
        while len(self._producer) > 2 * loose and self._producer.poll(_SILENCE):
            pass

    def _commit_transaction(self, output: Output) -> None:
        try:
            _retried(lambda: self._producer.commit_transaction(_TIMEOUT))
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in ENDS_PRODUCER:
                raise classified(error) from error
            if cause.txn_requires_abort():
                self._abort()
                raise self._classified(error, output) from error
            # committed or not, nobody knows here: whoever opens the partition next reads it from the changelog
            raise FencedError(f"the outcome of a transaction is not known: {cause}") from error

    @contextlib.contextmanager
    def _aborting(self, output: Output | None) -> Any:
        try:
            yield
        except (KafkaException, BufferError) as error:
            found = self._classified(error, output)
            if not isinstance(found, FencedError):  # an abort is what would ask for another epoch of its id
                self._abort()
            raise found from error

    def _classified(self, error: Exception, output: Output | None) -> Exception:
        if output is not None and is_missing(error) and (wrong := output.missing(self._producer)):
            return PermanentError(wrong)
        return classified(error)

    def _flush(self) -> None:
        """At least once: wait until all is written. What was written in part is read again after a restart."""
        left = self._producer.flush(_TIMEOUT)
        if left or self._failed:
            why = self._failed[0] if self._failed else f"no answer within {_TIMEOUT:.0f} s"
            raise FencedError(f"records were not written: {why}")

    def _abort(self) -> None:
        if not self._transactional:
            return
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(_TIMEOUT)


def _new_producer(settings: Settings, identity: str, failed: list[KafkaError]) -> Producer:
    def note(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    guarantee: dict[str, Any] = {"enable.idempotence": True, "on_delivery": note}
    if identity:
        guarantee = {"transactional.id": identity, "transaction.timeout.ms": settings.transaction_timeout_ms}
    producer = Producer(
        {
            **settings.librdkafka(),
            **guarantee,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 1_000,  # of batches that are not full; a commit ends it
            "log_level": 3,  # errors: what a fresh coordinator answers at first is no news
            "batch.size": BATCH_BYTES,
            "message.max.bytes": MAX_DEAD_LETTER_BYTES,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
        },
        logger=CLIENTS,
    )
    if identity:
        try:
            producer.init_transactions(_TIMEOUT)
        except KafkaException as error:
            raise classified(error) from error
    return producer


def _retried(commit: Callable[[], None]) -> None:
    """A commit may be called again after a retriable error: it is idempotent."""
    for attempt in range(10):
        try:
            commit()
        except KafkaException as error:
            if attempt == 9 or not error.args[0].retriable():
                raise
        else:
            return
