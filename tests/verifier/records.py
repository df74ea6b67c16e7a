"""Users' records as bytes, by docs/adr/0041 and by format 1: nothing of the engine is asked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import xxhash

#: of decayed counters, in the order of their bits
COUNTERS = (
    "view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify", "alias", "delete",
    "$spend", "$dwell",
)  # fmt: skip
_MONTH = 30 * 86_400.0
_HEADER = struct.Struct("<HIddQQQQIHHQ16H")
_KINDS, _CATEGORIES, _CELLS, _MEMBERS, _KNOWN, _LANE, _ERASED, _LABELS, _EDGES, _GROUPS, _ALIASES = range(11)
_TALLY = 0


@dataclass
class Tally:
    total: int
    buckets: dict[int, int]


@dataclass
class Held:
    """What a record says, as far as it can be recounted."""

    time: float
    first: float
    count: int
    sequence: int
    texts: int
    waiting: int
    """Texts that are not encoded yet."""
    decayed: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Counter → (since, fast, slow): what they stand at at the time ``since``."""
    categories: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Bucket → (since, slow)."""
    tallies: dict[int, Tally] = field(default_factory=dict)
    """By mark."""
    edges: dict[str, float] = field(default_factory=dict)
    groups: dict[str, float] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)


def read_user(data: bytes) -> Held:
    """Of either format."""
    return _read_1(data) if data[0] == 1 else _read_2(data)


def mark_of(key: str) -> int:
    """What a tally is found by."""
    return xxhash.xxh3_64_intdigest(key.encode())


def _read_1(data: bytes) -> Held:
    """1 format, 8 due, msgpack of an array."""
    fields: list[Any] = msgspec.msgpack.decode(data[9:], strict=False)
    time, first, count, sequence, decayed, categories, tallies, _, edges, groups, pending, _, texts, members = fields[
        :14
    ]
    put, taken = fields[23:25] if len(fields) > 24 else (0, 0)
    return Held(
        time, first, count, sequence, texts, len(pending) + put - taken,
        {name: tuple(sums) for name, sums in decayed.items()},
        {bucket: tuple(sums) for bucket, sums in categories.items()},
        {mark_of(key): Tally(total, buckets) for key, (total, _, buckets) in tallies.items()},
        edges, groups, set(members),
    )  # fmt: skip


def _read_2(data: bytes) -> Held:
    assert data[0] == 2, f"a record of format {data[0]}"
    _, _, time, first, count, _, sequence, _, _, month, _, _, *sizes = _HEADER.unpack_from(data, 10)
    sections, at = [], 112
    for units in sizes:
        begin, size = at, units * 8
        if units == 0xFFFF:
            size = int.from_bytes(data[at : at + 4], "little")
            begin += 8
        sections.append(data[begin : at + size])
        at += size
    assert at == len(data)
    since = month * _MONTH
    lane = struct.unpack("<QIIII", sections[_LANE]) if sections[_LANE] else (0, 0, 0, 0, 0)
    return Held(
        time, first, count, sequence, lane[1], lane[2] - lane[3],
        {COUNTERS[row]: (since, *sums) for row, sums in _rows(sections[_KINDS], 2)},
        {bucket: (since, *sums) for bucket, sums in _rows(sections[_CATEGORIES], 1)},
        dict(_tallies(sections[_CELLS])),
        dict(_edges(sections[_EDGES])),
        dict(_edges(sections[_GROUPS])),
        set(_members(sections[_MEMBERS])),
    )  # fmt: skip


def _rows(section: bytes, width: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """A bitmap, then so many numbers for each bit."""
    bitmap = int.from_bytes(section[:8], "little")
    numbers = struct.iter_unpack(f"<{width}d", section[8:])
    for row in range(64):
        if bitmap >> row & 1:
            yield row, next(numbers)


def _tallies(section: bytes) -> Iterator[tuple[int, Tally]]:
    at = 0
    while at < len(section):
        mark, kind, form, units, head = struct.unpack_from("<QBBHI", section, at)
        if kind == _TALLY:
            begin = at + 16 + (8 if form & 128 else 0)
            total, count = struct.unpack_from("<qH", section, begin)
            offsets = struct.unpack_from(f"<{count}H", section, begin + 10)
            values = struct.unpack_from(f"<{count}{'BHIQ'[form & 3]}", section, begin + 10 + 2 * count)
            yield mark, Tally(total, {head + offset: value for offset, value in zip(offsets, values, strict=True)})
        at += units * 8


def _members(section: bytes) -> Iterator[str]:
    at = 0
    while at < len(section):
        size = int.from_bytes(section[at + 4 : at + 6], "little")
        yield section[at + 48 : at + 48 + size].decode()
        at += 48 + size + -size % 8


def _edges(section: bytes) -> Iterator[tuple[str, float]]:
    at = 8
    while at < len(section):
        time, size = struct.unpack_from("<dH", section, at)
        yield section[at + 10 : at + 10 + size].decode(), time
        at += 10 + size + -(10 + size) % 8
