"""What is not known never makes a published change untrue: interval evaluation, and definitions that change."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.absence import SORT, Absence
from state.plain.record import PlainRecord
from state.windows import NEVER
from streams.rules.compile import Rule as Compiled
from streams.rules.compile import parse_rule
from streams.rules.program import MOST_NUMBER
from streams.wire.events import KINDS
from tests.small_partition import T0, SmallPartition
from tests.verifier.rules import Absent, Rule, Term, terms_of

# interval evaluation

TEXTS = (
    'count("view", within="1m") >= 2',
    'count("view", within="1m") == 1',
    'count("view", within="1m") <= 1 and not count("click", within="2m") > 0',
    'count("view", within="1m") != 2 or count("click", within="2m") < 1',
    'count("view", within="1m") - count("click", within="2m") * 2 > -1',
    'count("view", within="1m") / count("click", within="2m") >= 0.5',
    '(count("view", within="1m") - 1) / (count("click", within="2m") - 1) < 2',
    'count("view", within="1m") * (2 - count("click", within="2m"))',
    'count("view", within="1m") / 3 + total("purchase", "amount", within="1m")',
    'absent("click", after="view", wait="10s", within="1m")',
    'not absent("view", after="view", wait="10s", within="1m")',
    'absent("click", after="view", wait="0s", within="1m") + count("view", within="1m") >= 1',
)
RULES = {text: parse_rule(text, KINDS) for text in TEXTS}
#: (kind, seconds)
HISTORY = st.lists(st.tuples(st.sampled_from(["view", "click", "purchase"]), st.integers(0, 60)), max_size=6)
KNOWN_FROM = 30
"""Event times up to here were not counted, of terms that were begun then."""


def counted(rule: Compiled, history: list[tuple[str, int]], late: frozenset[str], now: float) -> PlainRecord:
    """Only what the terms ``late`` could count; all else from the beginning."""
    state = PlainRecord("u")
    state.enter(now)
    cells = state.cells
    for sort in rule.asks.sorts:
        if sort.key in late:
            cells.mark_unknown(SORT + sort.key, T0 + KNOWN_FROM)
    for spec in rule.asks.specs:
        if spec.key in late:
            cells.mark_unknown(spec.key, T0 + KNOWN_FROM)
    for kind, second in history:
        time = T0 + second
        for spec in rule.asks.specs:
            if spec.kind == kind and (spec.key not in late or second > KNOWN_FROM):
                cells.add(spec, time, 1 if spec.measure == "count" else 2_500_000, now)
        for sort in rule.asks.sorts:
            if sort.kind == kind:
                cells.note(sort, time)
    state.settle([*rule.asks.specs], [term.native for term in rule.terms if isinstance(term.native, Absence)])
    return state


@settings(deadline=None)
@given(st.sampled_from(TEXTS), HISTORY, st.data(), st.integers(0, 240))
def test_bounds_hold_for_every_history_that_what_is_known_allows(
    text: str, history: list[tuple[str, int]], data: st.DataObject, on: int
) -> None:
    rule = RULES[text]
    now = T0 + KNOWN_FROM + on
    history = [each for each in history if T0 + each[1] <= now]
    keys = sorted({spec.key for spec in rule.asks.specs} | {sort.key for sort in rule.asks.sorts})
    late = frozenset(data.draw(st.sets(st.sampled_from(keys))))
    state = counted(rule, history, late, now)
    low, high = rule.bounds(state.cells, now)
    truth = rule.evaluate(counted(rule, history, frozenset(), now).cells, now)
    assert low <= truth <= high
    if state.known_at == NEVER:
        assert low == high == rule.evaluate(state.cells, now)


@settings(deadline=None)
@given(st.sampled_from([text for text in TEXTS if text.count("(") == 1]), HISTORY, st.integers(0, 120), st.data())
def test_bounds_of_one_term_are_no_wider_than_what_may_be(
    text: str, history: list[tuple[str, int]], on: int, data: st.DataObject
) -> None:
    rule = RULES[text]
    now = T0 + KNOWN_FROM + on
    history = [each for each in history if T0 + each[1] <= now]
    keys = sorted({spec.key for spec in rule.asks.specs} | {sort.key for sort in rule.asks.sorts})
    late = frozenset(data.draw(st.sets(st.sampled_from(keys), min_size=1)))
    state = counted(rule, history, late, now)
    seen = [each for each in history if each[1] > KNOWN_FROM]
    hidden: list[list[tuple[str, int]]] = [[]]
    for second in range(KNOWN_FROM + 1):
        hidden += [[(kind, second)] * count for kind in ("view", "click") for count in (1, 2, 3)]
    hidden += [[("view", one), ("click", other)] for one in range(0, 31, 3) for other in range(0, 31, 3)]
    hidden_kinds = {key.split("|")[0] for key in late}
    known = [each for each in history if each[1] <= KNOWN_FROM and each[0] not in hidden_kinds]
    possible = set()
    for more in hidden:
        tried = [*known, *more, *seen]
        if (
            counted(rule, tried, late, now).pack() == state.pack()
        ):  # else it is another user of whom something else is known
            possible.add(rule.evaluate(counted(rule, tried, frozenset(), now).cells, now))
    assert {*rule.bounds(state.cells, now)} <= possible | {MOST_NUMBER}


# definitions that change while events come

POOL = (
    Rule("views", (Term("view", 60, 2),)),
    Rule("views-longer", (Term("view", 240, 2),)),
    Rule("no-purchase", (Term("purchase", 120, 1, negated=True),)),
    Rule("one-purchase", (Term("purchase", 600, 1), Term("purchase", 600, 2, negated=True))),
    Rule("spent", (Term("purchase", 120, 5.0, measure="amount"), Term("click", 60, 1, negated=True))),
    Rule("cart", (Absent("purchase", "click", 30, 120),)),
    Rule("gone", (Absent("view", "purchase", 20, 90),)),
    Rule("cart-views", (Absent("purchase", "click", 10, 60), Term("view", 60, 1, negated=True))),
)
BY_ID = {rule.id: rule for rule in POOL}


@dataclass
class Person:
    """What a user did, recounted."""

    buckets: dict[str, dict[int, int]] = field(default_factory=dict)
    latest: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, kind: str, time: float) -> None:
        for key, term in terms_of(POOL).items():
            if term.kind == kind:
                held, bucket = self.buckets.setdefault(key, {}), int(time // term.width)
                held[bucket] = held.get(bucket, 0) + (1 if term.measure == "count" else 2_500_000)
        self.latest[kind, ""] = max(time, self.latest.get((kind, ""), 0.0))


def written(rules: list[Rule]) -> str:
    return "".join(rule.definition() for rule in rules)


EVENT = st.tuples(
    st.just("event"),
    st.sampled_from("uv"),
    st.sampled_from(["view", "view", "click", "purchase"]),
    st.sampled_from([0, 1, 7, 20, 61, 150, -15, -70]),
)
ACTIONS = st.lists(
    EVENT
    | EVENT
    | st.tuples(st.just("redefine"), st.sets(st.sampled_from(sorted(BY_ID)), max_size=4), st.booleans())
    | st.tuples(st.just("fire"), st.integers(1, 200))
    | st.tuples(st.just("sweep")),
    max_size=40,
)


def settle(partition: SmallPartition, now: float) -> None:
    while partition.due_keys(now):
        partition.fire(now)


@settings(deadline=None, max_examples=150)  # the first example loads the models
@given(st.sets(st.sampled_from(sorted(BY_ID)), min_size=1, max_size=4), ACTIONS, st.booleans())
def test_definitions_that_change_publish_nothing_untrue(
    first: set[str], actions: list[tuple[Any, ...]], compiled: bool
) -> None:
    present = [BY_ID[name] for name in sorted(first)]
    partition = SmallPartition(written(present))
    people: dict[str, Person] = defaultdict(Person)
    now, seen = T0, 0

    def check(before: dict[str, Person]) -> None:
        """``before``: what was done before the event of this turn, which timers go ahead of."""
        nonlocal seen
        for change in partition.changes[seen:]:
            rule = next((rule for rule in present if rule.id == change.segment), None)
            if rule is None:
                assert change.change == "exited"
                continue
            known = before if change.origin == "expiry" else people
            assert rule.holds(known[change.user], change.event_time) == (change.change == "entered"), change
            if change.origin == "definition":
                assert change.event_time >= partition.meta.watermark
        seen = len(partition.changes)

    for action in actions:
        if not compiled:
            partition.plan.quiet = None
        match action:
            case ("event", user, kind, step):
                now = max(now, now + step)
                time = now + min(step, 0)
                before = copy.deepcopy(people)
                partition.events({"user": user, "kind": kind, "time": time, "amount": 2.5})
                people[user].note(kind, time)
                check(before)
                settle(partition, now)
                check(people)
            case ("redefine", names, kept):
                present = [BY_ID[name] for name in sorted(names)]
                partition.redefine(written(present), kept=kept)
            case ("fire", step):
                now += step
                settle(partition, now)
                check(people)
            case ("sweep",):
                partition.sweep()
                check(people)
    partition.sweep()
    check(people)
    now += 1_300.0  # everything is known by then
    settle(partition, now)
    check(people)
    for user, person in people.items():
        state = partition.state(user)
        assert state is not None
        assert NEVER in (state.known_at, state.due)
        assert set(state.members.segments()) == {rule.id for rule in present if rule.holds(person, now)}
