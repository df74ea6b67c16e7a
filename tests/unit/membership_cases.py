"""Definitions and events that the tests of membership and erasure share."""

from __future__ import annotations

from typing import Any

from tests.small_partition import T0

TWO_VIEWS = """
[[segment]]
id = "keen"
rule = 'count("view", within="24s") >= 2'
"""
#: 24 s in buckets of one second: an event at T0 + n counts until T0 + n + 1 + 24
STAYERS = TWO_VIEWS + 'min_stay = "1m"\n'
SPENDERS = """
[[segment]]
id = "spenders"
rule = 'total("purchase", "amount", within="1h")'
enter = 100
exit = 50
"""
NO_PURCHASE = """
[[segment]]
id = "looker"
rule = 'count("purchase", within="1h") == 0'
"""
WORDS = """
[[segment]]
id = "cooks"
words = "people who love cooking and restaurants"
"""
COOKING = "I love cooking, and this restaurant served the best pasta"
FOOTBALL = "the football match was decided by a penalty in the last minute"


def view(at: float, **more: Any) -> dict[str, Any]:
    return {"kind": "view", "time": T0 + at, **more}


def purchase(at: float, amount: float = 1.0) -> dict[str, Any]:
    return {"kind": "purchase", "time": T0 + at, "amount": amount}


def delete(at: float, **more: Any) -> dict[str, Any]:
    return {"kind": "delete", "time": T0 + at, **more}


def follow(at: float, target: str, **more: Any) -> dict[str, Any]:
    return {"kind": "follow", "time": T0 + at, "target": target, **more}


def unfollow(at: float, target: str, **more: Any) -> dict[str, Any]:
    return {"kind": "unfollow", "time": T0 + at, "target": target, **more}


def comment(at: float, text: str, **more: Any) -> dict[str, Any]:
    return {"kind": "comment", "time": T0 + at, "text": text, **more}
