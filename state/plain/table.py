"""The Python twin of arena, table and area (``state.tables``): blocks as bytes, which a turn unpacks.

It says what the compiled ones do, and does it where there are none. Whoever was touched last goes last.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any, Final, NamedTuple

from state import layout
from state.layout2 import FORMAT, HEADER
from state.loading import Batch
from state.plain.ids import Entry, Ids
from state.plain.record import PlainRecord, unpack
from state.windows import NEVER, TallySpec

_OVER: Final = "the turn is over"
_MOST_VERSION: Final = 2**32
#: turns that are written with their users after somebody was to be let go
_PRESSED_TURNS: Final = 8
#: of a user beside the block: name, place in the table, and the objects around
_USER_BYTES: Final = 200
#: of 64 ids as Python has them: a list of pairs of numbers
_RECORD_BYTES: Final = 6_400


class PlainArena:
    """See ``state.tables.Arena``."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes_held = 0
        self._lock = Lock()

    def table(self) -> PlainTable:
        return PlainTable(self)

    def count(self, more: int) -> None:
        """A table holds so many bytes more."""
        with self._lock:
            self.bytes_held += more


class _Kept(NamedTuple):
    """Of a user, as committed."""

    block: bytes
    records: tuple[list[Entry], ...]
    """Of the ids beyond the block: ``Ids.held``."""

    @property
    def size(self) -> int:
        """Bytes of memory, about: objects take many times what their numbers would."""
        return len(self.block) + _USER_BYTES + len(self.records) * _RECORD_BYTES


class PlainTable:
    """See ``state.tables.Table``."""

    def __init__(self, arena: PlainArena) -> None:
        self.bytes_held = 0
        self._arena = arena
        self._kept: dict[str, _Kept] = {}
        self._turn: PlainArea | None = None
        self._dirty: dict[str, bool] = {}
        """Who is newer here than in the store; True: of whom the store has nothing."""
        self._pressed = 0

    @property
    def users(self) -> int:
        return len(self._kept)

    def get(self, user: str) -> bytes | None:
        if self._turn is not None:
            raise RuntimeError("a turn is under way")
        kept = self._kept.get(user)
        return None if kept is None else kept.block

    def begin(self) -> PlainArea:
        if self._turn is not None:
            raise RuntimeError("another turn is under way")
        self._turn = PlainArea(self)
        return self._turn

    def tidy(self) -> None:
        excess = self._arena.bytes_held - self._arena.most_bytes
        if self._turn is not None or excess <= 0:
            return
        self._pressed = _PRESSED_TURNS
        # each table lets go in proportion to what it has
        wanted = self.bytes_held - excess * self.bytes_held // self._arena.bytes_held
        gone = []
        left = self.bytes_held
        for user, kept in self._kept.items():
            if left < wanted or not left:
                break
            if user in self._dirty:
                continue
            left -= kept.size
            gone.append(user)
        for user in gone:
            self.remove(user)

    def clear(self) -> None:
        if self._turn is not None:
            self._turn.drop()
        for user in list(self._kept):
            self.remove(user)

    # written behind their turns

    @property
    def dirty(self) -> int:
        return len(self._dirty)

    @property
    def tight(self) -> bool:
        most = self._arena.most_bytes
        return self._pressed > 0 or self._arena.bytes_held > most - most // 8

    def put_dirty(self, batch: Batch, start: float, end: float) -> int:
        if not 0.0 <= start <= end <= 1.0:
            raise ValueError("parts of a round are from 0 to 1")
        return self._put(batch, [user for user in self._dirty if start <= _place(user) < end])

    def put_new(self, batch: Batch) -> int:
        return self._put(batch, [user for user, is_new in self._dirty.items() if is_new])

    def _put(self, batch: Batch, users: list[str]) -> int:
        if self._turn is not None:
            raise RuntimeError("a turn is under way")
        for user in users:
            batch[layout.user_key(user)] = self._kept[user].block
            del self._dirty[user]
        return len(users)

    # for the turn

    def end(self, committed: bool) -> None:
        self._turn = None
        self._pressed -= committed and self._pressed > 0

    def is_new(self, user: str) -> bool:
        """The store has nothing of somebody who is in memory."""
        return self._dirty.get(user, False)

    def find(self, user: str) -> _Kept | None:
        return self._kept.get(user)

    def remove(self, user: str) -> None:
        self._dirty.pop(user, None)
        kept = self._kept.pop(user, None)
        if kept is not None:
            self._count(-kept.size)

    def put(self, user: str, block: bytes, records: tuple[list[Entry], ...], behind: bool, is_new: bool) -> None:
        self.remove(user)
        if behind:
            self._dirty[user] = is_new
        kept = self._kept[user] = _Kept(block, records)
        self._count(kept.size)

    def _count(self, more: int) -> None:
        self.bytes_held += more
        self._arena.count(more)


def _place(user: str) -> float:
    """Where in a round somebody is."""
    return zlib.crc32(user.encode()) / 2**32


