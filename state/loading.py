"""Records on their way into a store, and the timers that go with them: of a changelog, what is said last of each key,
and what a turn puts.

Compiled where it can be (state/c/load.c, state/c/put.c), by the twins here where not.
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


def load(batch: Batch, records: Iterable[Keyed], prefix: bytes = b"") -> int:
    """Put what the last record of each key says into the batch (None deletes), and the timers of users; returns how
    many guards of erased users there were, also of those that are over by now: what they erased may lie in the store.
    All timers first, then all records, each in the order of the keys.

    ``prefix`` is put before every key; what has one is not of a changelog, and has no timers and guards. Raises
    ValueError for a user's record that is too short to have a due time: then nothing was put.
    """
    if COMPILED is not None and not isinstance(records, list):
        loaded: int = COMPILED.load(batch, records, prefix)
        return loaded
    said: dict[bytes, bytes | None] = {}
    timers, guards = [], 0
    for record in records:
        key = record.key or b""
        said[key] = record.value
        guards += key[:1] == b"e" and record.value is not None and not prefix
    for key, value in said.items():
        if value is not None and key[:1] == b"u" and not prefix:
            if len(value) < _DUE_END:
                raise ValueError("the record of a user is too short to be one")
            if layout.has_timer(value):
                timers.append(layout.timer_key(layout.due_of(value), key[1:]))
    for key in sorted(timers):
        batch[key] = b""
    for key in sorted(said):
        if (value := said[key]) is None:
            del batch[prefix + key]
        else:
            batch[prefix + key] = value
    return guards


def put(
    batch: Batch, records: Mapping[bytes, bytes | None], timed: Set[bytes] = frozenset(), users: bool = True
) -> int:
    """Put all records into the batch (None deletes), and the timers of users; returns how many guards of erased users
    are among them.

    ``timed``: keys of users' records whose timer the store has. Without ``users`` their records are left out, but not
    their timers, nor that they are gone. Raises ValueError for a user's record that is too short to have a due time.
    """
    if COMPILED is not None and type(records) is dict:
        done: int = COMPILED.put(batch, records, timed, users)
        return done
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
