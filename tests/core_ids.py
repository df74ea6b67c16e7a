"""The ids of a record whose block the compiled core keeps. Which records of ids are kept is not the core's yet: that
rule is here as ``state.plain.ids`` has it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, Final

from state.layout2 import CHUNK_BYTES, ID_MASK, IDS, IDS_LEAD, MOST_CHUNKS
from state.plain.ids import Entry, unpack_chunk
from state.plain.ids import Ids as PlainIds
from state.seen import DEDUPE_SECONDS, LAST_CHUNKS

_KNOWN: Final = 2
_CLOSED: Final = 3
_MOST_SECOND: Final = 2**32 - 1


class CoreIds:
    """As ``state.record.Ids``."""

    def __init__(self, held: Any) -> None:
        """``held``: a ``tests.core_record.Held``."""
        self._held = held
        self.unsaved: dict[int, bytes | None] = {}
        self.cut = 0
        self._chunks: list[list[Entry]] = []
        self._in_chunks: set[int] = set()

    def _lead(self) -> tuple[int, int, int]:
        section = self._held.section(IDS)
        return IDS_LEAD.unpack_from(section) if section else (0, 0, 0)

    def _tail(self) -> list[Entry]:
        *_, count = self._lead()
        if not count:
            return []
        tail = bytearray(CHUNK_BYTES)  # as if it were full
        groups = self._held.section(IDS)[IDS_LEAD.size :]
        tail[: len(groups)] = groups
        return unpack_chunk(bytes(tail))[:count]

    def __contains__(self, id_hash: object) -> bool:
        if not isinstance(id_hash, int):
            return False
        return id_hash & ID_MASK in self._in_chunks or bool(self._held.ask("ids_has", id_hash))

    def __len__(self) -> int:
        return len(self.items())

    def items(self) -> list[Entry]:
        return [entry for chunk in (*self._chunks, self._tail()) for entry in chunk]

    def add(self, id_hash: int, arrived: float) -> None:
        if id_hash & ID_MASK in self._in_chunks:
            return
        closed = ctypes.create_string_buffer(CHUNK_BYTES)
        second = max(0, min(int(arrived), _MOST_SECOND))
        if self._held.change("ids_add", id_hash, second, closed) == _CLOSED:
            self._close(closed.raw)

    def _close(self, closed: bytes) -> None:
        first, stored, _ = self._lead()
        self.unsaved[stored - 1] = closed
        chunk = unpack_chunk(closed)
        self._chunks.append(chunk)
        horizon = chunk[-1][1] - DEDUPE_SECONDS
        while stored - first > LAST_CHUNKS:
            if max((second for _, second in self._chunks[0]), default=0) >= horizon:
                if stored - first <= MOST_CHUNKS:
                    break
                self.cut += len(chunk)
            del self._chunks[0]
            self.unsaved[first] = None
            first += 1
        self._held.ask("ids_forget", first)
        self._in_chunks = {id_hash for chunk in self._chunks for id_hash, _ in chunk}

    @property
    def latest(self) -> int:
        entries = self._tail() or (self._chunks[-1] if self._chunks else [])
        return entries[-1][1] if entries else 0

    @property
    def numbers(self) -> range:
        first, stored, _ = self._lead()
        return range(first, stored)

    def restore(self, chunks: Iterable[bytes | None]) -> None:
        self._chunks = [unpack_chunk(chunk) if chunk else [] for chunk in chunks]
        self._in_chunks = {id_hash for chunk in self._chunks for id_hash, _ in chunk}

    def unite(self, other: Iterable[Entry]) -> None:
        both = PlainIds()
        both.replace(self.items())
        both.unite(other)
        self.cut += both.cut
        self.replace(both.items())

    def replace(self, entries: Iterable[Entry]) -> None:
        first, stored, _ = self._lead()
        for number in range(first, stored):
            self.unsaved[number] = None
        self._held.change("block_set", IDS, IDS_LEAD.pack(stored, stored, 0) if stored else b"", 12 if stored else 0)
        self._chunks, self._in_chunks = [], set()
        for id_hash, second in entries:
            self.add(id_hash, float(second))
