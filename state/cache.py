"""The decoded states that a partition keeps in memory: those touched last, bounded in users and in ids of events."""

from __future__ import annotations

from state import native
from state.user import UserState


class UserCache:
    """``states`` may be read, and a state taken out if ``keep`` is told how many ids it had."""

    def __init__(self, most_users: int, most_ids: int) -> None:
        """``most_ids``: an id takes 24 bytes, and a busy user has thousands of them."""
        self.states: dict[str, UserState] = {}
        self._most_users = most_users
        self._most_ids = most_ids
        self._ids = 0

    def keep(self, states: dict[str, UserState], dropped_ids: int) -> None:
        """Put in what a turn touched; the oldest go. ``dropped_ids``: of the states that the turn took out."""
        mine = self.states
        self._ids -= dropped_ids if mine else self._ids
        self._ids += native.keep(mine, states)
        over = len(mine) - self._most_users
        gone: list[str] = []
        for user, state in mine.items():
            if len(gone) >= over and self._ids <= self._most_ids:
                break
            gone.append(user)  # all at once: each look for the first key goes over all that were deleted before it
            self._ids -= state.ids.accounted
        for user in gone:
            del mine[user]

    def clear(self) -> None:
        self.states.clear()
