"""What ``count`` and ``total`` have in common: both read one tally (``state.windows``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from state.record import Cells
from state.unknown import not_known_before
from state.windows import NEVER, SCALES, TallySpec
from streams.rules.durations import duration
from streams.rules.program import MOST_NUMBER, Interval
from streams.rules.term import Call


@dataclass(frozen=True, slots=True)
class TallyTerm:
    """A tally's total, in its measure's unit."""

    spec: TallySpec
    scale: int
    """What one of the unit is in the tally's whole numbers."""

    condition: ClassVar[bool] = False
    monotone: ClassVar[bool] = True

    @property
    def cells(self) -> tuple[TallySpec]:
        return (self.spec,)

    @property
    def span(self) -> float:
        return self.spec.window

    @property
    def soonest(self) -> float:
        return self.spec.window

    @property
    def native(self) -> TallySpec:
        return self.spec

    def value(self, cells: Cells, now: float) -> float:
        return cells.total(self.spec, now) / self.scale

    def bounds(self, cells: Cells, now: float) -> Interval:
        low = self.value(cells, now)
        return low, MOST_NUMBER if not_known_before(cells, self.spec, now) else low

    def next_change(self, cells: Cells, now: float) -> float:
        return cells.next_expiry(self.spec, now)

    def next_sure(self, _cells: Cells, _now: float) -> float:
        return NEVER  # the cell says it

    def not_known_before(self, cells: Cells, now: float) -> float:
        return not_known_before(cells, self.spec, now)


def tally_term(call: Call, kind: str, measure: str) -> TallyTerm:
    """The term of a call with ``within`` and ``category``. Raises ValueError."""
    kind = call.kind(kind)
    if "within" not in call.options:
        raise ValueError('say the window, as in within="7d"')
    spec = TallySpec(kind, measure, duration(call.options["within"]), call.options.get("category", ""))
    return TallyTerm(spec, SCALES[spec.measure])
