"""What of a user's history is not known: terms that were not counted from the user's first event on.

A term is a tally or a watched sort of events. Where it was begun later than the user, the user's cells say up to when
(event time, inclusive) nothing was counted. What was counted is a lower bound then. It is known when no event of that
time can be in the window any more; ``Record.known_at`` is the next time at which that, or what an absence may be,
changes, and ``NEVER`` when there is nothing that is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from state.absence import SORT, Sort
from state.record import Cells
from state.windows import TallySpec


@dataclass(frozen=True)
class Terms:
    """What definitions ask to be counted."""

    specs: frozenset[TallySpec] = frozenset()
    sorts: frozenset[Sort] = frozenset()

    def __or__(self, other: Terms) -> Terms:
        return Terms(self.specs | other.specs, self.sorts | other.sorts)

    @cached_property
    def keys(self) -> frozenset[str]:
        """How the position record names them."""
        return frozenset(spec.key for spec in self.specs) | {SORT + sort.key for sort in self.sorts}


NO_TERMS = Terms()


def not_known_before(cells: Cells, spec: TallySpec, now: float) -> float:
    """Event time up to which the tally was not counted, where the window at ``now`` may have more of that time than was
    counted; else 0."""
    until = cells.unknown_until(spec.key)
    return 0.0 if until is None or spec.known_from(until) <= now else until
