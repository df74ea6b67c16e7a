"""Learned segments: scoring users with the published heads, and training the heads from labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np
import xxhash

from encoders.base import FUSED, MODALITIES
from encoders.heads import OnlineHead, PublishedHead, evidence_shares, head_from_bytes, make_head
from state import layout
from state.record import Record as State
from state.user import MOST_LABELS, PendingLabel
from state.vectors import Vectors, is_packed, pack, unpack
from streams.steps import exclusive, reroute
from streams.steps.effects import DamagedBatch, Message, Record, Rerouted
from streams.steps.membership import Cause, decide
from streams.steps.models import Array
from streams.steps.partitioner import partition_of
from streams.steps.segments import Segment
from streams.steps.turn import Turn
from streams.wire.decode import MAX_WEIGHT, decode_label
from streams.wire.emit import Reason
from streams.wire.refused import UNREADABLE, Code, RefusedError, printable

Heads = dict[str, OnlineHead]
"""Group → the full head, of groups that this partition trains."""


class Example(msgspec.Struct, array_like=True, frozen=True):
    """A label joined with the user's fused vector, float16[384]."""

    group: str
    segment: str
    member: bool
    weight: float
    vector: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Example).decode


def has_vectors(vectors: Vectors) -> bool:
    return bool(vectors.behaviour or vectors.text or vectors.social)


def score_users(turn: Turn, users: list[tuple[str, State, Cause]]) -> None:
    """Compare users' stored vectors with all heads: one fusion and one matrix product a head for all of them."""
    turn.load_vectors(user for user, _, _ in users)
    ready = [entry for entry in users if has_vectors(turn.vectors(entry[0]))]
    epoch = turn.models.epoch
    for _, state, _ in users:
        state.scored = epoch
    if not ready or not turn.models.heads:
        return
    fused, _ = turn.models.fuse([turn.vectors(user) for user, _, _ in ready])
    for group in turn.models.heads:
        if (head := _deciding(turn, group)) is not None:
            for (user, state, cause), scores in zip(ready, _scores(turn, group, head, fused), strict=True):
                _decide_group(turn, user, state, group, scores, state.time, _with_versions(turn, cause, head))


def score_again(turn: Turn, user: str, state: State, group: str, now: float, cause: Cause) -> None:
    """Decide one user's segments of one group at ``now``, by the vectors that are kept; nothing if that cannot be."""
    head = _deciding(turn, group)
    if head is not None and has_vectors(turn.vectors(user)):
        fused, _ = turn.models.fuse([turn.vectors(user)])
        (scores,) = _scores(turn, group, head, fused)
        _decide_group(turn, user, state, group, scores, now, _with_versions(turn, cause, head))


def _deciding(turn: Turn, group: str) -> PublishedHead | None:
    """The published head of a group, if it has seen enough to decide."""
    head, definition = turn.models.heads.get(group), turn.plan.groups.get(group)
    return head if head is not None and definition is not None and head.seen >= definition.min_labels else None


def _scores(turn: Turn, group: str, head: PublishedHead, fused: Array) -> Iterator[dict[str, float]]:
    """For each fused vector the score of each segment of the group that the head knows."""
    known = [segment.id for segment in turn.plan.learned[group] if segment.id in head.classes]
    columns = [head.classes.index(name) for name in known]
    for row in head.predict_proba_many(fused)[:, columns].tolist():
        yield dict(zip(known, row, strict=True))


def _with_versions(turn: Turn, cause: Cause, head: PublishedHead) -> Cause:
    return msgspec.structs.replace(cause, encoder=turn.models.encoders.version, head=head.version)


def _decide_group(
    turn: Turn, user: str, state: State, group: str, scores: dict[str, float], now: float, cause: Cause
) -> None:
    def why(segment: Segment, score: float, rival: tuple[Segment, float] | None = None) -> Reason:
        shares = shares_of(turn, user, segment)
        told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        side = "at or above" if score >= segment.enter else "below"
        bound = segment.enter if score >= segment.enter or rival is not None else segment.exit
        instead = f", and {rival[1]:.2f} for {rival[0].id!r} of the same group" if rival is not None else ""
        summary = f"the head gives {score:.2f}, {side} {bound:g}{instead}; evidence: {told}"
        return Reason(summary=summary, event=cause.event, shares=shares)

    if turn.plan.is_exclusive(group):
        exclusive.decide_group(turn, user, state, group, scores, now, cause, why)
        return
    for segment in turn.plan.learned[group]:
        if (score := scores.get(segment.id)) is not None:
            decide(turn, user, state, segment, score, now, cause, partial(why, segment, score))


def shares_of(turn: Turn, user: str, segment: Segment) -> dict[str, float]:
    """How much behaviour, neighbours and text each speak for the segment; they add up to one."""
    head = turn.models.heads[segment.group]
    vectors = [turn.vectors(user)]
    full, present = turn.models.fuse(vectors)
    without = {
        name: turn.models.fuse(vectors, name)[0][0] for place, name in enumerate(MODALITIES) if present[0, place]
    }
    return {name: round(share, 4) for name, share in evidence_shares(head, segment.id, full[0], without).items()}


