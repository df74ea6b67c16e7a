"""What the engine knows of a user's record: verbs, whoever has the bytes.

``state.plain`` keeps Python objects, the compiled block works in the bytes; ``tests/contracts/test_record_contract.py``
holds both to the same answers and the same bytes. Times are event times in seconds since the epoch, above 0 and below
2^32, unless something else is said. Nothing that is given or taken is shared: what a verb returns does not change, but
for the views ``members``, ``edges``, ``groups``, ``cells`` and ``ids``, which are good for as long as the record is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from state.absence import Absence, Sort
from state.user import Membership, PendingLabel
from state.windows import TallySpec


class TooLargeError(ValueError):
    """A record would become larger than one may be: whatever verb it was that asked for more, or ``pack``."""


class Opaque(NamedTuple):
    """What a term keeps that has no compiled form: bytes of its own, and the two times that all must know."""

    type: int
    """The term's number, 0 … 65,535: that of the bytes' form."""
    data: bytes
    next_change: float
    """When its value next changes by the mere passing of time; NEVER: it does not."""
    unknown_until: float = 0.0
    """Up to when it is not known; 0: it is."""


class Members(Protocol):
    """Memberships by segment. One changes by being put anew."""

    def get(self, segment: str) -> Membership | None: ...
    def put(self, segment: str, member: Membership) -> None:
        """Raises ValueError for what cannot be in a record: a name that is empty or too long, numbers that are none."""

    def set_leaving(self, segment: str, score: float | None) -> None:
        """``score``: what would end the membership, were the minimum stay over; None: nothing speaks against it. Raises
        KeyError where there is none."""

    def remove(self, segment: str) -> None:
        """End it. Raises KeyError where there is none."""

    def segments(self) -> list[str]:
        """Sorted."""

    def items(self) -> list[tuple[str, Membership]]:
        """Sorted by segment."""

    def __len__(self) -> int: ...
    def __contains__(self, segment: object) -> bool: ...


class Edges(Protocol):
    """Edges, or groups: the last writer by event time wins, at the same time the removal."""

    def set(self, target: str, time: float, present: bool) -> bool:
        """As ``state.edges.set_edge``. Raises ValueError for a name that is empty or too long."""

    def get(self, target: str) -> float:
        """The signed time; 0: nothing is known of an edge to ``target``."""

    def drop(self, target: str) -> None:
        """Forget the edge, present or removed, if there is one."""

    def present(self) -> list[str]:
        """As ``state.edges.present``: newest first, ties by name."""

    def bound(self, most: int) -> list[str]:
        """As ``state.edges.bound``."""

    def bound_removed(self, most: int) -> list[str]:
        """As ``state.edges.bound_removed``."""

    def items(self) -> list[tuple[str, float]]:
        """(target, signed time), sorted by target: the removed ones as well."""

    @property
    def count(self) -> int:
        """Of the removed ones as well."""

    @property
    def present_count(self) -> int: ...


class Cells(Protocol):
    """What the terms of rules keep. ``key``: of a tally ``TallySpec.key``, of a sort ``@`` and ``Sort.key``, of any
    other term its own. A cell that is not there is empty and known."""

    def __contains__(self, key: object) -> bool: ...
    def total(self, spec: TallySpec, now: float) -> int:
        """What is counted in the window at ``now``, in the measure's whole units. Changes nothing."""

    def next_expiry(self, spec: TallySpec, now: float) -> float:
        """When the oldest bucket after ``now`` leaves the window; NEVER: there is none. Changes nothing."""

    def buckets(self, spec: TallySpec) -> list[tuple[int, int]]:
        """(number of the bucket, what it holds), ascending: what is over but not trimmed yet as well."""

    def add(self, spec: TallySpec, time: float, amount: int, now: float) -> None:
        """Count ``amount`` (scaled, 0 to ``windows.MOST``); ``now``: the user's time, not before ``time``."""

    def latest(self, sort: Sort) -> float:
        """The latest event of the sort, with the sign that ``state.absence`` gives it; 0: none so far."""

    def note(self, sort: Sort, time: float) -> None:
        """An event of the sort: the latest time counts."""

    def unknown_until(self, key: str) -> float | None:
        """The time up to which the term was not counted; None when it was all the time."""

    def mark_unknown(self, key: str, until: float) -> None:
        """The term was not counted up to ``until``; later events were. Of an opaque cell its term says so itself."""

    def opaque(self, key: str) -> Opaque | None: ...
    def put_opaque(self, key: str, opaque: Opaque) -> None:
        """Raises ValueError for what cannot be in a record."""

    def next_change(self) -> float:
        """The earliest that an opaque cell says; NEVER: none does. The user's timer is not later."""

    def drop(self, key: str) -> None:
        """Take a cell out, if there is one."""

    def keep_only(self, marks: Set[int]) -> None:
        """Drop all cells but those of these marks (``layout2.mark_of``)."""


