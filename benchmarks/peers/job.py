"""The job of the peers, in plain Python with msgspec and nothing of ours: one event into one user's state.

Per user: the last 1,000 event ids, first and last time, decayed counters per kind and per category bucket, six tallies
in bucketed windows, the five segments of ``segments.toml`` decided anew, and a JSON record for each change. A test
holds it equal to the service's own fold. Peers do not decide again while a user does nothing; the service does.

The counters are forward-decayed: an event adds ``2 ** ((time - zero) / half-life)``, so that one pair of powers serves
all counters of an event and late events need no case of their own. Source: Cormode, Shkapenyuk, Srivastava, Xu,
"Forward Decay", ICDE 2009, section III.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import lru_cache
from math import exp2, inf
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import xxhash

DAY: Final = 86_400.0
#: half-lives of the fast and the slow counters, seconds
FAST, SLOW = DAY, 30 * DAY
#: after so many seconds the landmark is moved: 2 ** 400 is far from overflow
_REBASE: Final = 400 * DAY
_CATEGORY_BUCKETS: Final = 64
_IDS: Final = 1_000
_SLACK: Final = 256
_INTEREST: Final = {"view": 1.0, "click": 2.0, "purchase": 5.0, "comment": 3.0}
_MICRO: Final = 1_000_000

#: the tallies, and their bucket widths and windows in seconds
VIEWS, SPENT, CLICKS, PURCHASES, FAN_CLICKS, CLICKS_NOW = range(6)
_WIDTHS: Final = (21_600, 86_400, 21_600, 21_600, 21_600, 15)
_WINDOWS: Final = (604_800, 2_592_000, 604_800, 604_800, 604_800, 600)


class Event(msgspec.Struct, gc=False):
    """The compact JSON form of an event, as far as the job reads it."""

    user: str
    kind: str
    time: float
    id: str
    category: str = ""
    amount: float = 0.0
    dwell: float = 0.0


class User(msgspec.Struct, array_like=True):
    """The state of one user."""

    first: float = 0.0
    last: float = 0.0
    zero: float = 0.0
    """The landmark that the decayed counters refer to."""
    count: int = 0
    sequence: int = 0
    due: float = inf
    """When the next bucket leaves its window."""
    kinds: dict[str, list[float]] = {}
    """Kind, ``$spend`` or ``$dwell`` → fast and slow counter."""
    categories: dict[int, float] = {}
    totals: list[int] = msgspec.field(default_factory=lambda: [0] * 6)
    buckets: list[dict[int, int]] = msgspec.field(default_factory=lambda: [{}, {}, {}, {}, {}, {}])
    members: dict[str, float] = {}
    """Segment → since when."""
    seen: bytes = b""
    """Hashes of the last event ids, eight bytes each, for engines that read and write the state at each event."""


class Change(msgspec.Struct, gc=False):
    """What goes out when a membership begins or ends."""

    user: str
    segment: str
    change: str
    sequence: int
    event: str
    event_time: float
    values: dict[str, float]


class Segment(NamedTuple):
    """A rule over the totals, and what it read, for the change record."""

    name: str
    holds: Callable[[list[int]], bool]
    values: Callable[[list[int]], dict[str, float]]


_REGULARS = Segment("regulars", lambda t: t[VIEWS] >= 10, lambda t: {"views_7d": t[VIEWS]})
_BIG_SPENDERS = Segment("big-spenders", lambda t: t[SPENT] >= 200 * _MICRO, lambda t: {"spent_30d": t[SPENT] / _MICRO})
_WINDOW_SHOPPERS = Segment(
    "window-shoppers",
    lambda t: t[CLICKS] >= 12 and not t[PURCHASES],
    lambda t: {"clicks_7d": t[CLICKS], "purchases_7d": t[PURCHASES]},
)
_FANS = Segment("fans", lambda t: t[FAN_CLICKS] >= 3, lambda t: {"clicks_c7_7d": t[FAN_CLICKS]})
_BUSY = Segment("busy-now", lambda t: t[CLICKS_NOW] >= 20, lambda t: {"clicks_10m": t[CLICKS_NOW]})
_ALL: Final = (_REGULARS, _BIG_SPENDERS, _WINDOW_SHOPPERS, _FANS, _BUSY)
#: what an event of a kind can change
_OF_VIEW: Final = (_REGULARS,)
_OF_PURCHASE: Final = (_BIG_SPENDERS, _WINDOW_SHOPPERS)
_OF_CLICK: Final = (_WINDOW_SHOPPERS, _BUSY)
_OF_FAN_CLICK: Final = (_WINDOW_SHOPPERS, _FANS, _BUSY)

decode_event = msgspec.json.Decoder(Event).decode
encode_user = msgspec.msgpack.Encoder().encode
decode_user = msgspec.msgpack.Decoder(User).decode
_encode_change = msgspec.json.Encoder().encode


def calm_collector() -> None:
    """The garbage collector as the service sets it: states live long and make no cycles, looking at them all again and
    again took a third of bytewax's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 10, 100)


