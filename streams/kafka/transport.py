"""A Faust transport that hands an agent one value for each partition's fetched records.

Stock Faust makes three asyncio tasks for every message; here they are made for every batch. Faust's flow control,
generation check and seeks on rebalance are kept. Offsets are committed for the contiguous prefix of acked batches.
Registered under the entry point ``faust.transports`` as ``segments-batch``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import aiokafka
import uvloop
from aiokafka.consumer import consumer as consumer_module
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from faust.types.tuples import ack_lock
from mode.utils.futures import notify

from streams.kafka import fetched
from streams.kafka.clock import Told
from streams.kafka.ends import Ends

#: How long a fetch waits for data: a partition that starts again waits for the running fetch of its broker.
FETCH_MAX_WAIT_MS = 100
#: While data flows, a fetch collects for so long or so much: one costs worker and broker as much as dozens of events
FETCH_PACE_MS = 5
FETCH_PACE_BYTES = 65_536
#: A broker looks into every partition that it is asked for, with each fetch, and again with each record that comes to
#: one of them while the fetch waits there: of many it is asked once in so many seconds for each, and answers at once
FETCH_MANY = 48
FETCH_MANY_SECONDS = 0.0002


def fetch_pause(asked: int) -> float:
    """Seconds from one fetch to the next while data flows, of so many partitions of topics; 0: of few, for which the
    broker may wait."""
    return FETCH_MANY_SECONDS * asked if asked > FETCH_MANY else 0.0


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # aiokafka is untyped
    """Answers at once to the first record after a pause, and at a steady pace while data flows."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.ends = Ends()
        self._again_at: dict[int, float] = {}  # node -> when it may be asked again

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        asked = [
            (tp, state)
            for topic, partitions in request.topics
            for tp in (TP(topic, partition) for partition, *_ in partitions)
            if (state := assignment.state_value(tp)) is not None
        ]
        try:
            await asyncio.sleep(self._again_at.pop(node_id, 0.0) - time.monotonic())
        except asyncio.CancelledError:  # as aiokafka does
            return False
        for _, state in asked:
            state.lso = None  # so that an answer that is refused, or that says nothing of it, is not taken for one
        sent, began = time.time(), time.monotonic()
        found: bool = await super()._proc_fetch_request(assignment, node_id, request)
        pause = fetch_pause(len(asked))
        self._fetch_min_bytes = FETCH_PACE_BYTES if found and not pause else 1
        self._fetch_max_wait_ms = (0 if pause else FETCH_PACE_MS) if found else FETCH_MAX_WAIT_MS
        if found and pause and self._brought(asked) < FETCH_PACE_BYTES:
            self._again_at[node_id] = began + pause
        if assignment.active:
            for tp, state in asked:
                if state.lso is not None:
                    self._answered(tp, state, sent)
        return found

    def _brought(self, asked: Iterable[tuple[TP, Any]]) -> int:
        """Bytes that wait for who takes them."""
        found = (self._records.get(tp) for tp, _ in asked)
        return sum(each.size for each in found if isinstance(each, fetched.FetchResult))

    async def fetched_records(self, *arguments: Any, **more: Any) -> Any:
        """What was fetched comes part by part; whoever has more comes behind the others then."""
        fetched.LOOK.begin()
        found = await super().fetched_records(*arguments, **more)
        for tp in found or ():
            if tp in self._records:
                self._records.move_to_end(tp)
        return found

    def _answered(self, tp: TP, state: Any, sent: float) -> None:
        """A fetch sent at ``sent`` was answered: nothing committed lies at or after the last stable offset."""
        brought = self._records.get(tp)
        if isinstance(brought, fetched.FetchResult):  # it is complete, or not, when the records are taken out
            brought.keep_account(self.ends, sent, state.lso)
        elif brought is None and state.has_valid_position and state.position >= state.lso:
            self.ends.complete(tp, sent)


fetched.use()
consumer_module.Fetcher = _Fetcher  # it is made from this name


