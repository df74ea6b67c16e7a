"""Users that wait for the encode lane, each once: first who wrote something, then who can wait."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Generic, Protocol, TypeVar

#: of a batch, for those who can wait, however many cannot
LATER_SHARE = 16


class QueueTarget(Protocol):
    """What the queue needs of a partition."""

    @property
    def number(self) -> int: ...


T = TypeVar("T", bound=QueueTarget)
Waiting = dict[tuple[int, str], tuple[T, float]]
"""(partition, user) → the partition, and since when the user waits."""
Entry = tuple[tuple[int, str], tuple[T, float]]


class EncodeQueue(Generic[T]):
    """A crowd that follows somebody stands behind everybody who wrote something, and holds up nobody's comment."""

    def __init__(self) -> None:
        self.first: Waiting[T] = {}
        self.later: Waiting[T] = {}
        """Whose neighbourhood or behaviour alone changed."""
        self.under_way: dict[tuple[T, str], float] = {}
        """Who is being encoded or committed, and since when he waited; not to be taken before that is done."""

    def __len__(self) -> int:
        """Who waits in memory."""
        return len(self.first) + len(self.later)

    def put(self, target: T, user: str, since: float, most: int, *, later: bool) -> bool:
        """Who waits already keeps the place, or gets a better one; False where there are ``most`` of the sort."""
        key, waiting = (target.number, user), self.later if later else self.first
        if key in self.first or (later and key in self.later):
            return True
        if len(waiting) >= most:
            return False
        if not later:
            self.later.pop(key, None)
        waiting[key] = (target, since)
        return True

    def free(self, *sorts: Waiting[T]) -> Iterator[Entry[T]]:
        """Who waits and is not under way; ``sorts``: of these only."""
        for each in chain.from_iterable(sort.items() for sort in sorts or (self.first, self.later)):
            if (each[1][0], each[0][1]) not in self.under_way:
                yield each

    def take(self, most: int, *, later_too: bool) -> list[Entry[T]]:
        """Those in front, now under way: of who can wait, what room there is, and a small share whatever waits."""
        later = list(islice(self.free(self.later), most)) if later_too else []
        taken = list(islice(self.free(self.first), most - min(len(later), most // LATER_SHARE)))
        taken += later[: most - len(taken)]
        for key, (target, since) in taken:
            (self.first if key in self.first else self.later).pop(key)
            self.under_way[target, key[1]] = since
        return taken

    def done(self, taken: list[Entry[T]]) -> None:
        """Nobody of these is under way any more."""
        for (_, user), (target, _) in taken:
            del self.under_way[target, user]

    def back(self, taken: list[Entry[T]]) -> None:
        """In front again, with the time that they have waited."""
        for key, _ in taken:
            self.later.pop(key, None)
        self.first = {**dict(taken), **self.first}

    def drop(self, target: T) -> None:
        """The partition left."""
        self.first = {key: entry for key, entry in self.first.items() if entry[0] is not target}
        self.later = {key: entry for key, entry in self.later.items() if entry[0] is not target}

    def since(self) -> float | None:
        """When who waits longest began to; None where nobody waits."""
        fronts = [next(iter(sort.values()))[1] for sort in (self.first, self.later) if sort]
        return min([*fronts, *self.under_way.values()], default=None)
