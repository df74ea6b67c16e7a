"""One turn of a partition: what a batch of work reads and what it wants done. No Kafka, no clock, no randomness.

A turn collects effects; the partition's writer performs them in one transaction and one local batch. Until then
nothing is visible to anyone, and when that fails the turn is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from state import layout
from state.user import UserState, forget_old_ids
from state.vectors import Neighbour, Vectors
from state.windows import NEVER
from streams.steps.models import Models
from streams.steps.segments import Plan
from streams.wire.decode import Limits
from streams.wire.emit import Change, Headers, MembershipNow, UserSegments
from streams.wire.refused import RefusedError
from streams.wire.topics import Topics


class Record(Protocol):
    """A consumed record, as aiokafka's ConsumerRecord and the audit's reader have it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]]: ...


class Hop(msgspec.Struct, array_like=True, frozen=True):
    """A forwarding record that something followed on its way."""

    user: str
    into: str
    time: float


@dataclass(frozen=True)
class Rerouted:
    """A record that came by the reroute topic, as it was where it first arrived."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    user: str = ""
    """Whose it counts as, where its own user was merged into another; else empty."""
    path: list[Hop] = field(default_factory=list)


class Reader(Protocol):
    """What a turn reads of the partition's store."""

    def get(self, key: bytes) -> bytes | None: ...
    def get_many(self, keys: list[bytes]) -> list[bytes | None]: ...
    def keys(self, prefix: bytes, start: bytes | None = None) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Place:
    """Where the turn happens and by which settings; the same for all turns of a partition."""

    topics: Topics
    partition: int
    partitions: int
    limits: Limits
    wall_clock: bool
    followees: int
    graph_epsilon: float
    drift_events: int


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record for another topic; ``partition`` None: by key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = []


@dataclass(frozen=True)
class Reject:
    """A refused record and why."""

    topic: str
    partition: int
    record: Record
    error: RefusedError


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """A change, the lane that found it, and when the record that led to it arrived (seconds; 0: no record)."""

    change: Change
    lane: str
    arrived: float


@dataclass
class Effects:
    """What a turn wants done."""

    puts: dict[bytes, bytes | None] = field(default_factory=dict)
    changes: list[Emitted] = field(default_factory=list)
    snapshots: list[UserSegments] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    fired: list[bytes] = field(default_factory=list)
    """Timer keys to remove."""
    earliest: float = NEVER
    """The earliest timer among the users of this turn."""
    offers: list[str] = field(default_factory=list)
    """Users to put into the encode queue."""
    refreshes: list[str] = field(default_factory=list)
    """Followed users whose local followers are to be refreshed."""
    duplicates: int = 0
    late: int = 0
    misrouted: int = 0
    """Records whose producer partitions by something else than murmur2."""
    merged: int = 0
    """Ids that were merged into another user."""
    graph_received: int = 0
    labels_unused: int = 0
    """Labels of users of whom nothing is known."""
    drifts: list[str] = field(default_factory=list)
    """Groups whose head started anew, because the world changed."""


