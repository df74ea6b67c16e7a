"""Claiming a partition (ADR 0043): its position record names the transactional id that may write it, its *writer*.

A worker writes by the ids of its slots, which are new with each assignment and initialised before any claim names them.
Who claims a partition does the following, in this order, whoever else does the same meanwhile or sleeps within it:

1. make a producer with the partition's own id: whoever claims it at the moment cannot end that
2. fence the writer that the local store's position record names, if there is one; then read the changelog to its end,
   and fence the writer that the newest position record names; again, until it names one that is fenced and nothing is
   open there
3. compare what was read with the installation
4. commit a position record that names our slot, by the partition's own id: it fails if somebody claims after us

Pure: ``Claim`` says what is to be done, and is told what came of it. Why it holds is in the ADR;
``tests/properties/test_claim_model.py`` tries all orders in which three workers may do it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, Self

#: seconds (of CLOCK_BOOTTIME, which goes on while a machine is suspended) after the last answer of its coordinator for
#: which a slot is used: what a coordinator has forgotten (``transactional.id.expiration.ms``) it may grant anew
SLOT_SECONDS: Final = 3_600.0
#: after so many a slot that has nothing to write writes a position record
REFRESH_SECONDS: Final = 900.0


class Todo(enum.Enum):
    """The next thing that a claim asks for."""

    FENCE_CLAIMS = enum.auto()
    """``init_transactions`` of the partition's own id."""
    LOOK = enum.auto()
    """Ask for the last stable offset, then for the high watermark, and read the changelog, to the first at least.
    In this order: between the two nothing was open if they are equal."""
    FENCE_WRITER = enum.auto()
    """``init_transactions`` of ``Claim.writer``, by a producer that is closed then."""
    WRITE = enum.auto()
    """Compare what was read with the installation, and commit its position record with our slot as the writer, by the
    partition's own producer."""
    NOTHING = enum.auto()
    """The partition is ours."""


@dataclass(frozen=True)
class Claim:
    """Of one partition for ``slot``, a transactional id whose ``init_transactions`` has returned."""

    slot: str
    todo: Todo = Todo.FENCE_CLAIMS
    writer: str = ""
    """To be fenced."""
    fenced: frozenset[str] = frozenset()

    def claims_fenced(self) -> Self:
        """The partition's own id is ours."""
        return self._after(Todo.FENCE_CLAIMS, Todo.LOOK)

    def knows(self, writer: str) -> Self:
        """Before the first look: the position record that the local store has names ``writer`` ("": nobody). It writes
        no more: it was the worker that was here before, or somebody was given the partition since. What it has open is
        ended before the end is asked for, so that one look is enough."""
        return self._after(Todo.LOOK, Todo.FENCE_WRITER, writer) if writer and writer not in self.fenced else self

    def looked(self, writer: str, stable: bool) -> Self:
        """``writer``: of the position record that was read last; "" when there is none, or it is of a release before.
        ``stable``: the last stable offset was the high watermark. If it is not, and stays so, a transaction hangs
        there: a claim may lie behind it."""
        if writer and writer not in self.fenced:
            return self._after(Todo.LOOK, Todo.FENCE_WRITER, writer)
        return self._after(Todo.LOOK, Todo.WRITE if stable else Todo.LOOK)

    def writer_fenced(self) -> Self:
        """What ``writer`` had open is aborted, and it commits nothing more. It may have committed before."""
        return replace(self._after(Todo.FENCE_WRITER, Todo.LOOK), fenced=self.fenced | {self.writer})

    def begun_again(self) -> Self:
        """What was read is of no use, and is read once more from the start."""
        return replace(self, todo=Todo.LOOK)

    def written(self) -> Self:
        """The claim is committed."""
        return self._after(Todo.WRITE, Todo.NOTHING)

    def _after(self, done: Todo, todo: Todo, writer: str = "") -> Self:
        if self.todo is not done:
            raise ValueError(f"a claim for {self.slot} that is to do {self.todo.name} was told of {done.name}")
        return replace(self, todo=todo, writer=writer)


def may_be_used(answered: float, now: float) -> bool:
    """Whether a slot may write, by when its coordinator last answered; both in seconds of CLOCK_BOOTTIME."""
    return now - answered <= SLOT_SECONDS


def wants_refresh(answered: float, now: float) -> bool:
    """Whether something should be written so that a slot stays usable: an installation may be quiet for hours."""
    return now - answered > REFRESH_SECONDS
