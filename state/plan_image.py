"""What definitions say to the compiled fold, as one piece of bytes: see ``state/c/core/plan.h``, which checks it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from state.absence import SORT, Absence, Sort
from state.kinds import DWELL_ROW, ROW, SPEND_ROW
from state.layout2 import LATEST, TALLY, as_one, mark_of, padding, places
from state.user import INTEREST
from state.windows import NEVER, SCALES, TallySpec

#: segments, and cells (what is counted) of one plan, at most: PLAN_MOST of plan.h
MOST: Final = 8_192
#: different terms of its rules
MOST_TERMS: Final = 65_536
_FORMAT: Final = 0x314E4C50
#: format, bytes, cells, terms, segments, rules, routes, steps, links, letters, may_rise, 0, shortest
_HEAD: Final = struct.Struct("<12Id")
#: mark, width, window, scale, type, measure
_CELL: Final = struct.Struct("<QqqdBB6x")
#: type, covers, cell, other, wait, within
_TERM: Final = struct.Struct("<BBxxII4xdd")
#: mark, place and bytes of the name, rule, min_stay
_SEGMENT: Final = struct.Struct("<IIIId")
#: enter, exit, segment, first step, steps, first link, terms, rising, version
_RULE: Final = struct.Struct("<dd6IQ")
#: interest, row, first link and number of cells, of gates
_ROUTE: Final = struct.Struct("<d5I4x")
#: op, arity, term, number: of ``streams.rules.program``
_STEP: Final = struct.Struct("<BBHId")
_TERM_OP: Final = 2
_NO_RULE: Final = 2**32 - 1
_MEASURES: Final = {"count": 0, "amount": 1, "dwell": 2}
#: what a term of a rule is to the compiled part
Native = TallySpec | Absence


@dataclass(frozen=True)
class Route:
    """What an event of ``kind`` touches; ``category`` empty: of any that no other route of the kind names."""

    kind: str
    category: str
    tallies: tuple[TallySpec, ...]
    sorts: tuple[Sort, ...]
    gates: tuple[tuple[str, bool], ...]
    """(rule segment that the event concerns, whether that can end it), in the order of the definitions."""

    @property
    def cells(self) -> tuple[TallySpec | Sort, ...]:
        return (*self.tallies, *self.sorts)


@dataclass(frozen=True)
class Ruled:
    """A rule segment. With (low, high) of its program by what is known of the user, an event is quiet for who is not in
    it while low is below ``enter``, and for who is in it, and is not about to leave, while high is not below ``exit``.
    """

    segment: str
    enter: float
    exit: float
    program: bytes
    """``streams.rules.program.write``."""
    terms: tuple[Native, ...]
    """As the program numbers them."""
    begins_by: tuple[bool, ...]
    """Of each term, whether its change by time can make the rule true: who is not in the segment waits for that, who is
    in it for the change of any."""
    version: int
    """Of the segment: a membership that begins has it."""


@dataclass(frozen=True)
class Described:
    """All definitions, for the compiled part."""

    routes: tuple[Route, ...]
    rules: tuple[Ruled, ...]
    """In the order of the definitions."""
    stays: Mapping[str, float]
    """Each segment, of rules or not, and its minimum stay (seconds)."""
    may_rise: bool
    """Some rules may begin to hold by the passing of time."""


def abi() -> int:
    """All that C's side must know of the image as well, as one number: ``plan_abi`` of ``state/c/core/abi.c``."""
    tables = (_HEAD, _CELL, _TERM, _SEGMENT, _RULE, _ROUTE, _STEP)
    fields = (number for table in tables for number in (table.size, *places(table)))
    return as_one((_FORMAT, *fields, *_MEASURES.values(), 0, 1, _NO_RULE, SPEND_ROW, DWELL_ROW))


def term_numbers(described: Described) -> dict[Native, int]:
    """How the image numbers the terms of all rules."""
    natives = dict.fromkeys(term for rule in described.rules for term in rule.terms)
    return {native: number for number, native in enumerate(natives)}


def write(described: Described) -> bytes:
    """The image. Events are given the place of their route in ``described.routes``.

    Raises ValueError where two cells have the same mark.
    """
    return _Writer(described).image(described)


