"""What a fetch brought of a partition, as one sequence of records.

The compiled part cuts Kafka's batches into records and makes objects only of those that somebody asks for. Without it,
and for batches of old formats or that it does not understand, aiokafka makes one of each. Which batches count
(checksums, aborted transactions, control batches) is decided here in both cases, as aiokafka does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

import cramjam
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from state.compiled import COMPILED

_LENGTH: Final = struct.Struct(">i")
_BEFORE_LENGTH: Final = 8
#: a batch's length does not count what comes up to it
_UNCOUNTED: Final = 12
_MAGIC: Final = 16
_ATTRIBUTES: Final = 22
_COMPRESSION: Final = 0x07
_COUNT: Final = 57
#: bytes of a batch before its records
_HEADER: Final = 61
#: as aiokafka does it, but without a copy of what comes out where that is easy
_DECODERS: Final[dict[int, Callable[[Any], Any]]] = {
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: cramjam.lz4.decompress,
    4: cramjam.zstd.decompress,
}


class Batches:
    """The batches of a fetch, one after the other, and the bytes of the one that came last."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._batches = MemoryRecords(data)
        self._end = 0
        self.last = memoryview(b"")

    def size_in_bytes(self) -> int:
        """Of the whole fetch."""
        return len(self._data)

    def has_next(self) -> bool:
        """A whole batch follows: the last one of a fetch may be cut off."""
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """aiokafka's object for it."""
        batch = self._batches.next_batch()
        begin = self._end
        self._end += _UNCOUNTED + _LENGTH.unpack_from(self._data, begin + _BEFORE_LENGTH)[0]
        self.last = memoryview(self._data)[begin : self._end]
        return batch


class FetchedPartition(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka is untyped
    """Hands on the records of whole batches.

    aiokafka makes a dataclass of each and goes through a generator, which cost a quarter of the worker's time.
    """

    _records: Batches

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._records_iterator = None  # it is not needed, and would keep itself and all bytes for the collector

    def drain(self) -> Sequence[Any]:
        """All records that are left; ``next_fetch_offset`` is what follows them."""
        counted: list[tuple[Any, memoryview, int]] = []
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"a batch of {self._tp} has a wrong checksum")
            if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
                self._consume_aborted_up_to(batch.base_offset)
                if batch.is_control_batch and self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
                if batch.is_transactional and batch.producer_id in self._aborted_producers:
                    self.next_fetch_offset = batch.next_offset
                    continue
            if not batch.is_control_batch:
                counted.append((batch, self._records.last, self.next_fetch_offset))
            self.next_fetch_offset = batch.next_offset
        return _records(counted)


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka is untyped
    """What was fetched of a partition, taken as a whole."""

    _partition_records: FetchedPartition | None

    def getall(self, max_records: int | None = None) -> Sequence[Any]:
        """``max_records`` must be None: a partition that has too much is not fetched (``Consumer.hold``)."""
        if max_records is not None:
            raise ValueError("fetched records are handed on as a whole")
        if self._partition_records is None or not self.check_assignment(self._topic_partition):
            return []
        try:
            records = self._partition_records.drain()
            self._update_position()
        finally:
            self._partition_records = None  # after an error it is fetched again: nothing of it was handed on
        return records


def use() -> None:
    """Let aiokafka's fetcher make these: it finds its classes by name."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = FetchedPartition
    fetcher.FetchResult = FetchResult


def _records(batches: list[tuple[Any, memoryview, int]]) -> Sequence[Any]:
    """Of (batch, its bytes, the offset from which on its records count): a fetch begins with the batch's begin."""
    if COMPILED is not None and all(raw[_MAGIC] == 2 for _, raw, _ in batches):
        found: Sequence[Any] | None = COMPILED.parse([(raw, _decompressed(raw), start) for _, raw, start in batches])
        if found is not None:
            return found
    records: list[Any] = []
    for batch, _, start in batches:
        mine = list(batch)
        if mine and mine[0].offset < start:
            mine = [record for record in mine if record.offset >= start]
        records += mine
    return records


def _decompressed(batch: memoryview) -> Any:
    """The records of a compressed batch; None: they are as they are, or aiokafka has to say what is wrong."""
    if len(batch) < _HEADER:
        return None
    decode = _DECODERS.get(batch[_ATTRIBUTES] & _COMPRESSION)
    if decode is None:
        return None
    return decode(batch[_HEADER:]) if any(batch[_COUNT:_HEADER]) else b""
