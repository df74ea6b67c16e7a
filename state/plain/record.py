"""The Python twin of a user's record: the verbs of ``state.record`` over plain objects, the bytes of format 2.

It says what the compiled block does, and does it where there is none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from math import inf, isfinite
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from state import features, kinds
from state import layout2 as layout
from state.absence import Absence
from state.plain.cells import Cells
from state.plain.codec import Reader, damaged, is_moment, join, name_bytes, split, time_is_right
from state.plain.counters import Counters, month_of
from state.plain.ids import Ids
from state.plain.links import Edges, Members
from state.record import Cells as AnyCells
from state.record import TooLargeError
from state.user import INTEREST, PendingLabel, category_bucket
from state.windows import NEVER, TallySpec

_MOST_LABEL_NAME = layout.MOST_NAME - layout.LABEL.size


class _Part(Protocol):
    def unpack(self, section: Reader) -> None: ...


class PlainRecord:
    """One user's state: see ``state.record.Record``. Made for somebody never seen: all is known."""

    def __init__(self, user: str, epoch: int = 0, life: int = 0) -> None:
        self.user = user
        self.first = 0.0
        self.count = self.sequence = self.scored = self.version = 0
        self.due = NEVER
        self.epoch, self.life = epoch, life
        self.encode_at = 1
        self.identified = self.queued = False
        self.dirty = self.texts = self.texts_put = self.texts_taken = 0
        self.erased = 0.0
        self.known_at = NEVER
        self.members = Members()
        self.edges = Edges()
        self.groups = Edges()
        self.cells = Cells()
        self.ids = Ids()
        self._time = 0.0
        self._counters = Counters()
        self._labels: tuple[PendingLabel, ...] = ()
        self._aliases: tuple[str, ...] = ()

    @property
    def time(self) -> float:
        """Latest event time or fired timer: what the state is evaluated at."""
        return self._time

    def enter(self, time: float) -> None:
        """The user's time becomes ``time`` if that is later; the decayed counters go along. Raises ValueError for what
        cannot be in a record."""
        if not time > self._time:
            return
        if not time_is_right(time):
            raise ValueError(f"{time} cannot be the time of a record: it must be below 2^32 seconds")
        self._time = time
        self._counters.enter(month_of(time))

    @property
    def labels(self) -> Sequence[PendingLabel]:
        """Feedback that waits until the user has a vector. Raises ValueError for what cannot be in a record."""
        return self._labels

    @labels.setter
    def labels(self, labels: Sequence[PendingLabel]) -> None:
        for label in labels:
            name_bytes(label.segment, _MOST_LABEL_NAME)
            if not isfinite(label.weight):
                raise ValueError(f"{label} cannot be in a record: its weight is no number")
        self._labels = tuple(labels)

    @property
    def aliases(self) -> Sequence[str]:
        """Ids that were merged into this user, in that order. Raises ValueError for what cannot be in a record."""
        return self._aliases

    @aliases.setter
    def aliases(self, aliases: Sequence[str]) -> None:
        for alias in aliases:
            name_bytes(alias)
        self._aliases = tuple(aliases)

    def count_event(self, kind: str, category: str, time: float, amount: float, dwell: float) -> None:
        """Add an event at ``time``, not after the user's own, to the decayed counters. Raises ValueError for a kind
        that ``state.kinds`` does not have."""
        interest = INTEREST.get(kind) if category else None
        if interest is None:
            self._counters.add(kind, time, amount, dwell, -1, 0.0)
        else:
            self._counters.add(kind, time, amount, dwell, category_bucket(category), interest)

    @property
    def counters(self) -> Counters:
        """What ``count_event`` adds to, for migration."""
        return self._counters

    def unite_counters(self, block: bytes) -> None:
        """Add the decayed counters of another record, whose block this is; its time is not after this one's. Raises
        FormatError."""
        self._counters.unite(unpack(self.user, block).counters)

    def slow_counters(self, now: float) -> dict[str, float]:
        """Counter → what is counted, decayed over thirty days up to ``now``; those that there are."""
        rows = sorted(row for row in self._counters.kinds if row < len(kinds.COUNTERS))
        return {kinds.COUNTERS[row]: self._counters.kind(row, now)[1] for row in rows}

    def features(self, out: npt.NDArray[np.float32]) -> None:
        """Fill ``out``, of shape (96,), as ``state.features.raw_features`` does."""
        now, counters = self._time, self._counters
        out[:] = 0.0
        for kind, (fast_at, slow_at) in features.PLACES.items():
            out[fast_at], out[slow_at] = counters.kind(kinds.ROW[kind], now)
        out[features.SPEND_FAST], out[features.SPEND_SLOW] = counters.kind(kinds.SPEND_ROW, now)
        out[features.DWELL_SLOW] = counters.kind(kinds.DWELL_ROW, now)[1]
        out[features.FOLLOWEES] = self.edges.present_count
        out[features.GROUPS] = self.groups.present_count
        out[features.TEXTS] = self.texts
        for bucket in counters.categories:
            out[features.CATEGORIES + bucket] = counters.category(bucket, now)

    def settle(self, specs: Sequence[TallySpec], absences: Iterable[Absence]) -> None:
        """The end of a visit: what is over at ``time`` is dropped, and ``known_at`` is set. ``specs``, ``absences``:
        all that definitions ask for."""
        self.cells.trim(specs, self._time)
        self.known_at = known_at(self.cells, self.cells.opaque_known(self._time), self._time, specs, absences)

    def pack(self) -> bytes:
        """The block. Raises ValueError for what cannot be in a record, TooLargeError where it is larger than one may
        be."""
        if not (is_moment(self.due) and time_is_right(self.first) and time_is_right(self.erased)):
            raise ValueError(f"{self.due}, {self.first} or {self.erased} cannot be a time in a record")
        if not (self.known_at == NEVER or 0.0 <= self.known_at < inf) or not 0 <= self.texts_taken <= self.texts_put:
            raise ValueError(f"known_at {self.known_at} or texts_taken {self.texts_taken} cannot be in a record")
        try:
            block = join(self._header(), self.due, self._sections())
        except struct.error as error:
            raise ValueError(f"a number of the record is out of range: {error}") from None
        if len(block) > layout.MOST_BYTES:
            raise TooLargeError(
                f"a record of {len(block):,} bytes is too large: at most {layout.MOST_BYTES:,} are kept of a user"
            )
        return block

    def _header(self) -> list[Any]:
        flags = (
            layout.IDENTIFIED * self.identified
            | layout.QUEUED * self.queued
            | layout.UNKNOWN * (self.known_at != NEVER)
            | layout.HAS_OPAQUE * self.cells.has_opaque
        )
        return [
            flags, self.version, self._time, self.first, self.count, self.encode_at, self.sequence, self.life,
            self.epoch, self._counters.month, self.scored,
        ]  # fmt: skip

    def _sections(self) -> dict[int, bytes]:
        lane = (self.dirty, self.texts, self.texts_put, self.texts_taken, 0)
        return {
            layout.KINDS: self._counters.pack_kinds(),
            layout.CATEGORIES: self._counters.pack_categories(),
            layout.CELLS: self.cells.pack(),
            layout.MEMBERS: self.members.pack(),
            layout.KNOWN: b"" if self.known_at == NEVER else layout.NUMBER.pack(self.known_at),
            layout.LANE: layout.LANE_FIELDS.pack(*lane) if any(lane) else b"",
            layout.ERASED: layout.NUMBER.pack(self.erased) if self.erased else b"",
            layout.LABELS: b"".join(map(_pack_label, self._labels)),
            layout.EDGES: self.edges.pack(),
            layout.GROUPS: self.groups.pack(),
            layout.ALIASES: b"".join(map(_pack_alias, self._aliases)),
            layout.IDS: self.ids.pack(),
        }


