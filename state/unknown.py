"""What of a user's history is not known: terms that were not counted from the user's first event on.

A term is a tally or a watched sort of events. Where it was begun later than the user, the user's cells say up to when
(event time, inclusive) nothing was counted. What was counted is a lower bound then. It is known when no event of that
time can be in the window any more; ``UserState.known_at`` is the next time at which that, or what an absence may be,
changes, and ``NEVER`` when there is nothing that is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from state.absence import Sort
from state.user import UserState
from state.views import SORT, Cells
from state.windows import NEVER, TallySpec


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


class Asked(Protocol):
    """A term of a rule, as far as it says itself what is known of it."""

    def next_sure(self, cells: Cells, now: float) -> float: ...


def refresh(state: UserState, specs: dict[str, TallySpec], terms: Iterable[Asked], now: float) -> None:
    """Forget what is known by ``now``, and say when the next of the rest is."""
    next_time = NEVER
    unknown, cells = state._unknown, state.cells
    for key, until in list(unknown.items()):
        at = specs[key].known_from(until) if key in specs else 0.0
        if at <= now:
            del unknown[key]
        else:
            next_time = min(next_time, at)
    for term in terms:
        next_time = min(next_time, term.next_sure(cells, now))
    state.known_at = next_time
