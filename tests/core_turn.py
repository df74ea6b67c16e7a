"""A partition's users in memory, and their turns, as the compiled core has them: for tests, by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from state.record import TooLargeError
from state.windows import TallySpec
from tests.core_ids import Bytes, Change, CoreIds, bytes_of
from tests.core_parts import CORE, Block, Held, IdsAt, Spec, specs_of
from tests.core_record import CoreRecord

_PAGES: Final = 1
_MISSING: Final = 2**32 - 1
_BAD_IDS, _TOO_LARGE = -2, -3


class _User(ctypes.Structure):
    _fields_ = (("hash", c_uint64), ("name", c_char_p), ("size", c_uint16))


class _Entry(ctypes.Structure):
    _fields_ = (("prefix", POINTER(c_uint32)), ("block", c_void_p), ("room", c_size_t))


class _Copy(ctypes.Structure):
    _fields_ = (
        ("was", c_uint32), ("now", c_uint32), ("hash", c_uint32), ("flags", c_uint32), ("timer", c_double),
        ("first", c_uint32), ("stored", c_uint32), ("cut", c_uint32),
    )  # fmt: skip


class _Settled(ctypes.Structure):
    _fields_ = (("number", c_uint32), ("timed", c_uint32), ("ids", Change))


class _SettledAll(ctypes.Structure):
    _fields_ = (("earliest", c_double), ("cut", c_uint64), ("bytes", c_uint64))


def _declare() -> None:
    user, number, opened = POINTER(_User), POINTER(c_uint32), (POINTER(Block), POINTER(IdsAt))
    for function, result, *arguments in (
        ("arena_new", c_void_p, c_size_t, c_int),
        ("arena_free", None, c_void_p),
        ("arena_held", c_size_t, c_void_p),
        ("cache_new", c_void_p, c_void_p),
        ("cache_free", None, c_void_p),
        ("cache_get", c_int, c_void_p, user, POINTER(_Entry)),
        ("cache_users", c_uint32, c_void_p),
        ("cache_bytes", c_size_t, c_void_p),
        ("cache_let_go", c_size_t, c_void_p, c_size_t, c_uint32),
        ("cache_tidy", None, c_void_p),
        ("turn_begin", c_int, c_void_p, c_uint32),
        ("turn_find", c_int, c_void_p, user, c_uint32, number, number),
        ("turn_number", c_uint32, c_void_p, user),
        ("turn_due", c_int, c_void_p, user, POINTER(c_double)),
        ("turn_new", c_int, c_void_p, user, c_size_t, number),
        ("turn_admit", c_int, c_void_p, user, c_char_p, c_uint32, POINTER(Bytes), c_size_t, number),
        ("turn_copy", POINTER(_Copy), c_void_p, c_uint32),
        ("turn_entry", _Entry, c_void_p, c_uint32),
        ("turn_open", None, c_void_p, c_uint32, *opened),
        ("turn_close", None, c_void_p, c_uint32, POINTER(Block)),
        ("turn_widen", c_int, c_void_p, c_uint32, c_size_t, *opened),
        ("turn_is_gone", c_int, c_void_p, c_uint32),
        ("turn_forget", None, c_void_p, c_uint32, c_int),
        ("turn_settle", c_uint32, c_void_p, POINTER(Spec), c_size_t, POINTER(_Settled), POINTER(_SettledAll)),
        ("turn_commit", None, c_void_p, c_int),
        ("turn_drop", None, c_void_p),
    ):
        declared = getattr(CORE, function)
        declared.restype, declared.argtypes = result, arguments


_declare()


def _user(name: str) -> _User:
    data = name.encode()
    return _User(CORE.xxh3_seeded(data, len(data), 7), data, len(data))


class _InTurn(Held):
    """The block of a user in a turn."""

    def __init__(self, cache: int, number: int) -> None:
        self._cache, self._number = cache, number
        self.block, self.ids = Block(), IdsAt()

    def opened(self) -> IdsAt:
        CORE.turn_open(self._cache, self._number, byref(self.block), byref(self.ids))
        return self.ids

    def data(self) -> bytes:
        self.opened()
        return super().data()

    def get(self, *given: Any) -> Any:
        self.opened()
        return super().get(*given)

    def put(self, *given: Any) -> None:
        self.opened()
        super().put(*given)

    def ask(self, function: str, *arguments: Any, of: ctypes.Structure | None = None) -> Any:
        self.opened()
        found = super().ask(function, *arguments, of=of)
        CORE.turn_close(self._cache, self._number, byref(self.block))
        return found

    def widen(self, by: int = 0) -> None:
        room = self.block.room
        done = CORE.turn_widen(self._cache, self._number, by or 8, byref(self.block), byref(self.ids))
        if done == _TOO_LARGE:
            raise TooLargeError("a record is too large")
        assert done == 0
        assert self.block.room > room


class Settled(NamedTuple):
    """What the end of a turn says of a user."""

    block: bytes
    ids: dict[int, bytes | None]
    timed: bool


@dataclass
class Summary:
    earliest: float
    cut: int
    bytes: int
    users: dict[str, Settled] = field(default_factory=dict)


class CoreTurn:
    """As ``Area`` of the engine."""

    def __init__(self, cache: int) -> None:
        self._cache = cache
        assert CORE.turn_begin(cache, 1) == 0
        self._names: dict[int, str] = {}

    def find(self, users: Sequence[str]) -> list[str]:
        """Who is not in memory."""
        given, numbers, done = (_User * len(users))(*map(_user, users)), (c_uint32 * len(users))(), c_uint32()
        at = 0
        while at < len(users):
            left = len(users) - at
            first = byref(given, at * ctypes.sizeof(_User))
            into = byref(numbers, at * ctypes.sizeof(c_uint32))
            assert CORE.turn_find(self._cache, ctypes.cast(first, POINTER(_User)), left,
                                  ctypes.cast(into, POINTER(c_uint32)), byref(done)) == 0  # fmt: skip
            at += done.value
        found = dict(zip(users, numbers, strict=True))
        self._names.update({number: user for user, number in found.items() if number != _MISSING})
        return [user for user, number in found.items() if number == _MISSING]

    def begin(self, user: str) -> CoreRecord:
        number = c_uint32()
        assert CORE.turn_new(self._cache, byref(_user(user)), 0, byref(number)) == 0
        return self._record(user, number.value)

    def admit(
        self, user: str, block: bytes, chunks: Iterable[bytes | None], stored: tuple[float, range] | None = None
    ) -> CoreRecord:
        """``stored``: timer and numbers of records of ids that the store has, if these are not the block's. Raises
        ValueError for records of ids of another size."""
        number, given = c_uint32(), bytes_of(chunks)
        done = CORE.turn_admit(self._cache, byref(_user(user)), block, len(block), given, len(given), byref(number))
        if done == _BAD_IDS:
            raise ValueError("a record of ids has bytes that none has")
        assert done == 0
        if stored is not None:
            own = CORE.turn_copy(self._cache, number.value).contents
            own.timer, own.first, own.stored = stored[0], stored[1].start, stored[1].stop
        return self._record(user, number.value)

    def _record(self, user: str, number: int) -> CoreRecord:
        self._names[number] = user
        held = _InTurn(self._cache, number)
        return CoreRecord(user, held=held, ids=CoreIds(held, held.opened))

    def get(self, user: str) -> CoreRecord | None:
        number = CORE.turn_number(self._cache, byref(_user(user)))
        if number == _MISSING or CORE.turn_is_gone(self._cache, number):
            return None
        return self._record(user, number)

    def forget(self, user: str, erased: bool) -> None:
        CORE.turn_forget(self._cache, CORE.turn_number(self._cache, byref(_user(user))), erased)

    def due(self, user: str) -> float | None:
        due = c_double()
        return due.value if CORE.turn_due(self._cache, byref(_user(user)), byref(due)) else None

    def settle(self, specs: Sequence[TallySpec]) -> Summary:
        into, all_of_it = (_Settled * (len(self._names) + 1))(), _SettledAll()
        count = CORE.turn_settle(self._cache, specs_of(specs), len(specs), into, byref(all_of_it))
        found = Summary(all_of_it.earliest, all_of_it.cut, all_of_it.bytes)
        for settled in into[:count]:
            user = self._names[settled.number]
            ids, change = self._record(user, settled.number).ids, settled.ids
            assert isinstance(ids, CoreIds)
            puts: dict[int, bytes | None] = dict.fromkeys(range(change.gone, change.first))
            puts |= {number: ids.record(number) for number in range(change.put, change.stored)}
            entry = CORE.turn_entry(self._cache, settled.number)
            found.users[user] = Settled(ctypes.string_at(entry.block, entry.prefix[1]), puts, bool(settled.timed))
        return found

    def commit(self) -> None:
        CORE.turn_commit(self._cache, 0)

    def drop(self) -> None:
        CORE.turn_drop(self._cache)


class CoreTable:
    """A partition's cache, in an arena of its own."""

    def __init__(self, most_bytes: int) -> None:
        self._arena = CORE.arena_new(most_bytes, _PAGES)
        self._cache = CORE.cache_new(self._arena)

    def close(self) -> int:
        """Gives the bytes that are held yet: none."""
        CORE.cache_free(self._cache)
        held = cast(int, CORE.arena_held(self._arena))
        CORE.arena_free(self._arena)
        return held

    def turn(self) -> CoreTurn:
        return CoreTurn(self._cache)

    def get(self, user: str) -> bytes | None:
        entry = _Entry()
        if not CORE.cache_get(self._cache, byref(_user(user)), byref(entry)):
            return None
        return ctypes.string_at(entry.block, entry.prefix[1])

    def let_go(self, size: int) -> None:
        CORE.cache_let_go(self._cache, size, 1_000)

    def tidy(self) -> None:
        CORE.cache_tidy(self._cache)

    @property
    def users(self) -> int:
        return cast(int, CORE.cache_users(self._cache))

    @property
    def held(self) -> tuple[int, int]:
        """(bytes by its own count, by the arena's)."""
        return CORE.cache_bytes(self._cache), CORE.arena_held(self._arena)
