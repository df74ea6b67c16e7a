"""The definitions changed: end what is gone, decide what is new, for users with and without events."""

from __future__ import annotations

from state.user import UserState
from state.vectors import text_direction
from streams.steps import exclusive, words
from streams.steps.membership import Cause, check_rule, leave, next_due
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def reconcile(turn: Turn, user: str, state: UserState, now: float) -> None:
    """Check one user against the present definitions; learned segments follow with the next scoring."""
    cause = Cause("definition", "fold", encoder=turn.models.encoders.version)
    state.plan = turn.plan.fingerprint
    for segment_id, member in list(state.members.items()):
        if segment_id not in turn.plan.segments:
            reason = Reason(summary="the segment is not defined any more")
            leave(turn, user, state, segment_id, member.version, member.score, now, cause, reason)
    exclusive.keep_one_of_each(turn, user, state, now, Cause("definition", "fold"))
    for key in state.tallies.keys() - turn.plan.tallies.specs.keys():
        del state.tallies[key]  # nobody adds to it any more, so it would be wrong if asked for again
    turn.plan.watch.change(state.last, state.time)
    for segment in turn.plan.rules:
        check_rule(turn, user, state, segment, now, Cause("definition", "fold"))
    if turn.plan.words and state.texts:
        vectors = turn.vectors(user)
        if vectors.text_sum:
            words.decide_all(turn, user, state, text_direction(vectors, turn.models.encoders.text.dim), now, cause)


def sweep(turn: Turn, users: list[str]) -> None:
    """Check users that may have no events any more."""
    turn.load(users)
    stale = [user for user in users if (state := turn.known(user)) and state.plan != turn.plan.fingerprint]
    turn.load_vectors(stale)
    for user in stale:
        state = turn.user(user)
        reconcile(turn, user, state, state.time)
        state.due = next_due(turn.plan, state)
