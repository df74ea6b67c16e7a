"""What every term of the rule language inherits, by the raw events alone: any order, duplicates, merge, passing time,
what is not known. ``odd`` is a term that only this test has, and that the compiled part does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.record import Cells, Record
from streams.rules.compile import Rule, parse_rule
from streams.rules.program import MOST_NUMBER, Interval
from streams.rules.term import Call, Row, Term
from streams.rules.terms import TERMS
from streams.rules.terms.tally import TallyTerm, tally_term
from streams.wire.events import KINDS
from tests.small_cluster import SmallCluster
from tests.small_partition import T0, SmallPartition

#: kind, category, seconds after ``T0``
Event = tuple[str, str, int]
AMOUNT, DWELL = 2.5, 1.5
LAST = 120
#: after the last event, in seconds: everything has run out by then
OVER = 300


# the term that the engine does not know


@dataclass(frozen=True)
class OddTerm:
    """Whether there is an odd number of events in a window: a cell that ``count`` knows, and a value of its own."""

    count: TallyTerm

    condition: ClassVar[bool] = True
    monotone: ClassVar[bool] = False
    native: ClassVar[None] = None

    @property
    def cells(self) -> tuple[Any, ...]:
        return self.count.cells

    @property
    def span(self) -> float:
        return self.count.span

    @property
    def soonest(self) -> float:
        return self.count.soonest

    def value(self, cells: Cells, now: float) -> float:
        return self.count.value(cells, now) % 2.0

    def bounds(self, cells: Cells, now: float) -> Interval:
        low, high = self.count.bounds(cells, now)
        return (0.0, 1.0) if low != high else (low % 2.0, low % 2.0)

    def next_change(self, cells: Cells, now: float) -> float:
        return self.count.next_change(cells, now)

    def next_sure(self, cells: Cells, now: float) -> float:
        return self.count.next_sure(cells, now)

    def not_known_before(self, cells: Cells, now: float) -> float:
        return self.count.not_known_before(cells, now)


def parse_odd(call: Call) -> OddTerm:
    (kind,) = call.words
    return OddTerm(tally_term(call, kind, "count"))


ODD = Row("odd", takes=("a kind",), options=("within", "category"), parse=parse_odd)


@pytest.fixture(scope="module", autouse=True)
def _odd() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TERMS, "odd", ODD)
        yield


# terms, and what they are by the raw events alone


@dataclass(frozen=True)
class Sample:
    """A term as it is written, a number to compare it with, and (events, seconds after ``T0``) → what it is then."""

    written: str
    bound: float
    recount: Callable[[Sequence[Event], float], float]

    @property
    def definitions(self) -> str:
        rule = f"{self.written} >= {self.bound:g}"
        return "".join(
            f"[[segment]]\nid = \"{name}\"\nrule = '{text}'\n"
            for name, text in (("yes", rule), ("no", f"not {rule}"), ("views", 'count("view", within="1m") >= 2'))
        )

    def term(self, partition: SmallPartition) -> Term:
        (term,) = self.rule(partition).terms
        return term

    def rule(self, partition: SmallPartition) -> Rule:
        rule = partition.plan.segments["yes"].rule
        assert rule is not None
        return rule


def matching(events: Sequence[Event], kind: str, category: str) -> Iterator[int]:
    return (second for of, category_of, second in events if of == kind and category in ("", category_of))


def windowed(kind: str, within: int, width: int, each: float = 1.0, category: str = "") -> Callable[..., float]:
    """docs/segments.md: an event counts until its bucket's end plus the window."""

    def total(events: Sequence[Event], now: float) -> float:
        seconds = matching(events, kind, category)
        return each * sum((second // width + 1) * width + within > now for second in seconds)

    return total


def missing(of: tuple[str, str], after: tuple[str, str], wait: int, within: int) -> Callable[..., float]:
    """docs/segments.md: nothing at or after the latest trigger, which is itself not what is waited for."""

    def absent(events: Sequence[Event], now: float) -> float:
        trigger = max(matching(events, *after), default=None)
        if trigger is None or not trigger + wait <= now < trigger + within:
            return 0.0
        itself = of[0] == after[0] and of[1] in ("", after[1])
        return float(all(second < trigger + itself for second in matching(events, *of)))

    return absent


MINUTE = windowed("view", 60, 2)
SAMPLES = {
    "count": (
        Sample('count("view", within="1m")', 2, MINUTE),
        Sample('count("click", category="shoes", within="30s")', 1, windowed("click", 30, 1, category="shoes")),
    ),
    "total": (
        Sample('total("purchase", "amount", within="1m")', 5, windowed("purchase", 60, 2, AMOUNT)),
        Sample('total("view", "dwell", within="2m")', 4.5, windowed("view", 120, 5, DWELL)),
    ),
    "absent": (
        Sample(
            'absent("purchase", after="click", wait="10s", within="1m")',
            1,
            missing(("purchase", ""), ("click", ""), 10, 60),
        ),
        Sample(
            'absent("view", after="view", wait="20s", within="2m")', 1, missing(("view", ""), ("view", ""), 20, 120)
        ),
        Sample(
            'absent("view", category="shoes", after="click", after_category="shoes", wait="0s", within="40s")',
            1,
            missing(("view", "shoes"), ("click", "shoes"), 0, 40),
        ),
    ),
    "odd": (Sample('odd("view", within="1m")', 1, lambda events, now: MINUTE(events, now) % 2),),
}
EVERY = pytest.mark.parametrize(
    "sample", [pytest.param(each, id=each.written) for rows in SAMPLES.values() for each in rows]
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["view", "click", "purchase"]), st.sampled_from(["", "shoes"]), st.integers(0, LAST)),
    min_size=1,
    max_size=8,
)
FEW = settings(deadline=None, max_examples=25)


