"""Moving to more partitions: who and what belongs where, as records to put and to delete. Pure.

The steps are taken in order, and each one's puts are there before the next one begins. Whatever was done of them before
a crash, they lead to the same records when they are taken again: what is at home already is left as it is, what
is derived is made from what is at home, and nothing is deleted before all of its copies are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, Protocol

import msgspec

from state import layout
from state.aliases import alias_numbers
from state.families import FAMILIES, LOCAL, META
from state.tables import ids_numbers, open_stored
from state.vectors import Neighbour, Vectors
from streams.steps.frames import Frames
from streams.steps.graph import mark_sent
from streams.steps.partitioner import partition_of

#: local notes: which partitions follow whom (the key's first byte is one that the changelog does not have)
NOTE = b"sf"
_PLACE_BYTES = 4


class MovingError(RuntimeError):
    """The records are not such as can be moved; the message says why."""


class Shelf(Protocol):
    """The records of one partition."""

    def get(self, key: bytes) -> bytes | None: ...
    def items(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]: ...


class Put(NamedTuple):
    """``value`` None deletes. Keys of ``LOCAL`` families are for the shelf alone."""

    partition: int
    key: bytes
    value: bytes | None


Puts = Iterator[Put]


@dataclass
class Census:
    """What the users at home in a partition add up to."""

    users: int = 0
    members: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    time: float = 0.0


class Move:
    """From ``before`` to ``after`` partitions. ``shelves`` has all ``after`` of them, ``metas`` the position records of
    the old ones."""

    def __init__(self, shelves: Sequence[Shelf], metas: Sequence[layout.Meta], after: int) -> None:
        self._shelves = shelves
        self._metas = metas
        self._before = len(metas)
        self._after = after
        self._frames = Frames(metas, after)
        self._census = [Census() for _ in range(after)]
        self._let_go: set[bytes] = set()
        """Records of ids that go with what their users were read from."""
        self.users = 0
        """Users who live in another partition than before, once they are counted."""

    @property
    def steps(self) -> list[tuple[str, Callable[[], Puts]]]:
        """Name and puts of each, in their order."""
        return [
            ("records", self._records),
            ("guards", self._guards),
            ("followers", self._followers),
            ("neighbours", self._neighbours),
            ("subscribers", self._subscribers),
            ("leftovers", self._leftovers),
        ]

    def check(self, begun: bool) -> None:
        """Every user is where ``before`` partitions put them (or, once ``begun``, at the new home), and there is no
        family of records that this version does not know. Raises MovingError."""
        for number, shelf in enumerate(self._shelves):
            for first in range(256):
                family = bytes([first])
                if family not in FAMILIES and family not in LOCAL and next(shelf.items(family), None) is not None:
                    raise MovingError(
                        f"partition {number} has records of a kind ({family!r}) that this version does not know: "
                        "use the version that the workers have"
                    )
            for key, _ in shelf.items(b"u"):
                user = FAMILIES[b"u"].owner(key)
                if number != partition_of(user, self._before) and not (begun and number == self._home(user)):
                    raise MovingError(
                        f"partition {number} has the state of a user who is at home in partition "
                        f"{partition_of(user, self._before)} of {self._before}: workers have run with another number "
                        "of partitions, and which state is right cannot be told; replay into fresh topics"
                    )

    def _home(self, name: str) -> int:
        return partition_of(name, self._after)

    def _changed(self, put: Put) -> Puts:
        if self._shelves[put.partition].get(put.key) != put.value:
            yield put

    # the steps

    def _records(self) -> Puts:
        """Everything that a user or a head group owns goes to the new home."""
        for number, shelf in enumerate(self._shelves):
            for family, rule in FAMILIES.items():
                if rule.where not in ("user", "group"):
                    continue
                for key, value in shelf.items(family):
                    home = self._home(rule.owner(key))
                    if home == number:
                        continue
                    if self._shelves[home].get(key) is not None:
                        continue
                    if family == b"u":
                        yield from self._user(number, home, key, value)
                    elif family != b"d" or self._speaks_of(number, home, rule.owner(key), key):
                        yield Put(home, key, value)

    def _user(self, number: int, home: int, key: bytes, value: bytes) -> Puts:
        user, shelf = key[1:].decode(), self._shelves[number]

        def chunks(numbers: range) -> list[bytes | None]:
            return [shelf.get(each) for each in layout.seen_keys(user, numbers)]

        for each, moved in self._frames.translated(number, home, user, value, chunks).items():
            if moved is None:
                self._let_go.add(each)
            else:
                yield Put(home, each, moved)

    def _speaks_of(self, number: int, home: int, user: str, key: bytes) -> bool:
        """Whether somebody at the new home reads a record of ids: the oldest may have gone when the user was
        translated, be it before a crash."""
        if key in self._let_go:
            return False
        new, old = self._shelves[home], self._shelves[number]
        if (value := new.get(layout.user_key(user))) is None:
            return True  # on its way, or somebody's whose id was merged
        alias = new.get(layout.alias_key(user)) or old.get(layout.alias_key(user))
        which = int.from_bytes(key[-8:], "big")
        return which in ids_numbers(value) or (alias is not None and which in alias_numbers(alias))

    def _guards(self) -> Puts:
        """All partitions know of all erased users: the home may be any of them, and only a hash says whose it is."""
        for number, shelf in enumerate(self._shelves):
            for family in (name for name, rule in FAMILIES.items() if rule.where == "everywhere"):
                for key, _ in shelf.items(family):
                    values = [other.get(key) for other in self._shelves]
                    if any(values[:number]):
                        continue  # seen there
                    merged = layout.encode_guard(_latest([layout.decode_guard(value) for value in values if value]))
                    for place, value in enumerate(values):
                        if value != merged:
                            yield Put(place, key, merged)

    def _followers(self) -> Puts:
        """Each partition's index of who follows whom, from the states of its users, who are counted by the way."""
        for number, shelf in enumerate(self._shelves):
            census = self._census[number]
            for key, value in shelf.items(b"u"):
                user = key[1:].decode()
                if self._home(user) != number:
                    continue
                state = open_stored(user, value, lambda _: 0)
                census.users += 1
                self.users += partition_of(user, self._before) != number
                census.members.update(state.members.segments())
                census.lives = max(census.lives, state.life)
                census.time = max(census.time, state.time)
                for target, time in state.edges.items():
                    said = layout.FOLLOWS if time > 0 else layout.UNFOLLOWED
                    yield from self._changed(Put(number, layout.follower_key(target, user), said))

    def _neighbours(self) -> Puts:
        """Each partition's copy of the vectors of those whom its users follow; a refresh that waits does so wherever
        somebody follows them."""
        waiting = [shelf for shelf in self._shelves if next(shelf.items(b"r"), None) is not None]
        for number in range(self._after):
            for followee, followers in self._followed(number):
                home = self._home(followee)
                yield Put(home, note(followee, number), b"")
                vectors = self._vectors(home, followee)
                if vectors.node and not vectors.version:
                    mark_sent(vectors)
                    yield Put(home, layout.vectors_key(followee), layout.encode_vectors(vectors))
                copy = Neighbour(followers, vectors.version, vectors.sent_node, vectors.sent_hidden)
                yield from self._changed(Put(number, layout.neighbour_key(followee), layout.encode_neighbour(copy)))
                refresh = layout.refresh_key(followee)
                if any(shelf.get(refresh) is not None for shelf in waiting):
                    yield from self._changed(Put(number, refresh, b""))

    def _followed(self, number: int) -> Iterator[tuple[str, int]]:
        """(followed user, local followers) where there are any."""

        def followee(item: tuple[bytes, bytes]) -> bytes:
            return item[0][3 : 3 + int.from_bytes(item[0][1:3], "big")]

        for name, items in groupby(self._shelves[number].items(b"f"), followee):
            follows = sum(
                value == layout.FOLLOWS and self._home(key[3 + len(name) :].decode()) == number for key, value in items
            )
            if follows:
                yield name.decode(), follows

    def _vectors(self, home: int, user: str) -> Vectors:
        value = self._shelves[home].get(layout.vectors_key(user))
        return layout.decode_vectors(value) if value else Vectors()

    def _subscribers(self) -> Puts:
        """Who is followed sends vectors to the partitions of the followers, and to no other."""
        for home, shelf in enumerate(self._shelves):
            for prefix, notes in groupby((key for key, _ in shelf.items(NOTE)), lambda key: key[:-_PLACE_BYTES]):
                user = prefix[len(NOTE) + 2 :].decode()
                vectors = self._vectors(home, user)
                vectors.subscribers = [int.from_bytes(key[-_PLACE_BYTES:], "big") for key in notes]
                yield from self._changed(Put(home, layout.vectors_key(user), layout.encode_vectors(vectors)))
            for key, value in shelf.items(b"v"):
                user = key[1:].decode()
                vectors = layout.decode_vectors(value)
                if vectors.subscribers and self._home(user) == home and next(shelf.items(_notes(user)), None) is None:
                    vectors.subscribers = []
                    yield Put(home, key, None if vectors == Vectors() else layout.encode_vectors(vectors))

    def _noted(self, followee: str, number: int) -> bool:
        return self._shelves[self._home(followee)].get(note(followee, number)) is not None

    def _leftovers(self) -> Puts:
        """What has its copies elsewhere, or is of nobody here any more, goes."""
        for number, shelf in enumerate(self._shelves):
            for family, rule in FAMILIES.items():
                if rule.where in ("user", "group"):
                    for key, _ in shelf.items(family):
                        if self._home(rule.owner(key)) != number:
                            yield Put(number, key, None)
            for key, _ in shelf.items(b"f"):
                if self._home(key[3 + int.from_bytes(key[1:3], "big") :].decode()) != number:
                    yield Put(number, key, None)
            for family in (b"n", b"r"):
                for key, _ in shelf.items(family):
                    if not self._noted(key[1:].decode(), number):
                        yield Put(number, key, None)

    # and last

    def positions(self) -> list[layout.Meta]:
        """The position records, once all steps are done: with them the partitions are ``after`` in number."""
        return [self._position(number) for number in range(self._after)]

    def _position(self, number: int) -> layout.Meta:
        old = number < self._before
        own = self._metas[number] if old else layout.Meta()
        census, shelf = self._census[number], self._shelves[number]
        counted = {
            "users": census.users,
            "members": dict(sorted(census.members.items())),
            "lives": max(own.lives, census.lives),
            "watermark": max(own.watermark, census.time),
            "guards": _count(shelf, b"e"),
            "queued": _count(shelf, b"q"),
            "aliases": _count(shelf, b"a"),
            "waiting": _count(shelf, b"y"),
        }
        frame = self._frames.after(number)
        found: dict[str, object] = {}
        for name, rule in META.items():
            if rule == "kept":
                found[name] = getattr(own, name)
            elif rule == "counted":
                found[name] = counted[name]
            elif rule == "frame":
                found[name] = getattr(frame, name)
            elif rule == "highest":
                found[name] = max(getattr(meta, name) for meta in self._metas)
            elif rule == "common":
                values = [getattr(meta, name) for meta in self._metas]
                same = all(value == values[0] for value in values)
                found[name] = values[0] if same else getattr(layout.Meta(), name)
        of = self._metas[0].installation or layout.Installation()
        found["installation"] = msgspec.structs.replace(of, partitions=self._after, moving_to=0)
        return layout.Meta(**found)  # type: ignore[arg-type]  # by name, as META says


