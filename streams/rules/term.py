"""What a rule is made of: terms. A new one is a file in ``streams/rules/terms`` and a row in ``TERMS``.

A row says how a call in a rule is read; a term is what the call became. It reads *cells* of a user's state
(``state.cells``), which take events in any order, merge with another user's and are stored; two terms may share one.
``tests/contracts/test_term_contract.py`` holds for each term.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from state.absence import Absence
from state.record import Cells
from state.windows import TallySpec
from streams.rules.program import Interval


class Cell(Protocol):
    """What a user's state keeps for terms, of events of one kind, of one category or any."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def category(self) -> str: ...
    def covers(self, kind: str, category: str) -> bool:
        """Whether an event of ``kind`` in ``category`` changes it."""


class Term(Protocol):
    """A call in a rule, checked. Equal ones are the same. Times are seconds since the epoch."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What it reads: nothing else changes it, but time."""

    @property
    def condition(self) -> bool:
        """It is 1 or 0 and no other number."""

    @property
    def monotone(self) -> bool:
        """An event only raises it and the passing of time only lowers it."""

    @property
    def span(self) -> float:
        """How many seconds it looks back at most."""

    @property
    def soonest(self) -> float:
        """It changes by the mere passing of time no sooner than so many seconds after an event."""

    @property
    def native(self) -> TallySpec | Absence | None:
        """What the compiled part evaluates it by; None: that does not know it, and whatever reads it is Python's."""

    def value(self, cells: Cells, now: float) -> float:
        """What it is by all that was counted: finite, and within ``program.MOST_NUMBER``."""

    def bounds(self, cells: Cells, now: float) -> Interval:
        """The least and the most that it may be by what is known: twice ``value`` where all is; ``MOST_NUMBER`` where
        nothing bounds it."""

    def next_change(self, cells: Cells, now: float) -> float:
        """When, after ``now``, it next changes by the mere passing of time; NEVER when it does not. It may be sooner
        than it really changes, not later."""

    def next_sure(self, cells: Cells, now: float) -> float:
        """When, after ``now``, something else is known of it than its cells say (``Cell.settle``); NEVER otherwise."""

    def not_known_before(self, cells: Cells, now: float) -> float:
        """Event time of which not all is known, where ``bounds`` are not one number; 0 where they are."""


@dataclass(frozen=True)
class Call:
    """A term as it is written."""

    words: tuple[str, ...]
    """What stands without a name: as many as the row takes."""
    options: Mapping[str, str]
    """What stands with one: of the row's, not necessarily all."""
    kinds: tuple[str, ...]
    """Kinds of events that there are."""

    def kind(self, word: str) -> str:
        """The word, if it is a kind of events. Raises ValueError."""
        if word not in self.kinds:
            raise ValueError(f"the kind {word!r} is not known; known are {', '.join(self.kinds)}")
        return word


@dataclass(frozen=True)
class Row:
    """How a term is written and read."""

    name: str
    takes: tuple[str, ...]
    """What stands without a name, in words."""
    options: tuple[str, ...]
    parse: Callable[[Call], Term]
    """Raises ValueError: what is wrong with the call."""