def sent(events: Sequence[Event], user: str = "u") -> list[dict[str, Any]]:
    return [
        {"user": user, "id": f"{user}{number}", "kind": kind, "category": category, "time": T0 + second,
         "amount": AMOUNT, "dwell": DWELL}
        for number, (kind, category, second) in enumerate(events)
    ]  # fmt: skip


def state_of(partition: SmallPartition) -> Record:
    state = partition.state()
    assert state is not None
    return state


def test_every_term_has_samples_here() -> None:
    assert set(SAMPLES) == set(TERMS)


@EVERY
@FEW
@given(events=EVENTS, data=st.data())
def test_in_any_order_and_doubled_it_is_the_same(sample: Sample, events: list[Event], data: st.DataObject) -> None:
    records = sent(events)
    again = data.draw(st.lists(st.sampled_from(records), max_size=3))
    partition = SmallPartition(sample.definitions)
    for record in data.draw(st.permutations(records + again)):
        if data.draw(st.booleans()):
            partition.restart()  # so that it is read from what was written
        partition.events(record)
    state, term = state_of(partition), sample.term(partition)
    cells = state.cells
    for later in (0, 1, 20, 61, 62, 125, OVER):
        now = state.time + later
        expected = sample.recount(events, now - T0)
        assert term.value(cells, now) == expected
        assert term.bounds(cells, now) == (expected, expected)
        assert abs(expected) <= MOST_NUMBER
        assert not term.condition or expected in (0.0, 1.0)
        assert term.not_known_before(cells, now) == 0.0


@EVERY
@FEW
@given(events=EVENTS, others=EVENTS, first=st.booleans())
def test_merged_it_is_as_if_one_had_done_all(
    sample: Sample, events: list[Event], others: list[Event], first: bool
) -> None:
    cluster = SmallCluster(sample.definitions, 1)
    identify = {"user": "u", "id": "i", "kind": "identify", "time": T0, "target": "anonymous"}
    theirs = sent(others, "anonymous")
    for record in (*sent(events), *((identify, *theirs) if first else (*theirs, identify))):
        cluster.publish(record)
    cluster.flow(lambda _waiting: 0, lambda: 100)
    (partition,) = cluster.partitions
    state, term = state_of(partition), sample.term(partition)
    cells = state.cells
    for later in (0, 1, 20, 61, OVER):
        now = state.time + later
        assert term.value(cells, now) == sample.recount([*events, *others], now - T0)


