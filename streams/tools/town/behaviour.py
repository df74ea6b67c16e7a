"""What the people of the town do: a seeded stream of events and feedback, with the truth behind it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from streams.tools.town.draws import BLOCK, Chances
from streams.tools.town.life import MIX, Life
from streams.tools.town.people import TASTES, settle
from streams.wire.events import Event, Label, encode_event


class Town:
    """Seeded people with hidden tastes, who act on them noisily; the same arguments give the same stream.

    - ``seed``: not negative; part of every event id (``t<seed>-<i>``).
    - ``people``: at least 2. Activity is zipf-like; 65 to 75 % of a person's events come from the own tastes.
    - ``labels_share``: share of labels among all records, in [0, 1). A label tells the truth at its time:
      ``taste-<main taste>`` True, or another taste's segment False.
    - ``taste_change``: whether 40 % of the people change their main taste (concept drift) once the share ``change_at``
      of the planned records has passed.

    A town has one plan at a time: ``events`` and ``encoded`` set ``change_time`` at once, and ``truth`` goes by it.
    """

    def __init__(
        self,
        seed: int,
        people: int = 500,
        *,
        labels_share: float = 0.02,
        taste_change: bool = True,
        change_at: float = 0.5,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        if people < 2:
            raise ValueError(f"a town needs at least 2 people, got {people}")
        if not 0 <= labels_share < 1:
            raise ValueError(f"labels_share must be in [0, 1), got {labels_share}")
        if not 0 <= change_at <= 1:
            raise ValueError(f"change_at must be in [0, 1], got {change_at}")
        self._seed = seed
        self._labels_share = labels_share
        self._taste_change = taste_change
        self._change_at = change_at
        self._people = settle(seed, people, taste_change)
        self._index = {user: number for number, user in enumerate(self._people.users)}
        self._change_time = math.inf

    @property
    def users(self) -> list[str]:
        """All user ids."""
        return list(self._people.users)

    @property
    def changed(self) -> frozenset[str]:
        """The users whose main taste changes."""
        return frozenset(self._people.users[person] for person in self._people.changed.tolist())

    @property
    def change_time(self) -> float:
        """Event time (seconds since the epoch) of the change of tastes; infinite before a plan or without a change."""
        return self._change_time

    def truth(self, user: str, time: float) -> str:
        """The user's main taste at this event time (seconds since the epoch). Raises KeyError for a stranger."""
        phase = int(time >= self._change_time)
        return TASTES[int(self._people.main[phase, self._index[user]])]

    def events(self, n: int, start: float, rate: float) -> Iterator[Event | Label]:
        """``n`` records in time order, the i-th at ``start`` + (i + jitter) / ``rate`` with jitter in [0, 1).

        ``start`` is in seconds since the epoch; ``rate`` is records a second of event time.
        """
        return self._plan(n, start, rate, self._labels_share)

    def encoded(self, n: int, start: float, rate: float) -> Iterator[tuple[bytes, bytes]]:
        """``n`` events, without labels, as key and value of Kafka records; for load generators."""
        keys = {user: user.encode() for user in self._people.users}
        return ((keys[event.user], encode_event(event)) for event in self._plan(n, start, rate, 0.0))

    def _plan(self, n: int, start: float, rate: float, labels_share: float) -> Iterator[Event | Label]:
        if n < 0 or not rate > 0:
            raise ValueError(f"need n >= 0 and rate > 0, got n={n}, rate={rate}")
        self._change_time = start + self._change_at * n / rate if self._taste_change else math.inf
        mix = np.cumsum(list(MIX.values())) * (1 - labels_share)
        mix[-1] += 0.0 if labels_share else 1.0  # rounding must not let a label through
        chances = Chances(self._people, mix, start, rate, self._change_time)
        return _walk(chances, Life(self._people, self._seed), n, np.random.default_rng([self._seed, 1]))


def _walk(chances: Chances, life: Life, n: int, rng: np.random.Generator) -> Iterator[Event | Label]:
    for first in range(0, n, BLOCK):
        for i, draw in enumerate(chances.block(rng, first)[: n - first], first):
            yield life.live(draw, i)