def note(followee: str, number: int) -> bytes:
    """Partition ``number`` has followers of ``followee``: kept on the shelf of the followee's home."""
    return _notes(followee) + number.to_bytes(_PLACE_BYTES, "big")


def _notes(followee: str) -> bytes:
    name = followee.encode()
    return NOTE + len(name).to_bytes(2, "big") + name


def snapshot_moves(shelves: Sequence[Shelf], after: int) -> Puts:
    """Records of ``user-segments`` (keys: one byte, then the user) to the new homes of their users."""
    for number, shelf in enumerate(shelves):
        for key, value in shelf.items(b"m"):
            home = partition_of(key[1:].decode(), after)
            if home != number and shelves[home].get(key) is None:
                yield Put(home, key, value)


def snapshot_leftovers(shelves: Sequence[Shelf], after: int) -> Puts:
    """Records of ``user-segments`` that have their copies elsewhere."""
    for number, shelf in enumerate(shelves):
        for key, _ in shelf.items(b"m"):
            if partition_of(key[1:].decode(), after) != number:
                yield Put(number, key, None)


def _latest(guards: list[layout.Guard]) -> layout.Guard:
    return layout.Guard(
        max(guard.time for guard in guards),
        max(guard.processed for guard in guards),
        max(guard.sequence for guard in guards),
    )


def _count(shelf: Shelf, family: bytes) -> int:
    return sum(1 for _ in shelf.items(family))
