"""What a user does, decayed: events of a kind, money and dwell over a day and over thirty, tastes over thirty.

By forward decay: an event of weight w at t adds w * 2^((t - L) / h), where the landmark L is the beginning of the month
of 30 days that the user's time is in. One pair of powers serves all counters of an event, and a late one is no case of
its own. A value at ``now`` is the sum times 2^((L - now) / h). When the user's time enters another month, the sums are
multiplied by powers of two, hence exactly. Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay", ICDE 2009,
section III. C's side is ``state/c/core/counters.c``: the same operations in the same order, so the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ldexp
from typing import Final

from state.kinds import DWELL_ROW, FAST, ROW, SLOW, SPEND_ROW
from state.layout2 import BITMAP, LEAST_SUM, MOST_SUM, NUMBER, ROWS
from state.plain.codec import Reader
from state.powers import power_of_two

#: of a landmark, in seconds: by a month a fast sum loses 2^30, a slow one 2
MONTH: Final = SLOW
FAST_EXPONENT: Final = round(MONTH / FAST)


def month_of(time: float) -> int:
    return int(time / MONTH)


def _less(total: float, exponent: int) -> float:
    total = ldexp(total, -exponent)
    return 0.0 if total < LEAST_SUM else total


class Counters:
    """Sums as they stand at the landmark: of a row of ``state.kinds`` (fast, slow), of a hashed category (slow)."""

    __slots__ = ("categories", "kinds", "month")

    def __init__(self) -> None:
        self.month = 0
        self.kinds: dict[int, tuple[float, float]] = {}
        self.categories: dict[int, float] = {}

    def enter(self, month: int) -> None:
        """The landmark becomes that of ``month``, if it is later."""
        months = month - self.month
        if months <= 0:
            return
        self.month = month
        for row, (fast, slow) in self.kinds.items():
            self.kinds[row] = _less(fast, FAST_EXPONENT * months), _less(slow, months)
        for bucket, slow in self.categories.items():
            self.categories[bucket] = _less(slow, months)

    def add(self, kind: str, time: float, amount: float, dwell: float, bucket: int, interest: float) -> None:
        """Add an event at ``time``. ``bucket``: of its category, which gets ``interest``; below 0: it has none.

        Raises ValueError for a kind that has no row.
        """
        row = ROW.get(kind)
        if row is None:
            raise ValueError(f"there is no counter of {kind!r}: give it a row in state/kinds.py")
        ahead = time - self.month * MONTH
        fast, slow = power_of_two(ahead / FAST), power_of_two(ahead / SLOW)
        self._add_pair(row, 1.0, fast, slow)
        if amount:
            self._add_pair(SPEND_ROW, amount, fast, slow)
        if dwell:
            self._add_pair(DWELL_ROW, dwell, fast, slow)
        if bucket >= 0:
            self.categories[bucket] = min(self.categories.get(bucket, 0.0) + interest * slow, MOST_SUM)

    def _add_pair(self, row: int, weight: float, fast: float, slow: float) -> None:
        sums = self.kinds.get(row, (0.0, 0.0))
        self.kinds[row] = min(sums[0] + weight * fast, MOST_SUM), min(sums[1] + weight * slow, MOST_SUM)

    def begin(self, row: int, time: float, fast: float, slow: float) -> None:
        """Set a row to what stands at ``time``."""
        ahead = time - self.month * MONTH
        self.kinds[row] = fast * power_of_two(ahead / FAST), slow * power_of_two(ahead / SLOW)

    def begin_category(self, bucket: int, time: float, slow: float) -> None:
        """Set a category to what stands at ``time``."""
        self.categories[bucket] = slow * power_of_two((time - self.month * MONTH) / SLOW)

    def unite(self, other: Counters) -> None:
        """Add another's; the later of the two landmarks becomes that of both. ``other`` stays."""
        theirs = Counters()
        theirs.month, theirs.kinds, theirs.categories = other.month, dict(other.kinds), dict(other.categories)
        self.enter(theirs.month)
        theirs.enter(self.month)
        for row, (fast, slow) in theirs.kinds.items():
            mine = self.kinds.get(row, (0.0, 0.0))
            self.kinds[row] = min(mine[0] + fast, MOST_SUM), min(mine[1] + slow, MOST_SUM)
        for bucket, slow in theirs.categories.items():
            self.categories[bucket] = min(self.categories.get(bucket, 0.0) + slow, MOST_SUM)

    def kind(self, row: int, now: float) -> tuple[float, float]:
        """(fast, slow) of a row at ``now``; zeros where it has nothing."""
        sums = self.kinds.get(row)
        if sums is None:
            return 0.0, 0.0
        behind = self.month * MONTH - now
        return sums[0] * power_of_two(behind / FAST), sums[1] * power_of_two(behind / SLOW)

    def category(self, bucket: int, now: float) -> float:
        slow = self.categories.get(bucket)
        return 0.0 if slow is None else slow * power_of_two((self.month * MONTH - now) / SLOW)

    def pack_kinds(self) -> bytes:
        return _pack(self.kinds)

    def pack_categories(self) -> bytes:
        return _pack({bucket: (slow,) for bucket, slow in self.categories.items()})

    def unpack(self, kinds: Reader | None, categories: Reader | None) -> None:
        """Raises FormatError."""
        if kinds is not None:
            self.kinds = {row: (fast, slow) for row, (fast, slow) in _unpack(kinds, 2)}
        if categories is not None:
            self.categories = {bucket: slow for bucket, (slow,) in _unpack(categories, 1)}


def _pack(rows: dict[int, tuple[float, float]] | dict[int, tuple[float]]) -> bytes:
    if not rows:
        return b""
    bitmap = sum(1 << row for row in rows)
    return BITMAP.pack(bitmap) + b"".join(NUMBER.pack(total) for _, sums in sorted(rows.items()) for total in sums)


def _unpack(section: Reader, width: int) -> Iterator[tuple[int, list[float]]]:
    (bitmap,) = section.unpack(BITMAP)
    section.need(bitmap != 0, "it has no rows")
    for row in range(ROWS):
        if bitmap >> row & 1:
            sums = [section.unpack(NUMBER)[0] for _ in range(width)]
            section.need(all(0.0 <= total <= MOST_SUM for total in sums), f"row {row} has {sums}")
            yield row, sums
    section.need(not section.left, "it has more numbers than rows")
