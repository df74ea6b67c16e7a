"""Folding events that change no membership, compiled. Where it was not, ``quiet_fold`` gives None and Python does all.

The compiled part is an accelerator, not a second truth: it does what ``state.user.fold`` does, for events of a few
kinds that come in order, and stops at whatever needs more. A property test holds both to the same outcome.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, overload

import xxhash

from state.seen import Seen
from state.user import DWELL, INTEREST, PLAIN_KINDS, SPEND, UserState, category_bucket
from state.windows import SCALES, Tally, TallySpec

#: environment variable that turns the compiled part off when it is set to anything
OFF: Final = "SEGMENTS_PURE_PYTHON"
_MEASURES: Final = {"count": 0, "amount": 1, "dwell": 2}
COMPARISONS: Final = {">=": 0, ">": 1, "==": 2, "<=": 3, "<": 4}
_MOST_CATEGORIES: Final = 65_536
#: hashed by both to see that they agree; its hash by Python is new in each process: the seed of the compiled tables
_PROBE: Final = b"Each of the ids is hashed alike, whoever reads the event, or it would count twice." * 4
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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


class Items(Protocol[T_co]):
    """The events of one user in a turn, in order of arrival; each is made when it is asked for."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int, /) -> T_co: ...
    @overload
    def __getitem__(self, at: slice, /) -> Items[T_co]: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def time(self, at: int, /) -> float:
        """An event's time; the event is not made for it."""

    def plain(self, at: int, /) -> tuple[str, str, float, float, float] | None:
        """(kind, category, time, amount, dwell) as the compiled part folds an event; None: it leaves it to Python."""


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

    def run(self, state: UserState, items: Items[T], start: int, limit: float, erased: float) -> tuple[int, bool]:
        """Fold a user's events, as ``read`` gave them, from ``start`` on while they are quiet.

        Quiet: of a kind that was added, not older than the state and the event before, older than ``limit``, newer
        than ``erased``, no duplicate. Returns the number of the first event that was not folded, and whether the one
        before it may have changed what a rule gives: then the rules that it concerns are to be evaluated.
        """
        found: tuple[int, bool] = self._run(state, items, start, limit, erased)
        return found

    def read(
        self,
        records: Sequence[Any],
        decode: Callable[[bytes], Any],
        slow: Callable[[Any], T | None],
        bounds: tuple[int, float, float, float, float],
    ) -> tuple[dict[str, Items[T]], float]:
        """Each user's events in order, as (event, id hash, record, arrival in seconds), and the latest event time.

        Only what ``slow`` is asked about becomes such a tuple at once, in its turn: what is unusual (does not decode,
        is out of bounds, has a text, is of another kind, is written in an uncommon way). It gives the tuple, or None
        for a record that it refused; the times of its events are left to it. The other events are made by ``decode``
        when somebody asks for them. ``bounds``: most bytes of a record, least event time, most seconds that it may be
        ahead of its arrival, most amount, most dwell.
        """
        if len(self._buckets) > _MOST_CATEGORIES:
            self._buckets.clear()
        found: tuple[dict[str, Items[T]], float] = self._read(
            records, decode, slow, bounds, self._routes, self._special, self._buckets, category_bucket
        )
        return found


def quiet_fold(event: type) -> QuietFold | None:
    """``event``: the struct that events are decoded into. None where nothing is compiled, or OFF says so."""
    module = compiled()
    if module is None:
        return None
    try:
        library = ctypes.CDLL(importlib.import_module("xxhash._xxhash").__file__)
        digest, seeded = (
            ctypes.cast(function, ctypes.c_void_p).value
            for function in (library.XXH3_64bits, library.XXH3_64bits_withSeed)
        )
        kinds = tuple(sorted(PLAIN_KINDS))
        module.bind(event, UserState, Tally, Seen, SPEND, DWELL, kinds, digest, seeded, hash(_PROBE) % 2**64)
        if module.digest(_PROBE) != xxhash.xxh3_64_intdigest(_PROBE):
            return None
    except (OSError, TypeError, AttributeError):  # of another version of the classes, or of another xxhash
        return None
    return QuietFold(module)


def compiled() -> Any | None:
    """The compiled module; None where there is none, or OFF says so."""
    if os.environ.get(OFF):
        return None
    try:
        return importlib.import_module("state._fold")
    except ImportError:
        return None


def _spec(spec: TallySpec) -> tuple[str, int, int, int, float]:
    key = sys.intern(spec.key)  # the compiled part finds keys by identity
    return key, spec.width, spec.window, _MEASURES[spec.measure], float(SCALES[spec.measure])