@lru_cache(maxsize=65_536)
def _category_bucket(category: str) -> int:
    return crc32(category.encode()) % _CATEGORY_BUCKETS


def seen_packed(user: User, event_id: str) -> bool:
    """Whether the id is among the last ones; remembers it. For a state that is decoded and encoded at each event:
    bytes are copied where a list of a thousand ids would be built anew.
    """
    mark, seen = xxhash.xxh3_64_digest(event_id.encode()), user.seen
    at = seen.find(mark)
    while at > 0 and at % 8:
        at = seen.find(mark, at + 1)
    if at >= 0:
        return True
    user.seen = (seen + mark)[-8 * _IDS :]
    return False


def seen_in(ids: dict[str, None], event_id: str) -> bool:
    """The same for an engine that keeps objects in memory; ``ids`` is in order of arrival."""
    if event_id in ids:
        return True
    ids[event_id] = None
    if len(ids) > _IDS + _SLACK:
        for old in list(ids)[:_SLACK]:  # many at once: a dict is slow to find its first key after single deletions
            del ids[old]
    return False


def fold(user: User, event: Event) -> list[bytes]:
    """Fold an event that was not seen before; returns the change records."""
    time, kind, category = event.time, event.kind, event.category
    if not user.count:
        user.first = user.last = user.zero = time
    elif time > user.last:
        user.last = time
    elif time < user.first:
        user.first = time
    user.count += 1
    ahead = time - user.zero
    if ahead > _REBASE:
        _rebase(user, time)
        ahead = 0.0
    fast, slow = exp2(ahead / FAST), exp2(ahead / SLOW)
    kinds = user.kinds
    _count(kinds, kind, fast, slow)
    if amount := event.amount:
        _count(kinds, "$spend", amount * fast, amount * slow)
    if dwell := event.dwell:
        _count(kinds, "$dwell", dwell * fast, dwell * slow)
    if category and kind in _INTEREST:
        bucket, categories = _category_bucket(category), user.categories
        categories[bucket] = categories.get(bucket, 0.0) + _INTEREST[kind] * slow
    touched: tuple[Segment, ...] = ()
    if kind == "view":
        _tally(user, VIEWS, time, 1)
        touched = _OF_VIEW
    elif kind == "click":
        _tally(user, CLICKS, time, 1)
        _tally(user, CLICKS_NOW, time, 1)
        touched = _OF_CLICK
        if category == "c7":
            _tally(user, FAN_CLICKS, time, 1)
            touched = _OF_FAN_CLICK
    elif kind == "purchase":
        _tally(user, SPENT, time, round(amount * _MICRO))
        _tally(user, PURCHASES, time, 1)
        touched = _OF_PURCHASE
    if user.due <= user.last:
        _expire(user)
        touched = _ALL
    changes = []
    totals, members = user.totals, user.members
    for segment in touched:
        name = segment.name
        if segment.holds(totals) == (name in members):
            continue
        if name in members:
            del members[name]
            change = "exited"
        else:
            members[name] = user.last
            change = "entered"
        user.sequence += 1
        record = Change(event.user, name, change, user.sequence, event.id, time, segment.values(totals))
        changes.append(_encode_change(record))
    return changes


def _count(counters: dict[str, list[float]], key: str, fast: float, slow: float) -> None:
    counter = counters.get(key)
    if counter is None:
        counters[key] = [fast, slow]
    else:
        counter[0] += fast
        counter[1] += slow


def _tally(user: User, tally: int, time: float, amount: int) -> None:
    """Count into the window's bucket, unless it has run out of the window."""
    bucket = int(time // _WIDTHS[tally])
    held = user.buckets[tally]
    if bucket in held:
        held[bucket] += amount
    else:
        ends = (bucket + 1) * _WIDTHS[tally] + _WINDOWS[tally]
        if ends <= user.last:
            return
        held[bucket] = amount
        user.due = min(user.due, ends)
    user.totals[tally] += amount


def _expire(user: User) -> None:
    """Drop the buckets that have run out."""
    now, due = user.last, inf
    for tally, held in enumerate(user.buckets):
        after = _WIDTHS[tally] + _WINDOWS[tally]
        for bucket in list(held):
            ends = bucket * _WIDTHS[tally] + after
            if ends <= now:
                user.totals[tally] -= held.pop(bucket)
            elif ends < due:
                due = ends
    user.due = due


def _rebase(user: User, time: float) -> None:
    """Let the counters refer to ``time``."""
    back = user.zero - time
    fast, slow = exp2(back / FAST), exp2(back / SLOW)
    for counter in user.kinds.values():
        counter[0] *= fast
        counter[1] *= slow
    for bucket in user.categories:
        user.categories[bucket] *= slow
    user.zero = time
