"""What is not known of a user stays exactly that in a partition that counts its epochs in other numbers."""

from __future__ import annotations

import pytest

from state import layout
from state.absence import Sort
from state.user import UserState, new_state
from streams.steps.frames import Frames

TIME = 1_700_000_000.0


def meta(epoch: int, swept: int, terms: dict[str, int], fingerprint: int = 7) -> layout.Meta:
    return layout.Meta(users=1, definitions=2, fingerprint=fingerprint, epoch=epoch, swept=swept, terms=terms)


def user(plan: int, ids: int = 0) -> UserState:
    state = new_state(plan)
    state.time = TIME
    for kind, time in (("click", 5.0), ("view", 6.0)):
        state.cells.note(Sort(kind), time)
    for number in range(ids):
        state.ids.add(number, TIME)
    return state


def unknown_of(state: UserState) -> dict[str, float]:
    """Of the terms of these tests, up to when each is not known."""
    untils = {key: state.cells.unknown_until(key) for key in ("a", "b", "old")}
    return {key: until for key, until in untils.items() if until is not None}


def test_where_epochs_mean_the_same_the_record_is_the_same() -> None:
    frames = Frames([meta(3, 2, {"a": 1, "b": 3}), meta(3, 3, {"a": 1, "b": 3})], 3)
    value = layout.encode_user(user(2))
    assert frames.translated(0, 1, value) is value
    # who was not looked at in one partition may be in each of them now
    assert [frames.after(number).swept for number in range(3)] == [0, 0, 0]
    assert [frames.after(number).epoch for number in range(3)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("plan", "unknown"),
    [(3, set()), (2, {"b"}), (1, {"b"}), (0, {"a", "b"})],
)
def test_what_was_not_counted_at_the_old_home_is_unknown_at_the_new_one(plan: int, unknown: set[str]) -> None:
    frames = Frames([meta(3, 2, {"a": 1, "b": 3, "old": 2}), meta(1, 1, {"a": 1, "b": 1})], 2)
    moved = layout.decode_user(frames.translated(0, 1, layout.encode_user(user(plan))))
    assert (moved.plan, unknown_of(moved)) == (1, dict.fromkeys(unknown, TIME))
    # and all are looked at anew there, with an epoch that marks nothing by itself
    after = frames.after(1)
    assert (after.epoch, after.swept, after.terms) == (2, 0, {"a": 1, "b": 1})


def test_a_watched_sort_that_was_not_counted_is_unknown_as_well() -> None:
    frames = Frames([meta(2, 1, {"@click|": 2, "@view|": 1}), meta(1, 1, {"@click|": 1, "@view|": 1})], 2)
    moved = layout.decode_user(frames.translated(0, 1, layout.encode_user(user(1))))
    assert [moved.cells.latest(Sort(kind)) for kind in ("click", "view")] == [-TIME, 6.0]


def test_nobody_is_looked_at_again_where_all_were_by_the_same_definitions() -> None:
    frames = Frames([meta(4, 4, {"a": 4, "b": 1}), meta(2, 2, {"a": 1, "b": 2})], 3)
    moved = layout.decode_user(frames.translated(0, 1, layout.encode_user(user(4))))
    assert (moved.plan, unknown_of(moved)) == (2, {})
    assert [(frames.after(number).epoch, frames.after(number).swept) for number in range(3)] == [(4, 4), (2, 2), (4, 4)]


def test_a_partition_that_nobody_ever_lived_in_takes_the_frame_of_the_furthest() -> None:
    frames = Frames([layout.Meta(), meta(2, 2, {"a": 1})], 3)
    assert frames.after(0) == frames.after(1) == frames.after(2)
    assert frames.after(0).terms == {"a": 1}


def test_the_ids_of_who_is_translated_stay() -> None:
    before = user(4, ids=200)
    frames = Frames([meta(4, 4, {"a": 1}), meta(2, 2, {"a": 1})], 2)
    after = layout.decode_user(frames.translated(0, 1, layout.encode_user(before)))
    assert after.ids.numbers == before.ids.numbers == range(3)
    assert list(after.ids) == list(range(192, 200))  # the others are in records of their own
