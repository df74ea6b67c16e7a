"""Anonymous to known: what was counted under one id moves to the user whose id it turned out to be.

An identify (or alias) is folded at home of the known user, who asks the anonymous id's home for its state: ``MoveOut``.
There its memberships end, a forwarding record is left, and the state goes home to the known user: ``MoveIn``. Both
travel on the reroute topic, so whatever is forwarded later arrives after the state. A step is one transaction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from state import format1, layout
from state.aliases import Alias
from state.merge import merge_states, merge_vectors
from state.plain.ids import Entry, Ids
from state.plain.record import PlainRecord, unpack
from state.record import Record as State
from state.user import PendingText, texts_waiting
from state.vectors import Vectors, text_direction, text_sum
from state.windows import TallySpec
from streams.steps import graph, learned, person, reroute, words
from streams.steps.definitions import adopt, reconcile, refresh
from streams.steps.effects import Hop, Message, Record
from streams.steps.membership import Cause, check_rule, leave, next_due
from streams.steps.partitioner import partition_of
from streams.steps.turn import Turn
from streams.wire.decode import MAX_ID_CHARS
from streams.wire.emit import Reason
from streams.wire.events import Event
from streams.wire.refused import UNREADABLE, Code, RefusedError, printable
from streams.wire.times import LATEST_TIME

#: characters of waiting texts in one message, far below the largest record
_MOST_CHARS: Final = 1_000_000
#: merged ids in one message
_MOST_ALIASES: Final = 1_000


class MoveOut(msgspec.Struct, array_like=True, tag="move-out", frozen=True):
    """``user`` is another id of ``into``, says an event of ``time`` (seconds): hand over what there is."""

    user: str
    into: str
    time: float
    event: str
    arrived: float


class MoveIn(msgspec.Struct, array_like=True, tag="move-in", frozen=True):
    """What was known of ``user`` is now ``into``'s. Nothing but texts: the state went ahead; nothing at all: there
    was none."""

    user: str
    into: str
    time: float
    event: str
    arrived: float
    state: bytes = b""
    """Its block: the user's record. An earlier release sent it in format 1, with all ids in it."""
    vectors: bytes = b""
    texts: list[PendingText] = []
    path: list[Hop] = []
    terms: list[str] = []
    """What was counted where the state comes from, but for what the state itself says is not known; of all else nothing
    is known up to the state's time."""
    aliases: list[str] = []
    """Ids that were merged into ``user`` before and are not in the state; without a state as texts are."""
    ids: bytes = b""
    """All ids of events that the state has seen: ``format1.pack_ids``."""


#: texts of a user that are counted: there is room for no more
_MOST_TEXTS: Final = 2**31

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(MoveOut | MoveIn).decode


def identified(turn: Turn, user: str, event: Event, arrived: float) -> None:
    """``user`` said that the event's target is another id of theirs. ``arrived``: append time in seconds."""
    if event.target != user:  # an event of a merged id may name who it was merged into
        _send(turn, event.target, MoveOut(event.target, user, event.time, event.id, arrived))


def receive(turn: Turn, record: Record) -> None:
    """One message of a merge."""
    try:
        message, moved = read_message(record.value, turn.models.encoders.text.dim, turn.plan.specs)
        home = message.user if isinstance(message, MoveOut) else message.into
        if partition_of(home, turn.place.partitions) != turn.place.partition:
            _refuse(turn, record, "it was sent to another's home")
        elif isinstance(message, MoveOut):
            _move_out(turn, message)
        else:
            _move_in(turn, message, moved)
    except RefusedError as error:
        turn.reject(turn.place.topics.reroute, record, error)


class Moved(NamedTuple):
    """What a message carries of a user."""

    state: State
    ids: list[Entry]
    """Of events that were counted."""
    vectors: Vectors


def read_message(value: bytes | None, dim: int, specs: Iterable[TallySpec]) -> tuple[MoveOut | MoveIn, Moved]:
    """A message and what it carries (a new state, new vectors if nothing). What would break later on is refused here:
    one bad record must not stop its partition. ``specs``: what is counted here. Raises RefusedError."""
    try:
        message: MoveOut | MoveIn = _decode(value or b"")
        moved = _carried(message)
    except (*UNREADABLE, MemoryError, ValueError) as error:  # a length that is made up may ask for all memory
        raise RefusedError(Code.BROKEN_INTERNAL, f"not a part of a merge: {printable(error)}") from None
    if wrong := _what_is_wrong(message, moved.state, moved.vectors, dim, specs):
        raise RefusedError(Code.BROKEN_INTERNAL, f"not a part of a merge: {wrong}")
    return message, moved


