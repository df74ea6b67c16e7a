"""The cache of decoded states."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import native
from state.cache import UserCache
from state.compiled import COMPILED
from state.layout import decode_user, encode_user
from state.native import keep, quiet_fold
from state.user import Membership, PendingLabel, PendingText, UserState, new_state
from state.windows import Tally
from streams.steps.segments import CALLS
from streams.wire.events import Event

NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=12)


def full_state(count: int) -> UserState:
    """With something in every container."""
    state = new_state(1)
    state.count = count
    state._decayed = {"view": [1.0, 2.0], "$spend": [3.0, 4.0]}
    state._categories = {3: [1.0, 0.5]}
    state._tallies = {"a": Tally(total=1, head=2, buckets={2: 1})}
    state._edges = {"x": 1.0}
    state._groups = {"g": 1.0}
    state.pending = [PendingText("t", 1.0, "words")]
    state.labels = [PendingLabel("s", True, 1.0)]
    state._members = {"s": Membership(1.0, 1.0, 1, 1)}
    state._last = {"view": 1.0}
    state.aliases = ["other"]
    return state


def containers(value: Any) -> Iterator[Any]:
    """The dicts and lists of a state, and in them."""
    if isinstance(value, UserState | Tally | Membership):
        value = [getattr(value, name) for name in value.__struct_fields__]
    elif isinstance(value, dict | list):
        yield value
        value = list(value.values()) if isinstance(value, dict) else value
    else:
        return
    for inner in value:
        yield from containers(inner)


@given(NAMES, st.lists(NAMES, max_size=4))
def test_what_is_kept_last_is_dropped_last_compiled_or_not(first: list[str], turns: list[list[str]]) -> None:
    ours: dict[str, UserState] = {}
    plain: dict[str, UserState] = {}
    with pytest.MonkeyPatch.context() as patch:
        for number, users in enumerate([first, *turns]):
            states = {user: full_state(number) for user in users}
            keep(ours, states)
            patch.setattr(native, "COMPILED", None)
            keep(plain, states)
            patch.undo()
    assert list(ours.items()) == list(plain.items())


@pytest.mark.compiled
def test_the_collector_does_not_look_at_what_is_in_the_cache() -> None:
    states = {str(number): decode_user(encode_user(full_state(number))) for number in range(3)}
    states["new"] = full_state(9)
    assert quiet_fold(Event, CALLS) is not None  # tells the compiled part what a state is
    keep({}, states)
    for state in states.values():
        assert not gc.is_tracked(state)
        assert not any(map(gc.is_tracked, containers(state)))


def test_a_hidden_state_can_be_changed_copied_and_dropped() -> None:
    cache: dict[str, UserState] = {}
    state = full_state(1)
    keep(cache, {"a": state})
    state._decayed["click"] = [1.0, 1.0]
    state.members.put("t", Membership(2.0, 1.0, 1, 2))
    state.aliases = [*state.aliases, "third"]
    state.labels = []
    keep(cache, {"a": state})
    assert decode_user(encode_user(cache["a"])) == state
    del state
    cache.clear()
    gc.collect()
    assert not cache


@pytest.mark.compiled
@pytest.mark.parametrize("arguments", [(), ({},), ({}, []), (1, {})])
def test_what_is_no_cache_is_refused(arguments: tuple[Any, ...]) -> None:
    assert COMPILED is not None
    with pytest.raises(TypeError):
        COMPILED.keep(*arguments)


def users_of(cache: UserCache) -> str:
    return "".join(cache.states)


def test_users_whose_ids_take_too_much_leave_the_cache_the_oldest_first() -> None:
    cache = UserCache(4, 1_000)
    states = {user: full_state(1) for user in "abcdef"}
    cache.keep(states, 0)
    assert users_of(cache) == "cdef"
    for user, count in (("d", 400), ("e", 500), ("c", 99)):
        for number in range(count):
            states[user].ids.add(number, 1.0)
        cache.keep({user: states[user]}, 0)
    assert users_of(cache) == "fdec"
    states["c"].ids.add(1_000, 1.0)
    states["c"].ids.add(1_001, 1.0)
    cache.keep({"c": states["c"]}, 0)
    assert users_of(cache) == "ec"
    taken = cache.states.pop("e")
    cache.keep({user: states[user] for user in "ab"}, taken.ids.accounted)
    for number in range(850):
        states["a"].ids.add(number, 1.0)
    cache.keep({"a": states["a"]}, 0)
    assert users_of(cache) == "cba"
    cache.clear()
    cache.keep({"d": full_state(1)}, 0)
    assert users_of(cache) == "d"
