"""A user's record of ``state.record`` whose bytes the compiled core keeps: for tests, by ctypes.

The block lies at an odd address and has hardly more room than it needs. A verb that finds none must have changed
nothing; then the block moves to a little more room, and the verb is called again, as whoever keeps blocks will do it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ctypes import byref
from math import isfinite
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from state import features, kinds, layout2
from state.absence import Absence
from state.layout import FormatError
from state.plain.codec import name_bytes, time_is_right
from state.plain.record import known_at
from state.user import INTEREST, PendingLabel, category_bucket
from state.windows import TallySpec
from tests.core_ids import CoreIds
from tests.core_parts import CORE, CoreCells, CoreEdges, CoreMembers, Counted, Held


class _Field:
    """A number of the header."""

    def __init__(self, form: str, at: int) -> None:
        self._struct = struct.Struct(form)
        self._at = at

    def __get__(self, record: CoreRecord, owner: type) -> Any:
        return record.held.get(self._struct, self._at)

    def __set__(self, record: CoreRecord, value: Any) -> None:
        record.held.put(self._struct, self._at, value)


class _Flag:
    def __init__(self, bit: int) -> None:
        self._bit = bit

    def __get__(self, record: CoreRecord, owner: type) -> bool:
        return bool(record.flags & self._bit)

    def __set__(self, record: CoreRecord, value: bool) -> None:
        record.flags = record.flags | self._bit if value else record.flags & ~self._bit


class _LaneField:
    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, record: CoreRecord, owner: type) -> int:
        return cast(int, getattr(record.held.ask("block_lane"), self._name))

    def __set__(self, record: CoreRecord, value: int) -> None:
        lane = record.held.ask("block_lane")
        setattr(lane, self._name, value)
        record.held.change("block_put_lane", lane)


class CoreRecord:
    """As ``state.record.Record``."""

    due: Any = _Field(">d", 1)
    flags: Any = _Field("<H", 10)
    version: Any = _Field("<I", 12)
    time: Any = _Field("<d", 16)
    first: Any = _Field("<d", 24)
    count: Any = _Field("<Q", 32)
    encode_at: Any = _Field("<Q", 40)
    sequence: Any = _Field("<Q", 48)
    life: Any = _Field("<Q", 56)
    epoch: Any = _Field("<I", 64)
    scored: Any = _Field("<Q", 72)
    identified: Any = _Flag(layout2.IDENTIFIED)
    queued: Any = _Flag(layout2.QUEUED)
    dirty: Any = _LaneField()
    texts: Any = _LaneField()
    texts_put: Any = _LaneField()
    texts_taken: Any = _LaneField()

    def __init__(
        self,
        user: str,
        epoch: int = 0,
        life: int = 0,
        data: bytes | None = None,
        held: Held | None = None,
        ids: CoreIds | None = None,
    ) -> None:
        """``held``, ``ids``: of a user in a turn."""
        self.user = user
        self.held = Held(data) if held is None else held
        if data is None and held is None:
            self.epoch, self.life, self.encode_at = epoch, life, 1
        self.members = CoreMembers(self.held)
        self.edges = CoreEdges(self.held, layout2.EDGES)
        self.groups = CoreEdges(self.held, layout2.GROUPS)
        self.cells = CoreCells(self.held)
        self.ids = CoreIds(self.held) if ids is None else ids

    @property
    def known_at(self) -> float:
        return cast(float, self.held.ask("block_known_at"))

    @known_at.setter
    def known_at(self, value: float) -> None:
        self.held.change("block_put_known_at", value)

    @property
    def erased(self) -> float:
        return cast(float, self.held.ask("block_erased"))

    @erased.setter
    def erased(self, value: float) -> None:
        self.held.change("block_put_erased", value)

    @property
    def labels(self) -> Sequence[PendingLabel]:
        found = []
        for entry in self._entries(layout2.LABELS):
            weight, member = layout2.LABEL.unpack_from(entry)
            found.append(PendingLabel(entry[layout2.LABEL.size :].decode(), bool(member), weight))
        return found

    @labels.setter
    def labels(self, labels: Sequence[PendingLabel]) -> None:
        if not all(isfinite(label.weight) for label in labels):
            raise ValueError("a label's weight is no number")
        self._put_entries(
            layout2.LABELS,
            [layout2.LABEL.pack(label.weight, label.member) + name_bytes(label.segment) for label in labels],
        )

    @property
    def aliases(self) -> Sequence[str]:
        return [entry.decode() for entry in self._entries(layout2.ALIASES)]

    @aliases.setter
    def aliases(self, aliases: Sequence[str]) -> None:
        self._put_entries(layout2.ALIASES, [name_bytes(alias) for alias in aliases])

    def _entries(self, which: int) -> list[bytes]:
        section, at, found = self.held.section(which), 0, []
        while at + 2 <= len(section) and (size := layout2.ENTRY.unpack_from(section, at)[0]):
            found.append(section[at + 2 : at + 2 + size])
            at += 2 + size
        return found

    def _put_entries(self, which: int, entries: list[bytes]) -> None:
        data = b"".join(layout2.ENTRY.pack(len(entry)) + entry for entry in entries)
        self.held.change("block_set", which, data, len(data))

    def enter(self, time: float) -> None:
        if time > self.time and not time_is_right(time):
            raise ValueError(f"{time} cannot be the time of a record: it must be below 2^32")
        self.held.ask("counters_enter", time)

    def count_event(self, kind: str, category: str, time: float, amount: float, dwell: float) -> None:
        if kind not in kinds.ROW:
            raise ValueError(f"there is no counter of {kind!r}: give it a row in state/kinds.py")
        interest = INTEREST.get(kind) if category else None
        bucket = -1 if interest is None else category_bucket(category)
        given = Counted(time, kinds.ROW[kind], bucket, interest or 0.0, amount, dwell)
        self.held.change("counters_add", byref(given))

    def unite_counters(self, block: bytes) -> None:
        other = open_record("", block)
        if other.time > self.time:
            raise ValueError("it is ahead")
        self.held.change("counters_unite", byref(other.held.block))

    def slow_counters(self, now: float) -> dict[str, float]:
        section = self.held.section(layout2.KINDS)
        (bits,) = layout2.BITMAP.unpack_from(section) if section else (0,)
        rows = [row for row in range(len(kinds.COUNTERS)) if bits >> row & 1]
        return {kinds.COUNTERS[row]: self.held.ask("counters_kind", row, now).slow for row in rows}

    def features(self, out: npt.NDArray[np.float32]) -> None:
        now, out[:] = self.time, 0.0
        for kind, (fast_at, slow_at) in features.PLACES.items():
            found = self.held.ask("counters_kind", kinds.ROW[kind], now)
            out[fast_at], out[slow_at] = found.fast, found.slow
        spend = self.held.ask("counters_kind", kinds.SPEND_ROW, now)
        out[features.SPEND_FAST], out[features.SPEND_SLOW] = spend.fast, spend.slow
        out[features.DWELL_SLOW] = self.held.ask("counters_kind", kinds.DWELL_ROW, now).slow
        out[features.FOLLOWEES], out[features.GROUPS] = self.edges.present_count, self.groups.present_count
        out[features.TEXTS] = self.texts
        for bucket in range(layout2.ROWS):
            out[features.CATEGORIES + bucket] = self.held.ask("counters_category", bucket, now)

    def settle(self, specs: Sequence[TallySpec], absences: Iterable[Absence]) -> None:
        self.cells.trim(specs, self.time)
        self.known_at = known_at(self.cells, self.cells.opaque_known(self.time), self.time, specs, absences)

    def pack(self) -> bytes:
        return self.held.data()


def open_record(user: str, data: bytes) -> CoreRecord:
    """Raises FormatError."""
    fault = CORE.block_check(data, len(data))
    if fault:
        raise FormatError(f"a user's record is damaged: {CORE.block_fault_words(fault).decode()}")
    return CoreRecord(user, data=data)
