"""Step 3 of the commit protocol: everything that a turn wants done in Kafka, in one transaction."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from state import layout
from streams.kafka.errors import FENCED, FencedError, PermanentError, classified, is_missing
from streams.ops.outage import CLIENTS
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
from streams.wire.topics import MAX_DEAD_LETTER_BYTES, MAX_RECORD_BYTES

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
#: of a header beside its name and content, at most
_HEADER_BYTES = 10
#: what is kept of a record that is too large to be sent again
_CUT_BYTES = 1_048_576


class Produced:
    """What a turn handed to the producer."""

    def __init__(self) -> None:
        self.offset: int | None = None
        """Of its position record in the changelog; None until its delivery is reported."""

    def on_position(self, error: KafkaError | None, message: Message) -> None:
        if error is None and self.offset is None:
            self.offset = message.offset()


class Output:
    """The partition's transactional producer. Making one fences every other with the same transactional id."""

    def __init__(self, settings: Settings, place: Place) -> None:
        """Raises an error of ``streams.kafka.errors``."""
        self._place = place
        self._source = event_source(place.topics.installation, place.partition)
        self._value: Callable[[Change], bytes] = audience_value if settings.value_format == "audience" else change_value
        self._transactional = settings.processing_guarantee == "exactly_once"
        self._failed: list[KafkaError] = []
        self._producer = _new_producer(settings, place, self._failed)

    def produce(self, effects: Effects) -> Produced:
        """Hand over what a turn wants done to the producer, in a transaction that this begins. Waits for nothing.

        Raises an error of ``streams.kafka.errors``; then the transaction is aborted.
        """
        producer, produced = self._producer, Produced()
        try:
            if self._transactional:
                producer.begin_transaction()
            self._produce(producer, effects, produced.on_position)
        except (KafkaException, BufferError) as error:
            self._abort()
            raise self._classified(error) from error
        return produced

    def commit(self, produced: Produced) -> int:
        """Commit what was handed over, and wait for it; returns the changelog offset to continue from.

        Raises an error of ``streams.kafka.errors``.
        """
        if self._transactional:
            self._commit_transaction()
        else:
            self._flush()
        until = time.monotonic() + _TIMEOUT
        while produced.offset is None and time.monotonic() < until:
            self._producer.poll(0.01)
        if produced.offset is None:
            raise FencedError("the delivery of the position record was not reported")
        return produced.offset + 1

    def _commit_transaction(self) -> None:
        try:
            _retried(lambda: self._producer.commit_transaction(_TIMEOUT))
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._abort()
                raise self._classified(error) from error
            if error.args[0].code() in FENCED:
                raise classified(error) from error
            # committed or not, nobody knows here: whoever opens the partition next reads it from the changelog
            raise FencedError(f"the outcome of a transaction is not known: {error.args[0]}") from error

    def _classified(self, error: Exception) -> Exception:
        if is_missing(error) and (wrong := self._missing()):
            return PermanentError(wrong)
        return classified(error)

    def _missing(self) -> str:
        """Which topics have too few partitions; empty when none has, or nobody says."""
        place = self._place
        try:
            found = self._producer.list_topics(timeout=_TIMEOUT).topics
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

    def _produce(self, producer: Producer, effects: Effects, on_position: Callable[..., None]) -> None:
        topics, partition = self._place.topics, self._place.partition
        puts = effects.puts
        last = puts.pop(layout.POSITION_KEY)
        records: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in puts.items()]
        _produce_batch(producer, topics.changelog, records, partition)
        for emitted in effects.changes:
            change = emitted.change
            producer.produce(
                topics.changes, self._value(change), change.user.encode(), partition,
                headers=change_headers(change, self._source),
            )  # fmt: skip
        snapshots: list[dict[str, Any]] = [{"key": user.encode(), "value": None} for user in effects.erased]
        snapshots += [{"key": each.user.encode(), "value": membership_value(each)} for each in effects.snapshots]
        _produce_batch(producer, topics.memberships, snapshots, partition)
        for message in effects.messages:
            where = -1 if message.partition is None else message.partition
            producer.produce(message.topic, message.value, message.key, where, headers=message.headers)
        for reject in effects.rejects:
            key, value, headers = dead_letter(reject)
            producer.produce(topics.dead_letters, value, key, partition, headers=headers)
        producer.produce(topics.changelog, last, layout.POSITION_KEY, partition, on_delivery=on_position)
        puts[layout.POSITION_KEY] = last


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


def _new_producer(settings: Settings, place: Place, failed: list[KafkaError]) -> Producer:
    guarantee: dict[str, Any] = {
        "transactional.id": f"{place.topics.installation}-{place.partition}",
        "transaction.timeout.ms": settings.transaction_timeout_ms,
    }
    transactional = settings.processing_guarantee == "exactly_once"
    if not transactional:

        def note(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        guarantee = {"enable.idempotence": True, "on_delivery": note}
    producer = Producer(
        {
            **settings.librdkafka(),
            **guarantee,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,  # a commit ends it
            "log_level": 3,  # errors: what a fresh coordinator answers at first is no news
            "batch.size": 1_000_000,
            "message.max.bytes": MAX_DEAD_LETTER_BYTES,
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
        },
        logger=CLIENTS,
    )
    if not transactional:
        return producer
    try:
        producer.init_transactions(_TIMEOUT)
    except KafkaException as error:
        raise classified(error) from error
    return producer


def _produce_batch(producer: Producer, topic: str, records: list[dict[str, Any]], partition: int) -> None:
    if not records:
        return
    queued = producer.produce_batch(topic, records, partition)
    if queued != len(records):
        failed = next(record["_error"] for record in records if "_error" in record)
        raise KafkaException(failed)


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
