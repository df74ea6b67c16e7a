"""The ids of events that a user's state has counted, so that none counts twice.

A user's newest ids lie in the user's record; each time that CHUNK of them have come together they move into a record
of their own, which is written once. So what a batch writes for a user does not grow with what the user did before.

``Seen`` is compiled where it can be (``state/c/seen.c``); ``PlainSeen`` says what it does, and does it elsewhere.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final

from state.compiled import COMPILED

DEDUPE_SECONDS: Final = 86_400
DEDUPE_EVENTS: Final = 1_000
#: ids in a record of their own
CHUNK: Final = 64
#: such records hold the last DEDUPE_EVENTS at least, with what is not full yet
LAST_CHUNKS: Final = -(-DEDUPE_EVENTS // CHUNK)
#: ids of a user in such records, whatever their age: 768 KiB
MOST_IDS: Final = 65_536
MOST_CHUNKS: Final = MOST_IDS // CHUNK
#: more than any two users have who become one
_ROOM: Final = 262_142
_ENTRY_BYTES: Final = 12
_MAX_SECOND: Final = 2**32 - 1
_MAX_HASH: Final = 2**64 - 1


class PlainSeen:
    """Id hash → second of arrival, in order of arrival: all that is remembered of one user.

    ``first`` … ``stored`` - 1 are the numbers of the user's records of CHUNK ids; the ids after those are in the tail,
    which goes with the user's own record. What changed about the records since they were last saved is in ``unsaved``.
    """

    __slots__ = ("_seconds", "_tail", "_tail_seconds", "accounted", "cut", "first", "stored", "unsaved")

    def __init__(self, seconds: dict[int, int] | None = None) -> None:
        """All of ``seconds`` is the tail. A second is clipped to what 32 bits tell."""
        self._hold({} if seconds is None else seconds)
        self.first = 0
        self.stored = 0
        self.unsaved: dict[int, bytes | None] = {}
        """Record number → its bytes; None: it is no longer wanted."""
        self.cut = 0
        """Ids forgotten since the last save though they were younger than DEDUPE_SECONDS."""
        self.accounted = 0
        """Of ``places``, what the cache has added up: see ``state.native.keep``."""

    def _hold(self, seconds: dict[int, int]) -> None:
        self._seconds = {id_hash: _clipped(second) for id_hash, second in seconds.items()}
        self._tail = list(self._seconds)
        self._tail_seconds = list(self._seconds.values())

    def __contains__(self, id_hash: object) -> bool:
        return id_hash in self._seconds

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[int]:
        return (id_hash for id_hash in self._seconds if id_hash >= 0)

    def items(self) -> list[tuple[int, int]]:
        """(id hash, second of arrival), in order of arrival."""
        return [(id_hash, second) for id_hash, second in self._seconds.items() if id_hash >= 0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainSeen):
            return NotImplemented
        return self.items() == other.items() and self.numbers == other.numbers

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, id_hash: int, arrived: float) -> None:
        """Remember an id; the oldest go with the record that they are in, when they are neither of the last
        DEDUPE_EVENTS nor younger than DEDUPE_SECONDS, or when there are more than MOST_IDS.

        An id that is known keeps its place.
        """
        if id_hash not in self._seconds:
            second = _clipped(int(arrived))
            self._seconds[id_hash] = second
            self._tail.append(id_hash)
            self._tail_seconds.append(second)
            if len(self._tail) >= CHUNK:
                self._close()

    def _close(self) -> None:
        """Full chunks leave the tail: one, or several of a long tail, such as another release or a merge leaves."""
        while len(self._tail) >= CHUNK:
            self.unsaved[self.stored] = _pack(self._tail[:CHUNK], self._tail_seconds[:CHUNK])
            self.stored += 1
            horizon = self._tail_seconds[CHUNK - 1] - DEDUPE_SECONDS
            del self._tail[:CHUNK], self._tail_seconds[:CHUNK]
            self._drop(horizon)

    def _drop(self, horizon: int) -> None:
        """Remove the oldest chunks: not of the last ids and older than ``horizon``, or too many."""
        seconds = self._seconds
        while (left := self.stored - self.first) > LAST_CHUNKS:
            oldest = list(islice(seconds.items(), CHUNK))
            if max(second for _, second in oldest) >= horizon:
                if left <= MOST_CHUNKS:
                    return
                self.cut += CHUNK
            for id_hash, _ in oldest:
                del seconds[id_hash]
            self.unsaved[self.first] = None
            self.first += 1

    @property
    def latest(self) -> int:
        """Second of arrival of the last id in memory, or 0."""
        return next(reversed(self._seconds.values()), 0)

    @property
    def places(self) -> int:
        """Of ids in memory."""
        return len(self._seconds)

    @property
    def numbers(self) -> range:
        """Of the records that there are."""
        return range(self.first, self.stored)

    def restore(self, chunks: Iterable[bytes | None]) -> None:
        """Put what the records hold before the tail; one that is missing counts as empty of ids that matter."""
        seconds: dict[int, int] = {}
        for number, chunk in enumerate(chunks):
            if chunk:
                seconds.update(_unpack(chunk))
            else:  # places are counted, so they must be filled; no hash is negative
                seconds.update((-1 - number * CHUNK - at, 0) for at in range(CHUNK))
        seconds.update(self._seconds)
        self._seconds = seconds

    def whole(self) -> PlainSeen:
        """A copy with all in the tail, to be handed to another user."""
        return PlainSeen(dict(self.items()))

    def unite(self, other: PlainSeen) -> None:
        """Take another's ids as well: in order of arrival, the newest of both, as many as ``add`` keeps."""
        if not len(other):
            return
        both = sorted((dict(self.items()) | dict(other.items())).items(), key=lambda entry: entry[1])
        begin = min(max(0, len(both) - DEDUPE_EVENTS), bisect_left(both, both[-1][1] - DEDUPE_SECONDS, key=_second))
        least = len(both) - MOST_IDS
        self.cut += max(0, least - begin)
        self.replace(dict(both[max(begin, least) :]))

    def replace(self, seconds: dict[int, int]) -> None:
        """These instead of all that was remembered."""
        for number in self.numbers:
            self.unsaved[number] = None
        self.first = self.stored
        self._hold(seconds)
        self._close()

    def pack(self) -> tuple[int, int, bytes]:
        """(first, stored, the tail's bytes), for the user's record."""
        return self.first, self.stored, _pack(self._tail, self._tail_seconds)

    @classmethod
    def unpack(cls, packed: object) -> PlainSeen:
        """Of a user's record: what ``pack`` gave, without the other records, or the map of an earlier release.

        Raises ValueError for anything else.
        """
        match packed:
            case [int(first), int(stored), bytes(tail)] if (
                0 <= first <= stored and len(tail) % _ENTRY_BYTES == 0 and len(tail) // _ENTRY_BYTES <= _ROOM
            ):
                seen = cls(_unpack(tail))
                seen.first, seen.stored = first, stored
                return seen
            case dict() if len(packed) <= _ROOM and all(
                isinstance(id_hash, int) and 0 <= id_hash <= _MAX_HASH and isinstance(second, int)
                for id_hash, second in packed.items()
            ):
                return cls(packed)
        raise ValueError("not the ids that a user's state has seen")


Seen = PlainSeen
if not TYPE_CHECKING and COMPILED is not None:
    Seen = COMPILED.Seen


def _second(entry: tuple[int, int]) -> int:
    return entry[1]


def _clipped(second: int) -> int:
    return max(0, min(second, _MAX_SECOND))


def _pack(ids: list[int], seconds: list[int]) -> bytes:
    """All hashes (8 bytes each, little-endian), then all seconds of arrival (4 bytes)."""
    hashes, arrivals = array("Q", ids), array("I", seconds)
    if sys.byteorder == "big":
        hashes.byteswap()
        arrivals.byteswap()
    return hashes.tobytes() + arrivals.tobytes()


def _unpack(data: bytes) -> dict[int, int]:
    split = len(data) // _ENTRY_BYTES * 8
    hashes, arrivals = array("Q", data[:split]), array("I", data[split:])
    if sys.byteorder == "big":
        hashes.byteswap()
        arrivals.byteswap()
    return dict(zip(hashes, arrivals, strict=True))
