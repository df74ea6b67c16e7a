"""Keys of timers: in the store they lie in the order in which they are due."""

from __future__ import annotations

import struct

import numpy as np

from state.windows import NEVER

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


def timer_keys(users: list[bytes], values: list[bytes]) -> list[bytes]:
    """``timer_key`` of all the encoded records that have a timer, in their order; ``users`` are their store keys."""
    if not users:
        return []
    dues = np.frombuffer(b"".join([value[1:9] for value in values]), ">f8").astype(np.float64)
    inside = (dues > 0.0) & (dues < _MAX_MS / 1000.0)
    ms = np.ceil(np.where(inside, dues, 0.0) * 1000.0)
    early = ms / 1000.0 < np.where(inside, dues, 0.0)  # the product was rounded down
    exact = ms.astype(np.uint64) + early.astype(np.uint64)  # a float of that size may have no place for the one
    whole = np.where(inside | (dues <= 0.0), exact, np.uint64(_MAX_MS)).astype(">u8").tobytes()
    timed = np.flatnonzero(dues != NEVER).tolist()
    return [b"t" + whole[8 * place : 8 * place + 8] + users[place][1:] for place in timed]
