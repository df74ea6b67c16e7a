"""The parts of a user's record whose bytes the compiled core keeps, by ctypes: see ``tests.core_record``."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence, Set
from ctypes import byref, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint16, c_uint32, c_uint64
from math import isfinite
from typing import Any, Final, cast

import msgspec

from state import layout2
from state.absence import SORT, Sort
from state.layout2 import mark_of
from state.plain.codec import is_moment, name_bytes, time_is_right
from state.record import Opaque, TooLargeError
from state.user import Membership
from state.windows import NEVER, TallySpec
from tests import core

_NO_ROOM: Final = 1
_CHANGED: Final = 2
_LONG: Final = 1 << 40
"""Seconds: in a window of these nothing is over."""


class Block(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("size", c_uint32), ("room", c_uint32), ("start", c_uint32 * 17))


class IdsAt(ctypes.Structure):
    _fields_ = (
        ("block", ctypes.POINTER(Block)), ("tail", ctypes.POINTER(ctypes.c_void_p)), ("kept", ctypes.c_void_p),
        ("first", c_uint32), ("stored", c_uint32), ("cut", ctypes.POINTER(c_uint32)), ("arena", ctypes.c_void_p),
    )  # fmt: skip


class Spec(ctypes.Structure):
    _fields_ = (("mark", c_uint64), ("width", c_int64), ("window", c_int64))


class _Opaque(ctypes.Structure):
    _fields_ = (
        ("next", c_double), ("until", c_double), ("type", c_uint16), ("bytes", ctypes.c_void_p), ("size", c_uint32),
    )  # fmt: skip


class _Member(ctypes.Structure):
    _fields_ = (
        ("since", c_double), ("score", c_double), ("leaving", c_double), ("sequence", c_uint64), ("version", c_uint64),
        ("has_leaving", c_int),
    )  # fmt: skip


class Counted(ctypes.Structure):
    _fields_ = (
        ("time", c_double), ("kind", c_int), ("category", c_int), ("interest", c_double), ("amount", c_double),
        ("dwell", c_double),
    )  # fmt: skip


class _Decayed(ctypes.Structure):
    _fields_ = (("fast", c_double), ("slow", c_double))


class _Lane(ctypes.Structure):
    _fields_ = (("dirty", c_uint64), ("texts", c_uint32), ("texts_put", c_uint32), ("texts_taken", c_uint32))


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    block, name = ctypes.POINTER(Block), (c_char_p, c_size_t)
    spec, found = ctypes.POINTER(Spec), (ctypes.POINTER(c_size_t), ctypes.POINTER(ctypes.c_void_p))
    for function, result, *arguments in (
        ("block_begin", None, block, ctypes.c_void_p, c_size_t),
        ("block_open", None, block, ctypes.c_void_p, c_size_t, c_size_t),
        ("block_move", None, block, ctypes.c_void_p, c_size_t),
        ("block_set", c_int, block, c_int, c_char_p, c_size_t),
        ("block_known_at", c_double, block),
        ("block_put_known_at", c_int, block, c_double),
        ("block_erased", c_double, block),
        ("block_put_erased", c_int, block, c_double),
        ("block_lane", _Lane, block),
        ("block_put_lane", c_int, block, _Lane),
        ("counters_enter", None, block, c_double),
        ("counters_add", c_int, block, ctypes.POINTER(Counted)),
        ("counters_unite", c_int, block, block),
        ("counters_kind", _Decayed, block, c_int, c_double),
        ("counters_category", c_double, block, c_int, c_double),
        ("cells_total", c_int64, block, spec, c_double),
        ("cells_next_expiry", c_double, block, spec, c_double),
        ("cells_add", c_int, block, spec, c_double, c_int64, c_double),
        ("cells_mark_unknown", c_int, block, c_uint64, c_double),
        ("cells_unknown_until", c_double, block, c_uint64),
        ("cells_latest", c_double, block, c_uint64),
        ("cells_note", c_int, block, c_uint64, c_double),
        ("cells_put_latest", c_int, block, c_uint64, c_double),
        ("cells_opaque", _Opaque, block, c_uint64),
        ("cells_put_opaque", c_int, block, c_uint64, ctypes.POINTER(_Opaque)),
        ("cells_next_change", c_double, block),
        ("cells_opaque_known", c_double, block, c_double),
        ("cells_has", c_int, block, c_uint64),
        ("cells_drop", None, block, c_uint64),
        ("cells_trim", None, block, spec, c_size_t, c_double),
        ("cells_keep_only", None, block, ctypes.POINTER(c_uint64), c_size_t),
        ("members_get", c_int, block, *name, ctypes.POINTER(_Member)),
        ("members_put", c_int, block, *name, ctypes.POINTER(_Member)),
        ("members_remove", None, block, *name),
        ("members_next", c_size_t, block, *found, ctypes.POINTER(_Member)),
        ("edges_get", c_double, block, c_int, *name),
        ("edges_set", c_int, block, c_int, *name, c_double, c_int),
        ("edges_drop", None, block, c_int, *name),
        ("edges_count", c_uint32, block, c_int, c_int),
        ("edges_drop_after", None, block, c_int, c_int, c_double, *name),
        ("edges_next", c_size_t, block, c_int, *found, ctypes.POINTER(c_double)),
    ):
        declared = getattr(library, function)
        declared.restype, declared.argtypes = result, arguments
    return library


CORE: Final = _declare(core.library())


class Held:
    """A block and its room."""

    def __init__(self, data: bytes | None) -> None:
        """``data``: a block that is right; None: of somebody never seen."""
        self.block = Block()
        size = layout2.HEADER.size if data is None else len(data)
        self._room = ctypes.create_string_buffer(size + 1)
        if data is None:
            CORE.block_begin(byref(self.block), self._odd, size)
        else:
            ctypes.memmove(self._odd, data, size)
            CORE.block_open(byref(self.block), self._odd, size, size)

    @property
    def _odd(self) -> int:
        return ctypes.addressof(self._room) + 1

    def data(self) -> bytes:
        return ctypes.string_at(self.block.at, self.block.size)

    def ask(self, function: str, *arguments: Any, of: ctypes.Structure | None = None) -> Any:
        """``of``: what the verb is called with; the block, unless said."""
        return getattr(CORE, function)(byref(self.block if of is None else of), *arguments)

    def change(self, function: str, *arguments: Any, of: ctypes.Structure | None = None) -> int:
        """What the verb gives when there is room."""
        before = self.data()
        while (done := self.ask(function, *arguments, of=of)) == _NO_ROOM:
            assert self.data() == before, "it changed something before it found that there is no room"
            self.widen()
        return cast(int, done)

    def widen(self, by: int = 0) -> None:
        """By so many bytes; 0: by an eighth. Raises TooLargeError when it is as large as a block may be."""
        if self.block.room >= layout2.MOST_BYTES:
            raise TooLargeError(f"a record of more than {layout2.MOST_BYTES:,} bytes is too large")
        room = min(self.block.room + (by or max(8, self.block.room // 8)), layout2.MOST_BYTES)
        self._room, old = ctypes.create_string_buffer(room + 1), self._room
        ctypes.memmove(self._odd, ctypes.addressof(old) + 1, self.block.size)
        self.ask("block_move", self._odd, room)

    def section(self, which: int) -> bytes:
        start, end = self.block.start[which], self.block.start[which + 1]
        units = layout2.HEADER.unpack(self.data()[: layout2.HEADER.size])[-layout2.SECTIONS :][which]
        return self.data()[start + (layout2.LARGE_LEAD.size if units == layout2.LARGE else 0) : end]

    def get(self, field: struct.Struct, at: int) -> Any:
        return field.unpack(ctypes.string_at(self.block.at + at, field.size))[0]

    def put(self, field: struct.Struct, at: int, value: Any) -> None:
        try:
            ctypes.memmove(self.block.at + at, field.pack(value), field.size)
        except struct.error as error:
            raise ValueError(f"a number of the record is out of range: {error}") from None


class CoreMembers:
    def __init__(self, held: Held) -> None:
        self._held = held

    def get(self, segment: str) -> Membership | None:
        name, member = segment.encode(), _Member()
        return _membership(member) if self._held.ask("members_get", name, len(name), byref(member)) else None

    def put(self, segment: str, member: Membership) -> None:
        name, leaving = name_bytes(segment), 0.0 if member.leaving is None else member.leaving
        numbers = (member.sequence, member.version)
        if not (
            time_is_right(member.since)
            and isfinite(member.score)
            and isfinite(leaving)
            and all(0 <= number < 2**64 for number in numbers)
        ):
            raise ValueError(f"{member} cannot be in a record")
        given = _Member(member.since, member.score, leaving, *numbers, member.leaving is not None)
        self._held.change("members_put", name, len(name), byref(given))

    def set_leaving(self, segment: str, score: float | None) -> None:
        member = self.get(segment)
        if member is None:
            raise KeyError(segment)
        self.put(segment, msgspec.structs.replace(member, leaving=score))

    def remove(self, segment: str) -> None:
        if segment not in self:
            raise KeyError(segment)
        name = segment.encode()
        self._held.ask("members_remove", name, len(name))

    def segments(self) -> list[str]:
        return [segment for segment, _ in self.items()]

    def items(self) -> list[tuple[str, Membership]]:
        found, at, name, member = [], c_size_t(0), ctypes.c_void_p(), _Member()
        while size := self._held.ask("members_next", byref(at), byref(name), byref(member)):
            found.append((ctypes.string_at(name.value or 0, size).decode(), _membership(member)))
        return found

    def __len__(self) -> int:
        return len(self.items())

    def __contains__(self, segment: object) -> bool:
        return isinstance(segment, str) and self.get(segment) is not None


def _membership(member: _Member) -> Membership:
    leaving = member.leaving if member.has_leaving else None
    return Membership(member.since, member.score, member.version, member.sequence, leaving)


class CoreEdges:
    def __init__(self, held: Held, which: int) -> None:
        self._held = held
        self._which = which

    def set(self, target: str, time: float, present: bool) -> bool:
        name = name_bytes(target)
        if not time > 0.0 or not time_is_right(time):
            raise ValueError(f"{time} cannot be the time of an edge in a record")
        return self._held.change("edges_set", self._which, name, len(name), time, present) == _CHANGED

    def get(self, target: str) -> float:
        name = target.encode()
        return cast(float, self._held.ask("edges_get", self._which, name, len(name)))

    def drop(self, target: str) -> None:
        name = target.encode()
        self._held.ask("edges_drop", self._which, name, len(name))

    def present(self) -> list[str]:
        return [name for name, time in sorted(self.items(), key=lambda edge: (-edge[1], edge[0])) if time > 0.0]

    def bound(self, most: int) -> list[str]:
        return self._bound(most, present=True)

    def bound_removed(self, most: int) -> list[str]:
        return self._bound(most, present=False)

    def _bound(self, most: int, present: bool) -> list[str]:
        edges = [(-abs(time), name) for name, time in self.items() if (time > 0.0) == present]
        if len(edges) <= most:
            return []
        edges = [(-NEVER, ""), *sorted(edges)]
        age, last = edges[most]
        self._held.ask("edges_drop_after", self._which, present, -age, last.encode(), len(last.encode()))
        return [name for _, name in edges[most + 1 :]]

    def items(self) -> list[tuple[str, float]]:
        found, at, name, time = [], c_size_t(0), ctypes.c_void_p(), c_double()
        while size := self._held.ask("edges_next", self._which, byref(at), byref(name), byref(time)):
            found.append((ctypes.string_at(name.value or 0, size).decode(), time.value))
        return found

    @property
    def count(self) -> int:
        return self.present_count + cast(int, self._held.ask("edges_count", self._which, False))

    @property
    def present_count(self) -> int:
        return cast(int, self._held.ask("edges_count", self._which, True))


def spec_of(spec: TallySpec, window: int | None = None) -> Spec:
    return Spec(mark_of(spec.key), spec.width, spec.window if window is None else window)


def specs_of(specs: Sequence[TallySpec]) -> ctypes.Array[Spec]:
    """As ``cells_trim`` wants them."""
    return (Spec * len(specs))(*sorted(map(spec_of, specs), key=lambda spec: cast(int, spec.mark)))


class CoreCells:
    def __init__(self, held: Held) -> None:
        self._held = held

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and bool(self._held.ask("cells_has", mark_of(key)))

    def total(self, spec: TallySpec, now: float) -> int:
        return cast(int, self._held.ask("cells_total", byref(spec_of(spec)), now))

    def next_expiry(self, spec: TallySpec, now: float) -> float:
        return cast(float, self._held.ask("cells_next_expiry", byref(spec_of(spec)), now))

    def buckets(self, spec: TallySpec) -> list[tuple[int, int]]:
        found, now, given = [], 0.0, byref(spec_of(spec, _LONG))
        while (end := self._held.ask("cells_next_expiry", given, now)) != NEVER:
            assert end > now, "a bucket leaves the window twice"
            bucket = (int(end) - _LONG) // spec.width - 1
            total, rest = (self._held.ask("cells_total", given, at) for at in (now, end))
            found.append((bucket, total - rest))
            now = end
        return found

    def add(self, spec: TallySpec, time: float, amount: int, now: float) -> None:
        self._held.change("cells_add", byref(spec_of(spec)), time, amount, now)

    def latest(self, sort: Sort) -> float:
        return cast(float, self._held.ask("cells_latest", mark_of(SORT + sort.key)))

    def note(self, sort: Sort, time: float) -> None:
        self._held.change("cells_note", mark_of(SORT + sort.key), time)

    def unknown_until(self, key: str) -> float | None:
        if key.startswith(SORT):
            latest = self._held.ask("cells_latest", mark_of(key))
            return -latest if latest < 0.0 else None
        opaque = self.opaque(key)
        if opaque is not None:
            return opaque.unknown_until or None
        until = self._held.ask("cells_unknown_until", mark_of(key))
        return until if until >= 0.0 else None

    def mark_unknown(self, key: str, until: float) -> None:
        mark = mark_of(key)
        if not key.startswith(SORT):
            self._held.change("cells_mark_unknown", mark, until)
        elif until >= abs(self._held.ask("cells_latest", mark)):
            self._held.change("cells_put_latest", mark, -until)

    def opaque(self, key: str) -> Opaque | None:
        found = self._held.ask("cells_opaque", mark_of(key))
        if not found.bytes:
            return None
        return Opaque(found.type, ctypes.string_at(found.bytes, found.size), found.next, found.until)

    def put_opaque(self, key: str, opaque: Opaque) -> None:
        if layout2.CELL.size + layout2.OPAQUE_HEAD.size + len(opaque.data) > 0xFFFF * layout2.UNIT:
            raise ValueError("too many bytes for a cell")
        if not (is_moment(opaque.next_change) and time_is_right(opaque.unknown_until) and 0 <= opaque.type <= 0xFFFF):
            raise ValueError("times or a type that no record can have")
        data = ctypes.create_string_buffer(opaque.data, len(opaque.data) or 1)
        given = _Opaque(
            opaque.next_change, opaque.unknown_until, opaque.type, ctypes.addressof(data), len(opaque.data)
        )  # fmt: skip
        self._held.change("cells_put_opaque", mark_of(key), byref(given))

    def drop(self, key: str) -> None:
        self._held.ask("cells_drop", mark_of(key))

    def keep_only(self, marks: Set[int]) -> None:
        given = (c_uint64 * len(marks))(*sorted(marks))
        self._held.ask("cells_keep_only", given, len(marks))

    def trim(self, specs: Sequence[TallySpec], now: float) -> None:
        given = specs_of(specs)
        self._held.ask("cells_trim", given, len(specs), now)

    def next_change(self) -> float:
        return cast(float, self._held.ask("cells_next_change"))

    def opaque_known(self, now: float) -> float:
        """When, after ``now``, the next opaque cell that is not known yet is."""
        return cast(float, self._held.ask("cells_opaque_known", now))
