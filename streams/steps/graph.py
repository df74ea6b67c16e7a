"""The graph between partitions: who asked for whose vector, and sending it when it moved.

A follow costs the same whoever is followed: the follower's partition keeps one copy of the followed user's vectors
for all its local followers, and the followed user's partition keeps the set of partitions that asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from encoders.base import NODE_DIM
from state import layout
from state.layout import FOLLOWS, UNFOLLOWED
from state.record import Record as State
from state.vectors import Vectors, is_packed, unpack
from streams.steps import person
from streams.steps.effects import Message, Record
from streams.steps.partitioner import partition_of
from streams.steps.turn import Turn
from streams.wire.decode import MAX_ID_CHARS
from streams.wire.emit import event_source
from streams.wire.receipts import Receipt, erasure_digest, receipt_headers, receipt_value
from streams.wire.refused import UNREADABLE, Code, RefusedError, printable
from streams.wire.times import LATEST_TIME


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


class Gone(msgspec.Struct, array_like=True, tag="gone", frozen=True):
    """``user`` is erased up to an event time: the partition removes what it holds under the id, then gives a receipt.

    When that is too much for one turn, the partition sends itself the rest.
    """

    user: str
    time: float
    event: str
    memberships: int = 0
    edges: int = 0
    """Removed so far."""
    begun: bool = False
    after: str = ""
    """The follower that was looked at last."""


class Renamed(msgspec.Struct, array_like=True, tag="renamed", frozen=True):
    """``user`` was merged into another: who follows them follows that one."""

    user: str
    into: str


class GoneToo(msgspec.Struct, array_like=True, tag="gone-too", frozen=True):
    """``user`` is erased, and so are older merged ids: more than one turn tells everybody of."""

    user: str
    time: float
    event: str


Inner = Subscribe | NodeVectors | Gone | GoneToo | Renamed
#: ids of an erased person that all partitions are told of in one turn
MOST_NAMES: Final = 500
#: edges to erased or merged users that one turn removes; the rest follows in the next turns
MOST_EDGES: Final = 2_000
#: people who are followed no more and are remembered as such, for each user
MOST_REMOVED: Final = 256
#: no user's vectors are ever sent so often, and nobody has so many edges
MAX_NUMBER: Final = 2**53
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Inner).decode


def edges_changed(turn: Turn, user: str, state: State, target: str) -> bool:
    """``user`` followed or unfollowed ``target``: keep the local index and the subscription.

    Returns whether the neighbourhood changed: an edge to somebody erased that is not newer than that is none.
    """
    if target == user:  # said of an id that was merged with theirs: nobody follows themselves
        state.edges.drop(target)
        return False
    time = state.edges.get(target)
    guard = turn.guard(target)
    if guard is not None and abs(time) <= guard.time:
        state.edges.drop(target)
        return set_follower(turn, target, user, None)
    changed = set_follower(turn, target, user, FOLLOWS if time > 0 else UNFOLLOWED)
    for dropped in state.edges.bound(turn.place.followees):
        changed |= set_follower(turn, dropped, user, None)
    for forgotten in state.edges.bound_removed(MOST_REMOVED):
        set_follower(turn, forgotten, user, None)
    return changed


def set_follower(turn: Turn, followee: str, follower: str, value: bytes | None) -> bool:
    """Put into the index what the follower's state says of the edge; returns whether it began or ended.

    The first local follower subscribes the partition to the followee's vectors, the last one ends that.
    """
    before_value = turn.follower(followee, follower)
    if before_value == value:
        return False
    turn.set_follower(followee, follower, value)
    follows = value == FOLLOWS
    if (before_value == FOLLOWS) == follows:
        return False
    neighbour = turn.neighbour(followee)
    before = neighbour.followers
    neighbour.followers += 1 if follows else -1
    turn.put_neighbour(followee)
    if (before == 0) != (neighbour.followers == 0):
        if neighbour.followers == 0:
            neighbour.version, neighbour.node, neighbour.hidden = 0, b"", b""
        _subscribe(turn, followee, follows)
    return True


def _subscribe(turn: Turn, followee: str, wanted: bool) -> None:
    wish = Subscribe(followee, turn.place.partition, wanted)
    _send(turn, followee, wish, partition_of(followee, turn.place.partitions))


def drop_edges(turn: Turn, user: str, state: State) -> int:
    """The user is erased: leave the index of everybody they follow or followed. Returns how many they followed."""
    return sum(set_follower(turn, target, user, None) for target, _ in state.edges.items())


def receive(turn: Turn, records: Sequence[Record]) -> None:
    """Records of the graph topic that concern this partition."""
    topic = turn.place.topics.graph
    for record in records:
        turn.effects.graph_received += 1
        try:
            message = read_message(record.value, turn.place.partitions)
        except RefusedError as error:
            turn.reject(topic, record, error)
            continue
        if isinstance(message, Subscribe):
            _subscribed(turn, message)
        elif isinstance(message, NodeVectors):
            _arrived(turn, message)
        elif isinstance(message, Renamed):
            _renamed(turn, message)
        elif isinstance(message, GoneToo):
            _gone_too(turn, message)
        else:
            _gone(turn, message)


def read_message(value: bytes | None, partitions: int) -> Inner:
    """What would break later on is refused here: one bad record must not stop its partition. Raises RefusedError."""
    try:
        message: Inner = _decode(value or b"")
    except UNREADABLE as error:
        raise RefusedError(Code.BROKEN_INTERNAL, f"not a graph message: {printable(error)}") from None
    if wrong := _what_is_wrong(message, partitions):
        raise RefusedError(Code.BROKEN_INTERNAL, f"not a graph message: {wrong}")
    return message


def _what_is_wrong(message: Inner, partitions: int) -> str:
    if not 0 < len(message.user) <= MAX_ID_CHARS:
        return "its user is empty or too long"
    if isinstance(message, Subscribe):
        return "" if 0 <= message.partition < partitions else f"there is no partition {message.partition}"
    if isinstance(message, NodeVectors):
        if not 0 < message.version < MAX_NUMBER:
            return f"its version is {message.version}"
        fits = is_packed(message.node, NODE_DIM) and is_packed(message.hidden, NODE_DIM)
        return "" if fits else f"its vectors are not {NODE_DIM} finite numbers"
    if isinstance(message, Renamed):
        return "" if 0 < len(message.into) <= MAX_ID_CHARS else "its other user is empty or too long"
    if not 0.0 < message.time <= LATEST_TIME:
        return f"its time is {message.time:g}"
    if isinstance(message, GoneToo):
        return "its text is too long" if len(message.event) > MAX_ID_CHARS else ""
    if not (0 <= message.memberships < MAX_NUMBER and 0 <= message.edges < MAX_NUMBER):
        return "its counts are out of range"
    return "its texts are too long" if max(len(message.event), len(message.after)) > MAX_ID_CHARS else ""


def _subscribed(turn: Turn, wish: Subscribe) -> None:
    if (alias := turn.alias(wish.user)) is not None:
        if wish.wanted:
            _send(turn, wish.user, Renamed(wish.user, alias.into), wish.partition)
        return
    vectors = turn.vectors(wish.user)
    known = set(vectors.subscribers)
    if wish.wanted:
        known.add(wish.partition)
    elif wish.partition in known:
        known.discard(wish.partition)
    else:
        return
    vectors.subscribers = sorted(known)
    if vectors == Vectors():  # nothing is known of the user, and nobody asks any more
        turn.drop_vectors(wish.user)
        if (guard := turn.guard(wish.user)) is not None:
            turn.put_guard(wish.user, guard.time)  # the id was written after the erasure: its bytes go as well
        return
    if wish.wanted and vectors.node:
        if not vectors.version:
            mark_sent(vectors)
        _send_vectors(turn, wish.user, vectors, wish.partition)
    turn.put_vectors(wish.user)


def _gone(turn: Turn, message: Gone) -> None:
    """Somebody is erased: forget the vectors, and the edges of local users that are not newer than that."""
    user = message.user
    turn.put_guard(user, message.time)
    if not message.begun:
        _forget_vectors(turn, user)
        alias = turn.alias(user)
        if alias is not None and alias.time <= message.time:  # else somebody said later that it is theirs
            turn.put_guard(user, message.time, alias.sequence)
            turn.set_alias(user, None)
    followers, more = _some_followers(turn, user, message.after)
    removed = sum(_forget_edge(turn, follower, user, message.time) for follower in followers)
    now = msgspec.structs.replace(message, edges=message.edges + removed, begun=True)
    if more:
        after = followers[-1] if followers else message.after
        _send(turn, user, msgspec.structs.replace(now, after=after), turn.place.partition)
        return
    if turn.neighbour(user).followers > 0:  # who follows the next life; that knows of no subscribers
        _subscribe(turn, user, True)
    _give_receipt(turn, now)


def send_rest(turn: Turn, user: str, time: float, event: str) -> None:
    """The next turn goes on with what is left of the erased user's ids."""
    _send(turn, user, GoneToo(user, time, event), turn.place.partition)


