"""Records of format 1 as the last release before format 2 wrote them, so that they can be read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import msgspec

from state.format1 import pack_ids
from state.user import Membership, PendingLabel, PendingText
from state.windows import NEVER

#: (hash, second of arrival)
Entry = tuple[int, int]
#: first, stored, and the ids of the record itself: hashes, then seconds
PackedIds = tuple[int, int, bytes]
NO_IDS: PackedIds = (0, 0, b"")
CHUNK = 64


class Tally(msgspec.Struct, array_like=True):
    total: int
    head: int
    buckets: dict[int, int]


def tally_of(buckets: dict[int, int]) -> Tally:
    return Tally(sum(buckets.values()), min(buckets, default=0), buckets)


class User(msgspec.Struct, array_like=True):
    """What format 1 said of a user, field by field in its order."""

    time: float = 0.0
    first: float = 0.0
    count: int = 0
    sequence: int = 0
    decayed: dict[str, list[float]] = {}
    """Counter → [time, fast, slow]."""
    categories: dict[int, list[float]] = {}
    """Bucket → [time, slow]."""
    tallies: dict[str, Tally] = {}
    ids: PackedIds | dict[int, int] = NO_IDS
    """A map was what the earliest releases wrote."""
    edges: dict[str, float] = {}
    groups: dict[str, float] = {}
    pending: Sequence[PendingText] = []
    labels: Sequence[PendingLabel] = []
    texts: int = 0
    members: dict[str, Membership] = {}
    due: float = NEVER
    plan: int = 0
    encode_at: int = 1
    dirty: int = 0
    queued: bool = False
    scored: int = 0
    life: int = 0
    erased: float = 0.0
    last: dict[str, float] = {}
    texts_put: int = 0
    texts_taken: int = 0
    aliases: Sequence[str] = []
    unknown: dict[str, float] = {}
    known_at: float = NEVER
    identified: bool = True


class Alias(msgspec.Struct, array_like=True):
    into: str
    time: float
    sequence: int = 0
    seen: PackedIds = NO_IDS


_encode = msgspec.msgpack.Encoder().encode


def encode_user(user: User) -> bytes:
    return b"\1" + struct.pack(">d", user.due) + _encode(user)


def encode_alias(alias: Alias) -> bytes:
    return b"\1" + _encode(alias)


def ids_of(entries: Iterable[Entry]) -> tuple[PackedIds, list[bytes]]:
    """How ids lie: the record's own, and the records ``d``, none of which went yet."""
    entries = list(entries)
    full = len(entries) - len(entries) % CHUNK
    chunks = [pack_ids(entries[begin : begin + CHUNK]) for begin in range(0, full, CHUNK)]
    return (0, len(chunks), pack_ids(entries[full:])), chunks
