"""Where each family of records belongs: what moving to another number of partitions goes by.

Every family of ``layout`` that the changelog has stands in ``FAMILIES``, every field of the position record in
``META``: a test fails for one without an entry.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

Where = Literal["user", "group", "everywhere", "derived", "position"]
"""At the home of the user, or of the head group, that the key names; in all partitions alike; made anew from the other
records; the position record itself."""

_LEN = struct.Struct(">H")


@dataclass(frozen=True)
class Family:
    """``owner``: whom a key of the family names."""

    where: Where
    owner: Callable[[bytes], str] = lambda key: key[1:].decode()


def _numbered(key: bytes) -> str:
    """As ``layout.texts_prefix`` and the like write it: the length, then the name."""
    return key[3 : 3 + _LEN.unpack_from(key, 1)[0]].decode()


#: first byte of a key → its family
FAMILIES: Final[dict[bytes, Family]] = {
    b"u": Family("user"),
    b"w": Family("user", _numbered),
    b"d": Family("user", _numbered),
    b"v": Family("user"),
    b"q": Family("user"),
    b"a": Family("user"),
    b"i": Family("user", _numbered),
    b"y": Family("user", lambda key: key[11:-8].decode()),
    b"z": Family("user", _numbered),
    b"h": Family("group"),
    b"e": Family("everywhere"),
    b"n": Family("derived"),
    b"f": Family("derived"),
    b"r": Family("derived"),
    b"p": Family("position"),
}
#: what only the local store has
LOCAL: Final = (b"t", b"o", b"s")

Rule = Literal["kept", "counted", "highest", "common", "frame", "installation"]
"""The partition's own, and nothing yet in a new one; counted anew from the records; the highest of all partitions;
what all agree on, else nothing; of ``streams.steps.frames``; of ``streams.steps.moving``."""

META: Final[dict[str, Rule]] = {
    "positions": "kept",
    "watermark": "counted",
    "users": "counted",
    "events": "kept",
    "duplicates": "kept",
    "changes": "kept",
    "members": "counted",
    "plan": "common",
    "lives": "counted",
    "guards": "counted",
    "queued": "counted",
    "aliases": "counted",
    "sequence_floor": "highest",
    "refused": "kept",
    "waiting": "counted",
    "installation": "installation",
    "lost": "kept",
    "definitions": "frame",
    "fingerprint": "frame",
    "epoch": "frame",
    "swept": "frame",
    "terms": "frame",
    "writer": "kept",
}
