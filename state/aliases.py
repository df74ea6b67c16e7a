"""Forwarding records (family ``a``): an id that was merged into another user, who gets what still arrives for it.

A record is the byte 2 and msgpack [into, time, sequence, ids], the ids as the section IDS of a user's record; what is
more of them lies in records ``d`` of the merged id, as a user's does. Releases before wrote the byte 1 and the ids as
in users' records of format 1: that is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from state import format1, layout
from state.plain.codec import Reader
from state.plain.ids import Ids
from state.plain.table import put_ids

_FORMAT: Final = 2


class Alias(msgspec.Struct):
    """The id was merged into another user."""

    into: str
    time: float
    """Event time of the identify or alias that said so: the latest wins."""
    sequence: int = 0
    """Of the last membership change under the merged id, where it would go on."""
    seen: Ids = msgspec.field(default_factory=Ids)
    """As the ids of a user's record, whose records ``d`` it takes over: what comes twice is dropped before it is
    forwarded, wherever the state is by now."""


class _Stored(msgspec.Struct, array_like=True):
    into: str
    time: float
    sequence: int = 0
    ids: bytes = b""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Stored).decode


def encode_alias(alias: Alias) -> bytes:
    """What of the ids lies in records of its own is in ``alias.seen.unsaved``."""
    return bytes([_FORMAT]) + _encode(_Stored(alias.into, alias.time, alias.sequence, alias.seen.pack()))


def decode_alias(data: bytes, chunks: Iterable[bytes | None] | None = None) -> Alias:
    """``chunks``: the records ``d`` of these ids (``alias_numbers``), the oldest first, None for one that is missing;
    none given: they are not asked for. Raises FormatError."""
    if format1.is_format_1(data):
        old = format1.read_alias(data)
        seen = Ids()
        try:
            seen.take_over(old.seen.numbers, chunks, old.seen.items)
        except ValueError as error:
            raise layout.FormatError(f"a forwarding record cannot be read: {error}") from error
        return Alias(old.into, old.time, old.sequence, seen)
    stored, seen = _stored(data), Ids()
    if stored.ids:
        seen.unpack(Reader(stored.ids, "the ids of a forwarding record"))
    seen.restore(chunks)
    return Alias(stored.into, stored.time, stored.sequence, seen)


def alias_numbers(data: bytes) -> range:
    """Numbers of the records ``d`` that the ids of a forwarding record lie in. Raises FormatError."""
    return decode_alias(data).seen.saved


def put_alias(user: str, alias: Alias, puts: dict[bytes, bytes | None]) -> tuple[int, int]:
    """Put the record, and what changed of the ids', into ``puts``; gives how many ids were forgotten early, and the
    bytes of what was put."""
    cut, size = put_ids(user, alias.seen, puts)
    puts[layout.alias_key(user)] = record = encode_alias(alias)
    return cut, size + len(record)


def _stored(data: bytes) -> _Stored:
    return _decode(layout.content(data, formats=(_FORMAT,)))
