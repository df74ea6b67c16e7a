"""Kafka's record batches (format 2) to records: compiled, or by the twin that is here. Nothing in a batch can raise.

Whatever is in it, a batch comes out as the records that can be read, in the order of their offsets, and what is lost
of it. Compressed batches are unpacked into bounded memory. Names of headers are bytes to Kafka: what is no UTF-8 in
them is kept as lone surrogates.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import cramjam
import numpy as np
from aiokafka import codec
from aiokafka.record.util import calc_crc32c

from state.compiled import COMPILED

#: what a batch may become when it is unpacked: no client makes larger ones
MOST_BYTES: Final = 128 * 1024 * 1024
#: of one batch: the most that librdkafka puts into one (state/c/records.c has the same)
MOST_RECORDS: Final = 1_000_000
#: what a record counts beside its content (state/c/records.c has the same)
RECORD_BYTES: Final = 50
#: how many times larger than the packed one a batch can be, by snappy's format
_SNAPPY_TIMES: Final = 32
#: a guess of the same for zstd, and for lz4 where its frame does not tell
_USUAL_TIMES: Final = 16
#: of a frame of lz4: how it begins; its header, where nothing is said that may be left out, which these flags tell; the
#: size of a block, with one bit for a block that is not packed; and how many times larger than packed one can be
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_HEADER: Final = 7
_LZ4_MORE: Final = 0x09
_LZ4_BLOCK_CHECKSUMS: Final = 0x10
_LZ4_SIZE: Final = struct.Struct("<I")
_LZ4_UNPACKED: Final = 1 << 31
_LZ4_TIMES: Final = 255
#: bytes before the records: base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and
#: latest timestamp, producer's id, epoch and sequence, count
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_UNCOUNTED: Final = 12
_MAGIC: Final = 16
_CRC_FROM: Final = 21
_COMPRESSION, _APPENDED, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_INT64: Final = 1 << 64
_ABORT: Final = struct.pack(">hh", 0, 0)

#: CRC-32C of bytes: by the processor's instruction for it where there is one, which takes a fifth of the time
checksum: Final[Callable[[Any], int]] = (
    calc_crc32c if COMPILED is None or COMPILED.crc32c(b"") is None else COMPILED.crc32c
)


class UnreadableError(ValueError):
    """Nothing of a batch can be read."""


class FetchedRecord(NamedTuple):
    """A record, as the compiled part's."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Batch:
    """The header of a batch, and its bytes. Raises UnreadableError for what is too short for one."""

    __slots__ = ("attributes", "base", "count", "crc", "first", "last_delta", "latest", "producer_id", "raw")

    def __init__(self, raw: memoryview) -> None:
        if len(raw) < _HEADER.size:
            raise UnreadableError("it is too short")
        self.raw = raw
        (
            self.base, _, _, magic, self.crc, self.attributes, self.last_delta, self.first, self.latest,
            self.producer_id, _, _, self.count,
        ) = _HEADER.unpack_from(raw)  # fmt: skip
        if magic != 2:
            raise UnreadableError(f"its format is {magic}")

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & _CONTROL)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def next_offset(self) -> int:
        return int(self.base + max(0, self.last_delta) + 1)

    def is_whole(self) -> bool:
        """Its checksum is right."""
        return bool(checksum(self.raw[_CRC_FROM:]) == self.crc)

    def aborts(self) -> bool:
        """It is the marker of an aborted transaction."""
        records, _ = _cut(self, self.raw[_HEADER.size :], 0)
        return bool(records) and (records[0].key or b"")[:4] == _ABORT


def size_of_first(data: memoryview) -> int:
    """The bytes of the batch that ``data`` begins with; 0: it is not there as a whole."""
    if len(data) < _UNCOUNTED:
        return 0
    (length,) = struct.unpack_from(">i", data, 8)
    size = int(length) + _UNCOUNTED
    return size if _MAGIC < size <= len(data) else 0


