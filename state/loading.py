"""Records of a changelog on their way into a store: what is said last of each key, and the timers that go with it.

Compiled where it can be (state/c/load.c), by the twins here where not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Protocol

from state import layout
from state.compiled import COMPILED

_USER, _GUARD = ord("u"), ord("e")
#: of a user's record: the format and the due time are before it
_DUE_END = 9


class Keyed(Protocol):
    """A record of the changelog."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Batch(Protocol):
    """What is written at once."""

    def __setitem__(self, key: bytes, value: bytes) -> None: ...
    def __delitem__(self, key: bytes) -> None: ...


def latest(records: Iterable[Keyed]) -> dict[bytes, bytes | None]:
    """What the last record of each key says; only None is a tombstone. A record without a key has an empty one."""
    if COMPILED is not None and not isinstance(records, list):
        found: dict[bytes, bytes | None] = COMPILED.latest(records)
        return found
    return {record.key or b"": record.value for record in records}


def load(
    batch: Batch, records: Mapping[bytes, bytes | None], timed: Set[bytes] = frozenset(), users: bool = True
) -> int:
    """Put all records into the batch (None deletes), and the timers of users; returns how many guards of erased users
    are among them.

    ``timed``: keys of users' records whose timer the store has. Without ``users`` their records are left out, but not
    their timers, nor that they are gone. Raises ValueError for a user's record that is too short to have a due time.
    """
    if COMPILED is not None and type(records) is dict:
        loaded: int = COMPILED.load(batch, records, timed, users)
        return loaded
    guards = 0
    for key, value in records.items():
        if value is None:
            del batch[key]
            continue
        first = key[0] if key else 0
        if users or first != _USER:
            batch[key] = value
        if first == _USER:
            if len(value) < _DUE_END:
                raise ValueError("the record of a user is too short to be one")
            if key not in timed and layout.has_timer(value):
                batch[layout.timer_key(layout.due_of(value), key[1:])] = b""
        elif first == _GUARD:
            guards += 1
    return guards