class _Over:
    """What a record is once its turn is over."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):  # so that it can be shown
            return object.__getattribute__(self, name)
        raise RuntimeError(_OVER)

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(_OVER)


class PlainArea:
    """See ``state.tables.Area``."""

    def __init__(self, table: PlainTable) -> None:
        self._of: PlainTable | None = table
        self._records: dict[str, PlainRecord] = {}
        self._timers: dict[str, float] = {}
        """What the store has."""
        self._gone: set[str] = set()
        self._new: set[str] = set()
        """Of whom the store has nothing."""
        self._blocks: dict[str, bytes] = {}
        """Of the records, once the turn is settled."""

    @property
    def _table(self) -> PlainTable:
        if self._of is None:
            raise RuntimeError(_OVER)
        return self._of

    def find(self, users: Iterable[str]) -> list[str]:
        table, missing = self._table, dict[str, None]()
        for user in users:
            if user in self._records:
                continue
            kept = None if user in self._gone else table.find(user)
            if kept is None:
                missing[user] = None
            else:
                record = unpack(user, kept.block)
                record.ids.hold(kept.records)
                self._put(record, record.due, table.is_new(user))
        return list(missing)

    def admit(self, user: str, block: bytes, chunks: Sequence[bytes | None]) -> PlainRecord:
        record = unpack(user, block)
        record.ids.restore(chunks)
        return self._put(record, record.due, is_new=False)

    def admit_whole(self, blocks: dict[str, bytes]) -> list[str]:
        left = []
        for user, block in blocks.items():
            if len(block) < HEADER.size or block[0] != FORMAT:
                left.append(user)
                continue
            record = unpack(user, block)
            if record.ids.numbers:
                left.append(user)
            else:
                self._put(record, record.due, is_new=False)
        return left

    def take(self, record: PlainRecord, due: float) -> PlainRecord:
        return self._put(record, due, is_new=True)  # or the store has it: who is written early does no harm

    def _put(self, record: PlainRecord, due: float, is_new: bool) -> PlainRecord:
        if self._table and record.user in self._records:
            raise RuntimeError("the user is in the turn")
        self._records[record.user] = record
        self._timers[record.user] = due
        (self._new.add if is_new else self._new.discard)(record.user)
        return record

    def get(self, user: str) -> PlainRecord | None:
        return self._records.get(user) if self._table else None

    def begin(self, user: str, epoch: int, life: int) -> PlainRecord:
        return self._put(PlainRecord(user, epoch, life), NEVER, is_new=True)

    def forget(self, user: str, erased: bool) -> float:
        kept, timer = self._table.find(user), NEVER
        if (record := self._records.pop(user, None)) is not None:
            _end(record)
            timer = self._timers.pop(user)
        elif kept is not None and user not in self._gone:
            timer = layout.due_of(kept.block)
        if kept is not None:
            self._gone.add(user)
        return timer

    def due(self, user: str) -> float | None:
        table = self._table
        if (record := self._records.get(user)) is not None:
            return record.due
        kept = None if user in self._gone else table.find(user)
        return None if kept is None else layout.due_of(kept.block)

    def users(self) -> list[str]:
        return list(self._records) if self._table else []

    def __contains__(self, user: object) -> bool:
        return self.get(user) is not None if isinstance(user, str) else False

    def settle(
        self, specs: Sequence[TallySpec], puts: dict[bytes, bytes | None], timed: set[bytes]
    ) -> tuple[float, int, int]:
        if not self._table or self._blocks:
            raise RuntimeError("the turn is settled")
        earliest, cut, size = NEVER, 0, 0
        for user, record in self._records.items():
            record.cells.trim(specs, record.time)
            record.version = (record.version + 1) % _MOST_VERSION
            forgotten, ids = put_ids(user, record.ids, puts)
            key = layout.user_key(user)
            puts[key] = self._blocks[user] = block = record.pack()
            cut += forgotten
            size += ids + len(block)
            earliest = min(earliest, record.due)
            if record.due == self._timers[user]:
                timed.add(key)
        return earliest, cut, size

    def commit(self, behind: bool = False, /) -> None:
        table = self._table
        if len(self._blocks) != len(self._records):
            raise RuntimeError("the turn is not settled")
        for user in self._gone:
            table.remove(user)
        for user, record in self._records.items():
            table.put(user, self._blocks[user], record.ids.held(), behind, user in self._new)
        self._end(committed=True)

    def drop(self) -> None:
        if self._of is not None:
            self._end(committed=False)

    def _end(self, committed: bool) -> None:
        if self._of is not None:
            self._of.end(committed)
        self._of = None
        for record in self._records.values():
            _end(record)


def _end(record: PlainRecord) -> None:
    record.__dict__.clear()
    record.__class__ = _Over  # type: ignore[assignment]  # whoever keeps it is told


def put_ids(user: str, ids: Ids, puts: dict[bytes, bytes | None]) -> tuple[int, int]:
    """Put what changed of a user's records of ids into ``puts``; gives how many ids were forgotten early, and the bytes
    of what was put."""
    unsaved, cut = ids.save()
    puts.update(zip(layout.seen_keys(user, unsaved), unsaved.values(), strict=True))
    return cut, sum(map(len, filter(None, unsaved.values())))
