"""The numbers of format 2 (ADR 0041, section 1): what Python's and C's side of a user's record must have in common.

A record is one block of bytes, little-endian but for ``due``, of the header and up to 16 sections, none between. What
is padded is padded with zeros, what is empty is not there, what has an order is in order: a state has one way to be
written. ``state.plain.codec`` has the rules by which a block is checked.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import xxhash

FORMAT: Final = 2
#: format, due (float64 BE), 0, flags, version, time, first, count, encode_at, sequence, life, epoch, month, 0, scored,
#: then the size of each section in units of UNIT bytes
HEADER: Final = struct.Struct("<B8sBHIddQQQQIHHQ16H")
DUE: Final = struct.Struct(">d")
UNIT: Final = 8
SECTIONS: Final = 16
#: a section's size in units that says: its first 8 bytes are its size in bytes (u32, these 8 included) and u32 0
LARGE: Final = 0xFFFF
LARGE_LEAD: Final = struct.Struct("<II")
#: bytes of a block at most
MOST_BYTES: Final = 8 << 20
#: all times of events are below it, in seconds since the epoch: bucket numbers are u32 at a width of one second
MOST_TIME: Final = 2.0**32

KINDS: Final = 0
CATEGORIES: Final = 1
CELLS: Final = 2
MEMBERS: Final = 3
KNOWN: Final = 4
LANE: Final = 5
ERASED: Final = 6
LABELS: Final = 7
EDGES: Final = 8
GROUPS: Final = 9
ALIASES: Final = 10
IDS: Final = 15
#: what a section is called in a sentence
NAMES: Final = {
    KINDS: "kinds", CATEGORIES: "categories", CELLS: "cells", MEMBERS: "memberships", KNOWN: "known_at", LANE: "lane",
    ERASED: "erased", LABELS: "labels", EDGES: "edges", GROUPS: "groups", ALIASES: "aliases", IDS: "ids",
}  # fmt: skip

IDENTIFIED: Final = 1
QUEUED: Final = 2
#: not all is known: there is a section KNOWN
UNKNOWN: Final = 4
#: there are opaque cells
HAS_OPAQUE: Final = 8
FLAGS: Final = IDENTIFIED | QUEUED | UNKNOWN | HAS_OPAQUE

#: KINDS and CATEGORIES: a bitmap of so many rows, then the numbers of the rows that there are
ROWS: Final = 64
BITMAP: Final = struct.Struct("<Q")
NUMBER: Final = struct.Struct("<d")
#: no sum is larger: adding an event (less than 2^62) to it changes nothing, and float32 has it as well
MOST_EXPONENT: Final = 120
MOST_SUM: Final = 2.0**MOST_EXPONENT
#: what is smaller becomes 0 when the month changes, long before numbers are subnormal
LEAST_EXPONENT: Final = 500
LEAST_SUM: Final = 2.0**-LEAST_EXPONENT

#: mark, type, form, units of the cell with these bytes, head
CELL: Final = struct.Struct("<QBBHI")
TALLY: Final = 0
LATEST: Final = 1
OPAQUE: Final = 255
#: ``form`` of a tally: the bytes of a value are 2 to the power of these bits, the least that hold all values
FORM_WIDTH: Final = 3
#: ``form`` of a tally of which not all is known: its payload begins with up to when nothing was counted
FORM_UNKNOWN: Final = 128
#: total, number of buckets
TALLY_HEAD: Final = struct.Struct("<qH")
MOST_BUCKETS: Final = 4_096
#: next change, not known until (0: known), its type, 6 times 0; ``head`` has the number of bytes that follow
OPAQUE_HEAD: Final = struct.Struct("<ddH6s")

#: mark (the lower half of the segment's hash), bytes of the segment, 1: leaving is there, since, score, leaving,
#: sequence, version; then the segment
MEMBER: Final = struct.Struct("<IHHdddQQ")
#: dirty, texts, texts_put, texts_taken, 0
LANE_FIELDS: Final = struct.Struct("<QIIII")
#: bytes of a label or alias
ENTRY: Final = struct.Struct("<H")
#: weight, member; then the segment
LABEL: Final = struct.Struct("<dB")
#: EDGES, GROUPS: number of entries, 0
EDGES_LEAD: Final = struct.Struct("<II")
#: signed time, bytes of the name; then the name
EDGE: Final = struct.Struct("<dH")
MOST_NAME: Final = 0xFFFF

#: first, stored, n; then for each sixteen of the n ids their latest second and themselves
IDS_LEAD: Final = struct.Struct("<III")
SECOND: Final = struct.Struct("<I")
ID_BYTES: Final = 7
ID_MASK: Final = 2**56 - 1
GROUP: Final = 16
#: ids of a record ``d``; fewer than these are in the block
CHUNK: Final = 64
CHUNK_BYTES: Final = CHUNK // GROUP * SECOND.size + CHUNK * ID_BYTES
#: an id that arrived within so many seconds is remembered, and so many of the newest (docs/adr/0035)
DEDUPE_SECONDS: Final = 86_400
DEDUPE_EVENTS: Final = 1_000
#: records ``d`` of a user that hold the last DEDUPE_EVENTS at least, with what is not full yet
LAST_CHUNKS: Final = -(-DEDUPE_EVENTS // CHUNK)
#: ids of a user in records ``d`` at most, whatever their age, and these records
MOST_IDS: Final = 65_536
MOST_CHUNKS: Final = MOST_IDS // CHUNK


def padding(size: int) -> int:
    """Bytes of zeros up to the next unit."""
    return -size % UNIT


@lru_cache(maxsize=65_536)
def mark_of(key: str) -> int:
    """The mark of a cell by its key, as ``view|count|604800|`` or ``@click|shoes``: XXH3 of 64 bits, seed 0."""
    return xxhash.xxh3_64_intdigest(key.encode())


def places(record: struct.Struct) -> tuple[int, ...]:
    """At which byte each field begins, of a record without alignment."""
    found, at = [], 0
    for times, sort in re.findall(r"(\d*)([a-zA-Z])", record.format):
        count, size = (1, int(times or 1)) if sort in "sx" else (int(times or 1), struct.calcsize("<" + sort))
        found += [] if sort == "x" else [at + size * number for number in range(count)]
        at += count * size
    return tuple(found)


def _header_places() -> tuple[int, ...]:
    """Of what the header says but its format and zeros, in order of place; the last is that of the sections' sizes."""
    every = places(HEADER)
    return tuple(every[field] for field in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15))


