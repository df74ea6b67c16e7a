"""Records that met another partition than their user's travel on through the internal reroute topic.

A record goes untouched: key, value and its own headers, and after them headers that say where and when it first
arrived, so that it is handled as if it had arrived at its user's partition then. A user's home is decided by murmur2
of the id alone, and by the forwarding record that a merged id left at its home.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.steps.effects import Hop, Message, Record, Rerouted
from streams.steps.partitioner import partition_of
from streams.steps.turn import Turn
from streams.wire.headers import as_received, sendable
from streams.wire.refused import Code, RefusedError

#: the value of the last header: a producer's record, or one of the messages of ``merge``
KIND: Final = "reroute-kind"
RECORD: Final = b"record"
MERGE: Final = b"merge"
_ADDED: Final = (
    "origin-topic", "origin-partition", "origin-offset", "origin-timestamp", "reroute-user", "reroute-path", KIND,
)  # fmt: skip

_encode_path: Final = msgspec.msgpack.Encoder().encode
_decode_path: Final = msgspec.msgpack.Decoder(list[Hop]).decode


def kind_of(record: Record) -> bytes | None:
    """What a record of the reroute topic holds; None when it is not one of ours."""
    headers = list(record.headers)
    name, value = headers[-1] if headers else ("", None)
    return value if name == KIND else None


def unwrap(record: Record) -> Rerouted:
    """The record as it first arrived. Raises RefusedError (BROKEN_INTERNAL)."""
    headers = list(record.headers)
    own, added = headers[: -len(_ADDED)], headers[-len(_ADDED) :]
    if tuple(name for name, _ in added) != _ADDED:
        raise RefusedError(Code.BROKEN_INTERNAL, "a rerouted record does not say where it comes from")
    topic, partition, offset, timestamp, user, path, _ = (value or b"" for _, value in added)
    try:
        return Rerouted(
            topic.decode(), int(partition), int(offset), int(timestamp), record.key, record.value, as_received(own),
            user.decode(), _decode_path(path),
        )  # fmt: skip
    except (ValueError, msgspec.DecodeError) as error:
        raise RefusedError(Code.BROKEN_INTERNAL, f"a rerouted record's headers cannot be read: {error}") from None


def was_forwarded(record: Record) -> bool:
    """It was sent on to the user who its own was merged into, after it was seen to be no duplicate."""
    return isinstance(record, Rerouted) and bool(record.user)


def for_this_partition(turn: Turn, user: str, record: Record, topic: str, id_hash: int) -> bool:
    """Whether a record for ``user``, of whom nothing is known here, is to be handled here; if not, it is sent on.

    Who has a state need not be asked about: a state begins only where this was asked, so it is at home, and a merge
    takes the state away in the turn in which it leaves the forwarding record. What is forwarded is deduplicated here,
    where all of the id's records pass: the state may be on its way, and who gets it next may not have it yet.
    """
    place = turn.place
    home = partition_of(user, place.partitions)
    if home != place.partition:
        if isinstance(record, Rerouted):  # it was sent here as to its home: never again, or it might go for ever
            turn.reject(topic, record, RefusedError(Code.BROKEN_INTERNAL, "a record was rerouted to another's home"))
        else:
            turn.effects.misrouted += 1
            _send(turn, record, topic, home, "", [])
        return False
    alias = turn.alias(user)
    path: list[Hop] = []
    if isinstance(record, Rerouted) and record.user:
        path = record.path
    elif alias is not None and id_hash in alias.seen:
        turn.effects.duplicates += 1
        turn.meta.duplicates += 1
        return False
    if (onward := follow(turn, user, path)) is None:
        return True
    if alias is not None and not path:
        alias.seen.add(id_hash, record.timestamp / 1000.0)
        turn.renew_alias(user)
    into, path = onward
    _send(turn, record, topic, partition_of(into, place.partitions), into, path)
    return False


def follow(turn: Turn, user: str, path: list[Hop]) -> tuple[str, list[Hop]] | None:
    """Where to send on what arrived for ``user`` by ``path``: (id, new path); None when ``user`` is who they are.

    Identifies in both directions can make a loop of forwarding records. Whatever travels round it finds that out and
    ends it at the oldest of the loop's records, so that the latest says who is merged into whom.
    """
    alias = turn.alias(user)
    if alias is None:
        return None
    hop = Hop(user, alias.into, alias.time)
    if hop not in path:
        return alias.into, [*(each for each in path if each.user != user), hop]
    loop = path[path.index(hop) :]
    if min(loop, key=lambda each: (each.time, each.user)) != hop:
        return alias.into, path
    turn.set_alias(user, None, ids_stay=True)
    turn.begin_with(user, alias)
    return None


def _send(turn: Turn, record: Record, topic: str, partition: int, user: str, path: list[Hop]) -> None:
    origin = (topic, turn.place.partition)
    headers: list[tuple[str, str | bytes | None]] = [*sendable(record.headers)]
    if isinstance(record, Rerouted):
        origin = (record.topic, record.partition)
    values = (
        origin[0].encode(), b"%d" % origin[1], b"%d" % record.offset, b"%d" % record.timestamp, user.encode(),
        _encode_path(path), RECORD,
    )  # fmt: skip
    headers += zip(_ADDED, values, strict=True)
    turn.effects.send(Message(turn.place.topics.reroute, record.key, record.value, partition, headers))
