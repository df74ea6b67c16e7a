"""``absent(kind, after=kind, wait=…, within=…, category=…, after_category=…)``: 1 from ``wait`` to ``within`` (7 d)
after the latest trigger while nothing of ``kind`` followed it, else 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from state.absence import Absence, Sort
from state.record import Cells
from streams.rules.durations import duration
from streams.rules.program import Interval
from streams.rules.term import Call, Row

WITHIN: Final = "7d"
"""Up to when an absence counts after its trigger, unless it says."""


@dataclass(frozen=True, slots=True)
class AbsentTerm:
    """An absence (``state.absence``): an event or the passing of time can begin and end it."""

    absence: Absence

    condition: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    @property
    def cells(self) -> tuple[Sort, Sort]:
        return self.absence.of, self.absence.after

    @property
    def span(self) -> float:
        return self.absence.within

    @property
    def soonest(self) -> float:
        return self.absence.shortest

    @property
    def native(self) -> Absence:
        return self.absence

    def value(self, cells: Cells, now: float) -> float:
        return 1.0 if self.absence.holds(cells, now) else 0.0

    def bounds(self, cells: Cells, now: float) -> Interval:
        return self.absence.bounds(cells, now)

    def next_change(self, cells: Cells, now: float) -> float:
        return self.absence.next_change(cells, now)

    def next_sure(self, cells: Cells, now: float) -> float:
        return self.absence.next_sure(cells, now)

    def not_known_before(self, cells: Cells, now: float) -> float:
        low, high = self.bounds(cells, now)
        if low == high:
            return 0.0
        return max(-cells.latest(sort) for sort in self.cells)


def parse(call: Call) -> AbsentTerm:
    (kind,) = call.words
    kind, options = call.kind(kind), call.options
    if "after" not in options or "wait" not in options:
        raise ValueError('say after what and from when, as in after="click", wait="30m"')
    return AbsentTerm(
        Absence(
            of=Sort(kind, options.get("category", "")),
            after=Sort(call.kind(options["after"]), options.get("after_category", "")),
            wait=duration(options["wait"]),
            within=duration(options.get("within", WITHIN)),
        )
    )


ROW: Final = Row(
    "absent", takes=("a kind",), options=("after", "wait", "within", "category", "after_category"), parse=parse
)
