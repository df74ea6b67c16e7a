"""Records of format 1, which every release before format 2 wrote, as records of now: read only.

Counters are brought to the landmark, ids cut to 56 bits and their seconds joined by sixteens, what no event was in is
left out. So whatever a fold or a rule asks gives the same as before, but for the last bits of decayed numbers.

A record was 1 format, 8 due (float64 BE), msgpack of an array. Structs here have the fields in their order; the last
ones are not there in what earlier releases wrote.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from state import layout
from state.absence import SORT, Sort
from state.kinds import ROW
from state.layout2 import MOST_CHUNKS, MOST_SUM, ROWS
from state.plain.codec import time_is_right
from state.plain.ids import Entry
from state.plain.record import PlainRecord
from state.user import Membership, PendingLabel, PendingText
from state.windows import NEVER, TallySpec

_HEADER_BYTES: Final = 9
_FIRST: Final = bytes([layout.FORMAT])
#: of an id: its hash, and its second of arrival
_ENTRY_BYTES: Final = 12
_HASH_BYTES: Final = 8
#: more ids than any two users had who became one
_ROOM: Final = 262_142
_MOST_HASH: Final = 2**64 - 1
_MOST_SECOND: Final = 2**32 - 1


class Seen:
    """The ids of events: in records ``d`` with these numbers, and the record's own."""

    def __init__(self, numbers: range, items: list[Entry]) -> None:
        """``items``: (hash, second of arrival), in order of arrival; of an early release there may be any number."""
        self.numbers = numbers
        self.items = items


class _Tally(msgspec.Struct, array_like=True, gc=False):
    total: int
    head: int
    buckets: dict[int, int]


class _User(msgspec.Struct, array_like=True, gc=False):
    time: float = 0.0
    first: float = 0.0
    count: int = 0
    sequence: int = 0
    decayed: dict[str, list[float]] = {}
    """Counter → [time, fast, slow]."""
    categories: dict[int, list[float]] = {}
    """Bucket → [time, slow]."""
    tallies: dict[str, _Tally] = {}
    ids: Seen = msgspec.field(default_factory=lambda: Seen(range(0), []))
    edges: dict[str, float] = {}
    groups: dict[str, float] = {}
    pending: list[PendingText] = []
    """Texts that a release before they had records of their own kept here."""
    labels: list[PendingLabel] = []
    texts: int = 0
    members: dict[str, Membership] = {}
    due: float = NEVER
    plan: int = 0
    """The epoch that the user was looked at; of an early release the fingerprint of the definitions."""
    encode_at: int = 1
    dirty: int = 0
    queued: bool = False
    scored: int = 0
    life: int = 0
    erased: float = 0.0
    last: dict[str, float] = {}
    """Sort of events → the latest time, with the sign of ``state.absence``; 0: none so far."""
    texts_put: int = 0
    texts_taken: int = 0
    aliases: list[str] = []
    unknown: dict[str, float] = {}
    """Key of a tally → event time up to which it was not counted."""
    known_at: float = NEVER
    identified: bool = True
    """Of records of early releases it is not known."""


class Alias(msgspec.Struct, array_like=True):
    """A forwarding record (family ``a``)."""

    into: str
    time: float
    sequence: int = 0
    seen: Seen = msgspec.field(default_factory=lambda: Seen(range(0), []))


def _from_plain(kind: type, value: object) -> object:
    if kind is Seen:
        return _seen(value)
    raise NotImplementedError(f"{kind.__name__} is not part of a record")


def _seen(packed: object) -> Seen:
    """Raises ValueError."""
    match packed:
        case [int(first), int(stored), bytes(tail)] if (
            0 <= first <= stored and len(tail) % _ENTRY_BYTES == 0 and len(tail) // _ENTRY_BYTES <= _ROOM
        ):
            return Seen(range(first, stored), unpack_ids(tail))
        case dict() if len(packed) <= _ROOM and all(
            isinstance(id_hash, int) and 0 <= id_hash <= _MOST_HASH and isinstance(second, int)
            for id_hash, second in packed.items()
        ):
            return Seen(range(0), [(each, max(0, min(second, _MOST_SECOND))) for each, second in packed.items()])
    raise ValueError("not the ids that a user's state has seen")


_decode_user: Final = msgspec.msgpack.Decoder(_User, dec_hook=_from_plain).decode
_decode_alias: Final = msgspec.msgpack.Decoder(Alias, dec_hook=_from_plain).decode


def is_format_1(data: bytes) -> bool:
    """Of a user's record, or a forwarding record."""
    return data[:1] == _FIRST


def pack_ids(items: Iterable[Entry]) -> bytes:
    """All hashes (8 bytes each, little-endian), then all seconds of arrival (4 bytes)."""
    entries = list(items)
    hashes, arrivals = array("Q", [each for each, _ in entries]), array("I", [second for _, second in entries])
    if sys.byteorder == "big":
        hashes.byteswap()
        arrivals.byteswap()
    return hashes.tobytes() + arrivals.tobytes()


