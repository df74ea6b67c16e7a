"""The events that are ahead of the clock, as they lie in the store until their time: two records for each.

One is found by its time (``y``) and has the event; the other by its user (``z``) and has nothing. See ``state.layout``.
"""

from __future__ import annotations

import struct

import msgspec

from state import layout

_MS = struct.Struct(">Q")
_LEN = struct.Struct(">H")
_HASH = struct.Struct(">Q")
_MOST_MS = 2**63


class WaitingEvent(msgspec.Struct, array_like=True, frozen=True):
    """A producer's record, of an event that is ahead of the clock. New fields go to the end and have defaults."""

    value: bytes
    topic: str
    """Where and when (milliseconds) it first arrived, with the next ones."""
    partition: int
    offset: int
    timestamp: int


def due_ms(time: float) -> int:
    """An event time in whole milliseconds, never earlier; as a broker would stamp the event if it came then."""
    if time * 1000.0 >= _MOST_MS:
        return _MOST_MS
    ms = -int(-time * 1000.0 // 1)
    return ms + (ms / 1000.0 < time)


def waiting_key(ms: int, user: str, digest: int) -> bytes:
    """Sorted by time, then by user."""
    return b"y" + _MS.pack(ms) + _named(user) + _HASH.pack(digest)


def waiting_from(time: float) -> bytes:
    """Sorts before all keys of this time and later, and behind those of a millisecond before."""
    return b"y" + _MS.pack(due_ms(time))


def waiting_of(user: str) -> bytes:
    """What the user's own keys begin with."""
    return b"z" + _named(user)


def own_key(key: bytes) -> bytes:
    """The user's key of what lies under a ``waiting_key``."""
    return b"z" + key[9:-8] + key[1:9] + key[-8:]


def by_time(own: bytes) -> bytes:
    """The opposite of ``own_key``."""
    return b"y" + own[-16:-8] + own[1:-16] + own[-8:]


def waiting_parts(key: bytes) -> tuple[int, str, int]:
    """(milliseconds, user, the record's hash) of a ``waiting_key``."""
    return _MS.unpack_from(key, 1)[0], key[11:-8].decode(), _HASH.unpack_from(key, len(key) - 8)[0]


def _named(user: str) -> bytes:
    name = user.encode()
    return _LEN.pack(len(name)) + name


_FORMAT = bytes([layout.FORMAT])
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(WaitingEvent).decode


def encode_waiting(event: WaitingEvent) -> bytes:
    return _FORMAT + _encode(event)


def decode_waiting(data: bytes) -> WaitingEvent:
    return _decode(layout.content(data))
