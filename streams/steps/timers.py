"""Membership changes when nothing happens: windows run out, minimum stays end."""

from __future__ import annotations

from state import layout
from state.record import Record as State
from streams.steps import learned
from streams.steps.definitions import reconcile, refresh
from streams.steps.membership import Cause, check_rule, leave, next_due
from streams.steps.turn import Turn
from streams.wire.emit import Reason


def receive_timers(turn: Turn, keys: list[bytes], now: float) -> None:
    """Timer keys of the store that are due at ``now``. A stale key (the user's timer moved) does nothing."""
    turn.effects.fired.extend(keys)
    for user in turn.load_due((layout.timer_parts(key)[1].decode() for key in keys), now):
        state = turn.user(user)
        reconcile(turn, user, state)
        if state.due <= now:
            fire_timers(
                turn, user, state, now, Cause("expiry", "timer", arrived=state.due if turn.place.wall_clock else 0.0)
            )


def fire_timers(turn: Turn, user: str, state: State, until: float, cause: Cause) -> None:
    """Evaluate at each due time up to ``until``, in order, as if the clock had stopped there."""
    while state.due <= until:
        state.enter(state.due)
        now = state.time
        for segment in turn.plan.rules:
            check_rule(turn, user, state, segment, now, cause)
        members = state.members
        for segment_id in members.segments():
            member, segment_or_none = members.get(segment_id), turn.plan.segments.get(segment_id)
            if segment_or_none is None or member is None or member.leaving is None:
                continue
            if now >= member.since + segment_or_none.min_stay:
                if turn.plan.is_exclusive(segment_or_none.group):  # what it kept out may be entered in its place
                    learned.score_again(turn, user, state, segment_or_none.group, now, cause)
                    member = members.get(segment_id)
                if member is not None and member.leaving is not None:
                    reason = Reason(summary="the minimum stay is over and the score is below the exit threshold")
                    leave(turn, user, state, segment_id, segment_or_none.version, member.leaving, now, cause, reason)
        if state.known_at <= now:
            refresh(turn, state)
        state.due = next_due(turn.plan, state)
