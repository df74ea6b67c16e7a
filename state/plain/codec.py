"""What the parts of a record are written and read with; how a block is checked (ADR 0041, section 1).

A block comes from a store, a changelog, or another partition's message, so from anybody. What is not exactly what this
package or ``state/c/core`` would have written is refused: what is accepted is written again as the same bytes. These
are the rules, and those of C's ``block_check``; in whatever order they are looked at, one broken rule refuses a block.

==========  ==========================================================================================================
block       at least 112 bytes, at most 8 MiB; the header and all sections are as long as it is
header      format 2; the byte at 9 and the u16 at 70 are 0; no flags but 1, 2, 4, 8; due is no NaN and not below 0
            (it may be infinite); time, first: 0 <= t < 2^32; month is floor(time / 2,592,000); version, count,
            encode_at, sequence, life, epoch, scored: anything
sizes       0xFFFF: u32 bytes of the section (these 8 included), a multiple of 8, and u32 0; the content is larger
            than 65,534 units, else it would be written without. Sections 11 to 14 are empty, or a later release's
KINDS       bitmap not 0; 16 bytes for each bit, no more; each number 0 <= x <= 2^120
CATEGORIES  bitmap not 0; 8 bytes for each bit, no more; each number 0 <= x <= 2^120
CELLS       at least one; marks ascend strictly; type 0, 1 or 255, else it is a later release's; units are those of
            the content, whose padding is 0
- tally     form: bits 0, 1 and 7 only; until (with bit 7): 0 <= t < 2^32; at most 4,096 buckets; none only with
            until, and then head is 0; the first bucket less head is 0, the others ascend strictly, all are below 2^32;
            values at most 2^50, of the least of 1, 2, 4, 8 bytes that hold all of them (none: 1); total is their sum
- latest    form and head 0; 0 < |t| < 2^32
- opaque    form 0; head: bytes of the content; next is no NaN and not below 0 (it may be infinite); until:
            0 <= t < 2^32; the 6 bytes are 0. There is one exactly if the header has flag 8
MEMBERS     at least one; names (below) ascend strictly; mark: the lower 32 bits of the name's XXH3; the u16 is 0 or
            1; 0 <= since < 2^32; score, leaving finite; leaving is 8 bytes of 0 if the u16 is 0; padding 0
KNOWN       finite, not below 0; there exactly if the header has flag 4
LANE        24 bytes; not all numbers 0; the last u32 is 0; texts_taken <= texts_put
ERASED      0 < t < 2^32
LABELS      at least one; size at least 10; weight finite; member 0 or 1; the name; then fewer than 8 bytes, all 0
EDGES,      count is the number of entries, at least 1; the u32 after it 0; 0 < |t| < 2^32; names ascend strictly;
GROUPS      padding 0
ALIASES     at least one; size at least 1; the name; then fewer than 8 bytes, all 0
IDS         first <= stored; stored - first <= 1,024; n < 64; not all three 0; groups and ids as n says; then fewer
            than 8 bytes, all 0
names       1 to 65,535 bytes of UTF-8 (no surrogates, shortest form); their order is that of the bytes
==========  ==========================================================================================================

Not asked: whether ids or aliases come twice (nothing rests on it), whether ``first`` is before ``time``, whether there
are more memberships, labels, edges than settings allow. A record ``d`` has 464 bytes, and any 464 bytes are one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from state.layout import FormatError
from state.layout2 import (
    DUE,
    FLAGS,
    FORMAT,
    HEADER,
    LARGE,
    LARGE_LEAD,
    MOST_BYTES,
    MOST_NAME,
    MOST_TIME,
    NAMES,
    SECTIONS,
    UNIT,
    padding,
)

_MOST_UNITS = LARGE - 1


def damaged(where: str, why: str) -> FormatError:
    return FormatError(
        f"a user's record is damaged, {where}: {why}; restore the store from the changelog, "
        "or replay into fresh topics if the changelog has it so"
    )


def of_a_later_release(what: str) -> FormatError:
    return FormatError(f"a user's record has {what}, which a later release wrote: run that release, or a newer one")


class Reader:
    """Goes over bytes that anybody may have written. All methods raise FormatError."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def wrong(self, why: str) -> FormatError:
        return damaged(self._where, why)

    def need(self, holds: bool, why: str) -> None:
        if not holds:
            raise self.wrong(why)

    def take(self, size: int) -> bytes:
        self.need(size <= self.left, "it ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def peek(self, size: int) -> bytes:
        """What ``take`` would give, or less at the end."""
        return self._data[self._at : self._at + size]

    def unpack(self, fields: struct.Struct) -> tuple[Any, ...]:
        return fields.unpack(self.take(fields.size))

    def name(self, size: int) -> str:
        self.need(size > 0, "a name is empty")
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise self.wrong("a name is not UTF-8") from None

    def zeros(self, size: int) -> None:
        self.need(not any(self.take(size)), "what is not used is not 0")

    def end(self) -> None:
        """Less than a unit may be left, of zeros."""
        self.need(self.left < UNIT, "it is longer than what is in it")
        self.zeros(self.left)


def time_is_right(time: float) -> bool:
    """Of an event, or 0."""
    return 0.0 <= time < MOST_TIME


def signed_time_is_right(time: float) -> bool:
    return 0.0 < abs(time) < MOST_TIME


def is_moment(time: float) -> bool:
    """Of a timer: never is one as well."""
    return time >= 0.0


def ascend(names: Iterable[str]) -> bool:
    """Whether they are in the order of their bytes, none twice: that of code points is the same."""
    before = ""
    for name in names:
        if name <= before:
            return False
        before = name
    return True


def name_bytes(name: str, most: int = MOST_NAME) -> bytes:
    """Raises ValueError for what cannot be a name in a record."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} is not Unicode text, so no record can have it as a name") from None
    if not 0 < len(encoded) <= most:
        raise ValueError(f"a name of {len(encoded):,} bytes cannot be in a record: it must have 1 to {most:,}")
    return encoded


def padded(data: bytes) -> bytes:
    return data + bytes(padding(len(data)))


def join(header: list[Any], due: float, sections: dict[int, bytes]) -> bytes:
    """A block. ``header``: flags, version, time, first, count, encode_at, sequence, life, epoch, month, scored; the
    sections are padded here."""
    sizes, parts = [0] * SECTIONS, [b""]
    for number, content in sorted(sections.items()):
        if content:
            part = padded(content)
            if len(part) > _MOST_UNITS * UNIT:
                part = LARGE_LEAD.pack(LARGE_LEAD.size + len(part), 0) + part
                sizes[number] = LARGE
            else:
                sizes[number] = len(part) // UNIT
            parts.append(part)
    parts[0] = HEADER.pack(FORMAT, DUE.pack(due), 0, *header[:-1], 0, header[-1], *sizes)
    return b"".join(parts)


def split(data: bytes) -> tuple[list[Any], float, dict[int, Reader]]:
    """What ``join`` was given, checked as far as it is not in a section. Raises FormatError."""
    if data and data[0] != FORMAT:
        raise FormatError(
            f"a state record has format {data[0]}, where {FORMAT} was expected: "
            "replay into fresh topics, or run the version that wrote it"
        )
    block = Reader(data, "block")
    block.need(len(data) <= MOST_BYTES, f"it has {len(data):,} bytes")
    _, due_bytes, zero, *header, zero_2, scored = block.unpack(HEADER)[:-SECTIONS]
    header.append(scored)
    due: float = DUE.unpack(due_bytes)[0]
    flags, _version, time, first = header[:4]
    block.need(zero == zero_2 == 0, "what is not used is not 0")
    block.need(is_moment(due), f"its timer is {due}")
    block.need(time_is_right(time) and time_is_right(first), f"its times are {time} and {first}")
    if flags & ~FLAGS:
        raise of_a_later_release(f"the flags {flags}")
    sections = {}
    for number, units in enumerate(HEADER.unpack_from(data)[-SECTIONS:]):
        if not units:
            continue
        if number not in NAMES:
            raise of_a_later_release(f"a section {number}")
        sections[number] = Reader(_section(block, units), NAMES[number])
    block.need(not block.left, f"{block.left:,} bytes follow its sections")
    return header, due, sections


def _section(block: Reader, units: int) -> bytes:
    if units != LARGE:
        return block.take(units * UNIT)
    size, zero = block.unpack(LARGE_LEAD)
    content = size - LARGE_LEAD.size
    block.need(zero == 0 and size % UNIT == 0, "the size of a large section cannot be")
    block.need(content > _MOST_UNITS * UNIT, "a section is written as a large one and is not")
    return block.take(content)
