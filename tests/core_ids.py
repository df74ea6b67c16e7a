"""The ids of a record that the compiled core keeps: of the block, and of a tail."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64
from typing import Any, Final, cast

from state.layout import FormatError
from state.layout2 import CHUNK_BYTES
from state.plain.ids import Entry
from tests.core_parts import CORE, Block, IdsAt

_DONE: Final = 0
_MOST_SECOND: Final = 2**32 - 1


class Numbers(ctypes.Structure):
    _fields_ = (("first", c_uint32), ("stored", c_uint32), ("count", c_uint32))


class Bytes(ctypes.Structure):
    _fields_ = (("at", c_char_p), ("size", c_size_t))


class Change(ctypes.Structure):
    _fields_ = (("gone", c_uint32), ("first", c_uint32), ("put", c_uint32), ("stored", c_uint32))


def _declare() -> None:
    ids = POINTER(IdsAt)
    for function, result, *arguments in (
        ("ids_of", Numbers, POINTER(Block)),
        ("ids_known", c_int, ids, c_uint64),
        ("ids_remember", c_int, ids, c_uint64, c_uint32),
        ("ids_append", c_int, ids, c_uint64, c_uint32),
        ("ids_clear", None, ids),
        ("ids_restore", c_int, ids, POINTER(Bytes), c_size_t),
        ("ids_record", ctypes.c_void_p, ids, c_uint32),
        ("ids_next", c_int, ids, POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint32)),
        ("ids_total", c_uint32, ids),
        ("ids_latest", c_uint32, ids),
        ("ids_change", Change, ids),
        ("tail_free", None, ctypes.c_void_p, ctypes.c_void_p),
        ("tail_bytes", c_size_t, ctypes.c_void_p),
    ):
        declared = getattr(CORE, function)
        declared.restype, declared.argtypes = result, arguments


_declare()


def bytes_of(chunks: Iterable[bytes | None]) -> ctypes.Array[Bytes]:
    given = [chunk or b"" for chunk in chunks]
    return (Bytes * len(given))(*(Bytes(chunk, len(chunk)) for chunk in given))


class CoreIds:
    """As ``state.record.Ids``."""

    def __init__(self, held: Any, at: Callable[[], IdsAt] | None = None) -> None:
        """``held``: a ``tests.core_parts.Held``; ``at``: where the ids are, of one that is in a turn."""
        self._held = held
        self._own_tail: ctypes.c_void_p | None = None
        self._at: Callable[[], IdsAt]
        if at is None:
            self._own_tail, self._cut = ctypes.c_void_p(), c_uint32()
            numbers = held.ask("ids_of")
            own = IdsAt(
                ctypes.pointer(held.block), ctypes.pointer(self._own_tail), None, numbers.first, numbers.stored,
                ctypes.pointer(self._cut), None,
            )  # fmt: skip
            self._at = lambda: own
        else:
            self._at = at

    def __del__(self) -> None:
        if self._own_tail is not None:
            CORE.tail_free(self._own_tail, None)

    def _ask(self, function: str, *arguments: Any) -> Any:
        return self._held.ask(function, *arguments, of=self._at())

    def _change(self, function: str, *arguments: Any) -> int:
        return cast(int, self._held.change(function, *arguments, of=self._at()))

    @property
    def cut(self) -> int:
        return cast(int, self._at().cut.contents.value)

    @cut.setter
    def cut(self, value: int) -> None:
        self._at().cut.contents.value = value

    @property
    def unsaved(self) -> dict[int, bytes | None]:
        change = self._ask("ids_change")
        gone: dict[int, bytes | None] = dict.fromkeys(range(change.gone, change.first))
        return gone | {number: self.record(number) for number in range(change.put, change.stored)}

    @property
    def saved(self) -> range:
        at = self._at()
        return range(at.first, at.stored)

    def record(self, number: int) -> bytes | None:
        found = self._ask("ids_record", number)
        return ctypes.string_at(found, CHUNK_BYTES) if found else None

    def __contains__(self, id_hash: object) -> bool:
        return isinstance(id_hash, int) and bool(self._ask("ids_known", id_hash))

    def __len__(self) -> int:
        return cast(int, self._ask("ids_total"))

    def items(self) -> list[Entry]:
        at, id_hash, second, found = c_uint64(), c_uint64(), c_uint32(), []
        while self._ask("ids_next", byref(at), byref(id_hash), byref(second)):
            found.append((id_hash.value, second.value))
        return found

    def add(self, id_hash: int, arrived: float) -> None:
        self._change("ids_remember", id_hash, max(0, min(int(arrived), _MOST_SECOND)))

    @property
    def latest(self) -> int:
        return cast(int, self._ask("ids_latest"))

    @property
    def numbers(self) -> range:
        numbers = self._held.ask("ids_of")
        return range(numbers.first, numbers.stored)

    def restore(self, chunks: Iterable[bytes | None]) -> None:
        given = bytes_of(chunks)
        if self._ask("ids_restore", given, len(given)) != _DONE:
            raise FormatError("a record of a user's ids has bytes that none has")

    def replace(self, entries: Iterable[Entry]) -> None:
        self._ask("ids_clear")
        for id_hash, second in entries:
            self._change("ids_append", id_hash, second)
