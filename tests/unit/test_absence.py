"""Absence by whole turns: it begins and ends by itself, by events, and by definitions that change."""

from __future__ import annotations

from typing import Any

import pytest

from state import layout
from state.absence import Absence, Sort
from state.windows import NEVER
from streams.steps.segments import parse_plan
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import NO_PURCHASE, TWO_VIEWS, purchase, view

CART = """
[[segment]]
id = "cart"
rule = 'absent("purchase", after="click", wait="30m", within="2h")'
"""
SHOES = """
[[segment]]
id = "shoes"
rule = 'absent("purchase", category="shoes", after="click", after_category="shoes", wait="30m", within="2h")'
"""
QUIET = """
[[segment]]
id = "quiet"
rule = 'absent("view", after="view", wait="1h", within="3h")'
"""
KEEN_CART = """
[[segment]]
id = "keen-cart"
rule = 'count("click", within="4h") >= 2 and absent("purchase", after="click", wait="30m", within="2h")'
"""
SETTLED = """
[[segment]]
id = "settled"
rule = 'not absent("purchase", after="click", wait="30m", within="2h")'
"""


def click(at: float, category: str = "") -> dict[str, Any]:
    return {"kind": "click", "time": T0 + at, "category": category}


def bought(at: float, category: str = "") -> dict[str, Any]:
    return {**purchase(at), "category": category}


def test_it_begins_after_the_wait_and_ends_by_itself_with_reasons() -> None:
    partition = SmallPartition(CART)
    partition.events(click(0.5))
    assert partition.due() == T0 + 1_800.5
    partition.fire(T0 + 1_800.499)
    assert partition.told() == []
    partition.fire(T0 + 1_801)
    assert partition.told() == [("cart", "entered", "expiry", 1_800.5)]
    reason = partition.changes[0].reason
    assert reason.values == {"absent('purchase', after='click', wait='30m', within='2h')": 1.0}
    assert "absent('purchase', after='click', wait='30m', within='2h') is 1" in reason.summary
    assert partition.due() == T0 + 7_200.5
    partition.fire(T0 + 9_000)
    assert partition.told()[1:] == [("cart", "exited", "expiry", 7_200.5)]
    assert partition.due() == NEVER


def test_what_was_waited_for_ends_it_at_once_or_keeps_it_from_beginning() -> None:
    partition = SmallPartition(CART)
    partition.events(click(0), bought(60))
    assert partition.due() == NEVER
    partition.events(click(100))
    partition.fire(T0 + 1_900)
    partition.events(bought(2_000))
    assert partition.told() == [("cart", "entered", "expiry", 1_900.0), ("cart", "exited", "event", 2_000.0)]
    assert partition.due() == NEVER


def test_a_new_trigger_restarts_the_wait_and_so_ends_it() -> None:
    partition = SmallPartition(CART)
    partition.events(click(0), view(2_000), click(3_000), view(4_799), view(4_800))
    assert partition.told() == [
        ("cart", "entered", "expiry", 1_800.0),
        ("cart", "exited", "event", 3_000.0),
        ("cart", "entered", "expiry", 4_800.0),
    ]


def test_a_purchase_at_the_very_time_of_the_trigger_counts_as_done() -> None:
    for events in ((click(0), bought(0)), (bought(0), click(0))):
        partition = SmallPartition(CART)
        partition.events(*events)
        assert partition.due() == NEVER


def test_late_events_count_by_their_own_time() -> None:
    partition = SmallPartition(CART)
    partition.events(click(0), view(2_000))
    assert partition.members() == {"cart"}
    partition.events(bought(10))  # arrives late, happened after the click: it was never abandoned
    assert partition.told()[1:] == [("cart", "exited", "event", 2_000.0)]
    partition.events(click(5))  # late and before the purchase
    assert partition.due() == NEVER
    partition.events(click(20))  # late, and its wait is over already
    assert partition.told()[2:] == [("cart", "entered", "event", 2_000.0)]
    partition.events(click(15))  # late and older than the latest: nothing
    assert len(partition.told()) == 3
    partition.events(bought(19))
    assert partition.members() == {"cart"}


def test_only_the_asked_categories_count() -> None:
    partition = SmallPartition(SHOES)
    partition.events(click(0, "hats"), click(10))
    assert partition.due() == NEVER
    partition.events(click(20, "shoes"), bought(30, "hats"), bought(40))
    partition.fire(T0 + 1_820)
    assert partition.told() == [("shoes", "entered", "expiry", 1_820.0)]
    partition.events(bought(1_900, "shoes"))
    assert partition.members() == set()


def test_no_further_event_of_the_same_sort_is_quiet() -> None:
    partition = SmallPartition(QUIET)
    partition.events(view(0), view(10))
    partition.fire(T0 + 3_610)
    assert partition.told() == [("quiet", "entered", "expiry", 3_610.0)]
    partition.events(view(4_000))
    assert partition.told()[1:] == [("quiet", "exited", "event", 4_000.0)]


def test_without_a_wait_it_holds_from_the_trigger_on() -> None:
    partition = SmallPartition(CART.replace("30m", "0s"))
    partition.events(click(0))
    assert partition.told() == [("cart", "entered", "event", 0.0)]
    partition.fire(T0 + 7_200)
    assert partition.told()[1:] == [("cart", "exited", "expiry", 7_200.0)]