def magic_of(raw: memoryview) -> int:
    """The format of a batch; -1: it is too short to have one."""
    return int(raw[_MAGIC]) if len(raw) > _MAGIC else -1


def unpacked(batch: Batch) -> Any:
    """The bytes of the records of a compressed batch; None: they are as they are. Raises UnreadableError."""
    kind = batch.attributes & _COMPRESSION
    if not kind:
        return None
    packed = batch.raw[_HEADER.size :]
    if not batch.count and not packed:  # compaction left nothing
        return b""
    decode = _DECODERS.get(kind)
    if decode is None:
        raise UnreadableError(f"there is no compression {kind}")
    try:
        return decode(packed)
    except UnreadableError:
        raise
    except Exception as error:  # whatever a codec says of bytes that it did not make
        raise UnreadableError(f"it cannot be unpacked: {error}") from None


def parse(parts: list[tuple[Batch, Any, int]]) -> tuple[Sequence[Any], int, int]:
    """Records of (batch, its unpacked bytes or None, the offset from which on they count).

    Stops behind the first batch of which something is lost. Returns the records, how many batches came before that one,
    and the least offset that is lost of it, -1 when all were whole.
    """
    if COMPILED is not None:
        found: tuple[Sequence[Any], int, int] = COMPILED.parse(
            [(batch.raw, body, start) for batch, body, start in parts]
        )
        return found
    records: list[FetchedRecord] = []
    for number, (batch, body, start) in enumerate(parts):
        mine, lost = _cut(batch, batch.raw[_HEADER.size :] if body is None else memoryview(body), start)
        records += mine
        if lost >= 0:
            return records, number, lost
    return records, len(parts), -1


def fitting(records: Sequence[Any], room: int) -> tuple[int, int]:
    """How many of the first records have no more bytes than ``room``, and their bytes."""
    if COMPILED is not None and not isinstance(records, list):
        found: tuple[int, int] = COMPILED.fitting(records, room)
        return found
    taken = size = 0
    for record in records:
        more = bytes_of(record)
        if size + more > room:
            break
        taken += 1
        size += more
    return taken, size


def bytes_of(record: Any) -> int:
    """What a record counts."""
    size = len(record.key or b"") + len(record.value or b"") + RECORD_BYTES
    for name, value in record.headers:
        size += len(name) + len(value or b"") + 2
    return size


# unpacking


def _unpack_gzip(packed: memoryview) -> Any:
    found, left = [], MOST_BYTES
    rest: Any = packed
    while len(rest):
        stream = zlib.decompressobj(31)
        found.append(stream.decompress(rest, left + 1))
        left -= len(found[-1])
        if left < 0:
            raise _too_large()
        if not stream.eof:
            raise UnreadableError("it cannot be unpacked: it ends early")
        rest = stream.unused_data
    return found[0] if len(found) == 1 else b"".join(found)


def _unpack_snappy(packed: memoryview) -> Any:
    if len(packed) * _SNAPPY_TIMES > MOST_BYTES:
        raise _too_large()
    return codec.snappy_decode(packed.tobytes())


def _unpack_lz4(packed: memoryview) -> Any:
    # into room that is there: cramjam's own grows as it is filled, which costs three times as much
    return _into_room(cramjam.lz4.decompress_into, packed, _room_of_lz4(packed) or len(packed) * _USUAL_TIMES)


def _room_of_lz4(packed: memoryview) -> int:
    """What a frame of lz4 can become at most, by the sizes of its blocks; 0: it does not tell. That is hardly more
    than it becomes, so little has to be copied out of it, and the kernel has fewer pages to clear."""
    if len(packed) < _LZ4_HEADER or bytes(packed[:4]) != _LZ4_MAGIC or packed[4] & _LZ4_MORE:
        return 0
    block = 1 << (2 * (packed[5] >> 4 & 7) + 8)
    checksum = 4 if packed[4] & _LZ4_BLOCK_CHECKSUMS else 0
    at, room = _LZ4_HEADER, 0
    while at + 4 <= len(packed):
        (size,) = _LZ4_SIZE.unpack_from(packed, at)
        if not size:
            return room
        size &= _LZ4_UNPACKED - 1
        room += min(block, size * _LZ4_TIMES)
        at += 4 + size + checksum
    return 0