def known_at(
    cells: AnyCells, opaque: float, now: float, specs: Iterable[TallySpec], absences: Iterable[Absence]
) -> float:
    """When more than at ``now`` may be known of all that definitions ask for; ``opaque``: what opaque cells say."""
    found = opaque
    for spec in specs:
        until = cells.unknown_until(spec.key)
        if until is not None:
            found = min(found, spec.known_from(until))
    return min([found, *(absence.next_sure(cells, now) for absence in absences)])


def unpack(user: str, data: bytes) -> PlainRecord:
    """The record of a block that anybody may have written. Raises FormatError; ``state.plain.codec`` has the rules."""
    header, due, sections = split(data)
    flags, version, time, first, count, encode_at, sequence, life, epoch, month, scored = header
    record = PlainRecord(user, epoch, life)
    record.version, record.first, record.count, record.due = version, first, count, due
    record.encode_at, record.sequence, record.scored = encode_at, sequence, scored
    record.identified, record.queued = bool(flags & layout.IDENTIFIED), bool(flags & layout.QUEUED)
    record._time, record._counters.month = time, month
    record._counters.unpack(sections.get(layout.KINDS), sections.get(layout.CATEGORIES))
    parts: tuple[tuple[int, _Part], ...] = (
        (layout.CELLS, record.cells),
        (layout.MEMBERS, record.members),
        (layout.EDGES, record.edges),
        (layout.GROUPS, record.groups),
        (layout.IDS, record.ids),
    )
    for number, part in parts:
        if number in sections:
            part.unpack(sections[number])
    _unpack_numbers(record, sections)
    for wrong, why in (
        (month != month_of(time), f"the month is {month} at the time {time}"),
        (bool(flags & layout.UNKNOWN) != (record.known_at != NEVER), "it is known and is not"),
        (bool(flags & layout.HAS_OPAQUE) != record.cells.has_opaque, "it has opaque cells and has not"),
    ):
        if wrong:
            raise damaged("header", why)
    return record