class _Writer:
    def __init__(self, described: Described) -> None:
        self.term_of = natives = term_numbers(described)
        cells = {cell for route in described.routes for cell in route.cells}
        for native in natives:
            cells |= {native} if isinstance(native, TallySpec) else {native.of, native.after}
        self.cells = sorted(cells, key=_mark)
        self.cell_of = {_mark(cell): number for number, cell in enumerate(self.cells)}
        if len(self.cell_of) < len(self.cells):
            raise ValueError("two terms of the rules have the same mark: write one of them with another window")
        self.shortest = min((_soonest(native) for native in natives), default=NEVER)
        self.stays = described.stays
        self.segments = sorted(self.stays, key=lambda segment: (_name_mark(segment), segment.encode()))
        self.segment_of = {segment: number for number, segment in enumerate(self.segments)}
        self.rule_of = {rule.segment: number for number, rule in enumerate(described.rules)}
        self.links: list[int] = []
        self.letters = b""

    def image(self, described: Described) -> bytes:
        segments = b"".join(map(self._segment, self.segments))
        steps: list[bytes] = []
        rules = b"".join(self._rule(rule, steps) for rule in described.rules)
        routes = b"".join(map(self._route, described.routes))
        links = struct.pack(f"<{len(self.links)}I", *self.links)
        parts = (
            b"".join(map(_cell, self.cells)), b"".join(map(self._term, self.term_of)), segments, rules, routes,
            b"".join(steps), links + bytes(padding(len(links))), self.letters + bytes(padding(len(self.letters))),
        )  # fmt: skip
        counts = (
            len(self.cells), len(self.term_of), len(self.segments), len(described.rules), len(described.routes),
            len(steps), len(self.links), len(self.letters), described.may_rise, 0,
        )  # fmt: skip
        size = _HEAD.size + sum(map(len, parts))
        return b"".join((_HEAD.pack(_FORMAT, size, *counts, self.shortest), *parts))

    def _term(self, term: Native) -> bytes:
        if isinstance(term, TallySpec):
            return _TERM.pack(0, 0, self.cell_of[_mark(term)], 0, 0.0, 0.0)
        covers = term.of.covers(term.after.kind, term.after.category)
        after, other = self.cell_of[_mark(term.after)], self.cell_of[_mark(term.of)]
        return _TERM.pack(1, covers, after, other, term.wait, term.within)

    def _segment(self, segment: str) -> bytes:
        at, name = len(self.letters), segment.encode()
        self.letters += name
        rule = self.rule_of.get(segment, _NO_RULE)
        return _SEGMENT.pack(_name_mark(segment), at, len(name), rule, self.stays[segment])

    def _rule(self, rule: Ruled, steps: list[bytes]) -> bytes:
        first, at = len(steps), len(self.links)
        numbers = [self.term_of[term] for term in rule.terms]
        for op, arity, index, zero, number in _STEP.iter_unpack(rule.program):
            steps.append(_STEP.pack(op, arity, numbers[index] if op == _TERM_OP else index, zero, number))
        rising = {number for number, begins in zip(numbers, rule.begins_by, strict=True) if begins}
        self.links += [number << 1 | (number in rising) for number in sorted(set(numbers))]
        counts = (first, len(steps) - first, at, len(self.links) - at, len(rising))
        return _RULE.pack(rule.enter, rule.exit, self.segment_of[rule.segment], *counts, rule.version)

    def _route(self, route: Route) -> bytes:
        at = len(self.links)
        self.links += sorted(self.cell_of[_mark(cell)] for cell in route.cells)
        gate = len(self.links)
        self.links += sorted(self.rule_of[segment] << 1 | can_end for segment, can_end in route.gates)
        counts = (at, gate - at, gate, len(self.links) - gate)
        return _ROUTE.pack(INTEREST.get(route.kind, 0.0), ROW[route.kind], *counts)


def _soonest(native: Native) -> float:
    """It changes by the mere passing of time no sooner than so many seconds after an event."""
    return native.window if isinstance(native, TallySpec) else native.shortest


def _mark(cell: TallySpec | Sort) -> int:
    return mark_of(cell.key if isinstance(cell, TallySpec) else SORT + cell.key)


def _name_mark(segment: str) -> int:
    return mark_of(segment) & 0xFFFFFFFF


def _cell(cell: TallySpec | Sort) -> bytes:
    if isinstance(cell, Sort):
        return _CELL.pack(_mark(cell), 0, 0, 0.0, LATEST, 0)
    measure = cell.measure
    return _CELL.pack(_mark(cell), cell.width, cell.window, SCALES[measure], TALLY, _MEASURES[measure])
