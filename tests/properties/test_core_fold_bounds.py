"""The compiled fold just at its bounds, where events by chance hardly come: found by breaking it on purpose."""

from __future__ import annotations

from math import nextafter

import pytest

from state.absence import SORT, Sort
from state.layout2 import MOST_BUCKETS, mark_of
from state.plain.record import PlainRecord, unpack
from state.record import Opaque
from state.user import Membership
from state.windows import MOST, NEVER, TallySpec
from tests.core_fold import CoreUser
from tests.fold_twin import Given
from tests.properties.test_core_fold import T0, Both, settle, visit

pytestmark = pytest.mark.compiled

VIEWS = Both('[[segment]]\nid = "many"\nrule = \'count("view", within="1h") >= 1000000\'\n')
WAITS = Both('[[segment]]\nid = "waits"\nrule = \'absent("purchase", after="click", wait="1m", within="1h")\'\n')
SPENDS = Both('[[segment]]\nid = "spends"\nrule = \'total("purchase", "amount", within="1h") >= 1e15\'\n')
VIEWED = TallySpec("view", "count", 3_600)
SPENT = TallySpec("purchase", "amount", 3_600)


def same(both: Both, plain: PlainRecord, *events: Given) -> CoreUser:
    """Both fold the events, and settle, to the same bytes."""
    core = CoreUser(plain.pack())
    plain = unpack("u", plain.pack())
    visit(both, plain, core, events, NEVER, 0.0)
    settle(both, plain, core)
    return core


def test_an_event_at_the_very_time_of_the_erasure_is_not_newer_than_it() -> None:
    for erased, counted in ((T0, 0), (nextafter(T0, 0.0), 1), (nextafter(T0, NEVER), 0)):
        core = CoreUser()
        assert core.fold(VIEWS.core, [Given("view", T0, 1)], 0, NEVER, erased) == (counted, False)
        assert core.record.count == counted


def test_an_event_at_the_time_of_the_last_one_is_not_late_and_one_before_it_is() -> None:
    core = CoreUser()
    events = [Given("view", T0, 1), Given("view", T0, 2), Given("view", nextafter(T0, 0.0), 3)]
    assert core.fold(VIEWS.core, events, 0, NEVER, 0.0) == (2, False)


def test_a_timer_comes_before_an_event_of_its_own_time() -> None:
    for limit, counted in ((T0, 0), (nextafter(T0, NEVER), 1)):
        core = CoreUser()
        assert core.fold(VIEWS.core, [Given("view", T0, 1)], 0, limit, 0.0)[0] == counted


def test_a_timer_that_began_in_the_turn_comes_before_an_event_of_its_own_time() -> None:
    for time, counted in ((nextafter(T0 + 60.0, 0.0), 2), (T0 + 60.0, 1)):
        core = CoreUser()
        assert core.fold(WAITS.core, [Given("click", T0, 1), Given("view", time, 2)], 0, NEVER, 0.0)[0] == counted


def test_all_rules_are_looked_at_after_the_first_event_and_those_it_concerns_after_others() -> None:
    both = Both('[[segment]]\nid = "s"\nrule = \'count("click", within="1h") == 0\'\n')
    core = CoreUser()
    events = [Given("view", T0, 1), Given("view", T0 + 1.0, 2)]
    assert core.fold(both.core, events, 0, NEVER, 0.0) == (1, True)
    assert core.fold(both.core, events, 1, NEVER, 0.0) == (2, False)


@pytest.mark.parametrize("leaving", [None, 0.0])
def test_python_looks_at_who_is_about_to_leave_whatever_the_rule_gives(leaving: float | None) -> None:
    both = Both('[[segment]]\nid = "s"\nrule = \'count("click", within="1h") < 5\'\nmin_stay = "1h"\n')
    plain = PlainRecord("u")
    plain.enter(T0)
    plain.count = 3
    plain.members.put("s", Membership(T0, 1.0, 1, 1, leaving))
    core = CoreUser(plain.pack())
    assert core.fold(both.core, [Given("click", T0 + 1.0, 1)], 0, NEVER, 0.0) == (1, leaving is not None)


@pytest.mark.parametrize("kept", [MOST_BUCKETS - 1, MOST_BUCKETS])
def test_a_tally_has_no_more_buckets_than_a_record_may(kept: int) -> None:
    """No fold makes so many: they lie behind the user's time."""
    plain = PlainRecord("u")
    for ahead in range(1, kept + 1):
        plain.cells.add(VIEWED, T0 + ahead * VIEWED.width, 1, T0)
    core = same(VIEWS, plain, Given("view", T0, 1))
    assert len(core.record.cells.buckets(VIEWED)) == min(kept + 1, MOST_BUCKETS)


@pytest.mark.parametrize("ahead", [65_534, 65_535, 65_536])
def test_a_bucket_as_far_from_the_first_as_a_record_can_say(ahead: int) -> None:
    plain = PlainRecord("u")
    plain.cells.add(VIEWED, T0 + ahead * VIEWED.width, 1, T0)
    core = same(VIEWS, plain, Given("view", T0, 1))
    assert len(core.record.cells.buckets(VIEWED)) == (2 if ahead <= 65_535 else 1)


