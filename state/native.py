"""Folding events that change no membership, compiled. Where it was not, ``quiet_fold`` gives None and Python does all.

The compiled part is an accelerator, not a second truth: it does what ``state.user.fold`` does, for events of a few
kinds that come in order, and stops at whatever needs more. A property test holds both to the same outcome.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from state.compiled import COMPILED
from state.user import DWELL, INTEREST, PLAIN_KINDS, SPEND, UserState, category_bucket
from state.windows import SCALES, Tally, TallySpec

_MEASURES: Final = {"count": 0, "amount": 1, "dwell": 2}
COMPARISONS: Final = {">=": 0, ">": 1, "==": 2, "<=": 3, "<": 4}
_MOST_CATEGORIES: Final = 65_536


@dataclass(frozen=True)
class Need:
    """A comparison without which a rule cannot hold: a tally's total (in its unit) with a number."""

    spec: TallySpec
    comparison: str
    bound: float


@dataclass(frozen=True)
class Gate:
    """A segment that an event concerns. Without ``needs`` nothing is known: its rule must always be evaluated."""

    segment: str
    can_end: bool
    needs: tuple[Need, ...]


class QuietFold:
    """``state._fold`` for one set of definitions; see ``quiet_fold``."""

    def __init__(self, module: Any) -> None:
        self._run = module.run
        self._read = module.read
        self._route = module.Route
        self._routes: dict[str, Any] = {}
        self._special: dict[str, dict[str, Any]] = {}
        self._buckets: dict[str, int] = {}

    def add(
        self, kind: str, category: str, specs: Sequence[TallySpec], watched: tuple[str, ...], gates: Sequence[Gate]
    ) -> None:
        """What an event of ``kind`` touches; ``category`` empty: of any that is not named by another call."""
        route = self._route(
            INTEREST.get(kind, 0.0),
            tuple(_spec(spec) for spec in specs),
            watched,
            tuple(
                (
                    gate.segment,
                    gate.can_end,
                    tuple((_spec(need.spec), COMPARISONS[need.comparison], need.bound) for need in gate.needs),
                )
                for gate in gates
            ),
        )
        if category:
            self._special.setdefault(kind, {})[category] = route
        else:
            self._routes[kind] = route

    def run(
        self, state: UserState, items: list[tuple[Any, int, Any, float]], start: int, limit: float, erased: float
    ) -> tuple[int, bool]:
        """Fold ``items`` (event, id hash, anything, arrival in seconds) from ``start`` on while they are quiet.

        Quiet: of a kind that was added, not older than the state and the event before, older than ``limit``, newer
        than ``erased``, no duplicate. Returns the number of the first event that was not folded, and whether the one
        before it may have changed what a rule gives: then the rules that it concerns are to be evaluated.
        """
        if len(self._buckets) > _MOST_CATEGORIES:
            self._buckets.clear()
        found: tuple[int, bool] = self._run(
            state, items, start, limit, erased, self._routes, self._special, self._buckets, category_bucket
        )
        return found

    def read(
        self,
        records: list[Any],
        by_user: dict[str, list[Any]],
        decode: Callable[[bytes], Any],
        digest: Callable[[bytes], int],
        slow: Callable[[Any], None],
        bounds: tuple[int, float, float, float, float],
    ) -> float:
        """Decode records and put (event, id hash, record, arrival in seconds) into ``by_user``; the largest event time.

        Whatever is unusual (does not decode, is out of bounds, has a text, is of another kind) goes to ``slow``, in
        its turn. ``bounds``: most bytes of a record, least event time, most seconds that it may be ahead of its
        arrival, most amount, most dwell.
        """
        latest: float = self._read(records, by_user, decode, digest, PLAIN_KINDS, slow, bounds)
        return latest


def quiet_fold(event: type) -> QuietFold | None:
    """``event``: the struct that events are decoded into. None where nothing is compiled."""
    if COMPILED is None:
        return None
    try:
        COMPILED.bind(event, UserState, Tally, SPEND, DWELL)
    except (TypeError, AttributeError):  # of another version of the classes
        return None
    return QuietFold(COMPILED)


def _spec(spec: TallySpec) -> tuple[str, int, int, int, float]:
    key = sys.intern(spec.key)  # the compiled part finds keys by identity
    return key, spec.width, spec.window, _MEASURES[spec.measure], float(SCALES[spec.measure])
