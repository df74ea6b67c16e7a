"""What a user did not do after something else: the latest event of each watched sort, and from when to when it counts.

Of each watched sort (a kind, of one category or any) a user's cells hold one number: above 0 the latest event time; 0
when there was none so far; below 0 when there was none since that time, before which nobody watched. The largest time
wins, so late and reordered events give the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from state.windows import MAX_WINDOW, NEVER

#: before the key of a sort of events, so that no key of a tally is like it
SORT: Final = "@"


@dataclass(frozen=True)
class Sort:
    """Events of one kind, of one category or any."""

    kind: str
    category: str = ""
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.kind}|{self.category}")

    def covers(self, kind: str, category: str) -> bool:
        """Whether an event of ``kind`` in ``category`` is of this sort."""
        return self.kind == kind and self.category in ("", category)


class Latest(Protocol):
    """A user's cells, as far as absences read them."""

    def latest(self, sort: Sort) -> float: ...


@dataclass(frozen=True)
class Absence:
    """No event ``of`` a sort since the latest event ``after``: from ``wait`` to ``within`` seconds after that one.

    An event at the very time of the trigger counts as done, but the trigger itself does not, where it is of both sorts
    ("no further click"). Raises ValueError for times that cannot be meant.
    """

    of: Sort
    after: Sort
    wait: int
    within: int

    def __post_init__(self) -> None:
        if self.within <= self.wait:
            raise ValueError("within must be longer than wait")
        if self.within > MAX_WINDOW:
            raise ValueError(f"within must be at most {MAX_WINDOW // 86_400} days")

    def trigger(self, cells: Latest) -> float:
        """The time of the event that is waited after; 0 when there is none or it is done with."""
        after = cells.latest(self.after)
        if after <= 0.0:
            return 0.0
        done = abs(cells.latest(self.of))  # what was before anybody watched is not known: as if done
        if after > done or (after == done and self.of.covers(self.after.kind, self.after.category)):
            return after
        return 0.0

    def holds(self, cells: Latest, now: float) -> bool:
        """Whether the absence is there at ``now`` (seconds since the epoch)."""
        trigger = self.trigger(cells)
        return trigger > 0.0 and trigger + self.wait <= now < trigger + self.within

    def next_change(self, cells: Latest, now: float) -> float:
        """When it next begins or ends after ``now`` by the mere passing of time; NEVER when it does not."""
        trigger = self.trigger(cells)
        if trigger <= 0.0:
            return NEVER
        begin, end = trigger + self.wait, trigger + self.within
        return begin if now < begin else end if now < end else NEVER

    def bounds(self, cells: Latest, now: float) -> tuple[float, float]:
        """The least and the most that it may be at ``now`` (1: it is there), by what is known."""
        after, done = cells.latest(self.after), cells.latest(self.of)
        covers = self.of.covers(self.after.kind, self.after.category)
        if after >= 0.0:
            if not after or not after + self.wait <= now < after + self.within:
                return 0.0, 0.0
            if after > abs(done) or (after == abs(done) and covers):
                return 1.0, 1.0
            return 0.0, 1.0 if done < 0.0 else 0.0
        # the latest trigger may be any up to -after, or there was none
        if now >= self.within - after:
            return 0.0, 0.0
        if done >= 0.0 and (now < done + self.wait or not (-after > done or (-after == done and covers))):
            return 0.0, 0.0
        return 0.0, 1.0

    def next_sure(self, cells: Latest, now: float) -> float:
        """When, after ``now``, something else may be known of it; NEVER when all that is asked for is known."""
        after, done = cells.latest(self.after), cells.latest(self.of)
        triggers: tuple[float, ...] = ()
        if done < 0.0:  # a trigger up to then may have been done with; one that arrives late as well
            triggers += (-done, after) if 0.0 < after <= -done else (-done,)
        if after < 0.0:
            triggers += (-after, done) if done > 0.0 else (-after,)
        times = (time + span for time in triggers for span in (self.wait, self.within))
        return min((time for time in times if time > now), default=NEVER)

    @property
    def shortest(self) -> int:
        """No change by time comes sooner after a trigger than this (seconds)."""
        return self.wait or self.within


class Watch:
    """The sorts of events whose latest time is kept: what all definitions ask for. False when they ask for none."""

    def __init__(self, wanted: Iterable[Sort]) -> None:
        self.sorts: tuple[Sort, ...] = tuple(sorted(set(wanted), key=lambda sort: sort.key))
        self.categories = {sort.category for sort in self.sorts if sort.category}
        self._touched = {
            (sort.kind, category): tuple(other for other in self.sorts if other.covers(sort.kind, category))
            for sort in self.sorts
            for category in ("", *self.categories)
        }

    def __bool__(self) -> bool:
        return bool(self.sorts)

    def touched(self, kind: str, category: str) -> tuple[Sort, ...]:
        """Those that an event of ``kind`` in ``category`` is of."""
        return self._touched.get((kind, category if category in self.categories else ""), ())
