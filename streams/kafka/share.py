"""A fair share of a partition's time for work that can wait, but not for ever."""

from __future__ import annotations

#: of the time, while other work waits
SHARE = 0.05
#: seconds that one piece of such work should take: so long it may hold up what arrives meanwhile
PIECE = 0.02


class FairShare:
    """Measures in time: after a piece that took a second, others have the next nineteen.

    Where nothing else waits, the work goes on at once, or with ``idle_share`` of the time. How much makes a piece
    follows from how long the last one took, so that none holds up the others for much longer than ``piece`` seconds.
    """

    def __init__(self, most: int, share: float = SHARE, piece: float = PIECE, idle_share: float = 1.0) -> None:
        """``most``: so much (users, keys) makes a piece at most."""
        self.size = most
        self._most = most
        self._share = share
        self._idle_share = idle_share
        self._piece = piece
        self._next = self._next_idle = 0.0

    def due(self, now: float, idle: bool) -> bool:
        """A piece may be done now; ``idle``: nothing else waits."""
        return self.wait(now, idle) <= 0.0

    def wait(self, now: float, idle: bool) -> float:
        """Seconds until a piece may be done."""
        return (self._next_idle if idle else self._next) - now

    def took(self, seconds: float, now: float, count: int) -> None:
        """A piece of ``count`` has ended at ``now``."""
        self._next = now + self.pause(seconds)
        self._next_idle = now + seconds * (1.0 / self._idle_share - 1.0)
        if seconds > self._piece:
            self.size = max(1, int(min(self.size, count or self.size) * self._piece / seconds))
        elif count >= self.size and seconds < self._piece / 2:
            self.size = min(self._most, 2 * self.size)

    def pause(self, seconds: float) -> float:
        """What the others have after a piece that took so long."""
        return seconds * (1.0 / self._share - 1.0)
