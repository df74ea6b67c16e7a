"""Seeded event load for the benchmarks: uniform or zipf users, a shop's mix of kinds, our compact JSON form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np

Spread = Literal["uniform", "zipf"]
KINDS: Final = ("view", "click", "purchase", "comment", "follow")
#: shares of the kinds; comments and follows are drawn only where the benchmark asks for them
_SHOP: Final = np.array([0.70, 0.25, 0.05])
_CATEGORIES: Final = 40
_ITEMS: Final = 5_000
_BLOCK: Final = 50_000
#: exponent of the zipf law: about what web traffic shows
_ZIPF: Final = 1.1
_TEXTS: Final = (
    "the soup was warm and the service friendly",
    "cheap flights, but the hotel was far from the beach",
    "does anybody know a good running shoe for wide feet?",
    "the new season is better than the last one",
    "arrived late and the box was open",
    "a lovely dress, true to size, and the colour is as shown",
)


def user_ids(users: int) -> list[str]:
    return [f"user-{number:07d}" for number in range(users)]


def load(
    events: int,
    users: int,
    spread: Spread = "zipf",
    seed: int = 1,
    start: float = 1_790_000_000.0,
    rate: float = 5_000.0,
    comments: float = 0.0,
    follows: float = 0.0,
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of ``events`` records with event times ``1 / rate`` seconds apart from ``start`` on.

    ``comments`` and ``follows`` are shares of all events. The same arguments give the same bytes.
    """
    rng = np.random.default_rng(seed)
    names = user_ids(users)
    shares = np.concatenate([_SHOP * (1.0 - comments - follows), [comments, follows]])
    ranks: np.ndarray | None = None
    if spread == "zipf":
        weights = 1.0 / np.arange(1, users + 1) ** _ZIPF
        ranks = np.cumsum(weights / weights.sum())
        rng.shuffle(names)
    for first in range(0, events, _BLOCK):
        size = min(_BLOCK, events - first)
        who = (
            rng.integers(users, size=size)
            if ranks is None
            else np.minimum(np.searchsorted(ranks, rng.random(size)), users - 1)
        )
        kinds = rng.choice(len(shares), size=size, p=shares)
        categories = rng.integers(_CATEGORIES, size=size)
        items = rng.integers(_ITEMS, size=size)
        amounts = np.round(rng.lognormal(3.0, 0.7, size), 2)
        targets = rng.integers(users, size=size)
        columns = (
            who.tolist(),
            kinds.tolist(),
            categories.tolist(),
            items.tolist(),
            amounts.tolist(),
            targets.tolist(),
        )
        for number, (user, kind, category, item, amount, target) in enumerate(zip(*columns, strict=True), first):
            name = names[user]
            head = f'{{"user":"{name}","kind":"{KINDS[kind]}","time":{start + number / rate:.3f},"id":"e{number}"'
            if kind == 4:
                other = names[target] if target != user else "user-of-nobody"
                value = f'{head},"target":"{other}"}}'
            elif kind == 3:
                value = f'{head},"category":"c{category}","text":"{_TEXTS[item % len(_TEXTS)]} ({number})"}}'
            elif kind == 2:
                value = f'{head},"item":"i{item}","category":"c{category}","amount":{amount}}}'
            else:
                value = f'{head},"item":"i{item}","category":"c{category}","dwell":{amount / 4:.1f}}}'
            yield name.encode(), value.encode()
