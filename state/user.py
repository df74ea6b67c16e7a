"""What is known of one user, and how an event is folded into it. Pure: time comes with the event."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

import msgspec

from state import absence, decay, edges, windows
from state.absence import Watch
from state.seen import Seen
from state.views import Cells, Edges, Members
from state.windows import SCALES, Tally, TallyPlan

CATEGORY_BUCKETS: Final = 64
#: groups kept for a user, newest first, and as many that were left
MOST_GROUPS: Final = 256
#: how much an event of a kind says about the taste for its category
INTEREST: Final = {"view": 1.0, "click": 2.0, "purchase": 5.0, "comment": 3.0}
#: kinds that only add to counts
PLAIN_KINDS: Final = frozenset({"view", "click", "purchase"})
SPEND: Final = "$spend"
DWELL: Final = "$dwell"

# what a fold did, as bits
DUPLICATE: Final = 1
LATE: Final = 2
TEXT: Final = 4
EDGES: Final = 8
REMOVED: Final = 16
SAME: Final = 32
"""Another id is the same person's: the event's target."""


class Action(Protocol):
    """What the fold reads of an event."""

    @property
    def kind(self) -> str: ...
    @property
    def time(self) -> float: ...
    @property
    def category(self) -> str: ...
    @property
    def item(self) -> str: ...
    @property
    def amount(self) -> float: ...
    @property
    def dwell(self) -> float: ...
    @property
    def target(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def anonymous(self) -> bool: ...


class PendingText(msgspec.Struct, array_like=True, gc=False):
    """A text that waits for its vector, in a record of its own, so that it survives a crash."""

    id: str
    time: float
    text: str
    arrived: float = 0.0
    """When the broker took the record, in seconds."""


class PendingLabel(msgspec.Struct, array_like=True, gc=False):
    """Feedback that waits until the user has a vector."""

    segment: str
    member: bool
    weight: float


class Membership(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The user is in a segment since a time, with the score and the definition's version of then."""

    since: float
    score: float
    version: int
    sequence: int
    leaving: float | None = None
    """The score that would have ended it, were the minimum stay over."""


class UserState(msgspec.Struct, array_like=True, gc=False):
    """One user's record. New fields go to the end and have defaults (msgpack arrays grow).

    Dicts are known to ``state`` alone; for all others there are views of them, good for as long as the turn.
    """

    time: float = 0.0
    """Latest event time or fired timer: what the state is evaluated at."""
    first: float = 0.0
    count: int = 0
    """Events counted (duplicates not)."""
    sequence: int = 0
    """Of the last membership change."""
    _decayed: dict[str, list[float]] = {}
    _categories: dict[int, list[float]] = {}
    _tallies: dict[str, Tally] = {}
    ids: Seen = msgspec.field(default_factory=Seen)
    """The ids of events that were counted; all but the newest lie in records of their own."""
    _edges: dict[str, float] = {}
    _groups: dict[str, float] = {}
    pending: Sequence[PendingText] = []
    """Only read: texts that an earlier release kept here. The turn that reads them puts them into own records."""
    labels: Sequence[PendingLabel] = []
    """Set as a whole, as the other sequences are."""
    texts: int = 0
    _members: dict[str, Membership] = {}
    due: float = windows.NEVER
    """When the next timer of this user fires."""
    plan: int = 0
    """The partition's epoch of definitions that the memberships were last checked at; ``layout.Meta.epoch``. Of an
    earlier release: their fingerprint."""
    encode_at: int = 1
    """Re-encode when ``count`` gets here."""
    dirty: int = 0
    """``count`` when a text or an edge last asked for re-encoding."""
    queued: bool = False
    """The user stands in the encode queue."""
    scored: int = 0
    """Epoch of the heads that last scored this user."""
    life: int = 0
    """The partition's number of this record: who comes back after an erasure or is merged has another."""
    erased: float = 0.0
    """Event time of the erasure that ended the life before this one; what is not newer belongs to that."""
    _last: dict[str, float] = {}
    """When the user last did what rules about absence watch; see ``state.absence``."""
    texts_put: int = 0
    """Texts that ever got a record of their own: the number of the next one."""
    texts_taken: int = 0
    """Those of them that are encoded or dropped: the number of the oldest record that is there."""
    aliases: Sequence[str] = []
    """Ids that were merged into this user, in that order."""
    _unknown: dict[str, float] = {}
    """Key of a tally → event time up to which it was not counted; see ``state.unknown``."""
    known_at: float = windows.NEVER
    """When the next of what is not known is known; NEVER when all is."""
    identified: bool = True
    """An event named the user by an id that no device made up; of records of earlier releases it is not known."""

    @property
    def members(self) -> Members:
        return Members(self._members)

    @property
    def edges(self) -> Edges:
        """Whom the user follows, and followed."""
        return Edges(self._edges)

    @property
    def groups(self) -> Edges:
        """The groups that the user is in, and was in."""
        return Edges(self._groups)

    @property
    def cells(self) -> Cells:
        """What the terms of rules keep."""
        return Cells(self._tallies, self._last, self._unknown)

    @property
    def texts_waiting(self) -> int:
        return self.texts_put - self.texts_taken + len(self.pending)

    def enter(self, time: float) -> None:
        """The user's time becomes ``time`` if that is later."""
        self.time = max(self.time, time)

    def count_event(self, kind: str, category: str, time: float, amount: float, dwell: float) -> None:
        """Add an event at ``time`` to the decayed counters: of its kind, its category, money and seconds."""
        decay.add_pair(self._decayed, kind, time, 1.0)
        if category:
            interest = INTEREST.get(kind)
            if interest is not None:
                decay.add_slow(self._categories, category_bucket(category), time, interest)
        if amount:
            decay.add_pair(self._decayed, SPEND, time, amount)
        if dwell:
            decay.add_pair(self._decayed, DWELL, time, dwell)

    def slow_counters(self, now: float) -> dict[str, float]:
        """Of each kind, ``SPEND`` and ``DWELL`` what is counted, decayed over thirty days up to ``now``."""
        return {key: decay.value_at(slow, since, now, decay.SLOW) for key, (since, _, slow) in self._decayed.items()}


