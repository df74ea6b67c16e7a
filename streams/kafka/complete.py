"""Since when a reader of a changelog may have missed deletions."""

from __future__ import annotations


class Complete:
    """When the reader last had all that there was: the time at which the end was asked that it has since reached.

    Under steady load nobody ever stands at the end, and a reader that goes on reading has missed nothing all the same.
    """

    def __init__(self, at: float) -> None:
        """``at``: what is known of the store (seconds since the epoch)."""
        self.at = at
        self._end = -1
        self._asked_at = at

    def due(self, now: float, every: float) -> bool:
        """The end was not asked for ``every`` seconds. One that is not reached yet is waited for: a later one is
        reached later."""
        return self._end < 0 and now - self._asked_at >= every

    def asked(self, end: int, before: float) -> None:
        """The broker said where the changelog ends; ``before``: the time just before it was asked."""
        self._end, self._asked_at = end, before

    def reached(self, offset: int) -> bool:
        """All before ``offset`` is read; returns whether ``at`` has moved."""
        if not 0 <= self._end <= offset:
            return False
        self.at, self._end = max(self.at, self._asked_at), -1
        return True
