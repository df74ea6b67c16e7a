"""The decoded states that a worker has in memory: a dict whose first user was not touched for longest."""

from __future__ import annotations

from state.compiled import COMPILED
from state.user import UserState


def keep(cache: dict[str, UserState], states: dict[str, UserState]) -> None:
    """Put states at the young end. Compiled, it also hides what they consist of from Python's collector.

    None of it can be part of a cycle, and a look at a million users would hold the worker up for seconds.
    """
    if COMPILED is not None:
        COMPILED.keep(cache, states)
        return
    for user, state in states.items():
        cache.pop(user, None)
        cache[user] = state
