"""The compiled part of the fold does what Python does: same changes, same states, same refusals, to the bit."""

from __future__ import annotations

import math
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.native import quiet_fold
from state.user import UserState
from state.windows import MOST, total_at
from streams.rules.compile import parse_rule
from streams.steps.membership import next_due, plain_next_due
from streams.steps.segments import CALLS, parse_plan
from streams.wire.events import KINDS, Event
from tests.small_partition import T0, SmallPartition

pytestmark = pytest.mark.compiled

RULES = """
[[segment]]
id = "viewers"
rule = 'count("view", within="1h") >= 3'
[[segment]]
id = "steady"
rule = 'count("view", within="10m") >= 2 and not count("purchase", within="1h") > 1'
min_stay = "5m"
[[segment]]
id = "never-bought"
rule = 'count("purchase", within="1d") == 0 and count("click", category="c1", within="2h") >= 2'
[[segment]]
id = "spenders"
rule = 'total("purchase", "amount", within="1d") >= 20 or count("click", within="1m") > 3'
[[segment]]
id = "lookers"
rule = 'total("view", "dwell", within="1h") * 2 > total("click", "dwell", within="1h") + 5'
[[segment]]
id = "few"
rule = 'count("click", within="30m") <= 2 and count("view", within="30m") < 4'
[[segment]]
id = "dropped-out"
rule = 'absent("purchase", after="click", wait="2m", within="1h")'
[[segment]]
id = "score"
rule = 'count("view", within="1h") / 4'
enter = 1.0
exit = 0.5
"""
KIND = st.sampled_from(
    ["view", "view", "click", "click", "purchase", "comment", "follow", "join", "delete", "nonsense"]
)
EVENTS = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u", "u", "u", "v", "", "用户"]),
        "kind": KIND,
        "time": st.integers(0, 200).map(lambda step: T0 + 37.5 * step),
        "id": st.sampled_from(["", *"abcdefgh", "schön"]) | st.uuids().map(str),
        "category": st.sampled_from(["", "c1", "c2", "用"]),
        "amount": st.sampled_from([0.0, 0.0, 1e-7, 9.99, 12.0, 1e9, -1.0, 2e9]),
        "dwell": st.sampled_from([0.0, 0.0005, 0.25, 3.0, 86_400.0]),
        "target": st.just("w"),
        "group": st.just("g"),
        "text": st.sampled_from(["", "", "words"]),
    }
)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=30), min_size=1, max_size=6)


def test_it_is_compiled_here() -> None:
    """CI has a C compiler; ``make venv`` builds it."""
    assert quiet_fold(Event, CALLS) is not None


def without(partition: SmallPartition) -> SmallPartition:
    partition.plan.quiet = None
    return partition


def normalised(partition: SmallPartition, user: str) -> UserState | None:
    """What ran out of a window may or may not be dropped yet: nothing asks for it."""
    state = partition.state(user)
    if state is not None:
        for key, tally in list(state._tallies.items()):
            if (spec := partition.plan.tallies.specs.get(key)) is not None:  # else it is dropped with the next event
                total_at(tally, spec, state.time)
            if not tally.buckets:
                del state._tallies[key]
    return state


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.booleans(), st.integers(0, 6))
def test_with_and_without_it_all_is_the_same(
    batches: list[list[dict[str, object]]], in_order: bool, change_at: int
) -> None:
    native, plain = SmallPartition(RULES), without(SmallPartition(RULES))
    assert native.plan.quiet is not None
    for number, batch in enumerate(batches):
        if number == change_at:  # from here on not all is known of those who were there
            for each in (native, plain):
                each.redefine(RULES.replace('"1h"', '"2h"').replace('"view", within="30m"', '"comment", within="30m"'))
            without(plain)
        if in_order:
            batch.sort(key=lambda event: str(event["time"]))
        raws = [msgspec.json.encode({k: v for k, v in event.items() if v != ""}) for event in batch]
        raws += [b"{not json", b""] if number == 1 else []
        one, other = native.raw(*raws), plain.raw(*raws)
        assert [msgspec.to_builtins(each) for each in one.changes] == [
            msgspec.to_builtins(each) for each in other.changes
        ]
        assert (one.duplicates, one.late, one.outlived, one.earliest) == (
            other.duplicates, other.late, other.outlived, other.earliest,
        )  # fmt: skip
        assert [str(each.error) for each in one.rejects] == [str(each.error) for each in other.rejects]
        assert native.meta == plain.meta
    for user in ("u", "v", "用户", "w"):
        assert normalised(native, user) == normalised(plain, user)


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.floats(0.0, 1e5))
def test_the_next_timer_of_any_state_is_the_same_at_any_time(batches: list[list[dict[str, object]]], on: float) -> None:
    partition = without(SmallPartition(RULES))
    for batch in batches:
        partition.raw(*(msgspec.json.encode({k: v for k, v in event.items() if v != ""}) for event in batch))
    compiled = parse_plan(RULES)
    assert compiled.quiet is not None
    for user in ("u", "v", "用户"):
        if (state := partition.state(user)) is None:
            continue
        state.time += on
        found = compiled.quiet.next_due(state)
        stays = any(member.leaving is not None for _, member in state.members.items())
        assert (found is None) == stays
        other = partition.state(user)
        assert other is not None
        other.time += on
        assert plain_next_due(partition.plan, other) == next_due(compiled, state)