def unpack_ids(data: bytes) -> list[Entry]:
    """As ``pack_ids`` wrote it, each id once. Raises ValueError for bytes that it cannot have written."""
    if len(data) % _ENTRY_BYTES:
        raise ValueError(f"ids of {len(data):,} bytes")
    split = len(data) // _ENTRY_BYTES * _HASH_BYTES
    hashes, arrivals = array("Q", data[:split]), array("I", data[split:])
    if sys.byteorder == "big":
        hashes.byteswap()
        arrivals.byteswap()
    return list(dict(zip(hashes, arrivals, strict=True)).items())


def ids_numbers(data: bytes) -> range:
    """Numbers of the records ``d`` of a user's record. Raises FormatError, and msgspec.DecodeError."""
    numbers = _decode_user(layout.content(data, _HEADER_BYTES)).ids.numbers
    if (count := numbers.stop - numbers.start) > MOST_CHUNKS:  # len() has not room for all
        raise layout.FormatError(f"a user's record says that its ids are in {count:,} others: it is damaged")
    return numbers


def read_alias(data: bytes) -> Alias:
    return _decode_alias(layout.content(data))


def read(
    user: str, data: bytes, chunks: Iterable[bytes | None] | None, epoch_of: Callable[[int], int]
) -> tuple[PlainRecord, Sequence[PendingText]]:
    """The record, and texts that a release before they had records of their own kept in it.

    ``chunks``: the user's records ``d`` (``ids_numbers``), oldest first, of either format, None for one that is
    missing; none given: they are not asked for. ``epoch_of``: the epoch at which the user was last looked at, by what
    the record says of it (``streams.steps.in_force.epoch_of``: an earlier release put down a fingerprint).
    Raises FormatError, also for what format 2 cannot say: times from 2^32 seconds on, numbers below 0.
    """
    state = _decode_user(layout.content(data, _HEADER_BYTES))
    record = PlainRecord(user, epoch_of(state.plan), state.life)
    try:
        _header(record, state)
        _counters(record, state)
        _cells(record, state)
        _links(record, state)
        record.ids.take_over(state.ids.numbers, chunks, state.ids.items)
        record.pack()  # raises what none of the verbs did
    except (ValueError, OverflowError) as error:
        raise layout.FormatError(
            f"a user's record of format 1 cannot be brought to format 2, {error}: replay into fresh topics"
        ) from error
    return record, state.pending


def _header(record: PlainRecord, state: _User) -> None:
    record.enter(state.time)
    record.first, record.count, record.sequence, record.due = state.first, state.count, state.sequence, state.due
    record.encode_at, record.scored = state.encode_at, state.scored
    record.identified, record.queued = state.identified, state.queued
    record.dirty, record.texts = state.dirty, state.texts
    record.texts_put, record.texts_taken = state.texts_put, state.texts_taken
    record.erased, record.known_at = state.erased, state.known_at


def _counters(record: PlainRecord, state: _User) -> None:
    counters = record.counters
    for name, (time, fast, slow) in state.decayed.items():
        if name in ROW:  # no other is read by anybody
            counters.begin(ROW[name], time, fast, slow)
    for bucket, (time, slow) in state.categories.items():
        if not 0 <= bucket < ROWS:
            raise ValueError(f"it has a category {bucket}")
        counters.begin_category(bucket, time, slow)
    sums = [*counters.categories.values(), *(total for pair in counters.kinds.values() for total in pair)]
    if not all(0.0 <= total <= MOST_SUM for total in sums):
        raise ValueError("it has a counter that is no number, or below 0")


def _cells(record: PlainRecord, state: _User) -> None:
    cells, now = record.cells, record.time
    for key, tally in state.tallies.items():
        spec = _spec(key)
        for bucket, amount in tally.buckets.items():
            time = float(bucket * spec.width)
            if amount < 0 or not time_is_right(time):
                raise ValueError(f"the tally {key} has a bucket that cannot be")
            cells.add(spec, time, amount, now)
    for key, until in state.unknown.items():
        if not time_is_right(until):
            raise ValueError(f"the tally {key} is not known until {until}")
        cells.mark_unknown(key, until)
    for key, latest in state.last.items():
        if not time_is_right(abs(latest)):
            raise ValueError(f"the latest event of {key} has the time {latest}")
        if latest > 0.0:
            kind, category = key.split("|", 1)
            cells.note(Sort(kind, category), latest)
        elif latest < 0.0:
            cells.mark_unknown(SORT + key, -latest)


def _spec(key: str) -> TallySpec:
    """What a key of a tally means. Raises ValueError."""
    kind, measure, window, category = key.split("|", 3)
    return TallySpec(kind, measure, int(window), category)


def _links(record: PlainRecord, state: _User) -> None:
    for segment, member in state.members.items():
        record.members.put(segment, member)
    for mine, theirs in ((record.edges, state.edges), (record.groups, state.groups)):
        for target, time in theirs.items():
            if time:  # else it says nothing, and only damage wrote it
                mine.set(target, abs(time), time > 0.0)
    record.labels, record.aliases = state.labels, state.aliases