def _gone_too(turn: Turn, message: GoneToo) -> None:
    names = person.alias_records(turn, message.user, message.time)
    person.drop_aliases(turn, message.user, names[:MOST_NAMES])
    for name in names[:MOST_NAMES]:
        send_gone(turn, Gone(name, message.time, message.event), 0, 0)
    if len(names) > MOST_NAMES:
        send_rest(turn, message.user, message.time, message.event)


def _some_followers(turn: Turn, followee: str, after: str) -> tuple[list[str], bool]:
    """Local users with an edge to ``followee``, after ``after``, as many as this turn may still look at, and whether
    there may be more."""
    room = max(0, MOST_EDGES - turn.edges_taken)
    followers = turn.followers(followee, after, room) if room else []
    turn.edges_taken += len(followers)
    turn.load(followers)
    return followers, len(followers) == room


def rename(turn: Turn, user: str, into: str) -> None:
    """``user`` is merged into another: tell every partition where somebody follows them."""
    vectors = turn.vectors(user)
    for partition in vectors.subscribers:
        _send(turn, user, Renamed(user, into), partition)
    if vectors.subscribers:
        turn.drop_vectors(user)


def _renamed(turn: Turn, message: Renamed) -> None:
    """Local followers follow the other one from now on, and remembered unfollows are of that one."""
    user, into = message.user, message.into
    followers, more = _some_followers(turn, user, "")
    for follower in followers:
        changed = set_follower(turn, user, follower, None)
        if (state := turn.known(follower)) is None:
            continue
        time = state.edges.get(user)
        state.edges.drop(user)
        if time and into != follower:
            state.edges.set(into, abs(time), time > 0)
            changed |= edges_changed(turn, follower, state, into)
        if changed:
            _neighbourhood_changed(turn, follower, state)
    if more:
        _send(turn, user, message, turn.place.partition)


