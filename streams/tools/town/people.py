"""Who lives in the town: names, hidden tastes before and after the change, and how active each person is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

TASTES: Final = ("fashion", "value", "food", "travel", "politics", "sport")

_CATEGORIES_OF: Final[dict[str, tuple[str, ...]]] = {
    "fashion": ("shoes", "dresses", "handbags", "jewellery", "cosmetics", "streetwear", "runway"),
    "value": ("coupons", "clearance", "second-hand", "bulk-packs", "price-comparison", "cashback", "outlet"),
    "food": ("restaurants", "recipes", "baking", "street-food", "wine", "cookware", "farmers-market"),
    "travel": ("flights", "hotels", "hiking", "city-trips", "rail-journeys", "beaches", "camping"),
    "politics": ("elections", "parliament", "economy-policy", "climate-policy", "diplomacy", "local-council", "courts"),
    "sport": ("football", "tennis", "running", "cycling", "basketball", "swimming", "fitness-gear"),
}
#: category of an event -> the taste it belongs to
CATEGORIES: Final[dict[str, str]] = {
    category: taste for taste, categories in _CATEGORIES_OF.items() for category in categories
}
CATEGORIES_PER_TASTE: Final = len(CATEGORIES) // len(TASTES)
#: group that people join and leave -> its taste
GROUPS: Final[dict[str, str]] = {
    f"{taste}-{kind}": taste for taste in TASTES for kind in ("circle", "beginners", "news", "meetup")
}
GROUPS_PER_TASTE: Final = len(GROUPS) // len(TASTES)

_NAMES: Final = (
    *("ada", "alma", "amir", "anna", "aziz", "bela", "bruno", "carla", "chen", "clara", "dario"),
    *("dina", "elif", "emil", "enzo", "esra", "fara", "finn", "gina", "hana", "hugo", "ida"),
    *("ines", "ivan", "jade", "jonas", "juno", "kai", "karim", "lara", "leo", "lina", "luca"),
    *("maya", "mila", "mira", "nadia", "nico", "noor", "olga", "omar", "otto", "paula", "pia"),
    *("rafa", "remy", "rosa", "ruth", "sami", "sara", "tara", "theo", "tina", "uma", "vera"),
    *("viktor", "wanda", "wim", "yara", "yuki", "zoe"),
)
_ACTIVITY_EXPONENT: Final = 0.8  # of the zipf law; 1 would leave most of a small town silent
_CHANGING_SHARE: Final = 0.4
_SECOND_TASTE_SHARE: Final = 0.5  # of the people
_SECOND_TASTE_WEIGHT: Final = 0.25  # of the events from own tastes
_OWN_SHARE: Final = (0.65, 0.75)  # of a person's events; the rest is spread evenly over foreign tastes


@dataclass(frozen=True)
class People:
    """P people; axis 0 of ``main``, ``mixture`` and ``alike`` is before (0) and after (1) the change of tastes."""

    users: list[str]
    main: NDArray[np.intp]
    """[2, P] index into TASTES."""
    second: NDArray[np.intp]
    """[P] index into TASTES, or -1 for none; it does not change."""
    mixture: NDArray[np.float64]
    """[2, P, tastes] cumulative probability that an event of the person is about the taste; the last is 1."""
    activity: NDArray[np.float64]
    """[P] cumulative probability that an event is of the person; the last is 1."""
    changed: NDArray[np.intp]
    """Indices of the people whose main taste changes, ascending."""
    ranked: list[int]
    """All people, the most active first."""
    alike: list[list[list[int]]]
    """[2][taste] people of that main taste, the most active first."""


def settle(seed: int, count: int, taste_change: bool) -> People:
    """The people of a town; the same for the same arguments.

    Main tastes are spread evenly, activity follows a zipf law, half the people have a second taste.
    """
    rng = np.random.default_rng([seed, 0])
    tastes = len(TASTES)
    names = rng.integers(len(_NAMES), size=count)
    users = [f"{_NAMES[name]}-{number:04d}" for number, name in enumerate(names.tolist())]

    before = rng.permutation(np.arange(count) % tastes)
    second = (before + rng.integers(1, tastes, size=count)) % tastes
    second[rng.random(count) >= _SECOND_TASTE_SHARE] = -1

    chosen = np.sort(rng.permutation(count)[: round(_CHANGING_SHARE * count)])
    changed = chosen if taste_change else chosen[:0]
    after = before.copy()
    after[changed] = _other_taste(before[changed], second[changed], rng.random(len(chosen))[: len(changed)])
    main = np.stack([before, after])

    own = rng.uniform(*_OWN_SHARE, size=count)
    mixture = np.cumsum(np.stack([_mixture(phase, second, own) for phase in main]), axis=2)
    mixture[:, :, -1] = 1.0

    order = rng.permutation(count)
    weight = np.empty(count)
    weight[order] = np.arange(1, count + 1) ** -_ACTIVITY_EXPONENT
    activity = np.cumsum(weight / weight.sum())
    activity[-1] = 1.0

    ranked = order.tolist()
    alike = [[[p for p in ranked if phase[p] == taste] for taste in range(tastes)] for phase in main]
    return People(users, main, second, mixture, activity, changed, ranked, alike)


def _other_taste(main: NDArray[np.intp], second: NDArray[np.intp], u: NDArray[np.float64]) -> NDArray[np.intp]:
    """A taste that is neither the main nor the second one, picked by ``u`` in [0, 1)."""
    free = np.arange(len(TASTES)) != main[:, None]
    free &= np.arange(len(TASTES)) != second[:, None]
    rank = np.floor(u * free.sum(axis=1)).astype(np.intp)
    chosen: NDArray[np.intp] = np.argmax(np.cumsum(free, axis=1) > rank[:, None], axis=1)
    return chosen


def _mixture(main: NDArray[np.intp], second: NDArray[np.intp], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P, tastes] probabilities: ``own`` for the own tastes, the rest evenly over the foreign ones."""
    people = np.arange(len(main))
    paired = second >= 0
    foreign = len(TASTES) - 1 - paired
    result = np.repeat(((1 - own) / foreign)[:, None], len(TASTES), axis=1)
    result[people, main] = own * np.where(paired, 1 - _SECOND_TASTE_WEIGHT, 1.0)
    result[people[paired], second[paired]] = own[paired] * _SECOND_TASTE_WEIGHT
    return result
