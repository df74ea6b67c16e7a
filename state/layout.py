"""Every byte layout of the store and of the state changelog: they hold the same keys and values.

=====  =========================  ==============================================  =========
first  rest of the key            value                                           changelog
=====  =========================  ==============================================  =========
u      user id                    1 format, 8 due (float64 BE), the rest of the    yes
                                  block: state.layout2 (format 1: state.format1)
w      len(u) 2 BE, u, 8 BE       1 format, msgpack PendingText: u's text number   yes
d      len(u) 2 BE, u, 8 BE       64 ids of events counted or forwarded of u:       yes
                                  state.plain.ids
v      user id                    1 format, msgpack Vectors                        yes
q      user id                    empty: the user waits for the encode lane        yes
a      id of a merged user        state.aliases: whose it is now                   yes
i      len(u) 2 BE, u, merged id  8 event time (float64 BE): not in u's own record   yes
n      followed user              1 format, msgpack Neighbour                      yes
f      len(v) 2 BE, v, follower   empty: a local follower of v; ``-``: no longer   yes
r      followed user              empty: local followers of v wait for a refresh   yes
h      head group                 the head's own bytes                             yes
e      keyed hash of a user id    1 format, msgpack Guard: the user was erased     yes
y      due ms 8, len(u) 2, u, 8     an event of u ahead of the clock: state.waiting  yes
z      len(u) 2, u, due 8, hash 8 empty: the same event, found by its user        yes
p      (nothing)                  msgpack Meta: positions and exact counts         yes
t      due ms 8 BE, user id       empty: derived from u, at restore as well        no
o      (nothing)                  8 changelog offset to continue from (int64 BE),  no
                                  8 when it was the end (float64 BE, seconds) or none,
                                  8 offset that some records are of, or none
s      w                          empty: something was erased since the last scrub no
o      c                          id of the changelog's topic: a store of another one no
                                  is foreign
s      d                          8 when the store was last scrubbed (float64 BE)  no
=====  =========================  ==============================================  =========

``state.families`` says where each of them belongs when the number of partitions changes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable

import msgspec

from state import timer_keys as timers
from state.user import PendingText
from state.vectors import Neighbour, Vectors
from state.windows import NEVER

FORMAT = 1
#: what position records are written with: a release that knows none but format 1 of users ends with a sentence at them
META_FORMAT = 2
POSITION_KEY = b"p"
OFFSET_KEY = b"o"
CHANGELOG_KEY = b"oc"
SCRUB_WANTED_KEY = b"sw"
SCRUB_DONE_KEY = b"sd"
#: values of ``f``
FOLLOWS = b""
UNFOLLOWED = b"-"
_DUE = struct.Struct(">d")
_LEN = struct.Struct(">H")
_NUMBER = struct.Struct(">Q")
_OFFSET = struct.Struct(">q")
_FORMAT_BYTE = bytes([FORMAT])
_META_FORMAT_BYTE = bytes([META_FORMAT])


class FormatError(ValueError):
    """The record was written by another version of the service."""


class Installation(msgspec.Struct):
    """Whose state a partition holds and what it was made from, so that a worker of another one finds that out."""

    prefix: str = ""
    app: str = ""
    partitions: int = 0
    """Of each topic: who lives in which partition depends on it."""
    partitioner: str = ""
    topics: dict[str, str] = {}
    """Source topic → Kafka's id of it: a topic made anew has another one. Empty where the broker knows none."""
    moving_to: int = 0
    """So many partitions are being moved to; 0: none. Meanwhile no worker may start."""


class Meta(msgspec.Struct):
    """The position record of a partition: written last in each transaction, so it says what the state contains."""

    positions: dict[str, int] = {}
    """Topic → next offset to process, of this partition number."""
    watermark: float = 0.0
    """Largest event time folded."""
    users: int = 0
    events: int = 0
    duplicates: int = 0
    changes: int = 0
    members: dict[str, int] = {}
    """Segment → users in it."""
    plan: int = 0
    """Only read: an earlier release's fingerprint of the definitions that all users were checked against."""
    lives: int = 0
    """The last number given to somebody's life here; not every number is used."""
    guards: int = 0
    """Guards of erased users in the partition."""
    queued: int = -1
    """Users that wait for the encode lane: the ``q`` records; -1: to be counted, as an earlier release did not."""
    sequence_floor: int = 0
    """Nobody who begins here has a change with a sequence up to this: somebody had it whose state has expired."""
    aliases: int = 0
    """Forwarding records of the partition: without any nobody looks for one."""
    installation: Installation | None = None
    """None: written by an earlier release; the next turn completes it."""
    lost: int = 0
    """Records of source topics that retention removed before they were read."""
    definitions: int = 0
    """Version of the segment definitions in force for this partition; 0: they come from a file."""
    fingerprint: int = 0
    """Of these definitions."""
    epoch: int = 0
    """How often the partition changed over to other definitions; 0: an earlier release wrote this."""
    swept: int = 0
    """The epoch that all users were checked at."""
    terms: dict[str, int] = {}
    """Key of a term → epoch at which the partition began to count it; what a user did before is not known."""
    refused: dict[str, int] = {}
    """Dead letters by reason code; those before the release that counts them are not among them."""
    waiting: int = 0
    """Events ahead of the clock: the ``y`` records."""
    writer: str = ""
    """The transactional id that may write this partition (ADR 0043); "": the release before had it."""


