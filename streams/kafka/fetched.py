"""What a fetch brought of a partition, handed on in parts that are bounded in bytes when they are unpacked.

aiokafka fetches; which batches count (checksums, aborted transactions, control batches) and what is in them is decided
here. Nothing that a batch holds can raise: what cannot be read of it becomes one ``DamagedBatch``, and reading goes on
behind it. Only a batch whose checksum is wrong is fetched again, a few times: it may have been damaged on its way.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.legacy_records import LegacyRecordBatch

from streams.kafka.batches import Batch, UnreadableError, magic_of, parse, size_of_first, unpacked
from streams.kafka.ends import Ends
from streams.steps.effects import DamagedBatch

log = logging.getLogger(__name__)

#: of one partition at once, unpacked; a batch is the least
PART_BYTES: Final = 16 * 1024 * 1024
#: of all partitions in one look
LOOK_BYTES: Final = 64 * 1024 * 1024
#: seconds before a batch with a wrong checksum is fetched again; after the last time it is taken for damaged
_AGAIN_AFTER: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
#: offsets that a header which may be damaged is believed to span
_MOST_OFFSETS: Final = 1_000_000


class Batches:
    """The batches of a fetch, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._whole = size_of_first(self._data)
        #: Kafka hands on a first batch as a whole, however large it is: if not, its length is damaged
        self._broken = bool(len(data)) and not self._whole

    def size_in_bytes(self) -> int:
        """Of the whole fetch."""
        return len(self._data)

    def has_next(self) -> bool:
        """A batch follows: the last one of a fetch may be cut off."""
        return bool(self._whole) or self._broken

    @property
    def next_batch(self) -> memoryview:
        """The bytes of the one that follows."""
        return self._data[self._at : self._at + self._whole] if self._whole else self._data

    def advance(self) -> None:
        self._broken = False
        self._at += self._whole
        self._whole = size_of_first(self._data[self._at :])

    def following_base(self) -> int | None:
        """The first offset of the batch behind the next one, if that is there."""
        behind = self._data[self._at + self._whole :]
        return int.from_bytes(behind[:8], "big", signed=True) if self._whole and size_of_first(behind) else None


