"""The recount: what ``user-events`` alone say about every user, whatever the order of the records.

Knows our own form of events (docs/events.md), not the calls of the Segment Spec.
"""

from __future__ import annotations

import sys
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from tests.verifier.rules import SCALES, Rule, Sums, Term, terms_of

FAST, SLOW = 86_400.0, 30 * 86_400.0
CATEGORIES = 64
INTEREST = {"view": 1.0, "click": 2.0, "purchase": 5.0, "comment": 3.0}
NEEDS = {
    "view": "", "click": "", "purchase": "", "delete": "", "comment": "text", "follow": "target", "unfollow": "target",
    "join": "group", "leave": "group", "identify": "target", "alias": "target",
}  # fmt: skip
NAMES = ("user", "id", "item", "category", "target", "group")
EARLIEST = 946_684_800.0
AHEAD = 600.0

Origin = tuple[str, int, int]
"""Topic, partition, offset."""


def visible(text: str) -> bool:
    """Something of it is to be seen."""
    return any(unicodedata.category(char) not in ("Cc", "Cf", "Zs", "Zl", "Zp") for char in text)


def judge(value: bytes | None, arrived: float) -> dict[str, Any] | None:
    """The event in a record, or None when docs/events.md says that it is refused. ``arrived``: seconds."""
    try:
        event = msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    texts = [event.get(name, "") for name in (*NAMES, "text", "kind")]
    if not all(isinstance(text, str) for text in texts) or any(len(text) > 512 for text in texts[: len(NAMES)]):
        return None
    kind, time = event.get("kind", ""), event.get("time")
    if (
        not visible(event.get("user", ""))
        or kind not in NEEDS
        or isinstance(time, bool)
        or not isinstance(time, (int, float))
    ):
        return None
    event["time"] = time = time / 1000.0 if time >= 1e11 else float(time)
    if not EARLIEST <= time <= arrived + AHEAD:
        return None
    if not isinstance(event.get("anonymous", False), bool):
        return None
    needed = NEEDS[kind]
    if needed and (
        not visible(str(event.get(needed, ""))) or (needed == "target" and event["target"] == event["user"])
    ):
        return None
    amounts = ((event.get("amount", 0.0), 1e9), (event.get("dwell", 0.0), 7 * 86_400.0))
    if not all(isinstance(value, (int, float)) and 0.0 <= value <= most for value, most in amounts):
        return None
    return event if len(event.get("text", "")) <= 20_000 else None


def acts_at(arrived: float, time: float) -> float:
    """When an event counts: by docs/events.md, one that is more than a second ahead waits for its time."""
    return time if time > arrived + 1.0 else arrived


class Happened(NamedTuple):
    """A counted event, as much of it as rules ask for."""

    identity: Any
    arrived: float
    """When the broker took it, or when it happened, if that was more than a second later: until then it waits."""
    time: float
    kind: str
    category: str
    amount: float
    dwell: float
    misrouted: bool

    def measured(self, term: Term) -> int:
        """What it adds to a tally of its kind."""
        return 1 if term.measure == "count" else round(getattr(self, term.measure) * SCALES[term.measure])


@dataclass
class Decayed:
    """A sum that is halved every half-life, as it stands at a common reference time, and its latest event."""

    fast: float = 0.0
    slow: float = 0.0
    latest: float = 0.0


@dataclass
class User:
    """Everything that can be counted of one user."""

    ids: set[Any] = field(default_factory=set)
    """Distinct events: the id, or the record's bytes."""
    records: int = 0
    misrouted: int = 0
    first: float = float("inf")
    last: float = 0.0
    comments: int = 0
    decayed: dict[str, Decayed] = field(default_factory=lambda: defaultdict(Decayed))
    categories: dict[int, Decayed] = field(default_factory=lambda: defaultdict(Decayed))
    buckets: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    latest: dict[tuple[str, str], float] = field(default_factory=dict)
    edges: dict[str, tuple[float, bool]] = field(default_factory=dict)
    groups: dict[str, tuple[float, bool]] = field(default_factory=dict)
    erased: float = 0.0
    """Time of the latest delete."""
    happened: list[Happened] = field(default_factory=list, compare=False)
    """In the order of each partition."""

    @property
    def gone(self) -> bool:
        """Erased, and nothing that was done is newer."""
        return self.erased > 0.0 and self.last <= self.erased

    def absorb(self, other: User) -> None:
        """What ``other`` did was done by this user."""
        self.ids |= other.ids
        self.records += other.records
        self.misrouted += other.misrouted
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.comments += other.comments
        for mine, theirs in ((self.decayed, other.decayed), (self.categories, other.categories)):
            _absorb_decayed(mine, theirs)
        for key, buckets in other.buckets.items():
            for bucket, value in buckets.items():
                self.buckets[key].add(bucket, value)
        for what, time in other.latest.items():
            self.latest[what] = max(time, self.latest.get(what, 0.0))
        for into, more in ((self.edges, other.edges), (self.groups, other.groups)):
            for target, (time, there) in more.items():
                _latest(into, target, time, there)
        self.erased = max(self.erased, other.erased)


def _absorb_decayed(into: dict[Any, Decayed], other: dict[Any, Decayed]) -> None:
    for key, sums in other.items():
        mine = into[key]
        mine.fast, mine.slow, mine.latest = mine.fast + sums.fast, mine.slow + sums.slow, max(mine.latest, sums.latest)


