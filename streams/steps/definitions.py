"""The definitions changed: each user is looked at anew, with the next event, timer or encoding, or by the sweep.

First the user goes by the present definitions (``adopt``): what was not counted all the time is not known from then on.
Then all is decided anew, at the present moment: what would be over by now is not entered.
"""

from __future__ import annotations

from state.record import Record as State
from state.vectors import text_direction
from state.windows import NEVER
from streams.steps import exclusive, words
from streams.steps.membership import Cause, check_rule, leave, next_due
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def adopt(turn: Turn, state: State) -> None:
    """From here on the user goes by the present definitions. What was counted for others is dropped.

    Timers are void: to be followed by ``decide_anew``, unless the user goes away.
    """
    meta, plan = turn.meta, turn.plan
    before, until = state.epoch, state.time
    state.epoch = meta.epoch
    cells = state.cells
    cells.keep_only(plan.marks)
    for key, since in meta.terms.items():
        if since > before:
            cells.mark_unknown(key, until)
    refresh(turn, state)
    state.due = NEVER


def refresh(turn: Turn, state: State) -> None:
    """Say what is known at the user's time, and when the next of the rest is."""
    plan = turn.plan
    state.settle(plan.specs, plan.absences)
    for term in plan.others:
        state.known_at = min(state.known_at, term.next_sure(state.cells, state.time))


def decide_anew(turn: Turn, user: str, state: State) -> None:
    """All memberships by the present definitions and clock; learned ones follow with the next scoring."""
    cause = Cause("definition", "fold", encoder=turn.models.encoders.version)
    state.enter(turn.clock)
    now = state.time
    for segment_id, member in state.members.items():
        if segment_id not in turn.plan.segments:
            reason = Reason(summary="the segment is not defined any more")
            leave(turn, user, state, segment_id, member.version, member.score, now, cause, reason)
    exclusive.keep_one_of_each(turn, user, state, now, Cause("definition", "fold"))
    for segment in turn.plan.rules:
        check_rule(turn, user, state, segment, now, Cause("definition", "fold"))
    if turn.plan.words and state.texts:
        vectors = turn.vectors(user)
        if vectors.text_sum:
            words.decide_all(turn, user, state, text_direction(vectors, turn.models.encoders.text.dim), now, cause)
    if state.known_at <= now:
        refresh(turn, state)
    state.due = next_due(turn.plan, state)


def reconcile(turn: Turn, user: str, state: State) -> None:
    """Check one user against the present definitions, if that was not done yet."""
    if state.epoch != turn.meta.epoch:
        adopt(turn, state)
        decide_anew(turn, user, state)


def sweep(turn: Turn, users: list[str]) -> None:
    """Check users that may have no events any more."""
    turn.load(users)
    stale = [user for user in users if (state := turn.known(user)) and state.epoch != turn.meta.epoch]
    turn.load_vectors(stale)
    for user in stale:
        reconcile(turn, user, turn.user(user))
