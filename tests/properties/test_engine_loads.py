"""Both engines under loads as they are: thousands of events, nearly all in order and plain."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.properties.test_engines import RULES, Both, raws
from tests.small_partition import T0

pytestmark = pytest.mark.compiled


def busy(draw: random.Random, users: list[str], time: float, number: int) -> dict[str, Any]:
    """The event with this number; now and then one is late, comes twice, or is of a kind that needs Python."""
    rare = draw.random()
    kind = draw.choices(["view", "click", "purchase"], [6, 4, 2])[0]
    kind = "comment" if rare < 0.004 else "follow" if rare < 0.006 else "delete" if rare < 0.007 else kind
    return {
        "user": draw.choice(users),
        "kind": kind,
        "time": time - (draw.random() * 3_000 if draw.random() < 0.03 else 0.0),
        "id": f"e{number if draw.random() > 0.03 else draw.randrange(number + 1)}",
        "category": draw.choice(["", "c1", "c2", "用", "x"]),
        "amount": draw.choice([0.0, 9.99, 12.0, 1e9]),
        "dwell": draw.choice([0.0, 0.25, 3.0]),
        "text": "words" if kind == "comment" else "",
        "target": "w" if kind == "follow" else "",
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_load_of_many_events_is_folded_alike(seed: int) -> None:
    draw = random.Random(seed)
    both = Both(RULES, (1 << 26, 1)[seed % 2])
    users = [f"u{number}" for number in range((1, 3, 20)[seed % 3])]
    time, number = T0, 0
    for turn in range(10):
        if turn == 6 and seed > 2:
            both.redefine(RULES.replace('"1h"', '"2h"').replace('"click", within="1m"', '"comment", within="30m"'))
        batch = []
        for _ in range(draw.choice([5, 60, 300])):
            time += draw.choice([0.0, 0.5, 3.0, 30.0, draw.random() * 200.0])
            batch.append(busy(draw, users, time, number))
            number += 1
        both.do("raw", *raws(batch))
        if draw.random() < 0.3:
            both.do("fire", time)
        for partition in (both.native, both.plain):
            partition.table.tidy()
