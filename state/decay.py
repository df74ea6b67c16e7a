"""Exponentially decayed counters by event time, with a half-life each.

A counter is a list ``[time, value, …]``: its values as they stand at ``time`` (seconds since the epoch). Adding an
older event decays the event instead of the counter, so the order of arrival does not matter (up to rounding).
Source: forward/backward decay as in Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay", ICDE 2009, section II.
"""

from __future__ import annotations

from math import exp2
from typing import TypeVar

K = TypeVar("K")

FAST = 86_400.0
"""Half-life of the fast counters: one day, in seconds."""
SLOW = 30 * 86_400.0
"""Half-life of the slow counters: thirty days, in seconds."""
_PER_FAST = -1.0 / FAST
_PER_SLOW = -1.0 / SLOW


def add_pair(counters: dict[str, list[float]], key: str, time: float, weight: float) -> None:
    """Add ``weight`` at ``time`` to the counter ``[time, fast, slow]`` under ``key``."""
    counter = counters.get(key)
    if counter is None:
        counters[key] = [time, weight, weight]
        return
    then, fast, slow = counter
    ahead = time - then
    if ahead >= 0.0:
        counter[:] = time, fast * exp2(ahead * _PER_FAST) + weight, slow * exp2(ahead * _PER_SLOW) + weight
    else:
        counter[1] = fast + weight * exp2(-ahead * _PER_FAST)
        counter[2] = slow + weight * exp2(-ahead * _PER_SLOW)


def add_slow(counters: dict[int, list[float]], key: int, time: float, weight: float) -> None:
    """Add ``weight`` at ``time`` to the counter ``[time, slow]`` under ``key``."""
    counter = counters.get(key)
    if counter is None:
        counters[key] = [time, weight]
        return
    then, slow = counter
    ahead = time - then
    if ahead >= 0.0:
        counter[:] = time, slow * exp2(ahead * _PER_SLOW) + weight
    else:
        counter[1] = slow + weight * exp2(-ahead * _PER_SLOW)


def merge(counters: dict[K, list[float]], others: dict[K, list[float]], half_lives: tuple[float, ...]) -> None:
    """Add another's counters, each aligned at the later of the two times; ``half_lives`` in the order of the values."""
    for key, (since, *values) in others.items():
        counter = counters.get(key)
        if counter is None:
            counters[key] = [since, *values]
            continue
        then, *mine = counter
        time = max(then, since)
        counter[:] = (
            time,
            *(
                value_at(one, then, time, half_life) + value_at(other, since, time, half_life)
                for one, other, half_life in zip(mine, values, half_lives, strict=True)
            ),
        )


def value_at(stored: float, since: float, time: float, half_life: float) -> float:
    """A counter's value at ``time`` (not before ``since``, when it was ``stored``)."""
    return stored * exp2(-max(0.0, time - since) / half_life)
