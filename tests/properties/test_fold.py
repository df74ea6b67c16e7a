"""The fold: the same events in any order, once or many times, give the same user."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.features import raw_features
from state.kinds import FAST, ROW, SLOW
from state.plain.record import PlainRecord, unpack
from state.user import (
    DUPLICATE,
    EDGES,
    INTEREST,
    LATE,
    MOST_GROUPS,
    REMOVED,
    TEXT,
    category_bucket,
    fold,
)
from state.windows import TallyPlan, TallySpec
from streams.wire.events import Event, Kind

BASE = 1_700_000_000.0
PLAN = TallyPlan(
    frozenset(
        {
            TallySpec("view", "count", 60),
            TallySpec("click", "count", 86_400),
            TallySpec("click", "dwell", 3_600, "sale"),
            TallySpec("purchase", "amount", 7 * 86_400),
            TallySpec("comment", "count", 90),
        }
    )
)
ALL_KINDS: tuple[Kind, ...] = get_args(Kind)
FOLDED: tuple[Kind, ...] = ("view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify")


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Distinct events of one user within three days, many at equal times."""
    count = draw(st.integers(1, 25))
    times = st.integers(0, 40).map(lambda step: BASE + step * 15.0) | st.floats(BASE, BASE + 3 * 86_400.0)
    return [
        Event(
            user="u",
            kind=draw(st.sampled_from(FOLDED)),
            time=draw(times),
            id=f"e{number}",
            category=draw(st.sampled_from(["", "sale", "news"])),
            amount=draw(st.sampled_from([0.0, 0.1, 19.99, 1e9]) | st.floats(0.01, 1e6)),
            dwell=draw(st.sampled_from([0.0, 1.5, 86_400.0])),
            text=f"text {number}",
            target=draw(st.sampled_from(["v", "w", "x"])),
            group=draw(st.sampled_from(["g", "h"])),
        )
        for number in range(count)
    ]


def number_of(event: Event) -> int:
    """The event's id as a number, in place of its hash."""
    return int(event.id[1:])


def folded(events: list[Event]) -> PlainRecord:
    state = PlainRecord("u")
    for event in events:
        fold(state, event, number_of(event), PLAN)
    return state


def assert_same_behaviour(one: PlainRecord, other: PlainRecord) -> None:
    assert (one.time, one.first, one.count, one.texts) == (other.time, other.first, other.count, other.texts)
    for spec in PLAN.specs.values():
        assert one.cells.total(spec, one.time) == other.cells.total(spec, other.time)
    assert one.edges.items() == other.edges.items()
    assert one.groups.items() == other.groups.items()
    assert {each for each, _ in one.ids.items()} == {each for each, _ in other.ids.items()}
    assert one.counters.month == other.counters.month
    assert one.counters.kinds.keys() == other.counters.kinds.keys()
    for row, sums in one.counters.kinds.items():
        assert sums == pytest.approx(other.counters.kinds[row], rel=1e-12)
    assert one.counters.categories == pytest.approx(other.counters.categories, rel=1e-12)


@given(st.data(), histories())
def test_any_order_gives_the_same_user(data: st.DataObject, events: list[Event]) -> None:
    assert_same_behaviour(folded(events), folded(data.draw(st.permutations(events))))


@given(st.data(), histories())
def test_duplicates_anywhere_change_nothing(data: st.DataObject, events: list[Event]) -> None:
    once, many = PlainRecord("u"), PlainRecord("u")
    for number, event in enumerate(events):
        fold(once, event, number_of(event), PLAN)
        fold(many, event, number_of(event), PLAN)
        again = data.draw(st.lists(st.sampled_from(events[: number + 1]), max_size=2))
        for duplicate in again:
            assert fold(many, duplicate, number_of(duplicate), PLAN) == DUPLICATE
        if again:
            assert many.pack() == once.pack()


@given(histories())
def test_a_state_read_back_in_mid_history_goes_on_the_same(events: list[Event]) -> None:
    state = PlainRecord("u")
    for event in events:
        state = unpack("u", state.pack())
        fold(state, event, number_of(event), PLAN)
    assert state.pack() == folded(events).pack()


@given(histories())
def test_counters_equal_the_definition_of_decay(events: list[Event]) -> None:
    state = folded(events)
    now = state.time
    for kind in {event.kind for event in events}:
        for found, half_life in zip(state.counters.kind(ROW[kind], now), (FAST, SLOW), strict=True):
            expected = math.fsum(2.0 ** (-(now - event.time) / half_life) for event in events if event.kind == kind)
            assert found == pytest.approx(expected, rel=1e-9)
    taste: dict[int, float] = {}
    for event in events:
        if event.category and event.kind in INTEREST:
            bucket = category_bucket(event.category)
            taste[bucket] = taste.get(bucket, 0.0) + INTEREST[event.kind] * 2.0 ** (-(now - event.time) / SLOW)
    assert taste.keys() == state.counters.categories.keys()
    for bucket, expected in taste.items():
        assert state.counters.category(bucket, now) == pytest.approx(expected, rel=1e-9)


@given(st.data(), histories())
def test_features_do_not_depend_on_the_order(data: st.DataObject, events: list[Event]) -> None:
    one, other = (raw_features(folded(order)) for order in (events, data.draw(st.permutations(events))))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert one.shape == (96,)
    assert (one >= 0.0).all()
    assert np.isfinite(one).all()


@given(histories())
def test_the_fold_says_what_it_did(events: list[Event]) -> None:
    state = PlainRecord("u")
    for event in events:
        latest, followed = state.time, set(state.edges.present())
        did = fold(state, event, number_of(event), PLAN)
        assert bool(did & LATE) == (event.time < latest)
        assert bool(did & TEXT) == (event.kind == "comment")
        assert bool(did & EDGES) == (set(state.edges.present()) != followed)
        assert bool(did & REMOVED) == (event.kind == "unfollow" and not did & EDGES)
        assert not did & DUPLICATE


def test_groups_are_bounded_however_many_are_joined_and_left() -> None:
    state = PlainRecord("u")
    for number in range(4 * MOST_GROUPS):
        kind: Kind = "leave" if number % 2 else "join"
        fold(state, Event("u", kind, BASE + number, group=f"g{number}"), number, PLAN)
    joined = state.groups.present()
    assert joined == [f"g{number}" for number in range(4 * MOST_GROUPS - 2, 2 * MOST_GROUPS - 1, -2)]
    assert state.groups.count == 2 * MOST_GROUPS


def test_nothing_that_passes_the_limits_makes_a_record_that_cannot_be_written() -> None:
    state = PlainRecord("u")
    spec = TallySpec("purchase", "amount", 7 * 86_400)
    for number in range(25_000):
        fold(state, Event("u", "purchase", BASE, amount=1e9), number, PLAN)
    back = unpack("u", state.pack())
    assert back.cells.total(spec, BASE) == state.cells.total(spec, BASE) > 0
    assert back.count == 25_000


def test_every_kind_has_its_place_in_the_features() -> None:
    for kind in ALL_KINDS:
        state = folded([Event(user="u", kind=kind, time=BASE, id="e1", target="v", group="g", text="t")])
        assert raw_features(state)[:22].sum() == 2.0, kind
