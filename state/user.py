"""What is known of one user, and how an event is folded into it. Pure: time comes with the event."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from state.absence import Watch
from state.windows import SCALES, TallyPlan

if TYPE_CHECKING:
    from state.record import Record

CATEGORY_BUCKETS: Final = 64
#: groups kept for a user, newest first, and as many that were left
MOST_GROUPS: Final = 256
#: labels of a user that wait for a vector: the newest
MOST_LABELS: Final = 1_024
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


def texts_waiting(state: Record) -> int:
    """How many texts of the user are not encoded yet."""
    return state.texts_put - state.texts_taken


@lru_cache(maxsize=65_536)
def category_bucket(category: str) -> int:
    """The hashed place of a category, 0 … CATEGORY_BUCKETS - 1."""
    return zlib.crc32(category.encode()) % CATEGORY_BUCKETS


def fold(
    state: Record,
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
    if time >= state.time:
        state.enter(time)
    else:
        did = LATE
    now = state.time
    count = state.count
    if count == 0 or time < state.first:
        state.first = time
    state.count = count + 1
    kind = action.kind
    category = action.category
    state.count_event(kind, category, time, action.amount, action.dwell)
    cells = state.cells
    for spec in plan.touched(kind, category):
        measure = spec.measure
        value = 1 if measure == "count" else round(getattr(action, measure) * SCALES[measure])
        cells.add(spec, time, value, now)
    if watch is not None:
        for sort in watch.touched(kind, category):
            cells.note(sort, time)
    if kind in PLAIN_KINDS:
        return did
    if kind == "comment":
        state.texts += 1
        return did | TEXT
    if kind in ("follow", "unfollow"):
        if state.edges.set(action.target, time, kind == "follow"):
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