def _unpack_numbers(record: PlainRecord, sections: dict[int, Reader]) -> None:
    """The sections that are numbers or lists."""
    if (section := sections.get(layout.KNOWN)) is not None:
        (record.known_at,) = section.unpack(layout.NUMBER)
        section.need(not section.left and 0.0 <= record.known_at < inf, f"it is {record.known_at}")
    if (section := sections.get(layout.LANE)) is not None:
        *lane, zero = section.unpack(layout.LANE_FIELDS)
        record.dirty, record.texts, record.texts_put, record.texts_taken = lane
        section.need(not section.left and zero == 0 and any(lane), "what is not used is not 0, or all is 0")
        section.need(record.texts_taken <= record.texts_put, "more texts were taken than put")
    if (section := sections.get(layout.ERASED)) is not None:
        (record.erased,) = section.unpack(layout.NUMBER)
        section.need(
            not section.left and record.erased > 0.0 and time_is_right(record.erased), f"it is {record.erased}"
        )
    if (section := sections.get(layout.LABELS)) is not None:
        record._labels = tuple(_unpack_label(section, size) for size in _sizes(section))
    if (section := sections.get(layout.ALIASES)) is not None:
        record._aliases = tuple(section.name(size) for size in _sizes(section))


def _sizes(section: Reader) -> Iterator[int]:
    """Of the entries, each taken before the next is asked for; what is no entry is less than a unit of zeros."""
    (size,) = section.unpack(layout.ENTRY)
    section.need(size > 0, "it has no entries")
    while True:
        yield size
        if section.left < layout.UNIT and not section.peek(layout.ENTRY.size).strip(b"\0"):
            break
        (size,) = section.unpack(layout.ENTRY)
        section.need(size > 0, "it is longer than what is in it")
    section.end()


def _pack_alias(alias: str) -> bytes:
    name = alias.encode()
    return layout.ENTRY.pack(len(name)) + name


def _pack_label(label: PendingLabel) -> bytes:
    name = label.segment.encode()
    return layout.ENTRY.pack(layout.LABEL.size + len(name)) + layout.LABEL.pack(label.weight, label.member) + name


def _unpack_label(section: Reader, size: int) -> PendingLabel:
    section.need(size > layout.LABEL.size, "a label has no segment")
    weight, member = section.unpack(layout.LABEL)
    segment = section.name(size - layout.LABEL.size)
    section.need(isfinite(weight) and member in (0, 1), f"a label has the weight {weight} and says {member}")
    return PendingLabel(segment, bool(member), weight)
