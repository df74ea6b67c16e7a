"""Restore: bring a partition's RocksDB up to the end of its state changelog.

Where the changelog ends is asked by librdkafka, which tells best what is wrong; its records come as raw batches.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from state import layout
from state.loading import latest
from state.store import Store
from streams.kafka.errors import may_pass
from streams.kafka.log_reader import LogReader
from streams.kafka.log_source import KafkaSource, LogError, OffsetGoneError
from streams.kafka.reading import learn_leaders
from streams.ops.outage import CLIENTS
from streams.wire.topics import TOMBSTONE_SECONDS

log = logging.getLogger(__name__)

#: records taken at once of what a consumer has
CHUNK = 4_000
#: from so many offsets on the store is opened for loading in bulk; one that is empty, which has nothing to compare with
BULK_OFFSETS = 50_000
BULK_OFFSETS_EMPTY = 5_000
#: seconds that an answer may take, for which a question is asked again, and between two of them
_ASK_SECONDS = 30.0
_PATIENCE = 60.0
_AGAIN = 0.5
#: and between two looks whether somebody wants to stop
_LOOK_SECONDS = 0.5


class RestoreError(RuntimeError):
    """The changelog cannot be read."""


class UnansweredError(RestoreError):
    """Kafka gave no answer for long, or none of use. It may later."""


class RestoreStoppedError(RestoreError):
    """The restore was asked to stop; what was read is in the store."""


class StaleStoreError(RuntimeError):
    """The local store does not go with the changelog (any more); it must be wiped."""


def changelog_consumer(
    conf: Mapping[str, str | int | float | bool], topic: str, purpose: str, wait_ms: int
) -> Consumer:
    """A consumer of committed changelog records that joins no group; an empty fetch takes ``wait_ms``."""
    return Consumer(
        {
            **conf,
            "group.id": f"{topic}-{purpose}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.message.max.bytes": 8 * 1024 * 1024,
            "queued.max.messages.kbytes": 65_536,
            # the client's default is to wait for a second whenever its queue is full
            "fetch.queue.backoff.ms": 5,
            # the end is told by an empty fetch
            "fetch.wait.max.ms": wait_ms,
        },
        logger=CLIENTS,
    )


def bounds(
    consumer: Consumer,
    topic: str,
    partition: int,
    stopping: Callable[[], bool] = lambda: False,
    patience: float = _PATIENCE,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[int, int]:
    """(first offset, end) of the partition. A broker that was silent for a moment does not know its leader yet, or the
    client has forgotten it: asked again for ``patience`` seconds. Raises KafkaException; RestoreStoppedError."""
    until = time.monotonic() + patience
    while True:
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ASK_SECONDS)
        except KafkaException as error:
            if not may_pass(error) or time.monotonic() > until:
                raise
        else:
            return low, high
        if stopping():
            raise RestoreStoppedError("the restore was stopped")
        sleep(_AGAIN)
        learn_leaders(consumer, topic)


def ask_bounds(
    conf: Mapping[str, str | int | float | bool],
    topic: str,
    partition: int,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[int, int]:
    """``bounds``, by a consumer of its own. Raises RestoreError."""
    consumer = changelog_consumer(conf, topic, "bounds", 10)
    try:
        return bounds(consumer, topic, partition, stopping)
    except KafkaException as error:
        kind = UnansweredError if may_pass(error) else RestoreError
        raise kind(f"cannot read {topic}-{partition}: {error.args[0]}") from error
    finally:
        consumer.close()


def restore(
    conf: Mapping[str, str | int | float | bool],
    topic: str,
    partition: int,
    store: Store,
    now: float,
    progress: Callable[[int], None],
    stopping: Callable[[], bool],
    identity: str = "",
    bounds: tuple[int, int] | None = None,
) -> int:
    """Apply committed changelog records from the store's offset to the end; returns how many were read.

    An owner has fenced other writers before (``init_transactions``), so that the end does not move. ``now``: seconds
    since the epoch. ``progress`` gets the number of records of each chunk. ``identity``: Kafka's id of the topic.
    ``bounds``: its first offset and its end, where they are known.
    Raises RestoreError; StaleStoreError when the store is not of this changelog, or so old that tombstones it has not
    seen may have been compacted away.
    """
    claim(store, f"{topic}-{partition}", identity)
    low, high = bounds or ask_bounds(conf, topic, partition, stopping)
    complete_at = store.complete_at
    start = check_offset(store, f"{topic}-{partition}", low, high, now - complete_at)
    if start == low:
        complete_at = now  # it can have missed nothing so far
    count, reached = 0, high
    bulk = high - start >= (BULK_OFFSETS if store.changelog_offset else BULK_OFFSETS_EMPTY)
    with (
        store.bulk() if bulk else contextlib.nullcontext(),
        contextlib.closing(committed(conf, topic, partition, start, high, stopping)) as parts,
    ):
        for records, reached in parts:
            if len(records):
                if bulk:
                    store.load(records, reached, complete_at)
                else:
                    store.follow(latest(records), reached, complete_at)
                count += len(records)
                progress(len(records))
    store.write((), max(reached, high), complete_at=now)
    return count


def claim(store: Store, name: str, identity: str) -> None:
    """The store is of this changelog from now on. Raises StaleStoreError when it is of another one."""
    known = (store.get(layout.CHANGELOG_KEY) or b"").decode()
    if known and identity and known != identity:
        raise StaleStoreError(f"the local state is of another topic ({known}) than {name} is now ({identity})")
    if identity and not known:  # before anything of it is read: what is left after a crash is known to be its
        mark = ((layout.CHANGELOG_KEY, identity.encode()),)
        store.write(mark, store.changelog_offset, complete_at=store.complete_at)


def check_offset(store: Store, name: str, low: int, high: int, age: float) -> int:
    """The offset to read on from. Raises StaleStoreError when the store must be made anew; ``age`` in seconds."""
    start = store.changelog_offset
    if store.newest > high:
        raise StaleStoreError(f"the local state goes up to offset {store.newest} of {name}, which ends at {high}")
    if start == 0:
        return low
    if start < low:
        raise StaleStoreError(f"the local state continues at offset {start} of {name}, which begins at {low}")
    # one offset is the marker of the last transaction: whatever deletes something takes two, with the position record
    if start < high - 1 and age > TOMBSTONE_SECONDS / 2:
        raise StaleStoreError(
            f"the local state of {name} was last complete {age / 3600:.0f} h ago: "
            "what was deleted since may be compacted away"
        )
    return start


def committed(
    conf: Mapping[str, str | int | float | bool],
    topic: str,
    partition: int,
    start: int,
    end: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Sequence[Any], int], None, None]:
    """All committed records from ``start`` to ``end`` at least, in parts bounded in bytes; each with the offset
    that follows it. The last part may have no records: what an end is made of.

    Waits for a Kafka that is away. Raises RestoreError; StaleStoreError when the log does not have an offset any more.
    """
    try:
        with LogReader(KafkaSource(conf, topic, partition), topic, partition, start, end) as log:
            while log.offset < end:
                if stopping():
                    raise RestoreStoppedError("the restore was stopped")
                records = log.read(_LOOK_SECONDS)
                if len(records) or log.offset >= end:
                    yield records, log.offset
    except OffsetGoneError as error:
        raise StaleStoreError(f"the changelog was cut: {error}") from error
    except LogError as error:
        raise RestoreError(f"cannot read the changelog: {error}") from error


def gather(messages: list[Message]) -> tuple[dict[bytes, bytes | None], int, int]:
    """What the messages of one partition say last about each key (only None is a tombstone), how many they are, and
    the offset after them. Raises RestoreError; StaleStoreError when the changelog does not have the offset any more."""
    records: dict[bytes, bytes | None] = {}
    read, offset = 0, 0
    for message in messages:
        error = message.error()
        if error is None:
            records[message.key() or b""] = message.value()
            read += 1
            offset = (message.offset() or 0) + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            offset = max(offset, message.offset() or 0)  # behind the transaction's marker
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise StaleStoreError(f"the changelog has not got the offset: {error}")
        else:
            raise RestoreError(f"cannot read the changelog: {error}")
    return records, read, offset