def receive_labels(turn: Turn, records: Sequence[Record]) -> None:
    """Records of the label topic: join each label with its user's vector and pass it to the group's trainer."""
    topic, limits = turn.place.topics.labels, turn.place.limits
    labels = []
    for record in records:
        try:
            label = decode_label(record.value, record.timestamp / 1000.0, limits)
            if isinstance(record, Rerouted) and record.user:
                label = msgspec.structs.replace(label, user=record.user)
            labels.append((label, _learned_segment(turn, label.segment), record))
        except RefusedError as error:
            turn.reject(topic, record, error)
    turn.load(label.user for label, _, _ in labels)
    turn.load_vectors(label.user for label, _, _ in labels)
    for label, segment, record in labels:
        marker = label.id.encode() if label.id else record.value or b""
        id_hash = xxhash.xxh3_64_intdigest(b"label/" + marker)
        state = turn.known(label.user)
        if label.time <= turn.erased_until(label.user, state):
            turn.effects.outlived += 1
            continue
        if state is None:
            if reroute.for_this_partition(turn, label.user, record, topic, id_hash):
                turn.effects.labels_unused += 1  # nothing is known of this user that a head could learn from
            continue
        if id_hash in state.ids and not reroute.was_forwarded(record):
            turn.effects.duplicates += 1
            continue
        state.ids.add(id_hash, record.timestamp / 1000.0)
        pending = PendingLabel(segment.id, label.member, label.weight)
        if has_vectors(turn.vectors(label.user)):
            send_example(turn, label.user, segment, pending)
        else:
            state.labels = [*state.labels, pending]
            bound_labels(turn, state)
            turn.want_encoding(label.user, state)


def bound_labels(turn: Turn, state: State) -> None:
    """The newest of the labels that wait are kept: whoever never gets a vector must not grow for ever."""
    labels = state.labels
    if (excess := len(labels) - MOST_LABELS) > 0:
        state.labels = labels[excess:]
        turn.effects.labels_dropped += excess


def _learned_segment(turn: Turn, name: str) -> Segment:
    segment = turn.plan.segments.get(name)
    if segment is None or not segment.group:
        known = ", ".join(other.id for other in turn.plan.segments.values() if other.group) or "none"
        raise RefusedError(Code.UNKNOWN_SEGMENT, f"{name!r} is not a learned segment; learned are: {known}")
    return segment


def send_example(turn: Turn, user: str, segment: Segment, label: PendingLabel) -> None:
    """To the one partition that trains the segment's group."""
    fused, _ = turn.models.fuse([turn.vectors(user)])
    example = Example(segment.group, segment.id, label.member, label.weight, pack(fused[0]))
    turn.effects.send(
        Message(
            turn.place.topics.examples,
            segment.group.encode(),
            _encode(example),
            partition_of(segment.group, turn.place.partitions),
        )
    )


def send_pending_labels(turn: Turn, user: str, state: State) -> None:
    """The user has a vector now: labels that waited for it go to their trainers."""
    for label in state.labels:
        segment = turn.plan.segments.get(label.segment)
        if segment is not None and segment.group:
            send_example(turn, user, segment, label)
    state.labels = []


def read_example(value: bytes | None) -> Example:
    """What would spoil the head is refused here. Raises RefusedError."""
    try:
        example = _decode(value or b"")
    except UNREADABLE as error:
        raise RefusedError(Code.BROKEN_INTERNAL, f"not an example: {printable(error)}") from None
    if not 0.0 < example.weight <= MAX_WEIGHT:
        raise RefusedError(Code.BROKEN_INTERNAL, f"not an example: its weight is {example.weight:g}")
    if not is_packed(example.vector, FUSED):
        raise RefusedError(Code.BROKEN_INTERNAL, f"not an example: its vector is not {FUSED} finite numbers")
    return example


def train(turn: Turn, blocks: Sequence[Sequence[Record]], heads: Heads) -> None:
    """Blocks of records of the example topic: predict, score, then learn (prequential); then publish the heads."""
    learned: dict[str, None] = {}
    for block in blocks:
        for group, examples in _by_group(turn, block).items():
            _learn(turn, group, examples, heads)
            learned[group] = None
    for group in learned:
        turn.effects.send(Message(turn.place.topics.heads, group.encode(), heads[group].published(), 0))


def _by_group(turn: Turn, records: Sequence[Record]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for record in records:
        try:
            if isinstance(record, DamagedBatch):
                raise record.error
            example = read_example(record.value)
        except RefusedError as error:
            turn.reject(turn.place.topics.examples, record, error)
            continue
        segment = turn.plan.segments.get(example.segment)
        if segment is not None and segment.group == example.group:  # else it was defined otherwise meanwhile
            found.setdefault(example.group, []).append(example)
    return found


def _learn(turn: Turn, group: str, examples: list[Example], heads: Heads) -> None:
    head = _head(turn, group, heads)
    place = {name: column for column, name in enumerate(head.classes)}
    vectors = np.stack([unpack(example.vector, FUSED) for example in examples])
    targets = np.full((len(examples), len(place)), np.nan, dtype=np.float32)
    weights = np.empty(len(examples), dtype=np.float32)
    exclusive = turn.plan.groups[group].exclusive
    for row, example in enumerate(examples):
        if exclusive and example.member:
            targets[row] = 0.0
        targets[row, place[example.segment]] = 1.0 if example.member else 0.0
        weights[row] = example.weight
    if head.learn_block(vectors, targets, weights).drift:
        turn.effects.drifts.append(group)
    stored = head.to_bytes()
    turn.put(layout.head_key(group), stored)
    # what is stored is rounded: who goes on from memory must not learn otherwise than who goes on after a crash
    heads[group] = head_from_bytes(stored)


def _head(turn: Turn, group: str, heads: Heads) -> OnlineHead:
    classes = [segment.id for segment in turn.plan.learned[group]]
    head = heads.get(group)
    if head is None:
        stored = turn.reader.get(layout.head_key(group))
        definition = turn.plan.groups[group]
        head = head_from_bytes(stored) if stored else make_head(definition.head, classes, FUSED, definition.exclusive)
        heads[group] = head
    for name in classes:
        if name not in head.classes:
            head.add_class(name)
    return head
