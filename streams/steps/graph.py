"""The graph between partitions: who asked for whose vector, and sending it when it moved.

A follow costs the same whoever is followed: the follower's partition keeps one copy of the followed user's vectors
for all its local followers, and the followed user's partition keeps the set of partitions that asked for it.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec
import numpy as np

from encoders.base import NODE_DIM
from state import edges, layout
from state.user import UserState
from state.vectors import Vectors, unpack
from streams.steps.partitioner import partition_of
from streams.steps.turn import Message, Record, Turn
from streams.wire.refused import Code, RefusedError

#: local followers re-targeted in one turn after a merge
MOST_RENAMED: Final = 2_000


class Subscribe(msgspec.Struct, array_like=True, tag="subscribe", frozen=True):
    """``partition`` has a follower of ``user`` and wants the user's vectors (``wanted``), or no longer has one."""

    user: str
    partition: int
    wanted: bool


class NodeVectors(msgspec.Struct, array_like=True, tag="vectors", frozen=True):
    """The layer inputs of a followed user: float16[128] each."""

    user: str
    version: int
    node: bytes
    hidden: bytes


class Renamed(msgspec.Struct, array_like=True, tag="renamed", frozen=True):
    """``user`` was merged into another: who follows them follows that one."""

    user: str
    into: str


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Subscribe | NodeVectors | Renamed).decode


def edges_changed(turn: Turn, user: str, state: UserState, target: str) -> None:
    """``user`` followed or unfollowed ``target``: keep the local index and the subscription."""
    if target == user:  # said of an id that was merged with theirs: nobody follows themselves
        state.edges.pop(target, None)
        return
    if state.edges.get(target, -1.0) > 0:
        _set_follower(turn, target, user, True)
    else:
        _set_follower(turn, target, user, False)
    for dropped in edges.bound(state.edges, turn.place.followees):
        _set_follower(turn, dropped, user, False)


def _set_follower(turn: Turn, followee: str, follower: str, follows: bool) -> None:
    neighbour = turn.neighbour(followee)
    key = layout.follower_key(followee, follower)
    indexed = turn.effects.puts[key] is not None if key in turn.effects.puts else turn.reader.get(key) is not None
    if indexed == follows:
        return
    turn.put(key, b"" if follows else None)
    before = neighbour.followers
    neighbour.followers += 1 if follows else -1
    turn.put_neighbour(followee)
    if (before == 0) != (neighbour.followers == 0):
        if neighbour.followers == 0:
            neighbour.version, neighbour.node, neighbour.hidden = 0, b"", b""
        wish = Subscribe(followee, turn.place.partition, follows)
        _send(turn, followee, wish, partition_of(followee, turn.place.partitions))


def drop_edges(turn: Turn, user: str, state: UserState) -> None:
    """The user is erased: leave the index of everybody they follow."""
    for target in edges.present(state.edges):
        _set_follower(turn, target, user, False)


def receive(turn: Turn, records: list[Record]) -> None:
    """Records of the graph topic that concern this partition."""
    topic = turn.place.topics.graph
    for record in records:
        turn.effects.graph_received += 1
        try:
            message = _decode(record.value or b"")
        except msgspec.DecodeError as error:
            turn.reject(topic, record, RefusedError(Code.BROKEN_INTERNAL, f"not a graph message: {error}"))
            continue
        if isinstance(message, Subscribe):
            _subscribed(turn, message)
        elif isinstance(message, NodeVectors):
            _arrived(turn, message)
        else:
            _renamed(turn, message)


def rename(turn: Turn, user: str, into: str) -> None:
    """``user`` is merged into another: tell every partition where somebody follows them."""
    vectors = turn.vectors(user)
    if vectors.subscribers:
        for partition in vectors.subscribers:
            _send(turn, user, Renamed(user, into), partition)
        vectors.subscribers = []
        turn.put(layout.vectors_key(user), None)


def _renamed(turn: Turn, message: Renamed) -> None:
    """Local followers follow the other one from now on; of very many the rest comes with a message to ourselves."""
    user, into = message.user, message.into
    followers = _local_followers(turn, user, MOST_RENAMED)
    turn.load(followers)
    for follower in followers:
        _set_follower(turn, user, follower, False)
        state = turn.known(follower)
        if state is None:
            continue
        time = state.edges.pop(user, 0.0)
        if time and into != follower and edges.set_edge(state.edges, into, abs(time), time > 0):
            edges_changed(turn, follower, state, into)
        if turn.plan.needs_vectors:
            state.dirty = state.count
            turn.want_encoding(follower, state)
    if len(followers) == MOST_RENAMED:
        _send(turn, user, message, turn.place.partition)


def _local_followers(turn: Turn, followee: str, most: int) -> list[str]:
    """The first local followers in order, at most ``most``, as this turn has left them."""
    prefix, puts = layout.followers_prefix(followee), turn.effects.puts
    added = {key for key, value in puts.items() if value is not None and key.startswith(prefix)}
    kept = (key for key in turn.reader.keys(prefix) if puts.get(key, b"") is not None)
    found = sorted(added.union(islice(kept, most)))[:most]
    return [key[len(prefix) :].decode() for key in found]


def _subscribed(turn: Turn, wish: Subscribe) -> None:
    if (alias := turn.alias(wish.user)) is not None:
        if wish.wanted:
            _send(turn, wish.user, Renamed(wish.user, alias.into), wish.partition)
        return
    vectors = turn.vectors(wish.user)
    known = set(vectors.subscribers)
    if wish.wanted:
        known.add(wish.partition)
    else:
        known.discard(wish.partition)
    vectors.subscribers = sorted(known)
    if wish.wanted and vectors.node:
        if not vectors.version:
            _mark_sent(vectors)
        _send_vectors(turn, wish.user, vectors, wish.partition)
    turn.put_vectors(wish.user)


def _arrived(turn: Turn, message: NodeVectors) -> None:
    neighbour = turn.neighbour(message.user)
    if neighbour.followers <= 0 or message.version <= neighbour.version:
        return
    neighbour.version, neighbour.node, neighbour.hidden = message.version, message.node, message.hidden
    turn.put_neighbour(message.user)
    turn.put(layout.refresh_key(message.user), b"")
    turn.effects.refreshes.append(message.user)


def send_if_moved(turn: Turn, user: str, vectors: Vectors) -> None:
    """Send the user's layer inputs to all subscribed partitions when they moved by more than epsilon (L2)."""
    if not vectors.subscribers:
        return
    epsilon = turn.place.graph_epsilon
    if vectors.version and not (
        _moved(vectors.node, vectors.sent_node, epsilon) or _moved(vectors.hidden, vectors.sent_hidden, epsilon)
    ):
        return
    _mark_sent(vectors)
    for partition in vectors.subscribers:
        _send_vectors(turn, user, vectors, partition)


def _moved(now: bytes, sent: bytes, epsilon: float) -> bool:
    if now == sent:
        return False
    return float(np.linalg.norm(unpack(now, NODE_DIM) - unpack(sent, NODE_DIM))) > epsilon


def _mark_sent(vectors: Vectors) -> None:
    vectors.version += 1
    vectors.sent_node, vectors.sent_hidden = vectors.node, vectors.hidden


def _send_vectors(turn: Turn, user: str, vectors: Vectors, partition: int) -> None:
    _send(turn, user, NodeVectors(user, vectors.version, vectors.sent_node, vectors.sent_hidden), partition)


def _send(turn: Turn, user: str, message: Subscribe | NodeVectors | Renamed, partition: int) -> None:
    turn.effects.messages.append(Message(turn.place.topics.graph, user.encode(), _encode(message), partition))
