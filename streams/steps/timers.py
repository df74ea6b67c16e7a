"""Membership changes when nothing happens: windows run out, minimum stays end."""

from __future__ import annotations

from state import layout
from streams.steps.definitions import reconcile
from streams.steps.membership import Cause, fire_timers, next_due
from streams.steps.turn import Turn


def receive_timers(turn: Turn, keys: list[bytes], now: float) -> None:
    """Timer keys of the store that are due at ``now``. A stale key (the user's timer moved) does nothing."""
    turn.effects.fired.extend(keys)
    for user in turn.load_due((layout.timer_parts(key)[1].decode() for key in keys), now):
        state = turn.user(user)
        if state.plan != turn.plan.fingerprint:
            reconcile(turn, user, state, state.time)
            state.due = next_due(turn.plan, state)
        if state.due <= now:
            fire_timers(
                turn, user, state, now, Cause("expiry", "timer", arrived=state.due if turn.place.wall_clock else 0.0)
            )