def test_it_combines_with_counts_and_not() -> None:
    partition = SmallPartition(KEEN_CART + SETTLED)
    partition.events(click(0))
    assert partition.members() == {"settled"}
    partition.events(click(100))
    partition.fire(T0 + 1_900)
    assert partition.members() == {"keen-cart"}
    partition.fire(T0 + 7_300)
    assert partition.told()[1:] == [
        ("keen-cart", "entered", "expiry", 1_900.0),
        ("settled", "exited", "expiry", 1_900.0),
        ("keen-cart", "exited", "expiry", 7_300.0),
        ("settled", "entered", "expiry", 7_300.0),
    ]


def test_a_minimum_stay_puts_its_end_off() -> None:
    partition = SmallPartition(CART + 'min_stay = "1h"\n')
    partition.events(click(0), view(1_800), bought(1_900), view(5_399), view(5_400))
    assert partition.told() == [("cart", "entered", "expiry", 1_800.0), ("cart", "exited", "expiry", 5_400.0)]


def test_many_events_of_one_batch_find_begin_and_end_in_their_places() -> None:
    events = [click(0), view(1_799), view(1_801), click(8_000), bought(9_000), click(9_500), view(30_000)]
    at_once, one_by_one = SmallPartition(CART), SmallPartition(CART)
    at_once.events(*events)
    for event in events:
        one_by_one.events(event)
    assert at_once.told() == one_by_one.told()
    assert [(change, at) for _, change, _, at in at_once.told()] == [
        ("entered", 1_800.0), ("exited", 7_200.0), ("entered", 11_300.0), ("exited", 16_700.0),
    ]  # fmt: skip


def test_a_user_whose_timer_was_put_off_is_not_written_when_the_old_one_fires() -> None:
    for cached in (True, False):
        partition = SmallPartition(CART)
        partition.events(click(0))
        stale = partition.due_keys(T0 + 1_800)
        partition.events(click(1_000))
        if not cached:
            partition.restart()
        turn = partition.fire(T0 + 1_800, stale)
        assert turn.fired == stale
        assert set(turn.puts) == {layout.POSITION_KEY}
        assert partition.due() == T0 + 2_800


def test_nothing_is_kept_where_no_rule_asks() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(click(0), purchase(1))
    state = partition.state()
    assert state is not None
    assert "@click|" not in state.cells


# definitions that change


def test_a_new_rule_counts_from_its_definition_on_because_nobody_watched_before() -> None:
    partition = SmallPartition(QUIET.replace('"view", after="view"', '"comment", after="click"'))
    partition.events(click(0), bought(10))
    partition.redefine(CART)
    partition.events(view(20))  # the click at 0 is known, the purchase at 10 is not
    partition.events(click(5))  # late, of the time before
    partition.fire(T0 + 1_820)
    assert partition.told() == []
    partition.events(click(1_830))
    partition.fire(T0 + 3_630)
    assert partition.told() == [("cart", "entered", "expiry", 3_630.0)]


def test_another_rule_that_comes_or_goes_does_not_disturb_who_is_waited_for() -> None:
    partition = SmallPartition(CART)
    partition.events(click(0))
    partition.redefine(CART + SHOES + NO_PURCHASE)
    partition.events(view(10))
    partition.redefine(CART)
    partition.events(view(20))
    assert partition.due() == T0 + 1_800
    partition.fire(T0 + 1_800)
    assert ("cart", "entered", "expiry", 1_800.0) in partition.told()


def test_what_no_rule_watches_any_more_is_dropped() -> None:
    partition = SmallPartition(CART + SHOES)
    partition.events(click(0, "shoes"), {"kind": "purchase", "time": T0 + 5})
    partition.redefine(CART)
    partition.events(view(10))
    state = partition.state()
    assert state is not None
    assert [key for key in ("@click|", "@click|shoes", "@purchase|") if key in state.cells] == ["@click|", "@purchase|"]
    partition.redefine(TWO_VIEWS)
    partition.events(view(20))
    later = partition.state()
    assert later is not None
    assert not {key for key in ("@click|", "@purchase|") if key in later.cells}


# what a plan makes of it


def test_a_rule_that_is_an_absence_is_a_condition() -> None:
    plan = parse_plan(CART)
    assert plan.segments["cart"].rule is not None
    assert plan.segments["cart"].rule.condition
    assert plan.may_rise
    assert plan.shortest_window == 1_800
    for kind in ("click", "purchase"):
        assert [can_end for _, can_end in plan.affected(kind, "")] == [True]
    assert plan.affected("view", "") == ()


def test_within_is_a_week_unless_said() -> None:
    rule = parse_plan(CART.replace(', within="2h"', "")).segments["cart"].rule
    assert rule is not None
    assert [term.native for term in rule.terms] == [Absence(Sort("purchase"), Sort("click"), 1_800, 7 * 86_400)]


@pytest.mark.parametrize(("wait", "within", "said"), [(10, 10, "longer"), (10, 5, "longer"), (1, 4e9, "at most")])
def test_times_that_cannot_be_meant_are_refused(wait: int, within: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Absence(Sort("purchase"), Sort("click"), wait, within)