@EVERY
@FEW
@given(events=EVENTS, compiled=st.booleans())
def test_memberships_follow_it_as_time_passes(sample: Sample, events: list[Event], compiled: bool) -> None:
    partition = SmallPartition(sample.definitions)
    if not compiled:
        partition.plan.quiet = None
    term = sample.term(partition)
    assert (term.native is None) <= (partition.plan.quiet is None)
    events.sort(key=lambda event: event[2])
    records = sent(events)
    came = [event[2] for event in events]
    for second in range(came[0], came[-1] + OVER):
        so_far = events[: sum(time < second for time in came)]
        if so_far:
            _time_passed(sample, term, state_of(partition), so_far, second)
        if partition.due_keys(T0 + second):
            partition.fire(T0 + second)
        if second in came:
            before = sample.recount(so_far, second)
            now_due = [record for record in records if record["time"] == T0 + second]
            partition.events(*now_due)
            so_far = events[: len(so_far) + len(now_due)]
            assert not term.monotone or sample.recount(so_far, second) >= before
        holds = sample.recount(so_far, second) >= sample.bound
        viewed = MINUTE(so_far, second) >= 2
        assert partition.members() == {"yes" if holds else "no"} | ({"views"} if viewed else set())


def _time_passed(sample: Sample, term: Term, state: Record, events: Sequence[Event], second: int) -> None:
    """Nothing came since the second before."""
    before, now = sample.recount(events, second - 1), sample.recount(events, second)
    assert not term.monotone or now <= before
    if now != before:
        assert term.next_change(state.cells, T0 + second - 1) <= T0 + second
        assert any(time + term.soonest <= second for _, _, time in events)
        if before and not now:
            bucket = max(1.0, term.span / 24.0)
            assert any(time + term.span + bucket >= second for _, _, time in events)


@EVERY
@FEW
@given(events=EVENTS, known_from=st.integers(0, LAST), compiled=st.booleans())
def test_its_bounds_hold_whatever_was_done_before_it_was_counted(
    sample: Sample, events: list[Event], known_from: int, compiled: bool
) -> None:
    events.sort(key=lambda event: event[2])
    partition = SmallPartition('[[segment]]\nid = "other"\nrule = \'count("comment", within="1m") >= 1\'\n')
    records = sent([("comment", "", 0), *events])
    early = 1 + sum(second <= known_from for _, _, second in events)
    partition.events(*records[:early])
    partition.redefine(sample.definitions)
    if not compiled:
        partition.plan.quiet = None
    partition.sweep()
    partition.events(*records[early:])
    state, rule, term = state_of(partition), sample.rule(partition), sample.term(partition)
    cells = state.cells
    for later in range(OVER):
        now = state.time + later
        low, high = term.bounds(cells, now)
        truth = sample.recount(events, now - T0)
        assert -MOST_NUMBER <= low <= truth <= high <= MOST_NUMBER
        least, most = rule.bounds(cells, now)
        assert least <= (truth >= sample.bound) <= most
        known = term.not_known_before(cells, now) == 0.0
        assert known == (low == high)
        assert ("not known yet before" in rule.told(cells, now)) is not known
    assert known


def test_a_rule_with_a_term_that_the_compiled_part_does_not_know_explains_itself_as_all_do() -> None:
    rule = parse_rule('odd("view", within="1m") and count("view", within="1m") >= 3', KINDS)
    partition = SmallPartition(f"[[segment]]\nid = \"s\"\nrule = '{rule.text}'\n")
    partition.events(*sent([("view", "", 1), ("view", "", 2), ("view", "", 3)]))
    (change,) = partition.changes
    written = "odd('view', within='1m') is 1, count('view', within='1m') is 3"
    assert change.reason.summary == f"the rule holds: {written}"
    assert change.reason.values == {"odd('view', within='1m')": 1.0, "count('view', within='1m')": 3.0}
