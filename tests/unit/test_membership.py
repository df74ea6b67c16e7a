"""Membership by whole turns: thresholds, stays, timers, definitions that change, erasure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.user import texts_waiting
from state.windows import NEVER
from streams.steps.segments import parse_plan
from streams.wire.events import KINDS
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import (
    COOKING,
    FOOTBALL,
    NO_PURCHASE,
    SPENDERS,
    STAYERS,
    TWO_VIEWS,
    WORDS,
    comment,
    purchase,
    view,
)

# thresholds


def test_a_user_enters_when_the_rule_holds_and_the_change_says_why() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1, id="second"))
    assert partition.told() == [("keen", "entered", "event", 1.0)]
    change = partition.changes[0]
    assert (change.user, change.sequence, change.segment_version, change.score) == ("u", 1, 1, 1.0)
    assert change.reason.event == "second"
    assert change.reason.values == {"count('view', within='24s')": 2.0}
    assert partition.members() == {"keen"}


def test_a_number_enters_at_the_upper_and_leaves_below_the_lower_threshold() -> None:
    partition = SmallPartition(SPENDERS)  # an hour in buckets of two minutes
    partition.events(purchase(0, 60.0), purchase(300, 20.0))
    assert partition.told() == []
    partition.events(purchase(900, 30.0))
    assert partition.told() == [("spenders", "entered", "event", 900.0)]
    partition.fire(T0 + 120 + 3_600)  # the 60 are gone and 50 left: at the lower threshold
    assert partition.members() == {"spenders"}
    partition.fire(T0 + 360 + 3_600)  # the 20 as well
    assert partition.told()[1:] == [("spenders", "exited", "expiry", 3_960.0)]
    assert partition.changes[-1].score == 30.0


def test_between_the_thresholds_nothing_changes() -> None:
    partition = SmallPartition(SPENDERS)
    for step in range(4):
        partition.events(purchase(step, 24.0))
    assert partition.told() == []  # 96: never at the upper threshold
    partition.events(purchase(10, 5.0))
    for step in range(5):
        partition.events(purchase(20 + step, 1.0))
    assert [change for _, change, _, _ in partition.told()] == ["entered"]


def test_a_segment_of_nothing_done_holds_from_the_first_event_on() -> None:
    partition = SmallPartition(NO_PURCHASE)
    partition.events(view(0))
    assert partition.told() == [("looker", "entered", "event", 0.0)]
    partition.events(purchase(1))
    assert partition.told()[1:] == [("looker", "exited", "event", 1.0)]
    partition.fire(T0 + 7_200)
    assert partition.told()[2:] == [("looker", "entered", "expiry", 3_600.0 + 120)]


@pytest.mark.parametrize("other", [kind for kind in KINDS if kind not in ("purchase", "delete")])
def test_what_holds_does_not_depend_on_whether_a_timer_happened_to_fire(other: str) -> None:
    event = {"kind": other, "text": "t", "target": "v", "group": "g"}
    with_timer = SmallPartition(NO_PURCHASE + TWO_VIEWS)
    without = SmallPartition(NO_PURCHASE)
    for partition in (with_timer, without):
        partition.events(view(0), view(1))
        partition.fire(T0 + 60)
        partition.events({**event, "time": T0 + 70})
    assert with_timer.members() == without.members() == {"looker"}


# timers


def test_a_membership_ends_by_timer_at_the_end_of_its_window() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0.5), view(1.5))
    assert partition.due() == T0 + 25
    assert partition.fire(T0 + 24.999).changes == []
    effects = partition.fire(T0 + 25.2)
    assert partition.told()[1:] == [("keen", "exited", "expiry", 25.0)]
    assert partition.changes[-1].reason.event == ""
    assert effects.fired == [layout.timer_key(T0 + 25, b"u")]
    assert partition.due() == NEVER


def test_a_timer_does_not_fire_twice() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    for now in (25.0, 25.0, 26.0, 1_000.0):
        partition.fire(T0 + now)
    assert [change for _, change, _, _ in partition.told()] == ["entered", "exited"]


def test_a_timer_that_was_put_off_does_nothing_when_its_old_key_fires() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    stale = partition.due_keys(T0 + 25)
    partition.events(view(2), view(3))
    turn = partition.fire(T0 + 25)  # the oldest event leaves, three are left
    assert turn.fired == stale
    assert partition.members() == {"keen"}
    assert partition.due() == T0 + 26


def test_events_that_come_after_several_due_times_find_them_all_handled_in_order() -> None:
    partition = SmallPartition(TWO_VIEWS + SPENDERS)
    partition.events(purchase(0, 200.0), view(1), view(2))
    partition.events(view(10_000))
    assert partition.told() == [
        ("spenders", "entered", "event", 0.0),
        ("keen", "entered", "event", 2.0),
        ("keen", "exited", "expiry", 26.0),
        ("spenders", "exited", "expiry", 3_720.0),
    ]


def test_an_event_at_exactly_the_expiry_comes_after_it() -> None:
    at_once, by_timer = SmallPartition(TWO_VIEWS), SmallPartition(TWO_VIEWS)
    for partition in (at_once, by_timer):
        partition.events(view(0), view(1))
    by_timer.fire(T0 + 25)
    for partition in (at_once, by_timer):
        partition.events(view(25))  # with the view at 1 there are two again
        assert partition.told() == [
            ("keen", "entered", "event", 1.0),
            ("keen", "exited", "expiry", 25.0),
            ("keen", "entered", "event", 25.0),
        ]


def test_the_outcome_is_the_same_whether_timers_fire_early_late_or_with_the_next_event() -> None:
    events = [view(0), view(1), purchase(2, 120.0), view(24), view(30), purchase(3_000, 60.0), view(9_000)]
    told = []
    for pauses in ((), (25.0, 26.0, 60.0, 3_800.0), (8_999.0,)):
        partition = SmallPartition(TWO_VIEWS + SPENDERS + NO_PURCHASE)
        for event in events:
            for pause in pauses:
                if T0 + pause <= event["time"]:
                    partition.fire(T0 + pause)
            partition.events(event)
        told.append([each for each in partition.told() if each[0] != "looker"])
    assert told[0] == told[1] == told[2]


def test_a_window_that_runs_out_within_a_batch_ends_the_membership() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1), purchase(100))
    assert partition.told() == [("keen", "entered", "event", 1.0), ("keen", "exited", "expiry", 25.0)]
    assert partition.due() == NEVER


HISTORIES = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(["view", "purchase", "click"]), st.sampled_from([10.0, 60.0])),
    min_size=1,
    max_size=12,
).map(sorted)


def events_of(history: list[tuple[int, str, float]]) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "time": T0 + 17.0 * at, "amount": amount, "id": f"{number}"}
        for number, (at, kind, amount) in enumerate(history)
    ]


@settings(max_examples=60)
@given(
    HISTORIES, st.lists(st.integers(1, 4), min_size=12, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12)
)
def test_one_batch_or_many_with_timers_between_or_not_gives_the_same_changes(
    history: list[tuple[int, str, float]], sizes: list[int], pauses: list[bool]
) -> None:
    events = events_of(history)
    patient = NO_PURCHASE.replace("looker", "patient") + 'min_stay = "4m"\n'
    definitions = TWO_VIEWS + SPENDERS + NO_PURCHASE + STAYERS.replace("keen", "stayer") + patient
    one_by_one, cut = SmallPartition(definitions), SmallPartition(definitions)
    for event in events:
        one_by_one.events(event)
    start = 0
    for size, pause in zip(sizes, pauses, strict=True):
        if batch := events[start : start + size]:
            if pause:
                cut.fire(batch[0]["time"] - 1)
            cut.events(*batch)
        start += size
    for partition in (one_by_one, cut):
        partition.fire(T0 + 20_000)
    assert cut.told() == one_by_one.told()
    assert [change.sequence for change in cut.changes] == list(range(1, len(cut.changes) + 1))
    assert cut.members() == {"looker", "patient"}


@settings(max_examples=60)
@given(st.data(), HISTORIES)
def test_any_order_of_arrival_ends_in_the_same_membership(
    data: st.DataObject, history: list[tuple[int, str, float]]
) -> None:
    events = events_of(history)
    definitions = TWO_VIEWS + NO_PURCHASE + SPENDERS.replace("exit = 50", "exit = 100")
    ordered, shuffled = SmallPartition(definitions), SmallPartition(definitions)
    ordered.events(*events)
    for event in data.draw(st.permutations(events)):
        shuffled.events(event)
    assert shuffled.members() == ordered.members()
    assert shuffled.due() == ordered.due()


# minimum stay


def test_a_minimum_stay_holds_and_then_ends_by_timer() -> None:
    partition = SmallPartition(STAYERS)
    partition.events(view(0), view(1))
    partition.fire(T0 + 26)
    assert partition.members() == {"keen"}
    assert partition.due() == T0 + 61
    partition.fire(T0 + 60.9)
    assert partition.members() == {"keen"}
    partition.fire(T0 + 61)
    assert partition.told()[1:] == [("keen", "exited", "expiry", 61.0)]


def test_a_minimum_stay_is_forgiven_when_the_rule_holds_again() -> None:
    partition = SmallPartition(STAYERS)
    partition.events(view(0), view(1))
    partition.fire(T0 + 27)
    partition.events(view(50), view(51))
    partition.fire(T0 + 61)
    assert partition.members() == {"keen"}
    partition.fire(T0 + 75)
    assert partition.told()[1:] == [("keen", "exited", "expiry", 75.0)]


def test_a_minimum_stay_of_a_fractional_time_ends_in_the_timer_that_its_key_announces() -> None:
    lost = []
    for step in range(200):
        partition = SmallPartition(STAYERS)
        partition.events(view(step / 1_000 + 0.0001), view(step / 1_000 + 0.1003))
        partition.fire(T0 + 30)
        partition.fire(layout.timer_parts(layout.timer_key(partition.due(), b"u"))[0])
        if partition.members():
            lost.append(step)
    assert lost == []


# sequence and snapshots


def test_sequences_have_no_holes_and_the_snapshot_is_what_the_changes_add_up_to() -> None:
    partition = SmallPartition(TWO_VIEWS + SPENDERS + NO_PURCHASE)
    inside: set[str] = set()
    seen = 0
    for step in range(40):
        event = purchase(step * 400.0, 60.0) if step % 3 else view(step * 400.0)
        effects = partition.events(event, view(step * 400.0 + 1), view(step * 400.0 + 2))
        for emitted in effects.changes:
            seen += 1
            assert emitted.change.sequence == seen
            if emitted.change.change == "entered":
                assert emitted.change.segment not in inside
                inside.add(emitted.change.segment)
            else:
                inside.remove(emitted.change.segment)
        assert [set(snapshot.segments) for snapshot in effects.snapshots] == ([inside] if effects.changes else [])
        assert all(snapshot.sequence == seen for snapshot in effects.snapshots)
    assert seen > 40
    assert partition.members() == inside
    assert {name: count for name, count in partition.meta.members.items() if count} == dict.fromkeys(inside, 1)
    assert partition.meta.changes == seen


# definitions that change


def test_a_segment_that_is_no_longer_defined_is_left_by_definition() -> None:
    partition = SmallPartition(TWO_VIEWS + SPENDERS)
    partition.events(view(0), view(1), purchase(2, 200.0))
    partition.redefine(SPENDERS)
    partition.events(purchase(3))
    assert [each[:3] for each in partition.told()[2:]] == [("keen", "exited", "definition")]
    assert partition.changes[-1].sequence == 3


def test_a_changed_rule_is_looked_at_again_with_the_next_event() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    partition.redefine(TWO_VIEWS.replace(">= 2", ">= 3").replace('id = "keen"', 'id = "keen"\nversion = 2'))
    partition.events(purchase(2))
    assert [each[:3] for each in partition.told()[1:]] == [("keen", "exited", "definition")]
    assert partition.changes[-1].segment_version == 2


def test_a_new_definition_that_holds_already_is_entered_by_definition_even_when_a_timer_comes_first() -> None:
    hour = TWO_VIEWS.replace("24s", "1h")
    for fire in (False, True):
        partition = SmallPartition(TWO_VIEWS + hour.replace("keen", "three").replace(">= 2", ">= 3"))
        partition.events(view(0), view(1))
        partition.redefine(TWO_VIEWS + hour.replace("keen", "two"))
        if fire:
            partition.fire(T0 + 100)
        partition.events(purchase(200))
        assert ("two", "entered", "definition") in {each[:3] for each in partition.told()}


def test_counts_that_no_definition_asks_for_any_more_are_dropped() -> None:
    partition = SmallPartition(TWO_VIEWS + SPENDERS)
    partition.events(view(0), purchase(1))
    partition.redefine(SPENDERS)
    partition.events(view(2))
    state = partition.state()
    assert state is not None
    assert "purchase|amount|3600|" in state.cells
    assert all(spec.key not in state.cells for spec in parse_plan(TWO_VIEWS).tallies.specs.values())


# descriptions in words


def test_a_text_like_the_description_enters_and_others_make_it_leave() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING, id="c1"))
    assert partition.told() == []  # never in the fold lane
    partition.encode_waiting()
    assert partition.told() == [("cooks", "entered", "event", 0.0)]
    assert partition.changes[0].reason.event == "c1"
    assert partition.changes[0].encoder_version
    state = partition.state()
    assert state is not None
    assert (texts_waiting(state), state.queued) == (0, False)
    for step in range(8):
        partition.events(comment(60.0 + step, f"{FOOTBALL}, round {step}"))
    partition.encode_waiting()
    assert [change for _, change, _, _ in partition.told()] == ["entered", "exited"]


def test_a_text_that_waits_survives_a_restart() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING))
    partition.redefine(WORDS)
    partition.encode_waiting()
    assert partition.members() == {"cooks"}