class Guard(msgspec.Struct, array_like=True):
    """A user was erased: what is older does not bring the user back. New fields go to the end and have defaults."""

    time: float
    """Event time up to which events of the user are dropped and follows of the user make no edge."""
    processed: float
    """When the erasure was processed, in seconds; the guard expires some time after."""
    sequence: int = 0
    """Of the user's last change, in the user's home partition: who comes back goes on from there."""


_encode = msgspec.msgpack.Encoder().encode
_decode_text = msgspec.msgpack.Decoder(PendingText).decode
_decode_vectors = msgspec.msgpack.Decoder(Vectors).decode
_decode_neighbour = msgspec.msgpack.Decoder(Neighbour).decode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_decode_guard = msgspec.msgpack.Decoder(Guard).decode


def user_key(user: str) -> bytes:
    return b"u" + user.encode()


def vectors_key(user: str) -> bytes:
    return b"v" + user.encode()


def queue_key(user: str) -> bytes:
    return b"q" + user.encode()


def _numbered(first: bytes, user: str) -> bytes:
    """What the keys of a user's numbered records begin with."""
    name = user.encode()
    return first + _LEN.pack(len(name)) + name


def _numbered_keys(prefix: bytes, numbers: Iterable[int]) -> list[bytes]:
    pack = _NUMBER.pack
    return [prefix + pack(number) for number in numbers]


def texts_prefix(user: str) -> bytes:
    return _numbered(b"w", user)


def text_keys(user: str, start: int, end: int) -> list[bytes]:
    """The keys of a user's texts ``start`` … ``end`` - 1."""
    return _numbered_keys(texts_prefix(user), range(start, end))


def seen_keys(user: str, numbers: Iterable[int]) -> list[bytes]:
    """The keys of a user's records of ids with these numbers."""
    return _numbered_keys(_numbered(b"d", user), numbers)


def alias_key(user: str) -> bytes:
    return b"a" + user.encode()


def merged_prefix(user: str) -> bytes:
    return _numbered(b"i", user)


def merged_key(user: str, merged: str) -> bytes:
    return merged_prefix(user) + merged.encode()


def neighbour_key(followee: str) -> bytes:
    return b"n" + followee.encode()


def refresh_key(followee: str) -> bytes:
    return b"r" + followee.encode()


def head_key(group: str) -> bytes:
    return b"h" + group.encode()


def followers_prefix(followee: str) -> bytes:
    name = followee.encode()
    return b"f" + _LEN.pack(len(name)) + name


def follower_key(followee: str, follower: str) -> bytes:
    return followers_prefix(followee) + follower.encode()


def guard_key(digest: bytes) -> bytes:
    """``digest``: the keyed hash of the user id."""
    return b"e" + digest


timer_key, timer_parts = timers.timer_key, timers.timer_parts


def due_of(data: bytes) -> float:
    """The timer of a user's record of either format, without decoding the rest."""
    due: float = _DUE.unpack_from(data, 1)[0]
    return due


def has_timer(data: bytes) -> bool:
    return due_of(data) != NEVER


def encode_text(text: PendingText) -> bytes:
    return _FORMAT_BYTE + _encode(text)


def decode_text(data: bytes) -> PendingText:
    return _decode_text(content(data))


def encode_vectors(vectors: Vectors) -> bytes:
    return _FORMAT_BYTE + _encode(vectors)


def decode_vectors(data: bytes) -> Vectors:
    return _decode_vectors(content(data))


def encode_neighbour(neighbour: Neighbour) -> bytes:
    return _FORMAT_BYTE + _encode(neighbour)


def decode_neighbour(data: bytes) -> Neighbour:
    return _decode_neighbour(content(data))


def encode_meta(meta: Meta) -> bytes:
    return _META_FORMAT_BYTE + _encode(meta)


def decode_meta(data: bytes) -> Meta:
    return _decode_meta(content(data, formats=(FORMAT, META_FORMAT)))


def encode_guard(guard: Guard) -> bytes:
    return _FORMAT_BYTE + _encode(guard)


def decode_guard(data: bytes) -> Guard:
    return _decode_guard(content(data))


def encode_moment(moment: float) -> bytes:
    return _DUE.pack(moment)


def decode_moment(data: bytes) -> float:
    moment: float = _DUE.unpack(data)[0]
    return moment


def encode_offset(offset: int, complete_at: float = 0.0, newest: int = 0) -> bytes:
    """``complete_at``: when the offset was known to be the changelog's end (seconds since the epoch). ``newest``: the
    offset up to which some of the store's records are newer, where that is another one."""
    if newest > offset:
        return _OFFSET.pack(offset) + _DUE.pack(complete_at) + _OFFSET.pack(newest)
    return _OFFSET.pack(offset) + (_DUE.pack(complete_at) if complete_at else b"")


def decode_offset(data: bytes) -> tuple[int, float]:
    """(changelog offset to continue from, when it was the end)."""
    offset: int = _OFFSET.unpack_from(data)[0]
    return offset, _DUE.unpack_from(data, 8)[0] if len(data) > 8 else 0.0


def newest_offset(data: bytes) -> int:
    """The changelog offset that no record is newer than, by the same value."""
    offset: int = _OFFSET.unpack_from(data, 16 if len(data) > 16 else 0)[0]
    return offset


def content(data: bytes, start: int = 1, formats: Collection[int] = (FORMAT,)) -> memoryview:
    """What follows the format. Raises FormatError."""
    if data[0] not in formats:
        raise FormatError(
            f"a state record has format {data[0]}, this version reads {max(formats)}: "
            "replay into fresh topics, or run the version that wrote it"
        )
    return memoryview(data)[start:]
