"""Counts in sliding windows of event time, in buckets.

A window of W seconds is kept in buckets of ``width`` seconds aligned to the epoch. An event at time t counts until
its bucket's end plus W: at least W seconds, at most W + width (width is one second, or at most W / 24). All values are
non-negative integers (counts, micro-units of money, milliseconds), so any order of arrival gives the same tally, to
the bit. A bucket is full at ``MOST``: so whatever comes, a tally fits into the 64 bits that it is stored in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NEVER = float("inf")
MICRO = 1_000_000
_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
#: longest window in seconds: ten years, and so fewer than 2**12 buckets
MAX_WINDOW = 3_650 * 86_400
#: what a bucket holds at most: 1.1 billion of money. Capped sums do not depend on their order either.
MOST = 2**50
#: measure → factor that makes it a whole number
SCALES = {"count": 1, "amount": MICRO, "dwell": 1_000}


def width_for(window: float) -> int:
    """The bucket width in seconds for a window: the largest listed one that is at most a 24th of it."""
    fitting = [width for width in _WIDTHS if width * 24 <= window]
    return fitting[-1] if fitting else _WIDTHS[0]


@dataclass(frozen=True)
class TallySpec:
    """What one tally counts: a measure of one kind of event, of one category or any, in one window (seconds)."""

    kind: str
    measure: str
    window: int
    category: str = ""
    key: str = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        if self.measure not in SCALES:
            raise ValueError(f"measure {self.measure!r} is not one of {', '.join(SCALES)}")
        if self.window < 1:
            raise ValueError("a window must be at least one second")
        if self.window > MAX_WINDOW:
            raise ValueError(f"a window must be at most {MAX_WINDOW // 86_400} days")
        object.__setattr__(self, "key", f"{self.kind}|{self.measure}|{self.window}|{self.category}")
        object.__setattr__(self, "width", width_for(self.window))

    def known_from(self, until: float) -> float:
        """When all is known, if nothing was counted up to ``until``: the last such bucket leaves the window."""
        return float((int(until // self.width) + 1) * self.width + self.window)

    def covers(self, kind: str, category: str) -> bool:
        """Whether an event of ``kind`` in ``category`` is counted."""
        return self.kind == kind and self.category in ("", category)


class TallyPlan:
    """Which tallies an event touches: the union of what all definitions ask for."""

    def __init__(self, specs: frozenset[TallySpec]) -> None:
        self.specs = {spec.key: spec for spec in sorted(specs, key=lambda spec: spec.key)}
        self._any: dict[str, tuple[TallySpec, ...]] = {}
        self._of_category: dict[tuple[str, str], tuple[TallySpec, ...]] = {}
        for spec in self.specs.values():
            if spec.category:
                at = (spec.kind, spec.category)
                self._of_category[at] = (*self._of_category.get(at, ()), spec)
            else:
                self._any[spec.kind] = (*self._any.get(spec.kind, ()), spec)

    def touched(self, kind: str, category: str) -> tuple[TallySpec, ...]:
        """The tallies that an event of ``kind`` in ``category`` adds to."""
        general = self._any.get(kind, ())
        if category and self._of_category:
            special = self._of_category.get((kind, category), ())
            return (*general, *special) if special else general
        return general
