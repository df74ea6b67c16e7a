"""A user is forgotten: their memberships end, and everything under their keys goes."""

from __future__ import annotations

from state.user import UserState
from streams.steps import graph
from streams.steps.membership import Cause, leave
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def erase(turn: Turn, user: str, state: UserState, time: float, event_id: str, arrived: float) -> None:
    """End all memberships with ``origin: erasure``, leave the graph, and remove the user's records."""
    cause = Cause("erasure", "fold", event_id, arrived)
    for segment_id, member in sorted(state.members.items()):
        reason = Reason(summary="the user is erased", event=event_id)
        leave(turn, user, state, segment_id, member.version, member.score, max(time, state.time), cause, reason)
    graph.drop_edges(turn, user, state)
    turn.forget(user)
