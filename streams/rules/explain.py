"""What a rule's terms are, in words."""

from __future__ import annotations

from collections.abc import Iterable

from streams.rules.program import MOST_NUMBER, Interval
from streams.wire.times import to_iso


def pattern(written: Iterable[str]) -> str:
    """What ``told`` says where all is known, as a pattern: ``%`` puts the values in, a tuple of as many floats."""
    return ", ".join(f"{each.replace('%', '%%')} is %g" for each in written)


def told(terms: Iterable[tuple[str, Interval]], not_known_before: float) -> str:
    """Each term as it is written with its least and most; of what is not known, that and since when it is (event time
    in seconds; 0: all is known)."""
    values = ", ".join(f"{written} is {_value_told(value)}" for written, value in terms)
    return f"{values} (not known yet before {to_iso(not_known_before)})" if not_known_before else values


def _value_told(value: Interval) -> str:
    low, high = value
    return f"{low:g}" if low == high else f"at least {low:g}" if high == MOST_NUMBER else "not known"