class WrongChecksumError(Exception):
    """The batch at ``offset`` is not what was written."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the batch at offset {offset} has a wrong checksum")
        self.offset = offset


class FetchedPartition(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Hands on the records of whole batches.

    aiokafka makes a dataclass of each and goes through a generator, which cost a quarter of the worker's time.
    """

    _records: Batches

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._records_iterator = None  # it is not needed, and would keep itself and all bytes for the collector
        self._ready: deque[tuple[Sequence[Any], int]] = deque()
        self._given_up = -1
        self.unpacked = 0
        """Bytes of records that the last ``drain`` took out of their batches."""

    @property
    def size(self) -> int:
        """Of all that was fetched, in bytes."""
        return self._records.size_in_bytes()

    @property
    def ended(self) -> bool:
        return not self._ready and not self._records.has_next()

    def give_up(self, offset: int) -> None:
        """Take the batch there for damaged."""
        self._given_up = offset

    def drain(self, room: int = PART_BYTES) -> Sequence[Any]:
        """The next records: of a batch, and of more while they have fewer bytes than ``room``; or a DamagedBatch alone.

        ``next_fetch_offset`` is what follows them. Raises WrongChecksumError: then nothing has changed.
        """
        self.unpacked = 0
        if not self._ready:
            self._fill(room)
        if not self._ready:
            return []
        records, self.next_fetch_offset = self._ready.popleft()
        return records

    def _fill(self, room: int) -> None:
        parts: list[tuple[Batch, Any, int]] = []
        reached, size = self.next_fetch_offset, 0
        while size < room and self._records.has_next():
            raw = self._records.next_batch
            given_up = self._given_up == reached
            try:
                if not given_up and magic_of(raw) in (0, 1):
                    if parts:
                        break
                    reached = self._read_old(raw, reached)
                    size += len(raw)
                    continue
                batch = self._checked(raw)
            except UnreadableError as error:
                if parts or (reached != self.next_fetch_offset and not given_up):
                    break  # what came before it first
                if not given_up:
                    raise WrongChecksumError(reached) from None
                reached = self._pass_over(raw, reached, str(error))
                size += room
                continue
            self._records.advance()
            if self._is_left_out(batch):
                reached = max(reached, batch.next_offset)
                continue
            try:
                body = unpacked(batch)
            except UnreadableError as error:
                reached = self._hand_on(parts, reached)
                parts = []
                reached = self._damaged(batch.raw, max(reached, batch.base), max(reached + 1, batch.next_offset), error)
                continue
            parts.append((batch, body, reached))
            size += len(batch.raw) if body is None else len(body)
            reached = max(reached, batch.next_offset)
        self._hand_on(parts, reached)
        self.unpacked = size
        if self._ready:
            records, _ = self._ready.pop()
            self._ready.append((records, reached))
        else:
            self.next_fetch_offset = reached

    def _checked(self, raw: memoryview) -> Batch:
        """Raises UnreadableError when it is not what was written."""
        batch = Batch(raw)
        if self._check_crcs and not batch.is_whole():
            raise UnreadableError("its checksum is wrong")
        return batch

    def _is_left_out(self, batch: Batch) -> bool:
        """A marker, or of a transaction that was aborted."""
        if self._isolation_level == fetcher.READ_COMMITTED:
            self._consume_aborted_up_to(batch.base)
            if batch.is_control and batch.aborts():
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return batch.is_control

    def _hand_on(self, parts: list[tuple[Batch, Any, int]], reached: int) -> int:
        """The records of these batches, and what is damaged of them; returns ``reached``."""
        while parts:
            records, whole, lost = parse(parts)
            if lost < 0:
                if len(records):
                    self._ready.append((records, reached))
                break
            batch, _, start = parts[whole]
            if len(records):
                self._ready.append((records, max(lost, start)))
            error = UnreadableError("what follows is no record")
            self._damaged(batch.raw, max(lost, start), max(start + 1, batch.next_offset), error)
            parts = parts[whole + 1 :]
        return reached

    def _damaged(self, raw: memoryview, first: int, after: int, error: Exception | str) -> int:
        self._ready.append(([DamagedBatch(after - 1, min(first, after - 1), str(error), bytes(raw))], after))
        log.error("%s: offsets %d to %d cannot be read and become a dead letter: %s", self._tp, first, after - 1, error)
        return after

    def _pass_over(self, raw: memoryview, reached: int, why: str) -> int:
        """What cannot be believed at all: behind it, as far as that can be told."""
        after = self._records.following_base()
        self._records.advance()
        if after is None or not reached < after <= reached + _MOST_OFFSETS:
            try:
                after = Batch(raw).next_offset
            except UnreadableError:
                after = reached + 1
        if not reached < after <= reached + _MOST_OFFSETS:
            after = reached + 1
        return self._damaged(raw, reached, after, why)

    def _read_old(self, raw: memoryview, reached: int) -> int:
        """A batch of the formats 0 and 1, which Kafka before 0.11 wrote: aiokafka reads it."""
        try:
            batch = LegacyRecordBatch(raw, magic_of(raw))
            whole = not self._check_crcs or batch.validate_crc()
            records = [record for record in batch if record.offset >= reached] if whole else []
        except Exception as error:  # its parser raises many kinds
            raise UnreadableError(str(error)) from None
        if not whole:
            raise UnreadableError("its checksum is wrong")
        self._records.advance()
        if records:
            reached = records[-1].offset + 1
            if self._ready and not isinstance(self._ready[-1][0][0], DamagedBatch):
                records = [*self._ready.pop()[0], *records]  # it may be a batch for each record
            self._ready.append((records, reached))
        return reached


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched of a partition, part by part."""

    _partition_records: FetchedPartition | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._again_at = 0.0
        self._ends: Ends | None = None
        self._sent = 0.0
        self._end = 0

    @property
    def size(self) -> int:
        """Of what was fetched, in bytes."""
        return self._partition_records.size if self._partition_records is not None else 0

    def keep_account(self, ends: Ends, sent: float, end: int) -> None:
        """Tell ``ends`` what is handed on. The fetch was sent at ``sent``; nothing committed lies from ``end`` on."""
        self._ends, self._sent, self._end = ends, sent, end

    def _account(self, partition: FetchedPartition, records: Sequence[Any]) -> None:
        if self._ends is None:
            return
        if records:
            self._ends.handed_on(self._topic_partition, records[-1].offset + 1)
        if partition.next_fetch_offset >= self._end:
            self._ends.complete(self._topic_partition, self._sent)

    def getall(self, max_records: int | None = None) -> Sequence[Any]:
        """``max_records`` must be None: a partition that has too much is not fetched (``Consumer.hold``)."""
        if max_records is not None:
            raise ValueError("fetched records are handed on in parts of so many bytes")
        if self._again_at:
            if time.monotonic() >= self._again_at:
                self._partition_records = None  # fetched again from where it ended
            return []
        partition = self._partition_records
        if partition is None or not self.check_assignment(self._topic_partition) or not LOOK.left():
            return []
        records: Sequence[Any] = []
        try:
            records = partition.drain()
        except WrongChecksumError as error:
            pause = PATIENCE.pause(self._topic_partition, error.offset)
            if pause is not None:
                self._again_at = time.monotonic() + pause
                return []
            partition.give_up(error.offset)
            records = partition.drain()
        LOOK.took(partition.unpacked)
        self._update_position()
        self._account(partition, records)
        if partition.ended:
            self._partition_records = None
        return records


class Look:
    """How much is handed on in one look at all partitions."""

    def __init__(self) -> None:
        self._left = LOOK_BYTES

    def begin(self) -> None:
        self._left = LOOK_BYTES

    def left(self) -> bool:
        return self._left > 0

    def took(self, size: int) -> None:
        self._left -= size


class Patience:
    """How often each partition's batch with a wrong checksum was fetched."""

    def __init__(self) -> None:
        self._tries: dict[Any, tuple[int, int]] = {}

    def pause(self, tp: Any, offset: int) -> float | None:
        """Seconds before it is fetched again; None: it is damaged."""
        known, tries = self._tries.get(tp, (offset, 0))
        if known != offset:
            tries = 0
        if tries == len(_AGAIN_AFTER):
            del self._tries[tp]
            return None
        self._tries[tp] = (offset, tries + 1)
        if not tries:
            log.error("%s: the batch at offset %d has a wrong checksum; it is fetched again", tp, offset)
        return _AGAIN_AFTER[tries]


LOOK: Final = Look()
PATIENCE: Final = Patience()


def use() -> None:
    """Let aiokafka's fetcher make these: it finds its classes by name."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = FetchedPartition
    fetcher.FetchResult = FetchResult