def new_state(epoch: int, life: int = 0, watch: Watch | None = None) -> UserState:
    """Somebody never seen: all is known, of what ``watch`` watches as well. Mutable defaults given here once are faster
    than per-field factories."""
    last = {} if watch is None else watch.begin()
    return UserState(
        _decayed={}, _categories={}, _tallies={}, ids=Seen(), _edges={}, _groups={}, pending=[], labels=[], _members={},
        plan=epoch, life=life, _last=last, _unknown={}, identified=False,
    )  # fmt: skip


@lru_cache(maxsize=65_536)
def category_bucket(category: str) -> int:
    """The hashed place of a category, 0 … CATEGORY_BUCKETS - 1."""
    return zlib.crc32(category.encode()) % CATEGORY_BUCKETS


def fold(
    state: UserState,
    action: Action,
    id_hash: int,
    plan: TallyPlan,
    arrived: float = 0.0,
    watch: Watch | None = None,
    fresh: bool = False,
) -> int:
    """Fold one event into ``state``; returns the bits DUPLICATE, LATE, TEXT, EDGES, REMOVED, SAME.

    All counts are commutative. A duplicate (same id hash within 24 h of arrival or the last 1,000 events) changes
    nothing. EDGES: the neighbourhood changed; REMOVED: an unfollow is remembered that changed nothing. ``arrived`` is
    when the broker took the record, in seconds. The caller keeps the text (TEXT). ``fresh``: it is known to be no
    duplicate.
    """
    seen = state.ids
    if id_hash in seen and not fresh:
        return DUPLICATE
    seen.add(id_hash, arrived)
    if not action.anonymous:
        state.identified = True
    time = action.time
    did = 0
    now = state.time
    if time >= now:
        state.time = now = time
    else:
        did = LATE
    count = state.count
    if count == 0 or time < state.first:
        state.first = time
    state.count = count + 1
    kind = action.kind
    category = action.category
    state.count_event(kind, category, time, action.amount, action.dwell)
    for spec in plan.touched(kind, category):
        measure = spec.measure
        value = 1 if measure == "count" else round(getattr(action, measure) * SCALES[measure])
        windows.add(state._tallies, spec, time, value, now)
    if watch is not None:
        absence.note(state._last, watch.touched(kind, category), time)
    if kind in PLAIN_KINDS:
        return did
    if kind == "comment":
        state.texts += 1
        return did | TEXT
    if kind in ("follow", "unfollow"):
        if edges.set_edge(state._edges, action.target, time, kind == "follow"):
            return did | EDGES
        if kind == "unfollow":
            return did | REMOVED
    elif kind in ("join", "leave"):
        groups = state.groups
        groups.set(action.group, time, kind == "join")
        groups.bound(MOST_GROUPS)
        groups.bound_removed(MOST_GROUPS)
    elif kind in ("identify", "alias"):
        return did | SAME
    return did
