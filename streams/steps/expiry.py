"""Users of whom nothing came for long are forgotten: memberships end, then all that is under their keys goes.

Who comes back begins anew, with sequences above all that were ever given here (``layout.Meta.sequence_floor``).
"""

from __future__ import annotations

from collections.abc import Iterable

from state.user import UserState
from state.vectors import Vectors
from streams.steps import graph, person
from streams.steps.effects import Place
from streams.steps.membership import Cause, leave
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def is_over(state: UserState, place: Place, now: float) -> bool:
    """Nothing came for too long. By arrival: a replay brings events that are old, and a user's time also goes on with
    timers and changed definitions. Of whom no id is in memory that is all there is."""
    return (state.seen.latest or state.time) + _ttl(state, place) <= now


def _ttl(state: UserState, place: Place) -> float:
    return place.state_ttl if state.identified else place.anonymous_ttl


def expire(turn: Turn, users: Iterable[str]) -> None:
    """Forget those of these users who are over by the turn's clock."""
    turn.load(users)
    for user in users:
        state = turn.known(user)
        if state is not None and is_over(state, turn.place, turn.clock):
            _expire(turn, user, state)


def _expire(turn: Turn, user: str, state: UserState) -> None:
    days = _ttl(state, turn.place) / 86_400.0
    reason = Reason(summary=f"no event of the user came for {days:g} days")
    for segment, member in sorted(state.members.items()):
        leave(turn, user, state, segment, member.version, member.score, turn.clock, Cause("expiry", "expiry"), reason)
    turn.raise_floor(state.sequence)
    graph.drop_edges(turn, user, state)
    person.drop_aliases(turn, user, person.older_aliases(turn, user, state))
    vectors = turn.vectors(user)
    turn.forget(user)
    if vectors.subscribers:  # who follows the user goes on doing so: whoever comes back is sent to them again
        turn.keep_vectors(user, Vectors(subscribers=vectors.subscribers, version=vectors.version))
    turn.effects.expired += 1
