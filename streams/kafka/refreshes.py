"""Which refreshes of a followed user's local followers are done, when vectors go on arriving meanwhile."""

from __future__ import annotations

from collections.abc import Iterable


class Refreshes:
    """A refresh is done when no vectors arrived since it began: else its record must stay for the next one.

    Nothing is remembered but of those under way, of which the lane's queue has a bounded number.
    """

    def __init__(self) -> None:
        self._overtaken: dict[str, bool] = {}

    def __len__(self) -> int:
        """Under way."""
        return len(self._overtaken)

    def begin(self, followee: str) -> None:
        """The first followers are about to be read."""
        self._overtaken[followee] = False

    def done(self, followee: str, arriving: Iterable[str]) -> bool:
        """Whether the refresh that ended needs no other after it; ``arriving``: in the turn under way.

        Of one that did not begin here it is not known.
        """
        return not self._overtaken.get(followee, True) and followee not in arriving

    def committed(self, refreshed: Iterable[str], arrived: Iterable[str]) -> None:
        """A turn: the refreshes of ``refreshed`` have ended, and there are new vectors of ``arrived``."""
        for followee in refreshed:
            self._overtaken.pop(followee, None)
        for followee in arrived:
            if followee in self._overtaken:
                self._overtaken[followee] = True
