"""The events of a partition that wait for their time, as a turn sees them. Why they wait: ``streams.steps.ahead``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from typing import Final

from state import layout, waiting
from state.windows import NEVER
from streams.steps.effects import Reader
from streams.wire.refused import Code, RefusedError

MOST_OF_USER: Final = 1_000
MOST: Final = 1_000_000
#: taken in one turn, in events and in bytes
MOST_AT_ONCE: Final = 5_000
MOST_BYTES: Final = 16 * 2**20
_CHUNK: Final = 100


def first(reader: Reader, since: float) -> float:
    """When the first of all waiting events is due, in seconds; none is due before ``since``. NEVER: there is none."""
    for key in reader.keys(b"y", waiting.waiting_from(since)):
        return waiting.waiting_parts(key)[0] / 1000.0
    return NEVER


class Waiting:
    """The store's, and what this turn puts and removes."""

    def __init__(self, reader: Reader, meta: layout.Meta, puts: dict[bytes, bytes | None]) -> None:
        self._reader = reader
        self._meta = meta
        self._puts = puts
        self._added: dict[str, set[bytes]] = {}
        self._counts: dict[str, int] = {}
        self.since = 0.0
        """Nothing waits from before this (seconds): a hint, which spares reading over what was removed."""
        self.touched = False
        """Something was added or removed."""

    @property
    def earliest(self) -> float:
        """The earliest time of those that this turn added; NEVER when there is none."""
        added = (key for keys in self._added.values() for key in keys)
        return min((waiting.waiting_parts(key)[0] / 1000.0 for key in added), default=NEVER)

    def add(self, user: str, event: waiting.WaitingEvent, time: float, digest: int) -> bool:
        """Returns False for an event that waits already. Raises RefusedError when too many wait."""
        key = waiting.waiting_key(waiting.due_ms(time), user, digest)
        if self._holds(key):
            return False
        if self._meta.waiting >= MOST:
            raise RefusedError(
                Code.TOO_MANY_AHEAD, f"{MOST:,} events of the partition wait for their time already: look at the clocks"
            )
        if user not in self._counts:
            self._counts[user] = sum(1 for _ in self.of(user))
        if self._counts[user] >= MOST_OF_USER:
            raise RefusedError(
                Code.TOO_MANY_AHEAD,
                f"{MOST_OF_USER:,} events of the user wait for their time already: look at the clock",
            )
        self._puts[key] = waiting.encode_waiting(event)
        self._puts[waiting.own_key(key)] = b""
        self._added.setdefault(user, set()).add(key)
        self._counts[user] += 1
        self.touched = True
        self._meta.waiting += 1
        return True

    def of(self, user: str) -> Iterator[bytes]:
        """Keys of the user's events."""
        if not self._meta.waiting:
            return
        prefix = waiting.waiting_of(user)
        for own in self._reader.keys(prefix):
            if own not in self._puts:
                yield waiting.by_time(own)
        yield from self._added.get(user, ())

    def due(self, until: float, most: int = MOST) -> list[bytes]:
        """Keys of events with times up to ``until``, in order, at most ``most``."""
        if not self._meta.waiting:
            return []
        end = waiting.waiting_from(int(until * 1000.0 + 1.0) / 1000.0)
        found = [key for keys in self._added.values() for key in keys if key < end]
        stored = (key for key in self._reader.keys(b"y", waiting.waiting_from(self.since)) if key not in self._puts)
        found += islice(takewhile(lambda key: key < end, stored), most)
        return sorted(found)[:most]

    def take(self, keys: Iterable[bytes], most: int = MOST_BYTES) -> list[tuple[bytes, waiting.WaitingEvent]]:
        """Remove these events, in order, until they are ``most`` bytes."""
        taken: list[tuple[bytes, waiting.WaitingEvent]] = []
        rest, size = iter(keys), 0
        while size < most and (chunk := list(islice(rest, _CHUNK))):
            unread = [key for key in chunk if key not in self._puts]
            stored = dict(zip(unread, self._reader.get_many(unread), strict=True))
            for key in chunk:
                value = self._puts[key] if key in self._puts else stored[key]
                assert value is not None
                self._remove(key)
                taken.append((key, waiting.decode_waiting(value)))
                size += len(value)
        return taken

    def forget(self, user: str, until: float) -> None:
        """Remove the user's events with times up to ``until``: the user is erased up to then."""
        for key in list(self.of(user)):
            if waiting.waiting_parts(key)[0] / 1000.0 <= until:  # a fraction of a millisecond is looked at in its turn
                self._remove(key)

    def _holds(self, key: bytes) -> bool:
        if key in self._puts:
            return self._puts[key] is not None
        return bool(self._meta.waiting) and self._reader.get(key) is not None

    def _remove(self, key: bytes) -> None:
        self.touched = True
        user = waiting.waiting_parts(key)[1]
        self._added.get(user, set()).discard(key)
        self._counts.pop(user, None)
        self._puts[key] = self._puts[waiting.own_key(key)] = None
        self._meta.waiting -= 1
