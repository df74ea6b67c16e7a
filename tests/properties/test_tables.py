"""The compiled tables against the twin's: whatever is done in turns, whoever is in memory or comes from the store, both
write the same and have the same in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.compiled import COMPILED
from state.plain.record import unpack
from state.plain.table import PlainArena
from state.record import Record
from state.tables import Area, Arena, ids_numbers
from tests.record_verbs import SPECS, VERBS, Verb, all_told

pytestmark = pytest.mark.compiled
USERS: Final = ("emma", "é" * 40, "x", "\0", "用户")
Puts = dict[bytes, bytes | None]


@dataclass(frozen=True)
class Forget:
    erased: bool


@dataclass(frozen=True)
class Move:
    """The user comes from elsewhere, as a record made in Python."""

    due: float


Act = Verb | Forget | Move
ACTS: Final[st.SearchStrategy[Act]] = (
    VERBS | VERBS | VERBS | st.builds(Forget, st.booleans()) | st.builds(Move, st.floats(0.0, 1e12))
)
TURNS: Final = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(USERS), ACTS), max_size=12),
        st.sampled_from(["commit", "behind", "behind", "drop", "unsettled", "clear"]),
        st.sampled_from([(), (), (0.0, 1.0), (0.0, 0.3, 0.31, 0.31, 1.0), "new"]),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@dataclass
class Side:
    """A partition: its table, its store, and what its changelog says of users."""

    arena: Arena
    store: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = self.arena.table()
        self.lives = 0
        self.truth: dict[bytes, bytes] = {}

    def turn(self, acts: Sequence[tuple[str, Act]], ends: str, parts: tuple[float, ...] | str) -> list[Any]:
        """What it tells. ``parts``: of a round after it."""
        area = self.table.begin()
        told: list[Any] = []
        gone: Puts = {}
        for user, act in acts:
            told.append(self._act(area, user, act, gone))
        told.append([(user, all_told(record)) for user in sorted(area.users()) if (record := area.get(user))])
        told.append([area.due(user) for user in USERS])
        puts: Puts = dict(gone)
        timed: set[bytes] = set()
        if ends in ("commit", "behind", "drop"):
            told += [area.settle(SPECS, puts, timed), puts, timed]
        if ends in ("commit", "behind"):
            area.commit(ends == "behind")
            for key, value in puts.items():
                if value is None:
                    self.store.pop(key, None)
                    self.truth.pop(key, None)
                elif key[:1] == b"u":
                    self.truth[key] = value
                    if ends == "commit":
                        self.store[key] = value
                else:
                    self.store[key] = value
        elif ends == "clear":
            self.table.clear()
            self.store |= self.truth  # restored
        else:
            area.drop()
        told += [self._written_behind(parts), self.table.dirty]
        for user in USERS:  # nobody who is newer than the store has gone
            block, key = self.table.get(user), layout.user_key(user)
            assert (block or self.store.get(key)) == self.truth.get(key)
        return told

    def _written_behind(self, parts: tuple[float, ...] | str) -> int:
        if parts == "new":
            count = self.table.put_new(self.store)
            assert self.store.keys() >= self.truth.keys()
            return count
        assert isinstance(parts, tuple)
        count = sum(self.table.put_dirty(self.store, start, end) for start, end in pairwise(parts))
        if parts:
            assert self.truth.items() <= self.store.items()
        return count

    def _act(self, area: Area, user: str, act: Act, gone: Puts) -> object:
        if user in area.find([user]):
            self._come(area, user, layout.user_key(user) in gone)
        record = area.get(user)
        assert record is not None
        if isinstance(act, Forget | Move):
            gone[layout.user_key(user)] = None
            gone |= dict.fromkeys(layout.seen_keys(user, record.ids.saved))
            block, chunks = record.pack(), self._chunks(record)
            area.forget(user, act.erased if isinstance(act, Forget) else False)
            if isinstance(act, Move):
                moved = unpack(user, block)
                moved.ids.restore(chunks)
                moved.ids.saved = range(0)
                moved.ids.replace(moved.ids.items())
                area.take(moved, act.due)
            return None
        return act(record)

    def _chunks(self, record: Record) -> list[bytes | None]:
        unsaved = record.ids.unsaved
        keys = dict(zip(record.ids.numbers, layout.seen_keys(record.user, record.ids.numbers), strict=True))
        return [unsaved[number] if number in unsaved else self.store.get(key) for number, key in keys.items()]

    def _come(self, area: Area, user: str, is_gone: bool) -> None:
        block = None if is_gone else self.store.get(layout.user_key(user))
        if block is None:
            self.lives += 1
            area.begin(user, 1, self.lives)
        elif area.admit_whole({user: block}):
            numbers = ids_numbers(block)
            area.admit(user, block, [self.store.get(key) for key in layout.seen_keys(user, numbers)])


Turns = list[tuple[list[tuple[str, Act]], str, tuple[float, ...] | str]]


def compare(turns: Turns, most_bytes: int, tidy: bool) -> None:
    assert COMPILED is not None
    arenas: tuple[Callable[[int], Arena], ...] = (PlainArena, COMPILED.Arena)
    one, other = (Side(arena(most_bytes)) for arena in arenas)
    for acts, ends, parts in turns:
        assert one.turn(acts, ends, parts) == other.turn(acts, ends, parts)
        assert one.store == other.store
        for side in (one, other):
            if tidy:
                side.table.tidy()
    for side in (one, other):
        side.table.clear()
        assert side.arena.bytes_held == 0


@settings(deadline=None)
@given(TURNS)
def test_turns_write_the_same(turns: Turns) -> None:
    compare(turns, 1 << 26, tidy=False)


@settings(deadline=None)
@given(TURNS)
def test_turns_write_the_same_whoever_is_let_go(turns: Turns) -> None:
    compare(turns, 1, tidy=True)
