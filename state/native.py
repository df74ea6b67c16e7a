"""Folding events that change no membership, compiled. Where it was not, ``quiet_fold`` gives None and Python does all.

The compiled part is an accelerator, not a second truth: it does what ``state.user.fold`` does, for events of a few
kinds that come in order, and stops at whatever needs more. A property test holds both to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from state import plan_image
from state.compiled import COMPILED, UNUSABLE, CompiledError, agree
from state.plan_image import Described
from state.record import Record
from state.tables import Area
from state.user import PLAIN_KINDS

if COMPILED is not None:
    agree(COMPILED, "PLAN", plan_image.abi())

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: of a user: how many events are folded already, and whether the last of them may have changed what a rule gives
Folded = tuple[int, bool]


class Began(NamedTuple):
    """A membership that began while a user's events were folded."""

    event: int
    """The number of the event that did it."""
    rule: int
    """Its number in ``Described.rules``."""
    sequence: int
    score: float
    time: float
    """Of the event, seconds."""
    values: tuple[float, ...]
    """What each different term of the rule was, in the order of ``plan_image.term_numbers``."""


#: of users in whose fold memberships began: whether that is all that there is to be done with them, and those, as
#: ``Began`` (plain tuples)
Entered = dict[str, tuple[bool, list[Began]]]


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


class Newcomers(NamedTuple):
    """How ``QuietFold.fold`` begins users who have no record, in the order of the batch.

    Each of them gets a life of its own, whether it is begun there or left to the caller. Begun are those whose home is
    here and whose first event is of a plain kind: whoever else begins them would do no more than that.
    """

    life: int
    """The last one that was given out."""
    sequence: int
    """That they begin with."""
    partition: int
    """Here; ``partitions`` (at least 1) say whose home is where, by Kafka's murmur2."""
    partitions: int
    apart: Collection[str]
    """Who is left, of whom something is known that no record says."""


class QuietFold:
    """``state._fold.Plan``: what definitions say to the compiled part; see ``quiet_fold``."""

    def __init__(self, plan: Any) -> None:
        self._plan = plan

    def read(
        self,
        records: Sequence[Any],
        decode: Callable[[bytes], Any],
        slow: Callable[[Any], T | None],
        bounds: tuple[int, int, float, float, float, float],
    ) -> tuple[Mapping[str, Items[T]], float]:
        """Each user's events in order, as (event, id hash, record, arrival in seconds), and the latest event time.

        Only what ``slow`` is asked about becomes such a tuple at once, in its turn: what is unusual (does not decode,
        is out of bounds, of a time that no record has, has a text, is of another kind, is written in an uncommon way).
        It gives the tuple, or None for a record that it refused; the times of its events are left to it. The other
        events are made when somebody asks for them: those of calls here, the others by ``decode``; so are users' names.
        ``bounds``: most bytes of a record, most bytes of a name, least event time, most seconds that it may be ahead of
        its arrival, most amount, most dwell.
        """
        found: tuple[Mapping[str, Items[T]], float] = self._plan.read(records, decode, slow, bounds)
        return found

    def fold(
        self,
        area: Area,
        batch: Mapping[str, Any],
        without: Collection[str],
        epoch: int,
        heads: int,
        encodes: bool,
        newcomers: Newcomers | None,
        entered: Entered | None = None,
    ) -> tuple[int, int, dict[str, Folded]]:
        """``fold_on`` for all users of what ``read`` gave, but for those in ``without``, and the next timer of those of
        whom no more is to be done.

        More is to be done for who is not in the area and was not begun (``newcomers``; None: nobody is), for a record
        of another ``epoch`` of definitions or of ``heads``, and, if ``encodes``, for users that have to be encoded.
        With ``entered`` memberships begin here, where all that an event changes is that rules surely hold by what is
        known of the user; whose did is added to it, and is among those of whom more is to be done, or was.
        Returns how many events those counted with whom all is done, how many users were begun, and for the others what
        ``fold_on`` gave: (0, False) where it did nothing.
        """
        found: tuple[int, int, dict[str, Folded]] = self._plan.fold(
            area, batch, without, epoch, heads, encodes, newcomers, entered
        )
        return found

    def fold_on(self, record: Record, items: Items[T], at: int, limit: float, erased: float) -> Folded:
        """Fold a user's events, as ``read`` gave them, from number ``at`` on while they are quiet.

        Quiet: of a kind that has a route, not older than the record and the event before, older than ``limit``, newer
        than ``erased``, no duplicate. Returns the number of the first event that was not folded, and whether the one
        before it may have changed what a rule gives: then the rules that it concerns are to be evaluated.
        """
        found: Folded = self._plan.fold_on(record, items, at, limit, erased)
        return found

    def next_due(self, record: Record) -> float:
        """When a membership may next change without an event; NEVER: it cannot."""
        due: float = self._plan.next_due(record)
        return due


def quiet_fold(event: type, calls: Calls, described: Described) -> QuietFold | None:
    """``event``: the struct that events are decoded into; ``calls``: the other form of them. None where nothing is
    compiled, or that is switched off.

    Raises CompiledError where the compiled module is there but cannot be used: to go on at a tenth of the speed without
    a word would be worse. Raises ValueError for definitions of which two cells have one mark.
    """
    if COMPILED is None:
        return None
    try:
        wire = COMPILED.Wire(
            event,
            tuple(sorted(PLAIN_KINDS)),
            calls.fields,
            dict(calls.kinds),
            dict(calls.tracks),
            calls.items,
            calls.categories,
            calls.amounts,
            calls.dwells,
        )
        routes = tuple((route.kind, route.category, at) for at, route in enumerate(described.routes))
        plan = COMPILED.Plan(wire, plan_image.write(described), routes)
    except (TypeError, AttributeError) as error:
        raise CompiledError(f"{UNUSABLE}: {error}") from error
    return QuietFold(plan)
