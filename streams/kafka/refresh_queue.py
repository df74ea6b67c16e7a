"""Followed users whose local followers wait for a refresh, of all partitions of the worker.

Bounded: what finds no room waits in the store alone (the ``r`` records hold all) and is read from there in key order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class RefreshTarget(Protocol):
    """What the queue needs of a partition."""

    @property
    def number(self) -> int: ...


T = TypeVar("T", bound=RefreshTarget)


@dataclass(eq=False)
class Refresh(Generic[T]):
    """Local followers of one user, in order; ``after`` is the last one that was done."""

    target: T
    followee: str
    after: str = ""
    begun: bool = False
    """The first followers are read."""
    again: bool = False
    """Newer vectors came after it had begun: it has to be done once more."""


@dataclass
class Overflow(Generic[T]):
    """A partition of whose refreshes not all are in memory."""

    target: T
    after: str = ""
    """All up to this followed user are read."""
    missed: bool = False
    """One found no room since this pass began, perhaps before ``after``: another pass follows."""


class RefreshQueue(Generic[T]):
    """Each (partition, followed user) once, in order; a refresh that is not done yet goes behind the others, so that
    the few followers of one user do not wait for the many of another."""

    def __init__(self, most: int) -> None:
        """``most``: refreshes in memory, of all partitions together."""
        self._most = most
        self._waiting: dict[tuple[int, str], Refresh[T]] = {}
        self._overflows: dict[int, Overflow[T]] = {}

    def __len__(self) -> int:
        """In memory."""
        return len(self._waiting)

    def __bool__(self) -> bool:
        """There is something to do, in memory or in a store."""
        return bool(self._waiting or self._overflows)

    def attach(self, target: T) -> None:
        """A partition came: what waits in its store is read when there is room."""
        self._overflows[target.number] = Overflow(target)

    def offer(self, target: T, followees: list[str]) -> None:
        """The vectors of these moved."""
        number = target.number
        # while some of a partition wait in its store, its new ones leave them room
        most = self._most // 2 if number in self._overflows else self._most
        for followee in followees:
            known = self._waiting.get((number, followee))
            if known is not None:
                known.again = known.again or known.begun
            elif len(self._waiting) < most:
                self._waiting[number, followee] = Refresh(target, followee)
            elif number in self._overflows:
                self._overflows[number].missed = True
            else:
                self._overflows[number] = Overflow(target)

    def drop(self, target: T) -> None:
        """The partition left."""
        if (overflow := self._overflows.get(target.number)) is not None and overflow.target is target:
            del self._overflows[target.number]
        self._waiting = {key: each for key, each in self._waiting.items() if each.target is not target}

    @property
    def room(self) -> int:
        return self._most - len(self._waiting)

    def to_read(self) -> list[Overflow[T]]:
        """Partitions of whose store the next refreshes are to be read now: there is room for half of all."""
        return list(self._overflows.values()) if 2 * len(self._waiting) <= self._most else []

    def read(self, overflow: Overflow[T], followees: list[str], asked: int) -> None:
        """``followees`` are the next of the partition's store after ``overflow.after``, of ``asked`` at most."""
        number = overflow.target.number
        if self._overflows.get(number) is not overflow:
            return  # the partition left meanwhile
        for followee in followees:
            self._waiting.setdefault((number, followee), Refresh(overflow.target, followee))
        if len(followees) == asked:
            overflow.after = followees[-1]
        elif overflow.missed:
            overflow.after, overflow.missed = "", False
        else:
            del self._overflows[number]

    def first(self) -> Refresh[T] | None:
        """Whose followers are next; it stays until it is ``done``."""
        return next(iter(self._waiting.values()), None)

    def went_on(self, refresh: Refresh[T], after: str) -> None:
        """Followers up to ``after`` are refreshed; the rest comes when the others had their turn."""
        refresh.after = after
        if self._remove(refresh):
            self._waiting[refresh.target.number, refresh.followee] = refresh

    def done(self, refresh: Refresh[T]) -> None:
        """All followers are refreshed; once more if newer vectors came meanwhile."""
        if self._remove(refresh) and refresh.again:
            self._waiting[refresh.target.number, refresh.followee] = Refresh(refresh.target, refresh.followee)

    def _remove(self, refresh: Refresh[T]) -> bool:
        """False where it is not in the queue any more: its partition left."""
        key = (refresh.target.number, refresh.followee)
        if self._waiting.get(key) is not refresh:
            return False
        del self._waiting[key]
        return True
