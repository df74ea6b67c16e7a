"""What is read of an open partition between two of its turns: of users, what is in memory before what the store has."""

from __future__ import annotations

from functools import partial
from itertools import islice

from state import layout
from state.aliases import Alias, decode_alias
from state.behind import Behind
from state.record import Record as State
from state.store import Store
from state.store_errors import StoreError
from state.tables import Table, open_stored
from state.waiting import waiting_of
from streams.steps import encode
from streams.steps.in_force import epoch_of


class PartitionReader:
    """The part of a partition's writer that changes nothing of what is committed. All methods block and are called by
    one thread at a time; all but ``cached`` raise StoreError where the partition is not open."""

    def __init__(self, table: Table) -> None:
        """``table``: the partition's users in memory."""
        self._table = table
        self._store: Store | None = None
        self._behind: Behind | None = None
        self.meta = layout.Meta()

    @property
    def cached(self) -> int:
        """Users in memory."""
        return self._table.users

    def tidy(self) -> None:
        """To be called now and then while there are no turns: what is only in memory goes to the store, and memory to
        other partitions, if they want it."""
        self.behind.tidy()
        self._table.tidy()

    @property
    def behind(self) -> Behind:
        """What the store lacks of what is in memory."""
        if self._behind is None:
            raise StoreError("the partition is not open")
        return self._behind

    @property
    def store(self) -> Store:
        if self._store is None:
            raise StoreError("the partition is not open")
        return self._store

    def waiting_refreshes(self, after: str, most: int) -> list[str]:
        """Followed users whose local followers wait for a refresh, in key order after ``after``, at most ``most``."""
        return self._names(b"r", after, most)

    def queued_users(self, after: str, most: int) -> list[str]:
        """Users that wait for the encode lane, in key order after ``after``, at most ``most``."""
        return self._names(b"q", after, most)

    def state_of(self, user: str) -> State | None:
        """The committed state of a user, without the ids that lie in records of their own."""
        value = self._table.get(user) or self.store.get(layout.user_key(user))
        return self._opened(user, value) if value else None

    def _opened(self, user: str, value: bytes) -> State:
        return open_stored(user, value, partial(epoch_of, self.meta))

    def alias_of(self, user: str) -> Alias | None:
        """Whose this id is, if it was merged into another user."""
        value = self.store.get(layout.alias_key(user)) if self.meta.aliases else None
        return decode_alias(value) if value else None

    def waiting_of(self, user: str) -> int:
        """How many events of the user are ahead of the clock."""
        return self.store.count(waiting_of(user)) if self.meta.waiting else 0

    def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        """Snapshots for the encode lane."""
        states = [(user, self.state_of(user)) for user in users]
        return encode.make_jobs(self.store, states, "neighbour" if refresh else "event")

    def some_users(self, after: str, most: int) -> list[str]:
        """Users in key order after ``after``, at most ``most``. Who has come since "" may be missing."""
        if not after:
            self.behind.put_new()
        return self._names(b"u", after, most)

    def _names(self, prefix: bytes, after: str, most: int) -> list[str]:
        """What follows ``prefix`` in its keys, in order after ``after``, at most ``most``."""
        keys = self._keys(prefix, prefix + after.encode() if after else b"", most)
        return [key[len(prefix) :].decode() for key in keys]

    def guards(self, after: bytes, most: int) -> list[bytes]:
        """Keys of guards in order after ``after``, at most ``most``."""
        return self._keys(b"e", after, most)

    def _keys(self, prefix: bytes, after: bytes, most: int) -> list[bytes]:
        """Keys with a prefix in order after ``after``, at most ``most``."""
        found = islice(self.store.keys(prefix, after or None), most + 1)
        return [key for key in found if key != after][:most]
