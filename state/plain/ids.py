"""The ids of events that a user's state has counted, so that none counts twice: 7.25 bytes for each.

Of an id the lower 56 bits of its hash are kept, in order of arrival, and of each sixteen the latest second of arrival.
The newest, fewer than CHUNK, lie in the user's record; each time that CHUNK have come together they become a record
``d`` of their own, which is written once. Which are kept: docs/adr/0035, by the youngest second of a record.
C's side of what lies in the record is ``state/c/core/ids.c``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from state.layout import FormatError
from state.layout2 import (
    CHUNK,
    CHUNK_BYTES,
    DEDUPE_EVENTS,
    DEDUPE_SECONDS,
    GROUP,
    ID_BYTES,
    ID_MASK,
    IDS_LEAD,
    LAST_CHUNKS,
    MOST_CHUNKS,
    MOST_IDS,
    SECOND,
)
from state.plain.codec import Reader

if TYPE_CHECKING:
    from state.record import Ids as AnyIds

#: a record ``d`` of format 1: 64 hashes of 8 bytes, then 64 seconds of 4
_OLD_HASH: Final = 8
_OLD_CHUNK_BYTES: Final = CHUNK * (_OLD_HASH + SECOND.size)
_MOST_SECOND: Final = 2**32 - 1
_MOST_NUMBER: Final = 2**31
#: (the lower 56 bits of an id's hash, the latest second of arrival of its sixteen)
Entry = tuple[int, int]


class Ids:
    """All that is remembered of one user.

    ``first`` … ``stored`` - 1 are the numbers of the user's records ``d``; the ids after those are in the user's own.
    What changed about these records since they were last saved is in ``unsaved``.
    """

    __slots__ = ("_chunks", "_held", "_seconds", "_tail", "cut", "first", "saved", "stored", "unsaved")

    def __init__(self) -> None:
        self.first = 0
        self.stored = 0
        self.saved = range(0)
        """Numbers of the records that the store has."""
        self.unsaved: dict[int, bytes | None] = {}
        """Number of a record → its bytes; None: the store has it, and it is no longer wanted."""
        self.cut = 0
        """Ids forgotten since the last save though they were younger than DEDUPE_SECONDS."""
        self._chunks: list[list[Entry]] = []
        """Of the records, the oldest first; an empty one is missing, and fewer than there are before ``restore``."""
        self._tail: list[int] = []
        self._seconds: list[int] = []
        """Of the groups of the tail."""
        self._held: set[int] = set()

    def __contains__(self, id_hash: object) -> bool:
        return isinstance(id_hash, int) and id_hash & ID_MASK in self._held

    def __len__(self) -> int:
        return len(self.items())

    def items(self) -> list[Entry]:
        """In order of arrival."""
        return [entry for chunk in (*self._chunks, self._tail_entries()) for entry in chunk]

    def _tail_entries(self) -> list[Entry]:
        return [(id_hash, self._seconds[at // GROUP]) for at, id_hash in enumerate(self._tail)]

    def add(self, id_hash: int, arrived: float) -> None:
        """Remember an id that arrived at ``arrived`` (seconds since the epoch; what 32 bits cannot tell is clipped).

        The oldest go with the record that they are in, when they are neither of the last DEDUPE_EVENTS nor younger
        than DEDUPE_SECONDS, or when there are more than MOST_IDS. An id that is known keeps its place.
        """
        id_hash &= ID_MASK
        if id_hash not in self._held:
            self._append(id_hash, max(0, min(int(arrived), _MOST_SECOND)))

    def _append(self, id_hash: int, second: int) -> None:
        if len(self._tail) % GROUP == 0:
            self._seconds.append(second)
        elif second > self._seconds[-1]:
            self._seconds[-1] = second
        self._tail.append(id_hash)
        self._held.add(id_hash)
        if len(self._tail) == CHUNK:
            self._close()

    def _close(self) -> None:
        """The tail, which is full, becomes a record."""
        self.unsaved[self.stored] = _pack_groups(self._tail, self._seconds)
        self.stored += 1
        horizon = self._seconds[-1] - DEDUPE_SECONDS
        self._chunks.append(self._tail_entries())
        self._tail, self._seconds = [], []
        dropped = False
        while (left := self.stored - self.first) > LAST_CHUNKS:
            if max((second for _, second in self._chunks[0]), default=0) >= horizon:
                if left <= MOST_CHUNKS:
                    break
                self.cut += CHUNK
            del self._chunks[0]
            self._let_go(self.first)
            self.first += 1
            dropped = True
        if dropped:
            self._held = {id_hash for id_hash, _ in self.items()}

    def _let_go(self, number: int) -> None:
        if number in self.saved:
            self.unsaved[number] = None
        else:
            self.unsaved.pop(number, None)

    def save(self) -> tuple[dict[int, bytes | None], int]:
        """(``unsaved``, ``cut``), which from now on are saved."""
        unsaved, cut = self.unsaved, self.cut
        self.unsaved, self.cut, self.saved = {}, 0, self.numbers
        return unsaved, cut

    @property
    def latest(self) -> int:
        """Second of arrival of the last sixteen in memory, or 0."""
        seconds = self._seconds or [second for _, second in (self._chunks[-1:] or [[]])[0]]
        return seconds[-1] if seconds else 0

    @property
    def numbers(self) -> range:
        """Of the records that there are."""
        return range(self.first, self.stored)

    def restore(self, chunks: Iterable[bytes | None] | None) -> None:
        """Put what the records ``numbers`` hold before the tail; one that is missing counts as empty of ids that
        matter, as do all where None is given. Raises FormatError."""
        if chunks is None:
            chunks = [None] * len(self.numbers)
        self.hold([unpack_chunk(chunk) if chunk else [] for chunk in chunks])

    def hold(self, records: Iterable[list[Entry]]) -> None:
        """As ``restore``, with what ``held`` gave."""
        self._chunks = list(records)
        self._held.update(id_hash for chunk in self._chunks for id_hash, _ in chunk)

    def held(self) -> tuple[list[Entry], ...]:
        """What the records ``numbers`` hold, none of which changes: the oldest first."""
        return tuple(self._chunks)

    def chunks(self) -> list[bytes | None]:
        """The bytes of the records ``numbers``; None for one that is missing."""
        return [_pack_entries(chunk) if chunk else None for chunk in self._chunks]

    def take_over(self, numbers: range, chunks: Iterable[bytes | None] | None, tail: Iterable[Entry]) -> None:
        """What a record of format 1 said: the numbers of its records, what these hold, and its own ids, of which there
        may be more than CHUNK. Raises ValueError for numbers that this format does not have."""
        if len(numbers) > MOST_CHUNKS or numbers.stop > _MOST_NUMBER:
            raise ValueError(f"its ids are in the records {numbers.start:,} to {numbers.stop:,}")
        self.first, self.stored, self.saved = numbers.start, numbers.stop, numbers
        self.restore(chunks)
        for id_hash, second in tail:
            self._append(id_hash & ID_MASK, second)

    def replace(self, entries: Iterable[Entry]) -> None:
        """These, in order of arrival and none twice, instead of all that was remembered."""
        entries = list(entries)
        for number in self.numbers:
            self._let_go(number)
        self.first = self.stored
        self._chunks, self._tail, self._seconds, self._held = [], [], [], set()
        for id_hash, second in entries:
            self._append(id_hash & ID_MASK, second)

    def pack(self) -> bytes:
        """The section IDS; the records are in ``unsaved``."""
        if not (self.first or self.stored or self._tail):
            return b""
        return IDS_LEAD.pack(self.first, self.stored, len(self._tail)) + _pack_groups(self._tail, self._seconds)

    def unpack(self, section: Reader) -> None:
        """Raises FormatError."""
        self.first, self.stored, count = section.unpack(IDS_LEAD)
        section.need(self.first <= self.stored <= self.first + MOST_CHUNKS, f"records {self.first} to {self.stored}")
        section.need(count < CHUNK and any((count, self.stored)), f"it has {count}")
        self._tail, self._seconds = [], []
        for begin in range(0, count, GROUP):
            self._seconds.append(section.unpack(SECOND)[0])
            self._tail += _unpack_hashes(section.take(ID_BYTES * min(GROUP, count - begin)))
        section.end()
        self._held = set(self._tail)
        self.saved = self.numbers


def unite(ids: AnyIds, other: Iterable[Entry]) -> None:
    """Take another's ids (``items``) as well: in order of arrival, the newest of both, as many as ``add`` keeps."""
    theirs = {id_hash & ID_MASK: second for id_hash, second in other}
    if not theirs:
        return
    both = sorted((dict(ids.items()) | theirs).items(), key=_second)
    begin = min(max(0, len(both) - DEDUPE_EVENTS), bisect_left(both, both[-1][1] - DEDUPE_SECONDS, key=_second))
    least = len(both) - MOST_IDS
    ids.cut += max(0, least - begin)
    ids.replace(both[max(begin, least) :])