def _carried(message: MoveOut | MoveIn) -> Moved:
    state, ids, vectors = PlainRecord(message.user), list[Entry](), Vectors()
    if isinstance(message, MoveIn) and format1.is_format_1(message.state):
        state, _ = format1.read(message.user, message.state, None, lambda _: 0)
        ids = state.ids.items()
    elif isinstance(message, MoveIn) and message.state:
        state, ids = unpack(message.user, message.state), format1.unpack_ids(message.ids)
    if isinstance(message, MoveIn) and message.vectors:
        vectors = layout.decode_vectors(message.vectors)
    return Moved(state, ids, vectors)


def _what_is_wrong(
    message: MoveOut | MoveIn, state: State, vectors: Vectors, dim: int, specs: Iterable[TallySpec]
) -> str:
    ids = [message.user, message.into, *state.aliases]
    times = [message.time]
    if isinstance(message, MoveIn):
        times += [text.time for text in message.texts]
        ids += [*message.aliases, *(name for hop in message.path for name in (hop.user, hop.into))]
        if any(not math.isfinite(hop.time) for hop in message.path):
            return "its path has no times"
    if not all(0 < len(name) <= MAX_ID_CHARS for name in ids):
        return "an id is empty or too long"
    if not all(0.0 < time <= LATEST_TIME for time in times):
        return "a time is out of range"
    if not 0 <= state.count < graph.MAX_NUMBER or not 0 <= state.texts < _MOST_TEXTS:
        return "its counts are out of range"
    # a block says the numbers of buckets, and not what time that is
    if any(bucket * spec.width > state.time for spec in specs for bucket, _ in state.cells.buckets(spec)[-1:]):
        return "it counts what is later than its own time"
    if vectors.text_sum and len(vectors.text_sum) != 4 * dim:
        return f"its text vector has not {dim} numbers"
    return "" if np.isfinite(text_sum(vectors)).all() else "its text vector is not finite"


def _refuse(turn: Turn, record: Record, why: str) -> None:
    turn.reject(turn.place.topics.reroute, record, RefusedError(Code.BROKEN_INTERNAL, f"not a part of a merge: {why}"))


def _move_out(turn: Turn, message: MoveOut) -> None:
    user, into = message.user, message.into
    before = turn.alias(user)
    if before is not None and (before.time, before.into) >= (message.time, into):
        return  # somebody identified themselves as this id later than that
    state = turn.known(user)
    alias = Alias(into, message.time)
    if before is not None:
        alias.sequence, alias.seen = before.sequence, before.seen
    if state is not None:
        if state.epoch != turn.meta.epoch:  # epochs are the partition's own: what is not known goes along
            adopt(turn, state)
        cause = Cause("merge", "fold", message.event, message.arrived)
        reason = Reason(summary=f"the user is one with {into}", event=message.event)
        now = max(state.time, message.time)
        for segment, member in state.members.items():
            leave(turn, user, state, segment, member.version, member.score, now, cause, reason)
        graph.drop_edges(turn, user, state)
        alias.sequence, alias.seen = state.sequence, _ids_of(turn, user, state)
    turn.set_alias(user, alias)
    if before is None or before.into != into:
        for part in _parts(turn, message, state):
            _send(turn, into, part)
        graph.rename(turn, user, into)
        turn.effects.merged += 1
    if state is not None:
        turn.forget(user, ids_stay=True)


def _ids_of(turn: Turn, user: str, state: State) -> Ids:
    """All ids that the state has seen, for the forwarding record."""
    saved, unsaved = state.ids.saved, dict(state.ids.unsaved)
    stored = [number for number in state.ids.numbers if number not in unsaved]
    values = turn.reader.get_many(layout.seen_keys(user, stored)) if stored else []
    chunks = {**unsaved, **dict(zip(stored, values, strict=True))}
    ids = unpack(user, state.pack()).ids
    ids.restore(chunks[number] for number in ids.numbers)
    ids.saved, ids.unsaved, ids.cut = saved, unsaved, state.ids.cut
    return ids