class RecordBatch:
    """The fetched records of one partition, in order: the value that an agent gets."""

    __slots__ = ("acked", "generation", "partition", "records", "topic")

    def __init__(self, topic: str, partition: int, records: Sequence[Any], generation: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.generation = generation
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # asyncio's own loop would cost each fetch a third more
        super().__init__(*args, thread_loop=uvloop.new_event_loop(), **kwargs)
        self._close_thread_loop_on_stop = True  # mode takes a loop that it is given for somebody else's

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """To what the group has committed, or else the start: by one question for all. aiokafka has two for each
        partition of each topic, one after the other."""
        return cast(Mapping[TP, int], await self.call_thread(self._seek_to_committed))

    async def _seek_to_committed(self) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        assignment = consumer._subscription.subscription.assignment
        committed = await consumer._coordinator.fetch_committed_offsets(list(assignment.tps))
        found: dict[TP, int | None] = {}
        for tp in assignment.tps if assignment.active else ():
            found[tp] = committed[tp].offset if tp in committed else None
            if found[tp]:
                consumer._fetcher.seek_to(tp, found[tp])
            elif not assignment.state_value(tp).has_valid_position:
                assignment.state_value(tp).await_reset(OffsetResetStrategy.EARLIEST)
        return found

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
        self._unsought: set[TP] = set()
        self._fetching = asyncio.Lock()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # A held partition is not fetched: its queue is full. Faust's own pause is undone by its recovery service, so this
    # is kept apart. A new partition is fetched when it was sought to its stored position, and what a fetch that began
    # before brings of it is dropped: after a part of it was lost in the rebalance, the rest would look like the next.

    def hold(self, tps: Iterable[TP]) -> None:
        """Fetch nothing from these partitions until they are released."""
        self._held.update(tps)

    def release(self, tps: Iterable[TP]) -> None:
        self._held.difference_update(tps)

    async def seek_and_fetch(self, positions: Mapping[TP, int], still: Callable[[], bool]) -> None:
        """Continue new partitions at these offsets, whatever the group's committed offsets say.

        Waits until no fetch is under way; does nothing when ``still`` says that they are not wanted any more.
        """
        while still():
            try:
                # not without end: a fetch may wait for the end of a rebalance that waits for who waits here
                await asyncio.wait_for(self._fetching.acquire(), 0.1)
                break
            except TimeoutError:
                continue
        else:
            return
        try:
            await self._seek_new(positions, still)
        finally:
            self._fetching.release()

    async def _seek_new(self, positions: Mapping[TP, int], still: Callable[[], bool]) -> None:
        if not still():
            return
        try:
            await self.seek_wait(positions)
        except IllegalStateError:
            if still():
                raise
            return  # the assignment changed under it
        for tp, offset in positions.items():
            self._read_offset[tp] = offset or None
            self._committed_offset[tp] = None
        self._ends.begin(positions)
        self._unsought.difference_update(positions)

    def told(self, tp: TP) -> Told | None:
        """What the last complete fetch of a partition says; None before the first since it was sought."""
        return None if tp in self._unsought else self._ends.told(tp)

    @property
    def _ends(self) -> Ends:
        return cast(Ends, cast(ConsumerThread, self._thread)._ensure_consumer()._fetcher.ends)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        async with self._fetching:
            wanted = active_partitions
            if active_partitions is not None and (idle := self._held | self._unsought):
                wanted = active_partitions - idle
                if not wanted:
                    await asyncio.sleep(0.01)
                    return {}
                timeout = min(timeout, 0.05)  # look soon whether one of them may be fetched
            found = await super()._getmany(wanted, timeout)
            return {tp: records for tp, records in found.items() if tp not in self._unsought}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 - Faust's
        """Fetch from all active partitions; one message for each that had records."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            return  # a rebalance began during the fetch: after it all partitions are sought to their stored positions
        generation = self.app.consumer_generation_id
        for tp, brought in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if brought and (active is None or tp in active or tp in self._buffered_partitions):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._batch_message(TP(tp.topic, tp.partition), brought, generation)

    def _batch_message(self, tp: TP, records: Sequence[Any], generation: int) -> ConsumerMessage:
        batch = RecordBatch(tp.topic, tp.partition, records, generation)
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
        self._forget(revoked)
        self._renew(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # what was open is delivered again, from the stored positions
        self._forget(assigned)
        self._renew(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    def _renew(self, tps: Iterable[TP]) -> None:
        new = {TP(tp.topic, tp.partition) for tp in tps}
        self._unsought |= new
        self._held -= new

    def _forget(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            self._open.pop(TP(tp.topic, tp.partition), None)


class Transport(driver.Transport):
    """``segments-batch://host:port``"""

    Consumer: ClassVar[type[Consumer]] = Consumer
