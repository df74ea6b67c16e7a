"""What users do who all take turns: each does the same things, as often as everybody else, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: far-jumping order in which all users take turns: coprime to every count of users used here
_STRIDE: Final = 7_919_777_777
#: seconds of event time between two events of a user, whatever the number of users: so many of each lie in a window
PACE: Final = 60.0
#: who sends what is measured against the number of follows; each of them follows one
ACTIVE: Final = 10_000
#: follows of each of the others
OF_ANOTHER: Final = 10
_STARS: Final = 1_000


def in_turn(
    numbers: range, users: int, start: float, follows: int = 0, pace: float = PACE, ids: bytes = b"t"
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of events of all users in turn, a shop's mix; of each user's each ``follows``-th is about a follow.

    Each user does all of it in turn as well, whatever the number of users, ``pace`` seconds apart from ``start`` on
    (where number 0 is). The peers' rules are decided by the first views, for good: nobody spends enough, nobody is a
    fan, nobody is in a hurry; a change of membership costs more than an event, and would come with some sizes only.
    Of what is about follows (0: nothing) every other takes back what the one before did, so there are as many follows
    after it as before. ``ids``: what ids begin with.
    """
    for number in numbers:
        at, user = number * _STRIDE % users, b"user-%08d" % (number * _STRIDE % users)
        time_of = start + number * pace / users
        head = b'{"user":"%s","id":"%s%d","time":%.3f,' % (user, ids, number, time_of)
        what = number % users + number // users
        if follows and what % follows == 0:
            kind = b"unfollow" if number // users // follows % 2 else b"follow"
            yield user, head + b'"kind":"%s","target":"star-%d"}' % (kind, (at * 37 + 501) % _STARS)
        elif what % 20 == 1:
            yield user, head + b'"kind":"purchase","item":"i%d","category":"c%d","amount":%.2f}' % (
                what % 5_000, (3 * what + 1) % 40, (5 + what % 90) / 100,
            )  # fmt: skip
        else:
            kind = b"click" if what % 4 == 3 else b"view"
            yield user, head + b'"kind":"%s","item":"i%d","category":"c%d","dwell":%.1f}' % (
                kind, what % 5_000, (3 * what + 1) % 40, what % 60 / 4,
            )  # fmt: skip


def follows_before(edges: int, at: float) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of follows that are there before: one of each active user, the rest of others."""
    for number in range(edges):
        user = b"user-%08d" % (number if number < ACTIVE else ACTIVE + (number - ACTIVE) // OF_ANOTHER)
        yield user, b'{"user":"%s","id":"f%d","time":%.3f,"kind":"follow","target":"star-%d"}' % (
            user, number, at, number * 31 % _STARS,
        )  # fmt: skip
