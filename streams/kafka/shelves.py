"""All partitions of a compacted topic, read into temporary stores, and changes to them in bounded transactions."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer

from state.families import LOCAL
from state.store import SharedMemory, Store
from streams.kafka.changelog import BULK_OFFSETS_EMPTY, ask_bounds, committed
from streams.steps.moving import Put
from streams.wire.emit import Headers
from streams.wire.topics import MAX_DEAD_LETTER_BYTES

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
#: of one transaction: far below what a broker or a client holds back
_RECORDS = 5_000
_BYTES = 16 * 1024 * 1024


class Shelves:
    """``prefix`` is put before every key in the stores: those of another topic than the changelog may begin with any
    byte."""

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        topic: str,
        directory: Path,
        memory: SharedMemory,
        prefix: bytes = b"",
    ) -> None:
        self.topic = topic
        self.stores: list[Store] = []
        self._conf = conf
        self._directory = directory
        self._memory = memory
        self._prefix = prefix
        self._ends: list[int] = []

    def read(self, partition: int) -> int:
        """Take in what was committed to the partition since the last time; returns how many records. Raises
        RestoreError."""
        store = self.stores[partition]
        low, high = ask_bounds(self._conf, self.topic, partition)
        offset = max(low, self._ends[partition])
        count = 0
        with (
            store.bulk() if high - offset >= BULK_OFFSETS_EMPTY else contextlib.nullcontext(),
            contextlib.closing(committed(self._conf, self.topic, partition, offset, high)) as parts,
        ):
            for records, offset in parts:
                if len(records):
                    store.load(records, offset, prefix=self._prefix)
                    count += len(records)
        self._ends[partition] = offset
        return count

    def read_all(self, partitions: int) -> None:
        """As ``read``, of the first so many partitions."""
        for number in range(partitions):
            self.read(number)

    def extend(self, partitions: int) -> None:
        """Have a store for each of so many partitions."""
        for number in range(len(self.stores), partitions):
            self.stores.append(Store(self._directory / str(number), self._memory))
            self._ends.append(0)

    def apply(
        self,
        puts: Iterator[Put],
        producer: Producer | None,
        committed: Callable[[], None] = lambda: None,
        headers: Callable[[Put], Headers] = lambda _put: [],
    ) -> tuple[int, int]:
        """Write and delete, a bounded transaction at a time; returns how many records of each. Without a producer only
        here."""
        written = deleted = 0
        while batch := _bounded(puts):
            sent = [put for put in batch if put.key[:1] not in LOCAL]
            if producer is not None and sent:
                self._commit(producer, sent, headers)
                committed()
            by_partition: dict[int, dict[bytes, bytes | None]] = {}
            for put in batch:
                by_partition.setdefault(put.partition, {})[put.key] = put.value
            for partition, records in by_partition.items():
                self.stores[partition].write(records.items(), 0)
            deleted += sum(put.value is None for put in sent)
            written += sum(put.value is not None for put in sent)
        return written, deleted

    def _commit(self, producer: Producer, puts: list[Put], headers: Callable[[Put], Headers]) -> None:
        cut = len(self._prefix)

        def produce() -> None:
            for put in puts:
                producer.produce(self.topic, put.value, put.key[cut:], put.partition, headers=headers(put))

        commit(producer, produce)

    def close(self) -> None:
        for store in self.stores:
            store.close()


def _bounded(puts: Iterator[Put]) -> list[Put]:
    found: list[Put] = []
    size = 0
    for put in islice(puts, _RECORDS):
        found.append(put)
        size += len(put.key) + len(put.value or b"")
        if size > _BYTES:
            break
    return found


def transactional_producer(conf: Mapping[str, Any], identity: str) -> Producer:
    """A producer that has fenced every other with this transactional id. Raises KafkaException."""
    producer = Producer(
        {
            **conf,
            "transactional.id": identity,
            "compression.type": "lz4",
            "log_level": 3,
            "batch.size": 1_000_000,
            "message.max.bytes": MAX_DEAD_LETTER_BYTES,
        },
        logger=log,
    )
    producer.init_transactions(_TIMEOUT)
    return producer


def commit(producer: Producer, produce: Callable[[], None]) -> None:
    """What ``produce`` sends, in one transaction. Raises KafkaException: then the command is to be run again."""
    producer.begin_transaction()
    produce()
    for attempt in range(10):
        try:
            producer.commit_transaction(_TIMEOUT)
        except KafkaException as error:  # it may be asked again after a retriable error: a commit is idempotent
            if attempt == 9 or not error.args[0].retriable():
                raise
        else:
            return