#: what C's side has by sizeof and offsetof as well, in this order
ABI_NUMBERS: Final = (
    FORMAT, HEADER.size, UNIT, SECTIONS, LARGE, LARGE_LEAD.size, MOST_BYTES, FLAGS, ROWS, CELL.size, TALLY, LATEST,
    OPAQUE, FORM_WIDTH, FORM_UNKNOWN, TALLY_HEAD.size, MOST_BUCKETS, OPAQUE_HEAD.size, MEMBER.size, LANE_FIELDS.size,
    ENTRY.size, LABEL.size, EDGES_LEAD.size, EDGE.size, IDS_LEAD.size, SECOND.size, ID_BYTES, GROUP, CHUNK, CHUNK_BYTES,
    MOST_CHUNKS, KINDS, CATEGORIES, CELLS, MEMBERS, KNOWN, LANE, ERASED, LABELS, EDGES, GROUPS, ALIASES, IDS,
    MOST_EXPONENT, LEAST_EXPONENT,
    *_header_places(), IDENTIFIED, QUEUED, UNKNOWN, HAS_OPAQUE, int(MOST_TIME), DEDUPE_SECONDS, LAST_CHUNKS,
)  # fmt: skip


def as_one(numbers: Iterable[int]) -> int:
    """64 bits of all of them, as ``state/c/core/abi.c`` makes them."""
    found = 0
    for number in numbers:
        found = (found * 1_000_003 + number) % 2**64
    return found


def abi() -> int:
    """One number of all of them: compared when the compiled module is imported."""
    return as_one(ABI_NUMBERS)
