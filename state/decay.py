"""Exponentially decayed counters by event time, with a half-life each.

A counter is a list ``[time, value, …]``: its values as they stand at ``time`` (seconds since the epoch). Adding an
older event decays the event instead of the counter, so the order of arrival does not matter (up to rounding).
Source: forward/backward decay as in Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay", ICDE 2009, section II.
"""

from __future__ import annotations

FAST = 86_400.0
"""Half-life of the fast counters: one day, in seconds."""
SLOW = 30 * 86_400.0
"""Half-life of the slow counters: thirty days, in seconds."""


def add_pair(counters: dict[str, list[float]], key: str, time: float, weight: float) -> None:
    """Add ``weight`` at ``time`` to the counter ``[time, fast, slow]`` under ``key``."""
    counter = counters.get(key)
    if counter is None:
        counters[key] = [time, weight, weight]
        return
    ahead = time - counter[0]
    if ahead >= 0.0:
        counter[0] = time
        counter[1] = counter[1] * 2.0 ** (-ahead / FAST) + weight
        counter[2] = counter[2] * 2.0 ** (-ahead / SLOW) + weight
    else:
        counter[1] += weight * 2.0 ** (ahead / FAST)
        counter[2] += weight * 2.0 ** (ahead / SLOW)


def add_slow(counters: dict[int, list[float]], key: int, time: float, weight: float) -> None:
    """Add ``weight`` at ``time`` to the counter ``[time, slow]`` under ``key``."""
    counter = counters.get(key)
    if counter is None:
        counters[key] = [time, weight]
        return
    ahead = time - counter[0]
    if ahead >= 0.0:
        counter[0] = time
        counter[1] = counter[1] * 2.0 ** (-ahead / SLOW) + weight
    else:
        counter[1] += weight * 2.0 ** (ahead / SLOW)


def value_at(stored: float, since: float, time: float, half_life: float) -> float:
    """A counter's value at ``time`` (not before ``since``, when it was ``stored``)."""
    return stored * float(2.0 ** (-max(0.0, time - since) / half_life))