class Recount:
    """Add every record of ``user-events``, in any order."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.users: dict[str, User] = defaultdict(User)
        self.refused: set[Origin] = set()
        self.loose: set[str] = set()
        """Users of whom something else than their own events decides: erased, or merged with others."""
        self.records = 0
        self._merged: dict[str, tuple[float, str]] = {}
        self._terms: dict[str, list[tuple[str, Term]]] = defaultdict(list)
        for key, term in terms_of(rules).items():
            self._terms[term.kind].append((key, term))
        self._reference: float | None = None

    @property
    def reference(self) -> float:
        """What decayed sums are aligned to (seconds since the epoch)."""
        return self._reference or 0.0

    def add(self, value: bytes | None, arrived: float, origin: Origin, partitions: int) -> None:
        """One record, with the time of its arrival in seconds and where it lies."""
        self.records += 1
        event = judge(value, arrived)
        if event is None:
            self.refused.add(origin)
            return
        user = self.users[event["user"]]
        user.records += 1
        if home_of(event["user"], partitions) != origin[1]:
            user.misrouted += 1
        identity = event.get("id") or value
        if identity in user.ids:
            return
        user.ids.add(identity)
        if self._reference is None:
            self._reference = event["time"]
        happened = Happened(
            identity, acts_at(arrived, event["time"]), event["time"], sys.intern(event["kind"]),
            sys.intern(event.get("category", "")), event.get("amount", 0.0), event.get("dwell", 0.0),
            home_of(event["user"], partitions) != origin[1],
        )  # fmt: skip
        user.happened.append(happened)
        self._count(user, event, happened)

    def _count(self, user: User, event: dict[str, Any], happened: Happened) -> None:
        _, _, time, kind, category, amount, dwell, _ = happened
        user.first, user.last = min(user.first, time), max(user.last, time)
        self._decay(user.decayed[kind], time, 1.0)
        for what in ((kind, ""), (kind, category)):
            user.latest[what] = max(time, user.latest.get(what, 0.0))
        if amount:
            self._decay(user.decayed["$spend"], time, amount)
        if dwell:
            self._decay(user.decayed["$dwell"], time, dwell)
        if category and kind in INTEREST:
            self._decay(user.categories[zlib.crc32(category.encode()) % CATEGORIES], time, INTEREST[kind])
        for key, term in self._terms[kind]:
            if term.category in ("", category):
                user.buckets[key].add(int(time // term.width), happened.measured(term))
        if kind == "comment":
            user.comments += 1
        elif kind in ("follow", "unfollow"):
            _latest(user.edges, event["target"], time, kind == "follow")
        elif kind in ("join", "leave"):
            _latest(user.groups, event["group"], time, kind == "join")
        elif kind in ("identify", "alias"):
            identity = (time, event["user"])
            self._merged[event["target"]] = max(self._merged.get(event["target"], identity), identity)
            self.loose |= {event["target"], event["user"]}
        elif kind == "delete":
            user.erased = max(user.erased, time)
            self.loose.add(event["user"])

    def merge(self) -> None:
        """Once all is added: an anonymous id is who identified as it last; in a circle, who comes before it again."""
        for name in self._merged:
            owner, passed = name, {name}
            while owner in self._merged and self._merged[owner][1] not in passed:
                _, owner = self._merged[owner]
                passed.add(owner)
            if name in self.users and owner != name:
                self.users[owner].absorb(self.users.pop(name))

    def _decay(self, into: Decayed, time: float, weight: float) -> None:
        ahead = time - self.reference
        into.fast += weight * 2.0 ** (ahead / FAST)
        into.slow += weight * 2.0 ** (ahead / SLOW)
        into.latest = max(into.latest, time)


def _latest(known: dict[str, tuple[float, bool]], target: str, time: float, present: bool) -> None:
    """The latest word counts; of two at the same time the removal."""
    before = known.get(target)
    if before is None or time > before[0] or (time == before[0] and not present):
        known[target] = (time, present)


def present(edges: dict[str, tuple[float, bool]], most: int, gone: Container[str] = ()) -> tuple[set[str], set[str]]:
    """(targets that must be there, targets that may be there), without those who are ``gone``.

    Only the newest ``most`` are kept. Who was displaced by one that was unfollowed or erased later does not come back,
    so beyond the newest ``most`` of all that ever were it depends on the order of arrival.
    """
    may = {target for target, (_, there) in edges.items() if there and target not in gone}
    newest = sorted((-time, target) for target, (time, _) in edges.items())[:most]
    return may.intersection(target for _, target in newest), may


def home_of(user: str, partitions: int) -> int:
    """The partition that Kafka's own default partitioner gives a key: murmur2."""
    data = user.encode()
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    for at in range(0, len(data) - 3, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if len(data) % 4:
        h = (h ^ int.from_bytes(data[len(data) & ~3 :], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def recount(
    records: Iterable[Any], partitions: int, rules: Sequence[Rule], former: Sequence[tuple[int, float]] = ()
) -> Recount:
    """Count all messages of ``user-events``."""
    counted = Recount(rules)
    for message in records:
        origin = (message.topic(), message.partition(), message.offset())
        arrived = message.timestamp()[1] / 1000.0
        then = next((number for number, until in former if arrived <= until), partitions)
        counted.add(message.value(), arrived, origin, then)
    counted.merge()
    return counted
