"""Users' records are written to the store behind their turns, coalesced: ADR 0046.

The store is a cache of the changelog, so who is in memory need not be written to it with each visit. With a turn go
all records but users' own, and users' timers; the users are *dirty* then. A *round* goes over all users in memory, a
part of it with each turn, and writes the dirty ones. What was committed when a round began is in the store when it
ends: up to there the changelog need not be read again, so that is the offset which the store says. Some of its records
are newer, and reading on from there says the same of them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Set
from typing import Final, NamedTuple

from state.loading import Batch
from state.store import FLUSH_SECONDS, Store
from state.store_errors import StoreError
from state.tables import Area, Table

#: in which a round is to be made
ROUND_SECONDS: Final = 10.0
#: users written with one turn, or as many as it has itself, so that none takes much longer for it
MOST: Final = 2_000
#: the same each second where there are no turns, and at once where all are to be written
MOST_IDLE: Final = 10_000
#: where memory is tight: times as many, and so much of a round with each turn
_HURRY: Final = 4
_HURRY_PART: Final = 0.125


class _Point(NamedTuple):
    """A turn that is committed."""

    number: int
    offset: int
    """Of the changelog, to continue from."""
    at: float
    """When that was its end (seconds since the epoch)."""


class Behind:
    """Of one partition, from when its store is restored and its table empty until it is closed."""

    def __init__(self, store: Store, table: Table, clock: Callable[[], float]) -> None:
        """``clock``: seconds since the epoch."""
        self._store = store
        self._table = table
        self._clock = clock
        self._newest = self._begun = self._stored = _Point(0, store.changelog_offset, store.complete_at)
        self._began = clock()
        self._part = 0.0
        """Of the round under way, from 0 to 1."""
        self._failed = False
        """The store may lack what the table calls written."""

    @property
    def commits(self) -> int:
        """Turns so far."""
        return self._newest.number

    def write(
        self, area: Area, puts: Mapping[bytes, bytes | None], offset: int, fired: list[bytes], timed: Set[bytes],
        through: bool,
    ) -> None:  # fmt: skip
        """Commit the area, and write the turn in one batch; see ``Store.write``. ``through``: its users are to be
        written with it, as they are where memory is tight. Raises StoreError: then the partition must be closed."""
        behind, clean = not (through or self._table.tight), not self._table.dirty
        self._failed = True
        batch = self._store.batch(puts, fired, timed, users=not behind)
        area.commit(behind)
        self._newest = _Point(self._newest.number + 1, offset, self._clock())
        if clean:
            self._begin_round()
        self._put(batch, self._advance(batch, max(MOST, len(puts))))

    def tidy(self) -> None:
        """Go on where there are no turns. Raises as ``write`` does."""
        if self._stored is not self._newest:
            self._failed = True
            batch = self._store.batch({})
            self._put(batch, self._advance(batch, MOST_IDLE))

    def go_on(self, commits: int, most: int) -> bool:
        """Write about so many users, whether it is their time or not. True: the store has all up to this turn. Raises
        as ``write`` does."""
        if self._stored.number < commits:
            self._failed = True
            batch = self._store.batch({})
            if self._table.dirty:
                self._put_until(batch, self._part + most / self._table.dirty)
            self._put(batch, self._end_round())
        return self._stored.number >= commits

    def end(self) -> None:
        """The store gets all, before it is closed, so that the next owner reads nothing of the changelog. Never raises:
        what cannot be written is in the changelog."""
        with contextlib.suppress(StoreError):
            while not self._failed and not self.go_on(self.commits, MOST_IDLE):
                pass

    def put_new(self) -> None:
        """The store has a record of every user, be it an older one. Raises as ``write`` does."""
        self._failed = True
        batch = self._store.batch({})
        if self._table.put_new(batch):
            self._store.put(batch, self._stored.offset, self._stored.at, self._newest.offset)
        self._failed = False

    def purge_timers(self, start: bytes, most: int) -> bytes | None:
        """``Store.purge_timers``, by the records in memory where there are newer ones."""
        return self._store.purge_timers(start, most, self._table.get)

    def _advance(self, batch: Batch, most: int) -> bool:
        """Put the next part of the round into the batch. Whether with it the store continues from a later offset."""
        now = self._clock()
        self._began = min(self._began, now)  # clocks may be set back
        if dirty := self._table.dirty:
            until = (now - self._began) / ROUND_SECONDS
            if self._table.tight:
                until, most = max(until, self._part + _HURRY_PART), most * _HURRY
            self._put_until(batch, min(until, self._part + most / dirty))
        return self._end_round()

    def _put_until(self, batch: Batch, until: float) -> None:
        if (until := min(until, 1.0)) > self._part:
            self._table.put_dirty(batch, self._part, until)
            self._part = until

    def _end_round(self) -> bool:
        """Begin the next one if this one is over."""
        if not self._table.dirty:
            self._stored = self._newest
        elif self._part >= 1.0:
            self._stored = self._begun
        else:
            return False
        self._begin_round()
        return True

    def _begin_round(self) -> None:
        self._begun, self._began, self._part = self._newest, self._clock(), 0.0

    def _put(self, batch: Batch, moved: bool) -> None:
        self._store.put(batch, self._stored.offset, self._stored.at, self._newest.offset)
        # at the end of a round, so that a crash goes back by no more than that round
        self._store.flush(self._clock(), FLUSH_SECONDS if moved else 2 * FLUSH_SECONDS)
        self._failed = False
