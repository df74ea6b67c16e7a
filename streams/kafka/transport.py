"""A Faust transport that hands an agent one value for each partition's fetched records.

Stock Faust makes three asyncio tasks for every message; here they are made for every batch. Faust's flow control,
generation check and seeks on rebalance are kept. Offsets are committed for the contiguous prefix of acked batches.
Registered under the entry point ``faust.transports`` as ``segments-batch``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from faust.types.tuples import ack_lock
from mode.utils.futures import notify

log = logging.getLogger(__name__)

#: How long a fetch waits for data: a partition that starts again waits for the running fetch of its broker.
FETCH_MAX_WAIT_MS = 100


class _RawRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Hands on the parsed record itself, which has all that is read of it, instead of a dataclass made from it."""

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


# The fetcher makes its PartitionRecords from this name; copying each record cost a fifth of the worker's time.
fetcher.PartitionRecords = _RawRecords


class RecordBatch:
    """The fetched records of one partition, in order: the value that an agent gets."""

    __slots__ = ("acked", "epoch", "partition", "records", "topic")

    def __init__(self, topic: str, partition: int, records: list[Any], epoch: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.epoch = epoch
        self.acked = False

    @property
    def last(self) -> int:
        """Offset of the last record."""
        return int(self.records[-1].offset)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        first = self.records[0].offset
        return f"<RecordBatch {self.topic}-{self.partition} {first}..{self.last}>"


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, and gives a worker the same partition numbers of all topics."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no settings for these; aiokafka reads them when the consumer starts
        consumer._isolation_level = "read_committed"
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer


class Consumer(driver.Consumer):
    """Yields one message a fetched partition; its value is a RecordBatch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._open: dict[TP, deque[RecordBatch]] = {}
        self._held: set[TP] = set()
        self._unread: set[TP] = set()
        self.epoch = 0
        """Grows with each assignment and revocation: what was fetched before is of no use after."""
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # A held partition is not fetched, because its queue is full; an unread one was assigned and its stored position
    # is not known yet: what a fetch that was under way brings for it is dropped, because it is read again from there.
    # Faust's own pause is undone by its recovery service, so this is kept apart.

    def hold(self, tps: Iterable[TP]) -> None:
        """Fetch nothing from these partitions until they are released."""
        self._held.update(tps)

    def release(self, tps: Iterable[TP]) -> None:
        self._held.difference_update(tps)

    async def read_from(self, positions: Mapping[TP, int]) -> None:
        """Continue at these offsets, whatever the group's committed offsets say and a fetch has passed already."""
        epoch = self.epoch
        await self.seek_wait(positions)
        if self.epoch != epoch:
            return  # whoever was assigned meanwhile reads from the position that it restores
        for tp, offset in positions.items():
            self._read_offset[tp] = offset or None
            self._committed_offset[tp] = None
        self._unread.difference_update(positions)
        self.release(positions)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        wanted = active_partitions
        if (self._held or self._unread) and active_partitions is not None:
            wanted = active_partitions - self._held - self._unread
            if not wanted:
                await asyncio.sleep(0.01)
                return {}
            timeout = min(timeout, 0.05)  # look soon whether a held partition was released
        return await super()._getmany(wanted, timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's
        """Fetch from all active partitions; one message for each that had records."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            # a rebalance began during the fetch: what was fetched is read again from the committed offsets
            try:
                await self.perform_seek()
            except (KafkaError, AssertionError) as error:
                # the assignment changed under it; after the rebalance Faust and the restored partitions seek anyway
                log.info("no seek in the middle of a rebalance: %s", error)
            return
        generation = self.app.consumer_generation_id
        for tp, fetched in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if TP(tp.topic, tp.partition) in self._unread:
                continue
            if fetched and (active is None or tp in active or tp in self._buffered_partitions):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._batch_message(TP(tp.topic, tp.partition), fetched, generation)

    def _batch_message(self, tp: TP, records: list[Any], generation: int) -> ConsumerMessage:
        batch = RecordBatch(tp.topic, tp.partition, records, self.epoch)
        self._open.setdefault(tp, deque()).append(batch)
        last = records[-1]
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000.0, last.timestamp_type, [], None,
            cast(bytes, batch), None, 0, 0, tp, generation_id=generation,
        )  # fmt: skip

    def ack(self, message: Message) -> bool:
        """Mark a batch as done. Acks of an earlier assignment are ignored."""
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            batch = cast(RecordBatch, message.value)
            batch.acked = True
            self._n_acked += len(batch)
            notify(self._waiting_for_ack)
            return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        for tp, batches in list(self._open.items()):
            if batches and batches[0].acked and (topics is None or tp in topics or tp.topic in topics):
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        """Next offset after the contiguous prefix of acked batches; offsets without records (markers) are no gap."""
        batches = self._open.get(tp)
        offset = None
        while batches and batches[0].acked:
            offset = batches.popleft().last + 1
        return offset

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps need no bookkeeping: batches are acked as a whole, in order."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.epoch += 1
        self._forget(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # after a rebalance Faust seeks back to the committed offsets, so what was open is delivered again
        self.epoch += 1
        self._forget(assigned)
        self._held.clear()
        if getattr(self.app, "holds_new_partitions", False):
            self._unread.update(TP(tp.topic, tp.partition) for tp in assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._open.pop(TP(tp.topic, tp.partition), None)


class Transport(driver.Transport):
    """``segments-batch://host:port``"""

    Consumer: ClassVar[type[Consumer]] = Consumer
