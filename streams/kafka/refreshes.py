"""Which refreshes of a followed user's local followers are done, when vectors go on arriving meanwhile."""

from __future__ import annotations

from collections.abc import Iterable


class Refreshes:
    """A refresh is done when no vectors arrived since it began: else its record must stay for the next one."""

    def __init__(self) -> None:
        self._newer: set[str] = set()

    def begin(self, followee: str) -> None:
        """The first followers are about to be read."""
        self._newer.discard(followee)

    def arrived(self, followees: Iterable[str]) -> None:
        """Vectors of these were committed."""
        self._newer.update(followees)

    def done(self, followee: str, arriving: Iterable[str]) -> bool:
        """Whether the refresh that ended needs no other after it; ``arriving``: in the turn under way."""
        return followee not in self._newer and followee not in arriving
