"""The compiled fold does to a block what the twin does to its objects: same bytes, same stops, same next timer."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from ctypes import byref, c_uint32
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.absence import Absence
from state.plain.record import PlainRecord, known_at, unpack
from state.plan_image import write
from state.record import Opaque, Record
from state.user import Membership
from state.windows import NEVER
from streams.steps.membership import plain_next_due
from streams.steps.segments import Plan, parse_plan
from tests import core, fold_twin
from tests.core_fold import LEFT, NO_ROOM, CorePlan, CoreUser, FoldEvent
from tests.core_parts import CORE
from tests.fold_twin import Given
from tests.record_verbs import VERBS, Verb
from tests.records import LANDMARK
from tests.rule_sets import COUNTING

pytestmark = pytest.mark.compiled

T0: Final = LANDMARK - 3_600.0
RULES: Final = (
    COUNTING
    + """[[segment]]
id = "few"
rule = 'count("click", within="30m") <= 2 and count("view", within="30m") < 4'
[[segment]]
id = "dropped-out"
rule = 'absent("purchase", after="click", wait="2m", within="1h")'
[[segment]]
id = "hesitant"
rule = 'absent("purchase", after="click", wait="2m", within="2h") and count("view", within="2h") >= 2'
[[segment]]
id = "silent 用户"
rule = 'absent("view", after="view", wait="10m", within="1d", category="c1", after_category="c1")'
[[segment]]
id = "score"
rule = 'count("view", within="1h") / 4'
enter = 1.0
exit = 0.5
min_stay = "1m"
[[segment]]
id = "in words"
words = "somebody who is told in words"
min_stay = "3m"
"""
)
#: over the cells that ``record_verbs`` fills with anything
ANYTHING: Final = """
[[segment]]
id = "a"
rule = 'count("view", within="10s") >= 1 and count("view", within="7d") < 1000'
[[segment]]
id = "ab"
rule = 'count("click", category="shoes", within="1h") * 3 - total("purchase", "amount", within="365d") > 1'
[[segment]]
id = "é"
rule = 'absent("purchase", after="click", after_category="shoes", wait="1h", within="1d")'
[[segment]]
id = "\\uffff"
rule = 'absent("view", after="view", wait="1m", within="2h") and not count("view", within="10s") > 2'
min_stay = "1h"
"""


class Both:
    """The same definitions for the twin and for the core."""

    def __init__(self, text: str) -> None:
        self.plan: Plan = parse_plan(text)
        self.core = CorePlan(self.plan.described)


PLAN, OTHER = Both(RULES), Both(ANYTHING)
EVENTS = st.builds(
    Given,
    kind=st.sampled_from(["view", "view", "click", "click", "purchase", "comment"]),
    time=st.integers(0, 400).map(lambda step: T0 + 37.5 * step),
    id_hash=st.integers(0, 2**64 - 1) | st.integers(0, 30),
    category=st.sampled_from(["", "c1", "c2", "用"]),
    amount=st.sampled_from([0.0, 0.0, 1e-7, 9.99, 12.0, 1e9, -1.0, math.inf]),
    dwell=st.sampled_from([0.0, 0.0005, 0.25, 3.0, 86_400.0]),
    arrived=st.floats(T0, T0 + 1e6),
    anonymous=st.booleans(),
)


def _time(event: Given) -> float:
    return event.time


VISITS = st.lists(st.tuples(st.lists(EVENTS, max_size=25), st.booleans()), max_size=6)


def visit(both: Both, plain: PlainRecord, core: CoreUser, events: Sequence[Given], limit: float, erased: float) -> None:
    """All events of a turn: what the fold leaves is done by the verbs, as Python does it."""
    plan, at = both.plan, 0
    while at < len(events):
        found = core.fold(both.core, events, at, limit, erased)
        assert found == fold_twin.fold(plan, plain, events, at, limit, erased)
        at, opened = found
        assert core.record.due == plain.due
        if opened:
            fold_twin.decide(plan, (plain, core.record), events[at - 1])
        elif at < len(events):
            event, at = events[at], at + 1
            if event.kind in ("view", "click", "purchase") and event.time > erased and 0.0 <= event.amount < math.inf:
                known = event.id_hash in plain.ids
                assert (event.id_hash in core.record.ids) == known
                for record in (plain, core.record):
                    record.ids.add(event.id_hash, event.arrived)
                if not known:
                    fold_twin.add(plan, plain, event)
                    fold_twin.add(plan, core.record, event)
        limit = NEVER


def settle(both: Both, plain: PlainRecord, core: CoreUser) -> None:
    """The end of a turn."""
    due = core.next_due(both.core)
    assert due == plain_next_due(both.plan, plain)
    specs = list(both.plan.tallies.specs.values())
    for record in (plain, core.record):
        record.due = due
        record.cells.trim(specs, record.time)
    assert core.record.pack() == plain.pack()
    assert core.record.ids.items() == plain.ids.items()
    assert core.record.ids.cut == plain.ids.cut


def forget_history(both: Both, records: Sequence[Record]) -> None:
    """Definitions were changed: of what was counted so far nothing is known."""
    for record in records:
        for key in both.plan.counted:
            record.cells.mark_unknown(key, record.time)
        natives = [term.native for term in both.plan.terms]
        absences = [native for native in natives if isinstance(native, Absence)]
        record.known_at = known_at(record.cells, NEVER, record.time, both.plan.tallies.specs.values(), absences)


@settings(deadline=None)
@given(VISITS, st.sampled_from([0, 8, 64]), st.integers(0, 6), st.floats(T0, T0 + 1e4), st.floats(0.0, T0 + 1e4))
def test_visits_leave_the_same_bytes_and_stop_at_the_same_events(
    visits: list[tuple[list[Given], bool]], step: int, forgets_at: int, limit: float, erased: float
) -> None:
    plain, core = PlainRecord("u"), CoreUser(step=step)
    for number, (events, in_order) in enumerate(visits):
        if number == forgets_at and plain.count:
            forget_history(PLAN, (plain, core.record))
        visit(PLAN, plain, core, sorted(events, key=_time) if in_order else events, limit, erased)
        settle(PLAN, plain, core)


@settings(deadline=None)
@given(st.lists(VERBS, max_size=12), VISITS, st.floats(0.0, 1e6))
def test_so_do_they_whatever_the_block_holds(
    verbs: list[Verb], visits: list[tuple[list[Given], bool]], on: float
) -> None:
    plain = PlainRecord("u")
    for verb in verbs:
        with suppress(ValueError):
            verb(plain)
    if plain.time >= 2.0**32 - 2e6:
        return
    core = CoreUser(plain.pack())
    plain = unpack("u", plain.pack())
    for events, _ in visits:
        begin = plain.time + on if plain.time > 0.0 else T0
        later = [replace(event, time=begin + event.time - T0) for event in events]
        visit(OTHER, plain, core, sorted(later, key=_time), NEVER, 0.0)
        due = core.next_due(OTHER.core)
        assert due == plain_next_due(OTHER.plan, plain)
        plain.due = core.record.due = due
        assert core.record.pack() == plain.pack()


@settings(deadline=None)
@given(VISITS, st.floats(0.0, 1e5), st.booleans())
def test_the_next_timer_is_the_same_at_any_time(
    visits: list[tuple[list[Given], bool]], on: float, forgets: bool
) -> None:
    plain, core = PlainRecord("u"), CoreUser()
    for events, _ in visits:
        visit(PLAN, plain, core, sorted(events, key=_time), NEVER, 0.0)
        if forgets and plain.count:
            forget_history(PLAN, (plain, core.record))
    now = plain.time + on
    for record in (plain, core.record):
        record.enter(now)
        record.members.put("in words", Membership(T0, 0.5, 1, 1, 0.1 if forgets else None))
    assert core.next_due(PLAN.core) == plain_next_due(PLAN.plan, plain)


@settings(deadline=None, max_examples=6 if core.SANITIZED else 20)
@given(st.integers(1, 3_000), st.integers(1, 900), st.sampled_from([0.0, 60.0, 4_000.0]))
@example(1_200, 1_200, 0.0)
def test_many_events_fill_records_of_ids_and_wide_values_alike(count: int, size: int, apart: float) -> None:
    plain, core = PlainRecord("u"), CoreUser()
    for begin in range(0, count, size):
        events = [
            Given("view", T0 + n * apart, n * 0x9E3779B97F4A7C15 % 2**64, "c1", dwell=7e4, arrived=T0 + n * apart)
            for n in range(begin, min(begin + size, count))
        ]
        visit(PLAN, plain, core, events, NEVER, 0.0)
        settle(PLAN, plain, core)


def test_a_sum_that_is_too_large_to_be_divided_exactly_is_left_to_python() -> None:
    frugal = Both('[[segment]]\nid = "f"\nrule = \'total("purchase", "amount", within="1d") <= 20\'\n')
    core = CoreUser()
    found = core.fold(
        frugal.core, [Given("purchase", T0 + n * 4_000.0, n, amount=1e9) for n in range(20)], 0, NEVER, 0.0
    )
    assert found == (10, True), "ten million of money have more than 2**53 millionths"


@pytest.mark.parametrize("ahead", [1, 100, 65_535, 65_536, 10**6])
def test_buckets_that_no_fold_made_are_taken_alike(ahead: int) -> None:
    """They lie behind the user's time, and so far that the event's may not come before them."""
    plain = PlainRecord("u")
    for spec in OTHER.plan.tallies.specs.values():
        plain.cells.add(spec, T0 + ahead * spec.width, 300, T0)
    core = CoreUser(plain.pack())
    events = [Given("view", T0 + n * 0.5, n) for n in range(5)] + [Given("purchase", T0 + 4.0, 9, amount=1.0)]
    visit(OTHER, plain, core, events, NEVER, 0.0)
    settle(OTHER, plain, core)


@pytest.mark.parametrize("step", [0, 8])
@pytest.mark.parametrize("size", [524_000, 524_160, 524_240])
def test_cells_that_become_more_than_half_a_megabyte_find_room(size: int, step: int) -> None:
    plain = PlainRecord("u")
    plain.cells.put_opaque("mine", Opaque(7, bytes(size - 40), NEVER))
    core = CoreUser(plain.pack(), step)
    for n in range(3):
        visit(PLAN, plain, core, [Given("click", T0 + n, n, "c1")], NEVER, 0.0)
        settle(PLAN, plain, core)


def test_numbers_that_are_none_are_left_to_python() -> None:
    core = CoreUser()
    right = Given("view", T0, 1)
    for wrong in (
        replace(right, time=math.nan),
        replace(right, time=2.0**32),
        replace(right, time=math.inf),
        replace(right, amount=math.nan),
        replace(right, dwell=math.nan),
        replace(right, dwell=-0.5),
        replace(right, dwell=math.inf),
    ):
        assert core.fold(PLAN.core, [wrong, right], 0, NEVER, 0.0) == (0, False)
    event = PLAN.core.event(right)
    assert event.route >= 0
    assert core.fold(PLAN.core, [right], 0, NEVER, 0.0) == (1, True)


def test_what_an_event_begins_is_a_timer_for_the_next_one() -> None:
    """A click begins an absence that is entered two minutes later: no event after that is folded before it."""
    plain, core = PlainRecord("u"), CoreUser()
    begin = [Given("purchase", T0, 1)]
    visit(PLAN, plain, core, begin, NEVER, 0.0)
    events = [Given("click", T0 + 1.0, 2, "c2"), Given("click", T0 + 60.0, 3, "c2"), Given("view", T0 + 200.0, 4)]
    at, opened = core.fold(PLAN.core, events, 0, NEVER, 0.0)
    assert (at, opened) == (2, False)
    assert core.record.due == T0 + 60.0 + 120.0


@pytest.mark.parametrize("size", range(0, 104, 8))
def test_without_room_for_all_of_an_event_nothing_is_changed(size: int) -> None:
    """``CoreUser.fold`` compares the bytes whenever there is no room, at every size on the way."""
    plain, core = PlainRecord("u"), CoreUser(step=8)
    core.held.widen(size)
    events = [
        Given("purchase", T0 + n, n, "c1", amount=1.0, dwell=2.0)
        if n % 3
        else Given("click", T0 + n, n, "c1", dwell=1e5)
        for n in range(70)
    ]
    visit(PLAN, plain, core, events, NEVER, 0.0)
    settle(PLAN, plain, core)


def test_what_it_wants_is_enough() -> None:
    core = CoreUser()
    for n in range(200):
        before = core.held.block.room
        core.fold(PLAN.core, [Given("view", T0 + 100.0 * n, n, "c1", dwell=float(n))], 0, NEVER, 0.0)
        assert core.held.block.room - before <= 400


def test_a_fold_that_was_given_up_says_nothing_of_the_next_one_at_its_place() -> None:
    core, given = CoreUser(), [Given("view", T0, 1)]
    events, order = (FoldEvent * 1)(PLAN.core.event(given[0])), (c_uint32 * 1)(0)

    def fold(limit: float) -> int:
        at, opened = c_uint32(0), core.record.ids._at()
        end: int = CORE.fold_user(
            byref(opened), byref(PLAN.core.image), events, order, 1, byref(at), limit, 0.0, PLAN.core.scratch
        )
        return end

    assert fold(NEVER) == NO_ROOM
    core.held.widen(CORE.fold_wanted(PLAN.core.scratch))
    CORE.fold_scratch_begin(PLAN.core.scratch)
    assert fold(T0) == LEFT  # by now a timer is due before it
    assert core.record.count == 0


# images


def test_an_image_with_a_part_missing_is_refused() -> None:
    told = PLAN.plan.described
    image = write(told)
    for damaged in (*(image[:end] for end in range(0, len(image), 8)), image + bytes(8)):
        with pytest.raises(ValueError, match=r"^\d+$"):
            CorePlan(told, damaged)


def test_a_plan_without_rules_is_an_image_too() -> None:
    plan = parse_plan('[[segment]]\nid = "w"\nwords = "anything"\n')
    core = CorePlan(plan.described)
    user = CoreUser()
    assert user.fold(core, [Given("view", T0, 1), Given("click", T0 + 1e6, 2)], 0, NEVER, 0.0) == (2, False)
    assert user.next_due(core) == NEVER


@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_image_is_refused_or_does_no_harm(seed: int) -> None:
    """Under the address and undefined-behaviour sanitizers. That memory or room are missing makes no difference."""
    sources = [*core.SOURCES.glob("*.c"), core.DRIVERS / "fuzz_plan.c"]
    driver = core.build("fuzz_plan", f"{core.STRICT} {core.SANITIZE} -DMEMORY_FAULTS", sources)
    done = subprocess.run(
        [driver, str(seed), "3000"], input=write(PLAN.plan.described), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    counts = {words: int(count) for count, words in (line.split(b" ", 1) for line in done.stdout.splitlines())}
    assert all(counts.values()), f"some way of being wrong never came up: {counts}"