def _parts(turn: Turn, message: MoveOut, state: State | None) -> Iterator[MoveIn]:
    """The state with the first of its waiting texts, then the others, so that no message gets too large."""
    first = MoveIn(message.user, message.into, message.time, message.event, message.arrived)
    if state is None:
        yield first  # ``into`` has to know its aliases
        return
    vectors = turn.vectors(message.user)
    written = Vectors(text_sum=vectors.text_sum, text_time=vectors.text_time, encoder=vectors.encoder)
    chunks: list[list[PendingText]] = [[]]
    size = 0
    for text in turn.pending_texts(message.user):
        size += len(text.text)
        if size > _MOST_CHARS:
            chunks.append([])
            size = len(text.text)
        chunks[-1].append(text)
    yield msgspec.structs.replace(
        first,
        state=state.pack(),
        vectors=layout.encode_vectors(written),
        texts=chunks[0],
        terms=sorted(turn.meta.terms),
        ids=format1.pack_ids(state.ids.items()),
    )
    for chunk in chunks[1:]:
        yield msgspec.structs.replace(first, texts=chunk)
    older = person.older_aliases(turn, message.user, state)
    person.drop_aliases(turn, message.user, older)
    for begin in range(0, len(older), _MOST_ALIASES):
        yield msgspec.structs.replace(first, aliases=older[begin : begin + _MOST_ALIASES])


def _move_in(turn: Turn, message: MoveIn, moved: Moved) -> None:
    into, (other, ids, vectors) = message.into, moved
    if turn.known(into) is None and (onward := reroute.follow(turn, into, message.path)) is not None:
        further, path = onward
        _send(turn, further, msgspec.structs.replace(message, into=further, path=path))
        return
    known = turn.known(into)
    if message.time <= (erased := turn.erased_until(into, known)):
        _forget_as_well(turn, message, other, erased)
        return
    if known is None and not message.state:
        return
    state = turn.user(into)
    reconcile(turn, into, state)
    for key in turn.meta.terms.keys() - set(message.terms):
        other.cells.mark_unknown(key, other.time)
    touched = merge_states(state, other, ids, into, message.user, turn.plan.tallies, turn.plan.watch)
    learned.bound_labels(turn, state)
    person.keep_aliases(turn, into, state, message.aliases)
    turn.load_guards(touched)
    for target in touched:
        if state.edges.get(target):
            graph.edges_changed(turn, into, state, target)
        else:
            graph.set_follower(turn, target, into, None)
    for text in message.texts:
        turn.add_text(into, state, text)
    if vectors.text_sum:
        merge_vectors(turn.vectors(into), vectors)
        turn.put_vectors(into)
    _decide(turn, message, state, bool(vectors.text_sum))
    _encode_anew(turn, into, state)


def _forget_as_well(turn: Turn, message: MoveIn, other: State, erased: float) -> None:
    """The user was erased while the state of another of their ids was on its way: that id, and those that were merged
    into it, are erased like the others."""
    found = [*other.aliases, *message.aliases]
    if message.state or not (message.texts or message.aliases):
        found.append(message.user)
    named = any(name in message.event for name in (message.into, message.user, *found))
    for name in found:
        graph.send_gone(turn, graph.Gone(name, erased, "" if named else message.event), 0, 0)


def _decide(turn: Turn, message: MoveIn, state: State, wrote: bool) -> None:
    """Memberships of the two as one: subscribers see what it changes, once. Learned ones follow with the encoding."""
    now = state.time
    refresh(turn, state)
    cause = Cause("merge", "fold", message.event, message.arrived)
    for segment in turn.plan.rules:
        check_rule(turn, message.into, state, segment, now, cause)
    if wrote and turn.plan.words:
        encoders = turn.models.encoders
        direction = text_direction(turn.vectors(message.into), encoders.text.dim)
        spoken = Cause("merge", "fold", message.event, message.arrived, encoders.version)
        words.decide_all(turn, message.into, state, direction, now, spoken)
    state.due = next_due(turn.plan, state)


def _encode_anew(turn: Turn, user: str, state: State) -> None:
    """Vectors under way were computed from one half of the user: they must find another life and be thrown away."""
    state.life = turn.lives.next()
    state.dirty = state.count
    if state.queued or texts_waiting(state) or state.labels or turn.plan.needs_vectors:
        turn.want_encoding(user, state)


def _send(turn: Turn, user: str, message: MoveOut | MoveIn) -> None:
    turn.effects.send(
        Message(
            turn.place.topics.reroute,
            user.encode(),
            _encode(message),
            partition_of(user, turn.place.partitions),
            [(reroute.KIND, reroute.MERGE)],
        )
    )
