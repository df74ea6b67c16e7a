"""Rules given as data: their text for the service, and an evaluation of their own from recounted buckets.

The documented arithmetic (docs/segments.md): a window of W seconds is kept in buckets of a width that is the largest of
a list that is at most W / 24 (one second at least); an event counts until the end of its bucket plus W.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
SCALES = {"count": 1, "amount": 1_000_000, "dwell": 1_000}


class Sums(dict[int, int]):
    """Start of the bucket / width → sum; of buckets without an event there may be none."""

    newest = -(2**63)
    """No bucket is later."""

    def add(self, bucket: int, value: int) -> None:
        self[bucket] = self.get(bucket, 0) + value
        self.newest = max(self.newest, bucket)


#: key of a tally, as the state has it → its sums
Buckets = Mapping[str, Mapping[int, int]]


class Evidence(Protocol):
    """What is known of a user."""

    @property
    def buckets(self) -> Buckets: ...
    @property
    def latest(self) -> Mapping[tuple[str, str], float]:
        """Kind and category (empty: any) → time of the latest such event."""


@dataclass(frozen=True)
class Term:
    """``count`` or ``total`` of one kind within so many seconds is at least ``bound``; ``negated``: is not."""

    kind: str
    within: int
    bound: float
    measure: str = "count"
    category: str = ""
    negated: bool = False

    @cached_property
    def key(self) -> str:
        """How the state names this tally."""
        return f"{self.kind}|{self.measure}|{self.within}|{self.category}"

    @cached_property
    def width(self) -> int:
        """Seconds of a bucket."""
        return max([width for width in WIDTHS if width * 24 <= self.within], default=1)

    def alive(self, bucket: int, now: float) -> bool:
        """The bucket still counts at ``now``."""
        return (bucket + 1) * self.width + self.within > now

    def holds(self, user: Evidence, now: float) -> bool:
        """Whether the term is true at ``now``."""
        sums = user.buckets.get(self.key, {})
        near: Iterable[int] = sums
        if isinstance(sums, Sums):
            first = int((now - self.within) // self.width) - 1  # nothing before it is alive
            near = range(first, sums.newest + 1) if sums.newest - first < len(sums) else sums
        found = sum(sums.get(bucket, 0) for bucket in near if self.alive(bucket, now))
        return (found / SCALES[self.measure] >= self.bound) != self.negated

    def text(self) -> str:
        """As the rule language has it."""
        category = f', category="{self.category}"' if self.category else ""
        what = f'count("{self.kind}"' if self.measure == "count" else f'total("{self.kind}", "{self.measure}"'
        return f'{"not " if self.negated else ""}{what}, within="{self.within}s"{category}) >= {self.bound:g}'


@dataclass(frozen=True)
class Absent:
    """No ``kind`` since the latest ``after``, from ``wait`` until ``within`` seconds after that."""

    kind: str
    after: str
    wait: int
    within: int

    def holds(self, user: Evidence, now: float) -> bool:
        """Whether it is true at ``now``."""
        trigger = user.latest.get((self.after, ""))
        if trigger is None or not trigger + self.wait <= now < trigger + self.within:
            return False
        return user.latest.get((self.kind, ""), 0.0) < trigger

    def text(self) -> str:
        """As the rule language has it."""
        return f'absent("{self.kind}", after="{self.after}", wait="{self.wait}s", within="{self.within}s")'


@dataclass(frozen=True)
class Rule:
    """All terms must hold."""

    id: str
    terms: tuple[Term | Absent, ...]

    def holds(self, user: Evidence, now: float) -> bool:
        return all(term.holds(user, now) for term in self.terms)

    def text(self) -> str:
        """As the rule language has it."""
        return " and ".join(term.text() for term in self.terms)

    def definition(self) -> str:
        """The segment as the segments file has it."""
        return f"[[segment]]\nid = \"{self.id}\"\nrule = '{self.text()}'\n"


def terms_of(rules: Sequence[Rule]) -> dict[str, Term]:
    """Every tally that the rules ask for, by key."""
    return {term.key: term for rule in rules for term in rule.terms if isinstance(term, Term)}