def _forget_vectors(turn: Turn, followee: str) -> None:
    neighbour = turn.neighbour(followee)
    neighbour.version, neighbour.node, neighbour.hidden = 0, b"", b""
    if neighbour.followers > 0:
        turn.put_neighbour(followee)
    if turn.holds(layout.refresh_key(followee)):
        turn.put(layout.refresh_key(followee), None)


def _forget_edge(turn: Turn, follower: str, followee: str, until: float) -> bool:
    """Remove the edge unless it is newer than ``until``; returns whether the follower did follow."""
    state = turn.known(follower)
    if state is not None:
        if abs(state.edges.get(followee)) > until:
            return False
        state.edges.drop(followee)
    changed = set_follower(turn, followee, follower, None)
    if changed and state is not None:
        _neighbourhood_changed(turn, follower, state)
    return changed


def _neighbourhood_changed(turn: Turn, user: str, state: State) -> None:
    if turn.plan.needs_vectors:
        state.dirty = state.count
        turn.want_encoding(user, state)


def _give_receipt(turn: Turn, message: Gone) -> None:
    place = turn.place
    receipt = Receipt(
        receipt=erasure_digest(message.user, place.erasure_key).hex(),
        event=message.event,
        partition=place.partition,
        partitions=place.partitions,
        memberships_ended=message.memberships,
        edges_removed=message.edges,
        erased_at=message.time,
        processed_at=turn.processed_at,
    )
    source = event_source(place.topics.installation, place.partition)
    turn.effects.send(
        Message(
            place.topics.receipts,
            receipt.receipt.encode(),
            receipt_value(receipt),
            headers=receipt_headers(receipt, source),
        )
    )


def send_gone(turn: Turn, message: Gone, memberships: int, edges_removed: int) -> None:
    """Tell all partitions, this one too, where it counts what was removed already."""
    for partition in range(turn.place.partitions):
        here = partition == turn.place.partition
        mine = msgspec.structs.replace(message, memberships=memberships, edges=edges_removed) if here else message
        _send(turn, message.user, mine, partition)


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
    mark_sent(vectors)
    for partition in vectors.subscribers:
        _send_vectors(turn, user, vectors, partition)


def _moved(now: bytes, sent: bytes, epsilon: float) -> bool:
    if now == sent:
        return False
    return float(np.linalg.norm(unpack(now, NODE_DIM) - unpack(sent, NODE_DIM))) > epsilon


def mark_sent(vectors: Vectors) -> None:
    vectors.version += 1
    vectors.sent_node, vectors.sent_hidden = vectors.node, vectors.hidden


def _send_vectors(turn: Turn, user: str, vectors: Vectors, partition: int) -> None:
    _send(turn, user, NodeVectors(user, vectors.version, vectors.sent_node, vectors.sent_hidden), partition)


def _send(turn: Turn, user: str, message: Inner, partition: int) -> None:
    turn.effects.send(Message(turn.place.topics.graph, user.encode(), _encode(message), partition))
