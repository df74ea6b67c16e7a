"""What a turn works with: records and where they are read, and the effects that it wants done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from state.windows import NEVER
from streams.wire.decode import Limits
from streams.wire.emit import Change, Headers, UserSegments
from streams.wire.refused import Code, RefusedError
from streams.wire.topics import MAX_RECORD_BYTES, Topics


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


@dataclass(frozen=True)
class DamagedBatch:
    """What stands for records that cannot be read: from the offset ``first`` to ``offset``, for the reason ``why``.

    Its value is the bytes of the batch that they lie in, as the broker has them.
    """

    offset: int
    first: int
    why: str
    value: bytes
    timestamp: int = 0
    timestamp_type: int = 0
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def error(self) -> RefusedError:
        where = f"offsets {self.first} to {self.offset}"
        return RefusedError(
            Code.DAMAGED_BATCH, f"{where} cannot be read, the batch that they lie in is damaged: {self.why}"
        )


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
    erasure_key: bytes = b""
    """Of the hash that stands for erased users."""
    guard_seconds: float = 30 * 86_400.0
    """How long an erased user is not brought back by old events."""
    most_messages: int = 400_000
    """Records that one turn may write, and their bytes: what is more takes several turns."""
    most_bytes: int = 256 * 1024 * 1024
    state_ttl: float = NEVER
    """Seconds without an event after which a known user's state expires."""
    anonymous_ttl: float = NEVER
    """The same for an id of nobody known."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A record for another topic; ``partition`` None: by key."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = []


@dataclass(frozen=True)
class Reject:
    """A refused record, where it first arrived, and why."""

    topic: str
    partition: int
    record: Record
    error: RefusedError
    cut: int = 0
    """Bytes kept of it; 0: as many as a record may have."""


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """A change, the lane that found it, and when the record that led to it arrived (seconds; 0: no record)."""

    change: Change
    lane: str
    arrived: float


class TooMuchError(RuntimeError):
    """One turn cannot hold what follows from its work: less of it may be possible."""


@dataclass
class Effects:
    """What a turn wants done, within bounds: whatever adds to it may raise TooMuchError."""

    most_messages: int = sys.maxsize
    most_bytes: int = sys.maxsize
    size: int = 0
    """Bytes of messages and rejects."""
    written: int = 0
    """Bytes of ``puts``, told at the end of the turn."""
    puts: dict[bytes, bytes | None] = field(default_factory=dict)
    changes: list[Emitted] = field(default_factory=list)
    snapshots: list[UserSegments] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    fired: list[bytes] = field(default_factory=list)
    """Timer keys to remove."""
    forgot: bool = False
    """Somebody was forgotten, and may have begun again: nothing of before may stay in the store."""
    timed: set[bytes] = field(default_factory=set)
    """Keys of user records in ``puts`` whose timer is as it was."""
    earliest: float = NEVER
    """The earliest timer among the users of this turn."""
    offers: list[str] = field(default_factory=list)
    """Users to put into the encode queue."""
    later: list[str] = field(default_factory=list)
    """The same, of users of whom no text waits: their neighbourhood or their behaviour changed."""
    refreshes: list[str] = field(default_factory=list)
    """Followed users whose local followers are to be refreshed."""
    duplicates: int = 0
    forgotten_ids: int = 0
    """Ids of events forgotten within a day, because their user had too many."""
    late: int = 0
    misrouted: int = 0
    """Records whose producer partitions by something else than murmur2."""
    expired: int = 0
    """Users whose state expired."""
    merged: int = 0
    """Ids that were merged into another user."""
    outlived: int = 0
    """Events and labels that are not newer than the erasure of their user."""
    graph_received: int = 0
    labels_unused: int = 0
    """Labels of users of whom nothing is known."""
    labels_dropped: int = 0
    """Labels that waited for their user's vector until too many had come behind them."""
    drifts: list[str] = field(default_factory=list)
    """Groups whose head started anew, because the world changed."""

    @property
    def count(self) -> int:
        """Records to be written."""
        mine = len(self.puts) + len(self.changes) + len(self.snapshots) + len(self.erased)
        return mine + len(self.messages) + len(self.rejects)

    def send(self, message: Message) -> None:
        """A record for another topic."""
        self.messages.append(message)
        self.size += len(message.value or b"")
        if message.headers:
            self.size += sum(len(name) + len(value or b"") for name, value in message.headers)
        self._bound(len(self.messages), self.size)

    def reject(self, reject: Reject) -> None:
        """A dead letter."""
        self.rejects.append(reject)
        # its frames know the turn and the record's bytes: a circle that keeps both until the collector comes by
        reject.error.__traceback__ = reject.error.__context__ = None
        record = reject.record
        size = len(record.value or b"") + len(record.key or b"")
        size += sum(len(name) + len(value or b"") for name, value in record.headers)
        self.size += min(size, reject.cut or MAX_RECORD_BYTES)
        self._bound(len(self.rejects), self.size)

    def check(self, put: int) -> None:
        """All is there; ``put``: bytes of ``puts``."""
        self.written = put
        self._bound(self.count, self.size + put)

    def _bound(self, count: int, size: int) -> None:
        if count > self.most_messages or size > self.most_bytes:
            raise TooMuchError(
                f"{count} records of {size // 2**20} MiB are more than one transaction holds "
                f"({self.most_messages} and {self.most_bytes // 2**20} MiB)"
            )


def size_of(values: Iterable[bytes | None]) -> int:
    """Bytes of what is put."""
    return sum(map(len, filter(None, values)))
