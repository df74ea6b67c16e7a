"""What of a partition is due by the clock: timers of its users, and events that waited for their time."""

from __future__ import annotations

from state.layout import Meta
from state.store import Store
from state.windows import NEVER
from streams.steps import fold, timers, waiting
from streams.steps.turn import Turn


class Due:
    """Since when there may be something. Times in seconds since the epoch."""

    def __init__(self) -> None:
        self.timer = NEVER
        """No timer is due before this."""
        self.waiting = NEVER
        """No event that waits is due before this."""
        self.left = False
        """At the last look more was due than one turn takes."""
        self._fired_until = 0.0

    @property
    def next(self) -> float:
        """Nothing is due before this."""
        return min(self.timer, self.waiting)

    def begin(self, store: Store, meta: Meta) -> None:
        """The store was opened."""
        self.timer = store.first_timer()
        self.waiting = waiting.first(store, 0.0) if meta.waiting else NEVER
        self._fired_until = 0.0

    def fire(self, turn: Turn, store: Store, clock: float, most: int) -> None:
        """All that is due at ``clock``, at most so many events and timers: no timer overtakes an event that waits."""
        now = fold.receive_waiting(turn, clock, most)
        keys = store.due_timers(now, self._fired_until, most)
        self.left = len(keys) == most or now < clock
        timers.receive_timers(turn, keys, now)

    def remember(self, turn: Turn, store: Store, looked: bool) -> None:
        """The turn is committed. ``looked``: it fired what was due."""
        earliest = turn.effects.earliest
        if looked:
            self.timer = self._fired_until = store.first_timer(min(self._fired_until, earliest))
        self.timer = min(self.timer, earliest)
        self._fired_until = min(self._fired_until, earliest)
        if turn.waiting.touched:
            since = min(self.waiting, turn.waiting.earliest)
            self.waiting = waiting.first(store, since) if turn.meta.waiting else NEVER
