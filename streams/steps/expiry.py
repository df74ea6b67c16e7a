"""Users of whom nothing came for long are forgotten: memberships end, then all that is under their keys goes.

Who comes back begins anew, with sequences above all that were ever given here (``layout.Meta.sequence_floor``).
"""

from __future__ import annotations

from collections.abc import Iterable

from state.record import Record as State
from state.vectors import Vectors
from streams.steps import graph, person
from streams.steps.effects import Place
from streams.steps.membership import Cause, leave
from streams.steps.segments import Plan
from streams.steps.turn import Turn
from streams.wire.emit import Reason

#: segments named in one sentence
_TOLD = 5


def is_over(state: State, place: Place, now: float) -> bool:
    """Nothing came for too long. By arrival: a replay brings events that are old, and a user's time also goes on with
    timers and changed definitions. Of whom no id is in memory that is all there is."""
    return (state.ids.latest or state.time) + _ttl(state, place) <= now


def _ttl(state: State, place: Place) -> float:
    return place.state_ttl if state.identified else place.anonymous_ttl


def too_long(plan: Plan, state_ttl: float, anonymous_ttl: float) -> str:
    """Which rules look back longer than a state is kept without an event, in a sentence; nothing where none does.

    Who was forgotten and comes back is taken for new: of the time before, nothing is counted.
    """
    spans = {segment.id: segment.rule.span for segment in plan.rules if segment.rule is not None}
    kept = min(state_ttl, anonymous_ttl)
    found = sorted(((span, segment) for segment, span in spans.items() if span > kept), reverse=True)
    if not found:
        return ""
    forgotten = [
        f"{who} is forgotten after {_days(ttl)} without an event (SEGMENTS_{name}_TTL_DAYS)"
        for name, who, ttl in (("STATE", "a known user", state_ttl), ("ANONYMOUS", "an anonymous id", anonymous_ttl))
        if found[0][0] > ttl
    ]
    told = ", ".join(f"{segment!r} ({_days(span)})" for span, segment in found[:_TOLD])
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return (
        f"the window of {told}{more} is longer than a state is kept: {', '.join(forgotten)}, and whoever comes back "
        "counts as new, so that a count may be too low and a membership untrue"
    )


def _days(seconds: float) -> str:
    return f"{seconds / 86_400.0:g} days"


def expire(turn: Turn, users: Iterable[str]) -> None:
    """Forget those of these users who are over by the turn's clock."""
    turn.load(users)
    for user in users:
        state = turn.known(user)
        if state is not None and is_over(state, turn.place, turn.clock):
            _expire(turn, user, state)


def _expire(turn: Turn, user: str, state: State) -> None:
    days = _ttl(state, turn.place) / 86_400.0
    reason = Reason(summary=f"no event of the user came for {days:g} days")
    for segment, member in state.members.items():
        leave(turn, user, state, segment, member.version, member.score, turn.clock, Cause("expiry", "expiry"), reason)
    turn.raise_floor(state.sequence)
    graph.drop_edges(turn, user, state)
    person.drop_aliases(turn, user, person.older_aliases(turn, user, state))
    vectors = turn.vectors(user)
    turn.forget(user)
    if vectors.subscribers:  # who follows the user goes on doing so: whoever comes back is sent to them again
        turn.keep_vectors(user, Vectors(subscribers=vectors.subscribers, version=vectors.version))
    turn.effects.expired += 1