def _second(entry: Entry) -> int:
    return entry[1]


def _pack_entries(entries: list[Entry]) -> bytes:
    """Of a record ``d``."""
    return _pack_groups([id_hash for id_hash, _ in entries], [second for _, second in entries[::GROUP]])


def _pack_groups(hashes: list[int], seconds: list[int]) -> bytes:
    parts = []
    for at, second in enumerate(seconds):
        parts.append(SECOND.pack(second))
        parts += [id_hash.to_bytes(ID_BYTES, "little") for id_hash in hashes[at * GROUP : (at + 1) * GROUP]]
    return b"".join(parts)


def _unpack_hashes(data: bytes, width: int = ID_BYTES) -> list[int]:
    return [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]


def unpack_chunk(data: bytes) -> list[Entry]:
    """What a record ``d`` holds; one of format 1 is known by its length, its hashes are cut and its seconds joined.

    Raises FormatError for another length.
    """
    if len(data) == CHUNK_BYTES:
        step = CHUNK_BYTES // (CHUNK // GROUP)
        return [
            (id_hash, SECOND.unpack_from(data, begin)[0])
            for begin in range(0, CHUNK_BYTES, step)
            for id_hash in _unpack_hashes(data[begin + SECOND.size : begin + step])
        ]
    if len(data) == _OLD_CHUNK_BYTES:
        split = CHUNK * _OLD_HASH
        seconds = _unpack_hashes(data[split:], SECOND.size)
        latest = [max(seconds[begin : begin + GROUP]) for begin in range(0, CHUNK, GROUP)]
        return [(one & ID_MASK, latest[at // GROUP]) for at, one in enumerate(_unpack_hashes(data[:split], _OLD_HASH))]
    raise FormatError(
        f"a record of a user's ids has {len(data):,} bytes instead of {CHUNK_BYTES} or {_OLD_CHUNK_BYTES}: "
        "restore the store from the changelog, or replay into fresh topics if the changelog has it so"
    )
