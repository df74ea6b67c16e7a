"""Restore: bring a partition's RocksDB up to the end of its state changelog."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from state.store import Store
from streams.kafka.reading import take

log = logging.getLogger(__name__)

_CHUNK = 20_000


class RestoreError(RuntimeError):
    """The changelog cannot be read."""


def restore(
    conf: Mapping[str, str | int | float | bool],
    topic: str,
    partition: int,
    store: Store,
    progress: Callable[[int], None],
    stopping: Callable[[], bool],
) -> int:
    """Apply committed changelog records from the store's offset to the end; returns how many were read.

    The caller has fenced other writers (``init_transactions``), so that the end does not move. ``progress`` gets the
    number of records of each chunk. Raises RestoreError; StaleStoreError when the store is not of this changelog.
    """
    consumer = Consumer(
        {
            **conf,
            "group.id": f"{topic}-restore",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.message.max.bytes": 8 * 1024 * 1024,
            "queued.max.messages.kbytes": 65_536,
        },
        logger=log,
    )
    try:
        target = TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(target, timeout=30.0)
        start = store.changelog_offset
        if start > high:
            raise StaleStoreError(
                f"the local state continues at offset {start} of {topic}-{partition}, which ends at {high}"
            )
        if start == 0:
            start = low
        consumer.assign([TopicPartition(topic, partition, start)])
        return _read(consumer, store, start, progress, stopping)
    except KafkaException as error:
        raise RestoreError(f"cannot read the changelog {topic}-{partition}: {error.args[0]}") from error
    finally:
        consumer.close()


class StaleStoreError(RuntimeError):
    """The local store belongs to another changelog (the topic was made anew); it must be wiped."""


def _read(
    consumer: Consumer, store: Store, start: int, progress: Callable[[int], None], stopping: Callable[[], bool]
) -> int:
    count, offset = 0, start
    while not stopping():
        records: dict[bytes, bytes | None] = {}
        ended = False
        messages = take(consumer, _CHUNK, 0.5)
        for message in messages:
            error = message.error()
            if error is None:
                records[message.key() or b""] = message.value()
                offset = (message.offset() or 0) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                ended = True
            else:
                raise RestoreError(f"cannot read the changelog: {error}")
        if records:
            # an empty value is a record without content; only None is a tombstone
            store.write(records.items(), offset)
            count += len(messages) - ended
            progress(len(messages) - ended)
        if ended:
            return count
    raise RestoreError("the restore was stopped")
