"""Events that are ahead of the clock wait for their time, in records of their own (ADR 0031).

An event's turn comes when the clock of the partition's timers gets to it, or before, when an event of the same user is
folded that arrived then or later. Then it is as if it had arrived at its own time. So a user's state does not depend
on how far ahead events were sent, nor on how records fall into turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import xxhash

from state.native import Items
from state.waiting import WaitingEvent, due_ms, waiting_key, waiting_parts
from streams.steps.effects import Place, Record, Rerouted
from streams.steps.partitioner import partition_of
from streams.steps.turn import Turn
from streams.wire.events import Event
from streams.wire.refused import RefusedError

#: seconds that producers' clocks may be ahead of the broker's; what is further ahead waits
TOLERANCE: Final = 1.0

Item = tuple[Event, int, Record, float]
#: of one user, in order of arrival: as Python or as the compiled part put them together
Gathered = list[Item] | Items[Item]


def usual(place: Place) -> tuple[int, int, float, float, float, float]:
    """The bounds of ``Limits.usual`` within which, besides, an event acts at once."""
    size, name, earliest, most_ahead, amount, dwell = place.limits.usual
    return size, name, earliest, min(most_ahead, TOLERANCE) if place.wall_clock else most_ahead, amount, dwell


def is_ahead(place: Place, event: Event, record: Record, arrived: float) -> bool:
    """Whether its time is yet to come. By event time nothing is: the largest time is the clock."""
    if event.time <= arrived + TOLERANCE or not place.wall_clock:
        return False
    return not (isinstance(record, Rerouted) and record.user)  # an earlier release sent it on, and it has a path


def join(
    turn: Turn,
    topic: str,
    by_user: Mapping[str, Gathered],
    ahead: Iterable[Item],
    until: float,
    take: Callable[[Record], Item | None],
) -> dict[str, list[Item]]:
    """What these events, which arrived ahead, and those that wait do to a batch whose last record arrived at ``until``.

    Gives all events of the users of whom some have their turn within the batch, in order. The others wait.
    """
    come: dict[str, list[Item]] = {}
    for item in ahead:
        event, _, record, _ = item
        user = event.user
        if partition_of(user, turn.place.partitions) != turn.place.partition:
            come.setdefault(user, []).append(item)  # it waits at home
            continue
        ms = due_ms(event.time)
        if ms / 1000.0 > until:
            if not _wait(turn, topic, item):
                come.setdefault(user, []).append(item)
        elif (now := take(as_arrived(waiting_key(ms, user, digest(record)), _kept(turn, topic, record)))) is not None:
            come.setdefault(user, []).append(now)
    due = [key for key in turn.waiting.due(until) if (user := waiting_parts(key)[1]) in by_user or user in come]
    for rerouted in taken(turn, due):
        if (now := take(rerouted)) is not None:
            come.setdefault(now[0].user, []).append(now)
    return {user: _in_order(by_user.get(user, ()), items) for user, items in come.items()}


def taken(turn: Turn, keys: Iterable[bytes]) -> list[Rerouted]:
    """These events, which wait no more, as records that arrived at their own time."""
    return [as_arrived(key, event) for key, event in turn.waiting.take(keys)]


def digest(record: Record) -> int:
    """Of all of a record: two with one id may mean different things."""
    return xxhash.xxh3_64_intdigest(record.value or b"")


def as_arrived(key: bytes, event: WaitingEvent) -> Rerouted:
    """The record that a producer would have sent at the event's time."""
    ms, user, _ = waiting_parts(key)
    return Rerouted(event.topic, event.partition, event.offset, ms, user.encode(), event.value, [])


def _wait(turn: Turn, topic: str, item: Item) -> bool:
    """False: there is no room, and it has its turn now. So it is with a delete: who fills the room, as anybody may who
    produces, must not keep others from being erased. What it would have erased then, it keeps out until then."""
    event, _, record, _ = item
    try:
        if not turn.waiting.add(event.user, _kept(turn, topic, record), event.time, digest(record)):
            turn.effects.duplicates += 1
            turn.meta.duplicates += 1
    except RefusedError as error:
        if event.kind == "delete":
            return False
        turn.reject(topic, record, error)
    return True


def _kept(turn: Turn, topic: str, record: Record) -> WaitingEvent:
    """What is kept of a record. Its own headers mean nothing to us."""
    partition = turn.place.partition
    if isinstance(record, Rerouted):
        topic, partition = record.topic, record.partition
    return WaitingEvent(record.value or b"", topic, partition, record.offset, record.timestamp)


def _in_order(items: Iterable[Item], come: list[Item]) -> list[Item]:
    """A user's events in the order of their arrival; of those in ``come`` each before what arrived then or later."""
    come = sorted(come, key=lambda item: (item[3], digest(item[2])))
    found: list[Item] = []
    at = 0
    for item in items:
        while at < len(come) and come[at][3] <= item[3]:
            found.append(come[at])
            at += 1
        found.append(item)
    return found + come[at:]
