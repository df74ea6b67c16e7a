"""The chances of the town, drawn a block at a time: who acts, how, about what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.tools.town.people import CATEGORIES_PER_TASTE, TASTES, People

BLOCK: Final = 8192
ITEMS_PER_CATEGORY: Final = 60
_DWELL_MEDIAN: Final = np.array([8.0, 25.0])  # seconds on foreign and on own tastes
_AMOUNT_MEDIAN: Final = np.array([60.0, 9.0, 25.0, 180.0, 15.0, 40.0])  # money, in the order of TASTES
_SPREAD: Final = 0.7  # sigma of the log-normal dwell and amount


class Draw(NamedTuple):
    """One record to be: indices into kinds, people, tastes and items; ``phase`` is 1 after the change of tastes."""

    kind: int
    person: int
    time: float
    phase: int
    taste: int
    item: int
    dwell: float
    amount: float
    u: float
    v: float
    number: int


@dataclass(frozen=True)
class Chances:
    """Draws of one stream: ``mix`` [kinds] are the cumulative shares of the kinds (the last index is the rest)."""

    people: People
    mix: NDArray[np.float64]
    start: float
    rate: float
    change_time: float

    def block(self, rng: np.random.Generator, first: int) -> list[Draw]:
        """BLOCK draws of the records from ``first`` on; always whole blocks, so that ``n`` changes no draw."""
        uniform = rng.random((7, BLOCK))
        time = np.round(self.start + (np.arange(first, first + BLOCK) + uniform[0]) / self.rate, 6)
        phase = (time >= self.change_time).astype(np.intp)
        person = np.searchsorted(self.people.activity, uniform[1], side="right")
        kind = np.searchsorted(self.mix, uniform[2], side="right")
        taste = (uniform[3][:, None] >= self.people.mixture[phase, person]).sum(axis=1)
        own = (taste == self.people.main[phase, person]) | (taste == self.people.second[person])
        # squared, so that some items of each category are far more popular than others
        rank = np.floor(uniform[5] ** 2 * ITEMS_PER_CATEGORY).astype(np.intp)
        category = taste * CATEGORIES_PER_TASTE + np.floor(uniform[4] * CATEGORIES_PER_TASTE).astype(np.intp)
        scale = np.exp(_SPREAD * rng.standard_normal(BLOCK))
        columns = (
            kind,
            person,
            time,
            phase,
            taste,
            category * ITEMS_PER_CATEGORY + rank,
            np.round(_DWELL_MEDIAN[own.astype(np.intp)] * scale, 1),
            np.round(_AMOUNT_MEDIAN[taste] * scale, 2),
            uniform[6],
            rng.random(BLOCK),
            rng.integers(1 << 62, size=BLOCK),
        )
        return list(map(Draw._make, zip(*(column.tolist() for column in columns), strict=True)))


assert len(_AMOUNT_MEDIAN) == len(TASTES)
