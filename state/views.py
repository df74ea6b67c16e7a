"""Views of what a user's state holds: all that anybody outside of ``state`` knows of its dicts.

One is made in a tenth of a microsecond, whenever it is asked for, and is good for as long as the turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from state import absence, edges, windows
from state.absence import Sort, Watch
from state.windows import Tally, TallyPlan, TallySpec

if TYPE_CHECKING:
    from state.user import Membership

#: before the key of a sort of events, so that no key of a tally is like it
SORT = "@"


class Members(msgspec.Struct, gc=False, eq=False):
    """Memberships by segment. One changes by being put anew."""

    _held: dict[str, Membership]

    def get(self, segment: str) -> Membership | None:
        return self._held.get(segment)

    def put(self, segment: str, member: Membership) -> None:
        self._held[segment] = member

    def set_leaving(self, segment: str, score: float | None) -> None:
        """``score``: what would end the membership, were the minimum stay over; None: nothing speaks against it."""
        member = self._held[segment]
        if member.leaving != score:
            self._held[segment] = msgspec.structs.replace(member, leaving=score)

    def remove(self, segment: str) -> None:
        """End it. Raises KeyError where there is none."""
        del self._held[segment]

    def segments(self) -> list[str]:
        """Sorted."""
        return sorted(self._held)

    def items(self) -> list[tuple[str, Membership]]:
        """(segment, membership), sorted by segment."""
        return sorted(self._held.items())

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, segment: object) -> bool:
        return segment in self._held


class Edges(msgspec.Struct, gc=False, eq=False):
    """Edges, or groups."""

    _held: dict[str, float]

    def set(self, target: str, time: float, present: bool) -> bool:
        """As ``state.edges.set_edge``."""
        return edges.set_edge(self._held, target, time, present)

    def get(self, target: str) -> float:
        """The signed time; 0: nothing is known of an edge to ``target``."""
        return self._held.get(target, 0.0)

    def drop(self, target: str) -> None:
        """Forget the edge, present or removed, if there is one."""
        self._held.pop(target, None)

    def present(self) -> list[str]:
        """As ``state.edges.present``."""
        return edges.present(self._held)

    def bound(self, most: int) -> list[str]:
        """As ``state.edges.bound``."""
        return edges.bound(self._held, most)

    def bound_removed(self, most: int) -> list[str]:
        """As ``state.edges.bound_removed``."""
        return edges.bound_removed(self._held, most)

    def items(self) -> list[tuple[str, float]]:
        """(target, signed time), sorted by target: the removed ones as well."""
        return sorted(self._held.items())

    @property
    def count(self) -> int:
        """Of the removed ones as well."""
        return len(self._held)

    @property
    def present_count(self) -> int:
        return sum(time > 0 for time in self._held.values())


class Cells(msgspec.Struct, gc=False, eq=False):
    """What the terms of rules keep: tallies in windows, latest times, and since when each is counted. Keys are those of
    ``state.unknown.Terms``."""

    _tallies: dict[str, Tally]
    _last: dict[str, float]
    _unknown: dict[str, float]

    def __contains__(self, key: object) -> bool:
        """Whether anything is kept of the term: it was counted, or it is known that it was not."""
        if isinstance(key, str) and key.startswith(SORT):
            return key[len(SORT) :] in self._last
        return key in self._tallies or key in self._unknown

    def total(self, spec: TallySpec, now: float) -> int:
        """What is counted in the window at ``now``, in the measure's whole units; what is over may be dropped."""
        return windows.total_at(self._tallies.get(spec.key), spec, now)

    def next_expiry(self, spec: TallySpec, now: float) -> float:
        """When the total next falls by the mere passing of time; NEVER when it does not."""
        return windows.next_expiry(self._tallies.get(spec.key), spec, now)

    def add(self, spec: TallySpec, time: float, amount: int, now: float) -> None:
        """Count ``amount`` (scaled, not negative) at event time ``time``; ``now``: what the user is evaluated at."""
        windows.add(self._tallies, spec, time, amount, now)

    def latest(self, sort: Sort) -> float:
        """The time of the latest event of the sort, with the sign that ``state.absence`` gives it; 0: none so far."""
        return self._last.get(sort.key, 0.0)

    def note(self, sort: Sort, time: float) -> None:
        """An event of the sort at ``time``."""
        absence.note(self._last, (sort.key,), time)

    def unknown_until(self, key: str) -> float | None:
        """The event time up to which the term was not counted; None when it was all the time."""
        if key.startswith(SORT):
            time = self._last.get(key[len(SORT) :], 0.0)
            return -time if time < 0.0 else None
        return self._unknown.get(key)

    def mark_unknown(self, key: str, until: float) -> None:
        """The term was not counted up to ``until``; later events were."""
        if key.startswith(SORT):
            if until >= abs(self._last.get(sort := key[len(SORT) :], 0.0)):
                self._last[sort] = -until
        else:
            self._unknown[key] = max(until, self._unknown.get(key, 0.0))

    def not_known_before(self, spec: TallySpec, now: float) -> float:
        """``unknown_until``, where the window at ``now`` may have more of that time than was counted; else 0."""
        until = self._unknown.get(spec.key)
        return 0.0 if until is None or spec.known_from(until) <= now else until

    def unknown_times(self) -> list[float]:
        """Of the tallies that are not known, up to when each was not counted."""
        return list(self._unknown.values())

    def keep_only(self, plan: TallyPlan, watch: Watch, now: float) -> None:
        """The definitions changed: what nobody counts any more goes, and of what was not watched so far nothing is
        known up to ``now``."""
        for key in self._tallies.keys() - plan.specs.keys():
            del self._tallies[key]
        watch.change(self._last, now)


VIEWS = (Members, Edges, Cells)
