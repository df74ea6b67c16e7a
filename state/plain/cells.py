"""What the terms of rules keep of a user: cells, each under the mark of its key.

A cell that is not there is empty and known. Reading changes nothing: what is over goes when something is added to the
cell, and at the end of a visit (``trim``). C's side is ``state/c/core/cells.c``.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import pairwise

from state.absence import SORT, Sort
from state.layout2 import (
    CELL,
    FORM_UNKNOWN,
    FORM_WIDTH,
    LATEST,
    MOST_BUCKETS,
    MOST_TIME,
    NUMBER,
    OPAQUE,
    OPAQUE_HEAD,
    TALLY,
    TALLY_HEAD,
    UNIT,
    mark_of,
)
from state.plain.codec import Reader, is_moment, of_a_later_release, padded, signed_time_is_right, time_is_right
from state.record import Opaque
from state.windows import MOST, NEVER, TallySpec

_MOST_SPAN = 0xFFFF
_MOST_CELL = 0xFFFF * UNIT


@dataclass(slots=True)
class Tally:
    """Bucket number → what it holds; ``until``: event time up to which nothing was counted."""

    buckets: dict[int, int]
    until: float | None = None


#: a tally, a latest time with its sign (``state.absence``), or what only Python understands
Cell = Tally | float | Opaque


class Cells:
    """Cells by mark, and the verbs of the terms."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[int, Cell] = {}

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and mark_of(key) in self._held

    def __len__(self) -> int:
        return len(self._held)

    def _tally(self, spec: TallySpec) -> Tally | None:
        cell = self._held.get(mark_of(spec.key))
        return cell if isinstance(cell, Tally) else None

    def total(self, spec: TallySpec, now: float) -> int:
        """What is counted in the window at ``now``, in the measure's whole units."""
        return sum(amount for bucket, amount in self.buckets(spec) if _end(spec, bucket) > now)

    def next_expiry(self, spec: TallySpec, now: float) -> float:
        """When the oldest bucket after ``now`` leaves the window (seconds since the epoch); NEVER: there is none."""
        return min((float(end) for bucket, _ in self.buckets(spec) if (end := _end(spec, bucket)) > now), default=NEVER)

    def buckets(self, spec: TallySpec) -> list[tuple[int, int]]:
        """(number of the bucket, what it holds), ascending: what is over but not trimmed yet as well."""
        tally = self._tally(spec)
        return sorted(tally.buckets.items()) if tally else []

    def add(self, spec: TallySpec, time: float, amount: int, now: float) -> None:
        """Count ``amount`` (scaled, 0 to ``windows.MOST``) at event time ``time``; ``now``: the user's time, at which
        what is over goes first. What lies so far from the other buckets that no fold can have made them is not added.
        """
        mark, bucket = mark_of(spec.key), int(time // spec.width)
        if _end(spec, bucket) <= now:
            return
        tally = self._held.get(mark)
        if tally is None:
            tally = Tally({})
        elif not isinstance(tally, Tally):
            return  # no fold made this
        buckets = {number: held for number, held in tally.buckets.items() if _end(spec, number) > now}
        numbers = (bucket, *buckets)
        if bucket not in buckets and (len(buckets) >= MOST_BUCKETS or max(numbers) - min(numbers) > _MOST_SPAN):
            return
        buckets[bucket] = min(buckets.get(bucket, 0) + amount, MOST)
        self._held[mark] = Tally(buckets, tally.until)

    def latest(self, sort: Sort) -> float:
        """The time of the latest event of the sort, with the sign that ``state.absence`` gives it; 0: none so far."""
        cell = self._held.get(mark_of(SORT + sort.key))
        return cell if isinstance(cell, float) else 0.0

    def note(self, sort: Sort, time: float) -> None:
        """An event of the sort at ``time``: the latest counts."""
        if time > abs(self.latest(sort)):
            self._put_latest(mark_of(SORT + sort.key), time)

    def _put_latest(self, mark: int, time: float) -> None:
        if time:
            self._held[mark] = float(time)
        else:
            self._held.pop(mark, None)

    def unknown_until(self, key: str) -> float | None:
        """The event time up to which the term was not counted; None when it was all the time."""
        match self._held.get(mark_of(key)):
            case Tally(until=until):
                return until
            case Opaque(unknown_until=until):
                return until or None
            case float(latest):
                return -latest if latest < 0.0 else None
        return None

    def mark_unknown(self, key: str, until: float) -> None:
        """The term (a tally's key, or a sort's after ``@``) was not counted up to ``until``; what came later was."""
        mark = mark_of(key)
        cell = self._held.get(mark)
        if key.startswith(SORT):
            if until >= (abs(cell) if isinstance(cell, float) else 0.0):
                self._put_latest(mark, -until)
        elif cell is None:
            self._held[mark] = Tally({}, until)
        elif isinstance(cell, Tally) and (cell.until is None or until > cell.until):
            cell.until = until

    def opaque(self, key: str) -> Opaque | None:
        """What a term keeps that has no compiled form."""
        cell = self._held.get(mark_of(key))
        return cell if isinstance(cell, Opaque) else None

    def put_opaque(self, key: str, opaque: Opaque) -> None:
        """Raises ValueError for what cannot be in a record."""
        if CELL.size + OPAQUE_HEAD.size + len(opaque.data) > _MOST_CELL:
            raise ValueError(f"{len(opaque.data):,} bytes are too many for a cell: its term must keep less")
        if not (is_moment(opaque.next_change) and time_is_right(opaque.unknown_until) and 0 <= opaque.type <= 0xFFFF):
            raise ValueError("a cell has times or a type that no record can have: see state/plain/codec.py")
        self._held[mark_of(key)] = opaque

    def drop(self, key: str) -> None:
        """Take a cell out, if there is one."""
        self._held.pop(mark_of(key), None)

    def keep_only(self, marks: Set[int]) -> None:
        """Drop all cells of other marks (``layout2.mark_of``)."""
        self._held = {mark: cell for mark, cell in self._held.items() if mark in marks}

    def trim(self, specs: Iterable[TallySpec], now: float) -> None:
        """Of these tallies drop what is over at ``now``: buckets, marks of what is known by now, and empty cells."""
        for spec in specs:
            tally = self._tally(spec)
            if tally is None:
                continue
            tally.buckets = {bucket: held for bucket, held in tally.buckets.items() if _end(spec, bucket) > now}
            if tally.until is not None and spec.known_from(tally.until) <= now:
                tally.until = None
            if not tally.buckets and tally.until is None:
                del self._held[mark_of(spec.key)]

    @property
    def has_opaque(self) -> bool:
        return any(isinstance(cell, Opaque) for cell in self._held.values())

    def next_change(self) -> float:
        """The earliest that an opaque cell says; NEVER: none does. The user's timer is not later."""
        return min((cell.next_change for cell in self._held.values() if isinstance(cell, Opaque)), default=NEVER)

    def opaque_known(self, now: float) -> float:
        """When, after ``now``, the next opaque cell that is not known yet is; NEVER: all are."""
        untils = (cell.unknown_until for cell in self._held.values() if isinstance(cell, Opaque))
        return min((until for until in untils if until > now), default=NEVER)

    def pack(self) -> bytes:
        return b"".join(_pack(mark, cell) for mark, cell in sorted(self._held.items(), key=lambda entry: entry[0]))

    def unpack(self, section: Reader) -> None:
        """Raises FormatError."""
        before = -1
        while section.left:
            mark, kind, form, units, head = section.unpack(CELL)
            section.need(mark > before, "marks do not ascend")
            section.need(units * UNIT >= CELL.size, "a cell has no size")
            content = Reader(section.take(units * UNIT - CELL.size), f"cell {mark:016x}")
            self._held[mark] = _unpack(content, kind, form, head)
            content.end()
            before = mark


def _end(spec: TallySpec, bucket: int) -> int:
    """When a bucket leaves the window."""
    return (bucket + 1) * spec.width + spec.window


def _width(values: Iterable[int]) -> int:
    """The least power of two of bytes that holds all values."""
    most = max(values, default=0)
    return next(width for width in range(FORM_WIDTH + 1) if most < 1 << (8 << width))


def _pack(mark: int, cell: Cell) -> bytes:
    form = head = 0
    if isinstance(cell, float):
        kind, content = LATEST, NUMBER.pack(cell)
    elif isinstance(cell, Opaque):
        kind, head = OPAQUE, len(cell.data)
        content = OPAQUE_HEAD.pack(cell.next_change, cell.unknown_until, cell.type, bytes(6)) + cell.data
    else:
        kind, buckets = TALLY, sorted(cell.buckets.items())
        head = buckets[0][0] if buckets else 0
        form = _width(cell.buckets.values())
        content = TALLY_HEAD.pack(sum(cell.buckets.values()), len(buckets))
        content += b"".join((bucket - head).to_bytes(2, "little") for bucket, _ in buckets)
        content += b"".join(held.to_bytes(1 << form, "little") for _, held in buckets)
        if cell.until is not None:
            form |= FORM_UNKNOWN
            content = NUMBER.pack(cell.until) + content
    content = padded(content)
    return CELL.pack(mark, kind, form, (CELL.size + len(content)) // UNIT, head) + content


def _unpack(content: Reader, kind: int, form: int, head: int) -> Cell:
    if kind == TALLY:
        return _unpack_tally(content, form, head)
    content.need(form == 0, f"its form is {form}")
    if kind == LATEST:
        (time,) = content.unpack(NUMBER)
        content.need(head == 0 and signed_time_is_right(time), f"its time is {time}")
        found: float = time
        return found
    if kind != OPAQUE:
        raise of_a_later_release(f"a cell of type {kind}")
    next_change, until, own_type, zeros = content.unpack(OPAQUE_HEAD)
    content.need(is_moment(next_change) and time_is_right(until), f"its times are {next_change} and {until}")
    content.need(not any(zeros), "what is not used is not 0")
    return Opaque(own_type, content.take(head), next_change, until)


def _unpack_tally(content: Reader, form: int, head: int) -> Tally:
    content.need(form & ~(FORM_WIDTH | FORM_UNKNOWN) == 0, f"its form is {form}")
    until = content.unpack(NUMBER)[0] if form & FORM_UNKNOWN else None
    content.need(until is None or time_is_right(until), f"it is not known until {until}")
    total, count = content.unpack(TALLY_HEAD)
    content.need(count <= MOST_BUCKETS, f"it has {count:,} buckets")
    content.need(count > 0 or (until is not None and head == 0), "it is empty")
    offsets = [int.from_bytes(content.take(2), "little") for _ in range(count)]
    content.need(all(a < b for a, b in pairwise(offsets)), "its buckets do not ascend")
    content.need(not offsets or offsets[0] == 0, "it does not begin with its first bucket")
    content.need(head + max(offsets, default=0) < MOST_TIME, "a bucket's number is too large")
    width = form & FORM_WIDTH
    values = [int.from_bytes(content.take(1 << width), "little") for _ in range(count)]
    content.need(all(value <= MOST for value in values) and width == _width(values), "its values cannot be")
    content.need(total == sum(values), f"its total is {total:,}")
    return Tally({head + offset: value for offset, value in zip(offsets, values, strict=True)}, until)