def _unpack_zstd(packed: memoryview) -> Any:
    return _into_room(cramjam.zstd.decompress_into, packed, len(packed) * _USUAL_TIMES)


def _into_room(decode: Callable[[Any, Any], int], packed: memoryview, guess: int) -> Any:
    """Into as much memory as is likely to be enough, and more until it is the most that there may be."""
    room = min(MOST_BYTES, max(4_096, guess))
    while True:
        out = np.empty(room, np.uint8)  # untouched memory costs nothing
        try:
            size = decode(packed, out)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            if room == MOST_BYTES:
                raise _too_large() from None
            room = min(MOST_BYTES, room * _USUAL_TIMES)
        else:
            return out[:size].copy() if size * 2 < room else out[:size]


def _too_large() -> UnreadableError:
    return UnreadableError(f"unpacked it would have more than {MOST_BYTES // 2**20} MiB")


_DECODERS: Final[dict[int, Callable[[memoryview], Any]]] = {
    1: _unpack_gzip,
    2: _unpack_snappy,
    3: _unpack_lz4,
    4: _unpack_zstd,
}


# the twin of state/c/records.c


class _Broken(Exception):  # noqa: N818 - it never leaves this module
    """These bytes are no record."""


def _cut(batch: Batch, body: memoryview, start: int) -> tuple[list[FetchedRecord], int]:
    """The records from ``start`` on up to the first bytes that are none; and the least offset that is lost, or -1."""
    at, end, before, count = 0, len(body), -1, 0
    found = []
    appended = batch.attributes & _APPENDED
    while at < end and count < MOST_RECORDS:
        try:
            length, at_record = _varint(body, at, end)
            if not 1 <= length <= end - at_record:
                break
            after, delta, key, value, headers = _fields(body, at_record + 1, at_record + length)
        except _Broken:
            break
        if not before < delta <= batch.last_delta:
            break
        at = at_record + length
        count += 1
        before = delta
        offset = _signed(batch.base + delta)
        if offset >= start:
            timestamp = batch.latest if appended else _signed(batch.first + after)
            found.append(FetchedRecord(offset, timestamp, int(appended > 0), key, value, headers))
    lost = before < batch.last_delta and (at < end or count < batch.count)
    return found, _signed(batch.base + before + 1) if lost else -1


def _fields(
    body: memoryview, at: int, last: int
) -> tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
    after, at = _varint(body, at, last)
    delta, at = _varint(body, at, last)
    key, at = _sized(body, at, last)
    value, at = _sized(body, at, last)
    count, at = _varint(body, at, last)
    if not 0 <= count <= last - at:
        raise _Broken
    headers = []
    for _ in range(count):
        name, at = _sized(body, at, last)
        content, at = _sized(body, at, last)
        if name is None:
            raise _Broken
        headers.append((name.decode("utf-8", "surrogateescape"), content))
    if at != last:
        raise _Broken
    return after, delta, key, value, headers


def _sized(body: memoryview, at: int, last: int) -> tuple[bytes | None, int]:
    length, at = _varint(body, at, last)
    if length > last - at:
        raise _Broken
    return (None, at) if length < 0 else (bytes(body[at : at + length]), at + length)


def _varint(body: memoryview, at: int, last: int) -> tuple[int, int]:
    zigzag = shift = 0
    while at < last and shift < 64:
        byte = body[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            if zigzag >= _INT64:
                raise _Broken
            return (zigzag >> 1) ^ -(zigzag & 1), at
        shift += 7
    raise _Broken


def _signed(number: int) -> int:
    """As 64 bits hold it."""
    number %= _INT64
    return number - _INT64 if number >= _INT64 // 2 else number
