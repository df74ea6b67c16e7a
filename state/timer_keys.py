"""Keys of timers: in the store they lie in the order in which they are due."""

from __future__ import annotations

import struct

_MS = struct.Struct(">Q")
_MAX_MS = 2**63


def timer_key(due: float, user: bytes) -> bytes:
    """Sorted by due time (milliseconds, rounded up), then by user. Never earlier than ``due``, read back as seconds."""
    if not 0.0 < due < _MAX_MS / 1000.0:
        ms = 0 if due <= 0.0 else _MAX_MS
    else:
        ms = -int(-due * 1000.0 // 1)
        if ms / 1000.0 < due:  # the product was rounded down
            ms += 1
    return b"t" + _MS.pack(ms) + user


def timer_parts(key: bytes) -> tuple[float, bytes]:
    """(due in seconds, user id) of a timer key."""
    return _MS.unpack_from(key, 1)[0] / 1000.0, key[9:]
