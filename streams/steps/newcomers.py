"""Who begins in a turn. Each life of a user has a number, so that what is computed of one is not taken for another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from state import layout
from state.native import Newcomers

if TYPE_CHECKING:
    from streams.steps.turn import Turn


class Lives:
    """The numbers that a turn gives out: ``meta.lives`` is the last one."""

    def __init__(self, meta: layout.Meta) -> None:
        self._meta = meta
        self._kept: dict[str, int] = {}

    def keep(self, users: Sequence[str]) -> None:
        """Numbers for who may begin now, in this order: then it is the same who begins first."""
        self._kept.update(zip(users, count(self._meta.lives + 1), strict=False))
        self._meta.lives += len(users)

    def begin(self, user: str) -> int:
        """The number that was kept, once; else a new one."""
        return self._kept.pop(user, 0) or self.next()

    def next(self) -> int:
        self._meta.lives += 1
        return self._meta.lives

    def end(self, user: str) -> None:
        """The user is forgotten: who begins again has another one."""
        self._kept.pop(user, None)


def expect(turn: Turn, strangers: Sequence[str]) -> Newcomers:
    """Of whom nothing is known here may begin with the events of this batch. Each gets a number, begun or not."""
    meta, place = turn.meta, turn.place
    newcomers = Newcomers(meta.lives, meta.sequence_floor, place.partition, place.partitions, _apart(turn, strangers))
    turn.lives.keep(strangers)
    return newcomers


def _apart(turn: Turn, strangers: Iterable[str]) -> Collection[str]:
    """Whose events go elsewhere, or count only if they are newer than an erasure."""
    if not turn.meta.aliases and not turn.meta.guards:
        return ()
    return [user for user in strangers if turn.alias(user) is not None or turn.guard(user) is not None]