class Ids(Protocol):
    """The ids of counted events: see ``state.plain.ids``."""

    cut: int
    """Ids forgotten since the last save though they were younger than a day."""

    @property
    def saved(self) -> range:
        """Numbers of the records that the store has; what is no longer wanted of them is deleted with the next save."""

    @property
    def unsaved(self) -> Mapping[int, bytes | None]:
        """Number of a record → its bytes; None: it is no longer wanted."""

    def add(self, id_hash: int, arrived: float) -> None: ...
    def __contains__(self, id_hash: object) -> bool: ...
    def __len__(self) -> int: ...
    def items(self) -> list[tuple[int, int]]:
        """(lower 56 bits of the hash, latest second of arrival of its sixteen), in order of arrival."""

    def replace(self, entries: Iterable[tuple[int, int]]) -> None:
        """These, in order of arrival and none twice, instead of all that was remembered."""

    def restore(self, chunks: Iterable[bytes | None]) -> None:
        """What the records ``numbers`` hold. Raises FormatError."""

    @property
    def latest(self) -> int: ...
    @property
    def numbers(self) -> range: ...


class Record(Protocol):
    """One user's state. Whole numbers have 64 bits, ``epoch``, ``version`` and those of texts 32."""

    user: str
    first: float
    """Event time of the earliest event; 0 before any."""
    count: int
    sequence: int
    due: float
    """When the next timer fires, 0 or later; NEVER: none does."""
    epoch: int
    scored: int
    encode_at: int
    life: int
    version: int
    """Commits of this record, modulo 2^32."""
    identified: bool
    queued: bool
    dirty: int
    texts: int
    texts_put: int
    texts_taken: int
    erased: float
    """Event time of the erasure that ended the life before; 0: none did."""
    known_at: float
    """When the next of what is not known is known; NEVER: all is."""
    labels: Sequence[PendingLabel]
    """Set as a whole, as ``aliases`` is."""
    aliases: Sequence[str]

    @property
    def time(self) -> float:
        """Latest event time or fired timer: what the state is evaluated at. See ``enter``."""

    @property
    def members(self) -> Members: ...
    @property
    def edges(self) -> Edges: ...
    @property
    def groups(self) -> Edges: ...
    @property
    def cells(self) -> Cells: ...
    @property
    def ids(self) -> Ids: ...

    def enter(self, time: float) -> None:
        """The user's time becomes ``time`` if that is later; the decayed counters go along."""

    def count_event(self, kind: str, category: str, time: float, amount: float, dwell: float) -> None:
        """Add an event at ``time``, not after the user's own, to the decayed counters: of its kind, its category,
        money, seconds. Raises ValueError for a kind that ``state.kinds`` does not have."""

    def unite_counters(self, block: bytes) -> None:
        """Add the decayed counters of another record, whose block this is; its time is not after this one's. Raises
        FormatError."""

    def slow_counters(self, now: float) -> dict[str, float]:
        """Of each of ``state.kinds.COUNTERS`` that there is what is counted, decayed over thirty days up to ``now``."""

    def features(self, out: npt.NDArray[np.float32]) -> None:
        """Fill ``out``, of shape (96,), as ``state.features.raw_features`` does."""

    def settle(self, specs: Sequence[TallySpec], absences: Iterable[Absence]) -> None:
        """The end of a visit: what is over at ``time`` is dropped, and ``known_at`` is set. ``specs``, ``absences``:
        all that definitions ask for."""

    def pack(self) -> bytes:
        """The block: see ``state.layout2``."""
