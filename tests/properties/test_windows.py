"""Windows against a recomputation from all events, by the definition in ``state.windows``."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.plain.cells import Cells
from state.windows import (
    MAX_WINDOW,
    MOST,
    NEVER,
    TallyPlan,
    TallySpec,
    width_for,
)
from streams.rules.durations import duration

BASE = 1_700_000_000
Event = tuple[float, int]
#: windows with buckets of 1 s, 2 s, 10 s and a minute
WINDOWS = st.sampled_from([1, 5, 24, 50, 300, 1_440])
EVENTS = st.lists(
    st.tuples(st.floats(-400.0, 400.0).map(lambda offset: BASE + offset), st.integers(0, 1_000)), max_size=30
)
#: at whole seconds, so that bucket ends are often hit exactly
WHOLE_EVENTS = st.lists(st.tuples(st.integers(BASE - 60, BASE + 60).map(float), st.integers(0, 9)), max_size=30)


def spec_of(window: int) -> TallySpec:
    return TallySpec("purchase", "count", window)


def counts_until(time: float, spec: TallySpec) -> float:
    """The end of the event's bucket plus the window: from then on it does not count."""
    return (math.floor(time / spec.width) + 1) * spec.width + spec.window


def brute_force(events: list[Event], spec: TallySpec, now: float) -> int:
    return sum(amount for time, amount in events if counts_until(time, spec) > now)


def fold(events: list[Event], spec: TallySpec) -> tuple[Cells, float]:
    """All events, each at the latest time seen so far, as a user's state sees them."""
    cells = Cells()
    now = 0.0
    for time, amount in events:
        now = max(now, time)
        cells.add(spec, time, amount, now)
    return cells, now


@given(WINDOWS, EVENTS | WHOLE_EVENTS, st.lists(st.floats(0.0, 3_000.0), max_size=5).map(sorted))
def test_total_is_the_sum_of_the_events_still_in_the_window(
    window: int, events: list[Event], later: list[float]
) -> None:
    spec = spec_of(window)
    cells, now = fold(events, spec)
    for moment in (now, *(now + ahead for ahead in later)):
        assert cells.total(spec, moment) == brute_force(events, spec, moment)


@given(WINDOWS, st.lists(st.tuples(st.booleans(), st.floats(-400.0, 400.0), st.integers(0, 9)), max_size=40))
def test_ending_a_visit_between_the_adds_changes_nothing(window: int, steps: list[tuple[bool, float, int]]) -> None:
    spec = spec_of(window)
    cells = Cells()
    events: list[Event] = []
    now = 0.0
    for look, offset, amount in steps:
        now = max(now, BASE + offset)
        if look:
            cells.trim([spec], now)
            assert all(counts_until(bucket * spec.width, spec) > now for bucket, _ in cells.buckets(spec))
            assert cells.total(spec, now) == brute_force(events, spec, now)
        else:
            cells.add(spec, BASE + offset, amount, now)
            events.append((BASE + offset, amount))
    assert cells.total(spec, now) == brute_force(events, spec, now)


@given(WINDOWS, EVENTS | WHOLE_EVENTS)
def test_next_expiry_is_exactly_when_the_oldest_bucket_leaves(window: int, events: list[Event]) -> None:
    spec = spec_of(window)
    cells, now = fold(events, spec)
    held = cells.total(spec, now)
    due = cells.next_expiry(spec, now)
    alive = [event for event in events if counts_until(event[0], spec) > now]
    assert due == min((counts_until(time, spec) for time, _ in alive), default=NEVER)
    if due != NEVER:
        assert cells.total(spec, math.nextafter(due, 0.0)) == held
        assert cells.total(spec, due) == held - sum(amount for time, amount in alive if counts_until(time, spec) == due)


@given(WINDOWS, EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(window: int, events: list[Event], random: object) -> None:
    spec = spec_of(window)
    shuffled = list(events)
    getattr(random, "shuffle")(shuffled)  # noqa: B009 - hypothesis' Random has no public type
    one, now = fold(events, spec)
    other, _ = fold(shuffled, spec)
    assert one.total(spec, now) == other.total(spec, now)
    for cells in (one, other):
        cells.trim([spec], now)
    assert one.pack() == other.pack()


@given(st.integers(1, MAX_WINDOW) | st.integers(1, 100), st.floats(0.0, 4e9))
def test_an_event_counts_for_the_window_and_at_most_a_bucket_longer(window: int, time: float) -> None:
    spec = spec_of(window)
    assert spec.width == width_for(window) <= max(1.0, window / 24)
    assert time + window < counts_until(time, spec) <= time + window + spec.width


def test_the_docs_say_how_wide_the_buckets_are() -> None:
    words = " ".join((Path(__file__).resolve().parents[2] / "docs" / "segments.md").read_text("utf-8").split())
    told = words.split("A window is kept in buckets of ")[1].split(" An event counts")[0]
    assert told.startswith("one second, or of more where that is at most a 24th of its length: ")
    widths: dict[int, int] = {}
    for windows, width in re.findall(r"((?:`\w+`(?: and )?)+) (?:have buckets )?of ([\d,]+) s", told):
        widths |= dict.fromkeys(map(duration, re.findall(r"`(\w+)`", windows)), int(width.replace(",", "")))
    assert {10, 3_600} <= widths.keys()
    assert widths == {window: width_for(window) for window in widths}


@given(st.lists(st.integers(0, 2**52), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_full_bucket_stays_at_its_limit_in_any_order(amounts: list[int], random: object) -> None:
    spec = spec_of(3_600)
    shuffled = list(amounts)
    getattr(random, "shuffle")(shuffled)  # noqa: B009
    totals = []
    for order in (amounts, shuffled):
        cells, now = fold([(float(BASE), amount) for amount in order], spec)
        totals.append(cells.total(spec, now))
        assert cells.total(spec, now + 2 * 3_600) == 0
    assert totals == [min(MOST, sum(amounts))] * 2


@pytest.mark.parametrize(
    ("measure", "window", "said"),
    [("clicks", 60, "clicks"), ("count", 0, "one second"), ("count", MAX_WINDOW + 1, "3650 days")],
)
def test_a_spec_that_cannot_be_counted_is_refused(measure: str, window: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TallySpec("view", measure, window)


def test_an_event_touches_the_tallies_of_its_kind_and_of_its_category() -> None:
    any_view, sale, click = (
        TallySpec("view", "count", 60),
        TallySpec("view", "count", 60, "sale"),
        TallySpec("click", "count", 60),
    )
    plan = TallyPlan(frozenset({any_view, sale, click}))
    assert set(plan.touched("view", "sale")) == {any_view, sale}
    assert set(plan.touched("view", "")) == {any_view}
    assert set(plan.touched("view", "new")) == {any_view}
    assert plan.touched("purchase", "sale") == ()