@pytest.mark.parametrize("held", [0, 1, MOST - 3, MOST - 2, MOST - 1, MOST])
@pytest.mark.parametrize("amount", [0.0, 1e-6, 2e-6, MOST / 1e6, (MOST + 1) / 1e6, 1.5 * MOST / 1e6, 4 * MOST / 1e6])
def test_a_bucket_that_is_nearly_full_becomes_full_and_no_more(held: int, amount: float) -> None:
    plain = PlainRecord("u")
    if held:
        plain.cells.add(SPENT, T0, held, T0)
    core = same(SPENDS, plain, Given("purchase", T0, 1, amount=amount))
    (bucket,) = core.record.cells.buckets(SPENT)
    assert bucket[1] == min(held + min(round(amount * 1e6), MOST), MOST)


@pytest.mark.parametrize("widest", [0, 1, 2])
def test_a_tally_is_as_wide_as_the_widest_that_stays(widest: int) -> None:
    """The oldest bucket goes with the event, and each of the others may be what needs most bytes."""
    plain = PlainRecord("u")
    for number in range(4):
        amount = 70_000 if number == widest + 1 else 300 if number == 0 else 3
        plain.cells.add(VIEWED, T0 + number * VIEWED.width, amount, T0)
    plain.enter(T0)
    same(VIEWS, plain, Given("view", T0 + 3_600.0 + VIEWED.width, 1))


@pytest.mark.parametrize("after", [-1.0, 0.0, 1.0])
def test_an_event_at_the_time_up_to_which_nothing_was_counted_may_have_been_one_of_those(after: float) -> None:
    plain = PlainRecord("u")
    plain.enter(T0 - 2.0)
    plain.cells.mark_unknown(SORT + Sort("click").key, T0)
    core = same(WAITS, plain, Given("click", T0 + after, 1))
    assert core.record.cells.latest(Sort("click")) == (T0 + 1.0 if after > 0 else -T0)


def test_what_has_the_mark_of_a_sort_and_is_none_becomes_the_latest_time() -> None:
    plain = PlainRecord("u")
    plain.cells.put_opaque(SORT + Sort("click").key, Opaque(7, b"x" * 24, NEVER))
    core = same(WAITS, plain, Given("click", T0, 1))
    assert core.record.cells.latest(Sort("click")) == T0


def test_segments_whose_names_have_one_mark_are_told_apart() -> None:
    names = ("s19408", "s61411")
    assert len({mark_of(name) & 0xFFFF_FFFF for name in names}) == 1
    rules = "".join(
        f'[[segment]]\nid = "{name}"\nrule = \'count("{kind}", within="1h") >= 2\'\n'
        for name, kind in zip(names, ("view", "click"), strict=True)
    )
    both = Both(rules)
    for name, kind in zip(names, ("view", "click"), strict=True):
        plain = PlainRecord("u")
        plain.enter(T0 - 1.0)
        plain.count = 5
        plain.members.put(name, Membership(T0 - 1.0, 1.0, 1, 1))
        events = [
            Given(each, T0 + at, 10 * at + place) for at in range(3) for place, each in enumerate(("view", "click"))
        ]
        core = same(both, plain, *events)
        assert core.record.members.segments() == sorted(names), kind


def test_a_stay_that_ends_is_a_timer_only_of_who_is_to_leave() -> None:
    both = Both('[[segment]]\nid = "s"\nrule = \'count("view", within="1h") >= 2\'\nmin_stay = "1m"\n')
    for leaving in (None, 0.0):
        plain = PlainRecord("u")
        plain.enter(T0)
        plain.members.put("s", Membership(T0, 1.0, 1, 1, leaving))
        plain.cells.add(VIEWED, T0, 2, T0)
        core = CoreUser(plain.pack())
        due = core.next_due(both.core)
        assert (due == T0 + 60.0) == (leaving is not None)


def test_known_at_is_a_timer_also_of_who_is_in_nothing() -> None:
    plain = PlainRecord("u")
    plain.enter(T0)
    plain.cells.mark_unknown(SORT + Sort("purchase").key, T0)
    plain.known_at = T0 + 30.0
    assert CoreUser(plain.pack()).next_due(WAITS.core) == T0 + 30.0


def test_a_first_event_that_lies_behind_the_users_time_becomes_earlier() -> None:
    plain = PlainRecord("u")
    plain.count, plain.first = 3, T0 + 5.0
    assert same(VIEWS, plain, Given("view", T0, 1)).record.first == T0


def test_what_is_over_goes_also_where_the_event_finds_its_bucket() -> None:
    plain = PlainRecord("u")
    for time in (T0, T0 + 3_760.0):
        plain.cells.add(VIEWED, time, 1, T0)
    core = same(VIEWS, plain, Given("view", T0 + 3_770.0, 1))
    assert core.record.cells.buckets(VIEWED) == [(int(T0 + 3_760.0) // VIEWED.width, 2)]


@pytest.mark.parametrize("size", [524_248, 524_256, 524_264])
def test_cells_that_become_just_so_many_that_their_size_is_said_apart_find_room_for_that(size: int) -> None:
    plain = PlainRecord("u")
    plain.cells.put_opaque("mine", Opaque(7, bytes(size - 40), NEVER))
    core = CoreUser(plain.pack(), 8)
    visit(WAITS, plain, core, [Given("click", T0, 1)], NEVER, 0.0)
    settle(WAITS, plain, core)
