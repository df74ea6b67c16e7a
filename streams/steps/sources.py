"""Records of a source topic to the steps that handle them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from streams.steps import fold, graph, learned, merge, reroute
from streams.steps.effects import DamagedBatch, Record
from streams.steps.turn import Turn
from streams.wire.refused import Code, RefusedError
from streams.wire.topics import Topics


def receive(turn: Turn, topic: str, records: Sequence[Record], heads: learned.Heads) -> None:
    """Records of one source topic, in order. ``heads`` are those that this partition trains."""
    topics = turn.place.topics
    if len(records) and isinstance(records[0], DamagedBatch):  # it always comes alone
        turn.reject(topic, records[0], records[0].error)
    elif topic == topics.events:
        fold.receive_events(turn, records, topic)
    elif topic == topics.labels:
        learned.receive_labels(turn, records)
    elif topic == topics.graph:
        graph.receive(turn, records)
    elif topic == topics.examples:
        learned.train(turn, [records], heads)
    elif topic == topics.reroute:
        _receive_rerouted(turn, records)


def arrived(topics: Topics, topic: str, record: Record) -> float:
    """When the broker first took a record, in seconds: a rerouted one, at its origin."""
    if topic == topics.reroute and reroute.kind_of(record) == reroute.RECORD:
        with suppress(RefusedError):
            return reroute.unwrap(record).timestamp / 1000.0
    return record.timestamp / 1000.0


def refuse(turn: Turn, topic: str, records: Sequence[Record], error: RefusedError, cut: int) -> None:
    """Records that are not taken, for a reason that lies in what they would make the service write."""
    for record in records:
        rerouted = record
        if topic == turn.place.topics.reroute and reroute.kind_of(record) == reroute.RECORD:
            with suppress(RefusedError):
                rerouted = reroute.unwrap(record)
        turn.reject(topic, rerouted, error, cut)


def _receive_rerouted(turn: Turn, records: Sequence[Record]) -> None:
    """In their order, because a state arrives before what is forwarded after it; together where they may be."""
    topics = turn.place.topics
    run: list[Record] = []
    of = ""
    for record in records:
        try:
            topic, unwrapped = _unwrapped(record, topics)
        except RefusedError as error:
            turn.reject(topics.reroute, record, error)
            continue
        if topic != of or topic == topics.reroute:
            _handle(turn, of, run)
            of, run = topic, []
        run.append(unwrapped)
    _handle(turn, of, run)


def _unwrapped(record: Record, topics: Topics) -> tuple[str, Record]:
    kind = reroute.kind_of(record)
    if kind == reroute.MERGE:
        return topics.reroute, record
    if kind == reroute.RECORD:
        rerouted = reroute.unwrap(record)
        if rerouted.topic in (topics.events, topics.labels):
            return rerouted.topic, rerouted
    raise RefusedError(Code.BROKEN_INTERNAL, "what kind of rerouted record this is cannot be told")


def _handle(turn: Turn, topic: str, run: list[Record]) -> None:
    if topic == turn.place.topics.reroute:
        for record in run:
            merge.receive(turn, record)
    elif run:
        receive(turn, topic, run, {})