LEARNED = RULES + '[[segment]]\nid = "warm"\nlearned = "taste"\n[[segment]]\nid = "cold"\nlearned = "taste"\n'


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.integers(0, 6))
def test_who_has_to_be_encoded_waits_in_the_same_order_with_and_without_it(
    batches: list[list[dict[str, object]]], encoded: int
) -> None:
    native, plain = SmallPartition(LEARNED), without(SmallPartition(LEARNED))
    for number, batch in enumerate(batches):
        batch.sort(key=lambda event: str(event["time"]))
        raws = [msgspec.json.encode({k: v for k, v in event.items() if v not in ("", "words")}) for event in batch]
        one, other = native.raw(*raws), plain.raw(*raws)
        assert (one.offers, one.later) == (other.offers, other.later)
        assert one.puts.keys() == other.puts.keys()
        assert native.meta == plain.meta
        for partition in (native, plain):
            if number == encoded:
                partition.encode_waiting()
    for user in ("u", "v", "用户", "w"):
        assert normalised(native, user) == normalised(plain, user)


@settings(deadline=None)  # the first example loads the models
@given(st.integers(1, 400), st.integers(1, 90))
def test_many_events_of_one_user_fill_records_of_ids_alike(count: int, batch: int) -> None:
    native, plain = SmallPartition(RULES), without(SmallPartition(RULES))
    for start in range(0, count, batch):
        events = [{"kind": "click", "time": T0 + n, "id": f"e{n}"} for n in range(start, min(start + batch, count))]
        native.events(*events)
        plain.events(*events)
    assert native.memory.data.keys() == plain.memory.data.keys()
    assert {k: v for k, v in native.memory.data.items() if k[:1] == b"d"} == {
        k: v for k, v in plain.memory.data.items() if k[:1] == b"d"
    }
    assert normalised(native, "u") == normalised(plain, "u")


def test_a_bucket_that_is_full_stays_full() -> None:
    native, plain = SmallPartition(RULES), without(SmallPartition(RULES))
    for partition in (native, plain):
        full = {"kind": "purchase", "time": T0, "amount": 1e9}
        for start in range(0, 1_200, 300):
            partition.events(*({**full, "id": f"{start + number}"} for number in range(300)))
    assert normalised(native, "u") == normalised(plain, "u")
    state = native.state("u")
    assert state is not None
    assert MOST in [tally.total for tally in state._tallies.values()]


def test_no_reference_is_lost_or_kept() -> None:
    """The same load again and again leaves as many objects as before."""
    partition = SmallPartition(RULES)

    def load(round_: int) -> int:
        for start in range(0, 2_000, 100):
            partition.events(
                *(
                    {
                        "user": f"u{n % 7}",
                        "kind": "view",
                        "time": T0 + 1e5 * round_ + n,
                        "id": f"{round_}-{n}",
                        "category": "c1",
                    }
                    for n in range(start, start + 100)
                )
            )
        partition.changes.clear()
        return sys.getallocatedblocks()

    for warm in range(3):
        load(warm)
    before = load(3)
    after = max(load(round_) for round_ in range(4, 8))
    assert after < before + 4_000  # half an object an event: what is kept of the users and their changes


def test_needs_are_comparisons_that_must_hold() -> None:
    def needs(text: str) -> list[tuple[str, str, float]]:
        return [(need.spec.kind, need.comparison, need.bound) for need in parse_rule(text, KINDS).needs]

    assert needs('count("view", within="1h") >= 3') == [("view", ">=", 3.0)]
    assert needs('count("view", within="1h") > 3 and not count("click", within="1h") >= 2') == [
        ("view", ">", 3.0),
        ("click", "<", 2.0),
    ]
    assert needs('not (count("view", within="1h") > 3 or count("click", within="1h") == 2)') == [("view", "<=", 3.0)]
    assert needs('count("view", within="1h") > 3 or count("click", within="1h") > 2') == []
    assert needs('count("view", within="1h") + 1 > 3') == []
    assert needs('count("view", within="1h") != 3') == []
    assert needs('count("view", within="1h") > -1')[0][2] == -1.0
    assert math.isfinite(needs('total("view", "dwell", within="1h") == 1.5')[0][2])
