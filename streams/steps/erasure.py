"""A user is forgotten: their memberships end, everything under their keys goes, and all partitions are told.

What is left is a guard in each partition: a keyed hash of the id, so that a replay of old events brings nobody back.
"""

from __future__ import annotations

from state import layout
from state.record import Record as State
from streams.steps import graph, person
from streams.steps.membership import Cause, leave
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def erase(turn: Turn, user: str, state: State | None, time: float, event_id: str, arrived: float) -> None:
    """End all memberships with ``origin: erasure``, leave the graph, remove the user's records, tell all partitions.

    ``state`` None: nothing is known of the user, or no longer. The user is erased up to ``time``, or up to the latest
    event that was counted, if that is later.
    """
    memberships = followed = sequence = 0
    known, older = person.aliases(turn, user, state)
    if state is not None:
        time = max(time, state.time)
        memberships = len(state.members)
        _end_memberships(turn, user, state, time, Cause("erasure", "fold", event_id, arrived))
        followed = graph.drop_edges(turn, user, state)
        sequence = state.sequence
    turn.forget(user, erased=True)
    turn.put_guard(user, time, sequence)
    named = any(name in event_id for name in (user, *known, *older))
    event = "" if named else event_id  # receipts are kept for long
    for name in dict.fromkeys((user, *known, *older[: graph.MOST_NAMES])):
        mine = name == user
        graph.send_gone(turn, graph.Gone(name, time, event), memberships * mine, followed * mine)
    person.drop_aliases(turn, user, older[: graph.MOST_NAMES])
    if len(older) > graph.MOST_NAMES:
        graph.send_rest(turn, user, time, event)


def _end_memberships(turn: Turn, user: str, state: State, time: float, cause: Cause) -> None:
    for segment_id, member in state.members.items():
        reason = Reason(summary="the user is erased", event=cause.event)
        leave(turn, user, state, segment_id, member.version, member.score, time, cause, reason)


def expired(turn: Turn, value: bytes) -> bool:
    """Whether the guard is as old as the events that it kept away."""
    return layout.decode_guard(value).processed < turn.processed_at - turn.place.guard_seconds


def expire_guards(turn: Turn, keys: list[bytes]) -> None:
    """Remove those of these guards that are old enough."""
    for key, value in zip(keys, turn.reader.get_many(keys), strict=True):
        if value is not None and expired(turn, value):
            turn.raise_floor(layout.decode_guard(value).sequence)
            turn.put(key, None)
            turn.meta.guards -= 1
