"""The views of a user's state: what all but ``state`` see of its dicts."""

from __future__ import annotations

import pytest

from state.absence import Sort
from state.user import Membership, new_state
from state.views import SORT
from state.windows import NEVER, TallySpec

NOW = 1_700_000_000.0
VIEWS = TallySpec("view", "count", 60)
CLICK = Sort("click")


def test_a_membership_that_was_read_stays_as_it_was_when_the_users_changes() -> None:
    members = new_state(1).members
    members.put("b", Membership(NOW, 0.5, 3, 1))
    read = members.get("b")
    members.set_leaving("b", 0.25)
    assert read == Membership(NOW, 0.5, 3, 1)
    assert members.get("b") == Membership(NOW, 0.5, 3, 1, 0.25)
    members.set_leaving("b", None)
    assert members.get("b") == read


def test_memberships_and_edges_come_sorted_by_name_however_they_came() -> None:
    state = new_state(1)
    for number, name in enumerate(("b", "c", "a")):
        state.members.put(name, Membership(NOW, 1.0, 1, number))
        state.edges.set(name, NOW + number, number != 1)
    assert state.members.segments() == [name for name, _ in state.members.items()] == ["a", "b", "c"]
    assert state.edges.items() == [("a", NOW + 2), ("b", NOW), ("c", -(NOW + 1))]
    assert state.edges.present() == ["a", "b"]
    assert (state.edges.count, state.edges.present_count) == (3, 2)


def test_what_is_not_there_cannot_end_and_says_nothing() -> None:
    state = new_state(1)
    with pytest.raises(KeyError):
        state.members.remove("a")
    with pytest.raises(KeyError):
        state.members.set_leaving("a", None)
    state.edges.drop("v")
    assert (state.members.get("a"), "a" in state.members, len(state.members)) == (None, False, 0)
    assert (state.edges.get("v"), state.edges.present()) == (0.0, [])
    cells = state.cells
    assert (cells.total(VIEWS, NOW), cells.next_expiry(VIEWS, NOW), cells.latest(CLICK)) == (0, NEVER, 0.0)
    assert cells.unknown_until(VIEWS.key) is cells.unknown_until(SORT + CLICK.key) is None


def test_a_view_sees_what_another_one_of_the_same_state_does() -> None:
    state = new_state(1)
    before = state.cells
    state.cells.add(VIEWS, NOW, 2, NOW)
    state.cells.note(CLICK, NOW)
    assert (before.total(VIEWS, NOW), before.latest(CLICK)) == (2, NOW)
    assert [key in before for key in (VIEWS.key, SORT + CLICK.key, "view|count|61|")] == [True, True, False]


def test_what_was_not_counted_is_known_by_its_latest_time() -> None:
    cells = new_state(1).cells
    for until in (NOW, NOW - 5):
        cells.mark_unknown(VIEWS.key, until)
        cells.mark_unknown(SORT + CLICK.key, until)
    assert (cells.unknown_until(VIEWS.key), cells.unknown_until(SORT + CLICK.key)) == (NOW, NOW)
    assert (cells.unknown_times(), cells.latest(CLICK)) == ([NOW], -NOW)
    cells.note(CLICK, NOW + 1)
    assert cells.unknown_until(SORT + CLICK.key) is None


def test_the_users_time_only_goes_on() -> None:
    state = new_state(1)
    for time in (NOW, NOW - 1):
        state.enter(time)
    assert state.time == NOW