class Turn:
    """Reads through caches, remembers what it touched, and ends in ``Effects``."""

    def __init__(
        self, reader: Reader, cache: dict[str, UserState], plan: Plan, models: Models, place: Place, meta: layout.Meta
    ) -> None:
        """``meta`` is this turn's own copy of the partition's counts and is changed by it."""
        self.reader = reader
        self.plan = plan
        self.models = models
        self.place = place
        self.meta = meta
        self.effects = Effects()
        self._cache = cache
        self._users: dict[str, UserState] = {}
        self._vectors: dict[str, Vectors] = {}
        self._neighbours: dict[str, Neighbour] = {}
        self._aliases: dict[str, layout.Alias | None] = {}
        self._renewed: set[str] = set()
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self.processed_at = 0.0

    # reading

    def load(self, users: Iterable[str]) -> None:
        """Read these users at once, before ``user`` is called for them."""
        cache, mine = self._cache, self._users
        missing = []
        for user in users:
            if user in mine or user in self._gone:
                continue  # what the store still has of somebody erased in this turn is no longer true
            state = cache.get(user)
            if state is None:
                missing.append(user)
            else:
                mine[user] = state
        if missing:
            values = self.reader.get_many([layout.user_key(user) for user in missing])
            for user, value in zip(missing, values, strict=True):
                if value is not None:
                    mine[user] = layout.decode_user(value)

    def known(self, user: str) -> UserState | None:
        """The user's state, or None for somebody never seen."""
        state = self._users.get(user)
        if state is None:
            self.load((user,))
            state = self._users.get(user)
        return state

    def user(self, user: str) -> UserState:
        """The user's state, to be changed; a new one for somebody never seen."""
        state = self.known(user)
        if state is None:
            self.meta.lives += 1
            state = new_state(self.plan.fingerprint, self.meta.lives)
            self._users[user] = state
            self.meta.users += 1
        return state

    def load_vectors(self, users: Iterable[str]) -> None:
        missing = [user for user in users if user not in self._vectors]
        for user, value in zip(
            missing, self.reader.get_many([layout.vectors_key(user) for user in missing]), strict=True
        ):
            self._vectors[user] = layout.decode_vectors(value) if value else Vectors()

    def vectors(self, user: str) -> Vectors:
        if user not in self._vectors:
            self.load_vectors((user,))
        return self._vectors[user]

    def neighbour(self, followee: str) -> Neighbour:
        found = self._neighbours.get(followee)
        if found is None:
            value = self.reader.get(layout.neighbour_key(followee))
            found = layout.decode_neighbour(value) if value else Neighbour()
            self._neighbours[followee] = found
        return found

    def load_aliases(self, users: Iterable[str]) -> None:
        """Read the forwarding records of these users at once, if the partition has any."""
        missing = [user for user in users if user not in self._aliases] if self.meta.aliases else []
        values = self.reader.get_many([layout.alias_key(user) for user in missing])
        for user, value in zip(missing, values, strict=True):
            self._aliases[user] = layout.decode_alias(value) if value else None

    def alias(self, user: str) -> layout.Alias | None:
        """Whose this id is now; None for an id that was not merged into another."""
        if user not in self._aliases:
            self.load_aliases((user,))
        return self._aliases.get(user)

    # writing

    def set_alias(self, user: str, alias: layout.Alias | None) -> None:
        self.meta.aliases += (alias is not None) - (self.alias(user) is not None)
        self._aliases[user] = alias
        self.renew_alias(user)

    def renew_alias(self, user: str) -> None:
        """The forwarding record of ``user`` was changed."""
        self._renewed.add(user)

    def put(self, key: bytes, value: bytes | None) -> None:
        self.effects.puts[key] = value

    def put_vectors(self, user: str) -> None:
        self.put(layout.vectors_key(user), layout.encode_vectors(self._vectors[user]))

    def put_neighbour(self, followee: str) -> None:
        neighbour = self._neighbours[followee]
        gone = neighbour.followers <= 0
        self.put(layout.neighbour_key(followee), None if gone else layout.encode_neighbour(neighbour))

    def emit(self, change: Change, lane: str, arrived: float) -> None:
        self.effects.changes.append(Emitted(change, lane, arrived))
        self._changed.add(change.user)
        members = self.meta.members
        delta = 1 if change.change == "entered" else -1
        members[change.segment] = members.get(change.segment, 0) + delta
        self.meta.changes += 1

    def want_encoding(self, user: str, state: UserState) -> None:
        """Put the user into the encode queue; the queue record makes that survive a crash."""
        if not state.queued:
            state.queued = True
            self.put(layout.queue_key(user), b"")
        self.effects.offers.append(user)

    def forget(self, user: str) -> None:
        """Drop everything that the partition holds under the user's own keys."""
        self._users.pop(user, None)
        self._cache.pop(user, None)
        self._gone.add(user)
        self._vectors[user] = Vectors()
        self._changed.discard(user)
        for key in (layout.user_key(user), layout.vectors_key(user), layout.queue_key(user)):
            self.put(key, None)
        self.effects.erased.append(user)
        self.meta.users -= 1

    def reject(self, topic: str, record: Record, error: RefusedError) -> None:
        partition = self.place.partition
        if isinstance(record, Rerouted):
            topic, partition = record.topic, record.partition
        self.effects.rejects.append(Reject(topic, partition, record, error))

    def finish(self, positions: dict[str, int]) -> Effects:
        """Encode what was touched; ``positions`` are the next offsets by topic. The position record comes last."""
        effects = self.effects
        encode, key_of = layout.encode_user, layout.user_key
        puts = effects.puts
        earliest = NEVER
        for user, state in self._users.items():
            forget_old_ids(state)
            puts[key_of(user)] = encode(state)
            earliest = min(earliest, state.due)
        effects.earliest = earliest
        for user in sorted(self._renewed):
            if (alias := self._aliases[user]) is not None:
                forget_old_ids(alias)
            puts[layout.alias_key(user)] = layout.encode_alias(alias) if alias else None
        for user in self._changed:
            effects.snapshots.append(snapshot(user, self._users[user]))
        self.meta.positions.update(positions)
        puts[layout.POSITION_KEY] = layout.encode_meta(self.meta)
        return effects

    @property
    def touched(self) -> dict[str, UserState]:
        """States of this turn, for the partition's cache once the turn is committed."""
        return self._users


def new_state(fingerprint: int, life: int = 0) -> UserState:
    """Somebody never seen. Mutable defaults are given here once, which is faster than per-field factories."""
    return UserState(
        decayed={}, categories={}, tallies={}, seen={}, edges={}, groups={}, pending=[], labels=[], members={},
        plan=fingerprint, life=life,
    )  # fmt: skip


def snapshot(user: str, state: UserState) -> UserSegments:
    """The user's memberships, as ``user-segments`` has them."""
    return UserSegments(
        user=user,
        segments={
            segment: MembershipNow(since=member.since, score=member.score, version=member.version)
            for segment, member in sorted(state.members.items())
        },
        sequence=state.sequence,
        as_of=state.time,
    )
