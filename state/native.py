"""Folding events that change no membership, compiled. Where it was not, ``quiet_fold`` gives None and Python does all.

The compiled part is an accelerator, not a second truth: it does what ``state.user.fold`` does, for events of a few
kinds that come in order, and stops at whatever needs more. A property test holds both to the same outcome.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, overload

from state.absence import Absence
from state.compiled import COMPILED, UNUSABLE, CompiledError
from state.user import DWELL, INTEREST, PLAIN_KINDS, SPEND, Membership, UserState, category_bucket
from state.windows import SCALES, Tally, TallySpec

_MEASURES: Final = {"count": 0, "amount": 1, "dwell": 2}
COMPARISONS: Final = {">=": 0, ">": 1, "==": 2, "<=": 3, "<": 4}
_MOST_CATEGORIES: Final = 65_536
#: its hash by Python is new in each process: the seed of the compiled tables
_SEED: Final = "nobody outside can choose names that all meet in one place"
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


@dataclass(frozen=True)
class Expected:
    """A rule segment, and what makes it change by the mere passing of time."""

    segment: str
    windows: frozenset[TallySpec]
    """While somebody is in it."""
    rising: frozenset[TallySpec]
    """While somebody is not."""
    absences: frozenset[Absence]


@dataclass(frozen=True)
class Calls:
    """Calls of the Segment Spec that the compiled part reads itself, if they become events of the plain kinds.

    Each path leads from the call's properties to a value: keys, and 0 for the first of a list.
    """

    fields: tuple[str, ...]
    """Of a call, as they are written: all whose types are checked."""
    kinds: Mapping[str, str]
    """Type of a call → kind."""
    tracks: Mapping[str, str]
    """Name of a track event, in lower case → kind."""
    items: tuple[tuple[str | int, ...], ...]
    categories: tuple[tuple[str | int, ...], ...]
    amounts: tuple[tuple[str | int, ...], ...]
    dwells: tuple[tuple[str | int, ...], ...]


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
        self._due: Any = None
        self._module = module

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

    def expect(self, rules: Sequence[Expected], may_rise: bool) -> None:
        """All rule segments; ``may_rise``: some may begin to hold by the passing of time."""
        self._due = self._module.Due(
            tuple(
                (
                    rule.segment,
                    tuple(_window(spec) for spec in rule.windows),
                    tuple(_window(spec) for spec in rule.rising),
                    tuple(_absence(absence) for absence in rule.absences),
                )
                for rule in rules
            ),
            may_rise,
        )

    def next_due(self, state: UserState) -> float | None:
        """When a membership may next change without an event; None where that is left to Python."""
        found: float | None = self._module.next_due(self._due, state)
        return found

    def run_all(
        self, by_user: Mapping[str, Any], states: Mapping[str, UserState], epoch: int, heads: int, encodes: bool
    ) -> tuple[int, dict[str, tuple[int, bool]]]:
        """``run`` for all users whose events ``read`` gave, and the next timer of those of whom no more is to be done.

        More is to be done for a state of another ``epoch`` of definitions or of ``heads``, and, if ``encodes``, for
        users that have to be encoded. Returns how many events those counted with whom all is done,
        and for the others what ``run`` gave.
        """
        found: tuple[int, dict[str, tuple[int, bool]]] = self._module.fold_users(
            by_user, states, self._due, epoch, heads, encodes
        )
        return found

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
        bounds: tuple[int, int, float, float, float, float],
    ) -> tuple[dict[str, Items[T]], float]:
        """Each user's events in order, as (event, id hash, record, arrival in seconds), and the latest event time.

        Only what ``slow`` is asked about becomes such a tuple at once, in its turn: what is unusual (does not decode,
        is out of bounds, has a text, is of another kind, is written in an uncommon way). It gives the tuple, or None
        for a record that it refused; the times of its events are left to it. The other events are made when somebody
        asks for them: those of calls here, the others by ``decode``. ``bounds``: most bytes of a record, most bytes of
        a name, least event time, most seconds that it may be ahead of its arrival, most amount, most dwell.
        """
        if len(self._buckets) > _MOST_CATEGORIES:
            self._buckets.clear()
        found: tuple[dict[str, Items[T]], float] = self._read(
            records, decode, slow, bounds, self._routes, self._special, self._buckets, category_bucket
        )
        return found


def quiet_fold(event: type, calls: Calls) -> QuietFold | None:
    """``event``: the struct that events are decoded into; ``calls``: the other form of them. None where nothing is
    compiled, or that is switched off.

    Raises CompiledError where the compiled module is there but cannot be used: to go on at a tenth of the speed without
    a word would be worse.
    """
    if COMPILED is None:
        return None
    try:
        kinds = tuple(sorted(PLAIN_KINDS))
        COMPILED.bind(event, UserState, Tally, Membership, SPEND, DWELL, kinds, hash(_SEED) % 2**64)
        COMPILED.bind_forms(
            calls.fields,
            dict(calls.kinds),
            dict(calls.tracks),
            calls.items,
            calls.categories,
            calls.amounts,
            calls.dwells,
        )
    except (TypeError, AttributeError) as error:
        raise CompiledError(f"{UNUSABLE}: {error}") from error
    return QuietFold(COMPILED)


def _spec(spec: TallySpec) -> tuple[str, int, int, int, float]:
    key = sys.intern(spec.key)  # the compiled part finds keys by identity
    return key, spec.width, spec.window, _MEASURES[spec.measure], float(SCALES[spec.measure])


def _window(spec: TallySpec) -> tuple[str, int, int]:
    return sys.intern(spec.key), spec.width, spec.window


def _absence(absence: Absence) -> tuple[str, str, bool, float, float]:
    covers = absence.of.covers(absence.after.kind, absence.after.category)
    return absence.after.key, absence.of.key, covers, float(absence.wait), float(absence.within)


def take_cached(
    users: Mapping[str, Any], cache: dict[str, UserState], states: dict[str, UserState], dues: dict[str, float]
) -> list[str]:
    """Put the cached states of ``users`` into ``states``, and their timers into ``dues``; returns who is in neither."""
    if COMPILED is not None and isinstance(users, dict):
        missing: list[str] = COMPILED.take_cached(users, cache, states, dues)
        return missing
    missing = []
    for user in users:
        if user not in states:
            state = cache.get(user)
            if state is None:
                missing.append(user)
            else:
                states[user] = state
                dues[user] = state.due
    return missing


def keep(cache: dict[str, UserState], states: dict[str, UserState]) -> int:
    """Put states at the young end of the cache; returns how many more ids of events it has in memory by that.

    Compiled, it also hides what they consist of from Python's collector: none of it can be part of a cycle, and a look
    at a million users would hold the worker up for seconds.
    """
    if COMPILED is not None:
        added: int = COMPILED.keep(cache, states)
        return added
    more = 0
    for user, state in states.items():
        cache.pop(user, None)
        cache[user] = state
        more += state.ids.places - state.ids.accounted
        state.ids.accounted = state.ids.places
    return more
