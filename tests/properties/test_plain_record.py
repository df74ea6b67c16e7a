"""The record of format 2 counts what is to be counted, by its definition: decayed numbers, windows, what is not known;
and it says what a record of format 1 said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import features, format1, layout
from state.absence import Absence, Sort
from state.features import CATEGORIES, DWELL_SLOW, PLACES, RAW_DIM, SPEND_FAST, SPEND_SLOW
from state.kinds import DWELL_ROW, FAST, ROW, SLOW, SPEND_ROW
from state.layout2 import CHUNK, ID_MASK
from state.plain.record import PlainRecord, unpack
from state.user import CATEGORY_BUCKETS, INTEREST, Membership, PendingLabel, PendingText, category_bucket
from state.windows import MOST, NEVER, TallySpec
from tests.format1 import Tally, User, encode_user, ids_of, tally_of
from tests.records import LANDMARK

DAY = 86_400.0
KINDS = tuple(features.PLACES)
#: from a year before a landmark to half a year after it
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.sampled_from(["", "shoes", "tools", "用户"]),
        st.floats(LANDMARK - 365 * DAY, LANDMARK + 180 * DAY), st.just(0.0) | st.floats(0.01, 1e9),
        st.just(0.0) | st.floats(0.01, 7 * DAY),
    ), min_size=1, max_size=40,
)  # fmt: skip
SPECS = tuple(
    TallySpec("view", measure, window, category)
    for measure, window, category in (
        ("count", 7, ""), ("count", 86_400, ""), ("amount", 3_600, "shoes"), ("dwell", 3_650 * 86_400, ""),
    )
)  # fmt: skip
SORTS = (Sort("click", "shoes"), Sort("purchase"), Sort("view"))
ABSENCES = (
    Absence(SORTS[1], SORTS[0], 3_600, 86_400), Absence(SORTS[2], SORTS[2], 60, 7_200),
    Absence(SORTS[0], SORTS[1], 0, 30),
)  # fmt: skip
Event = tuple[str, str, float, float, float]


def counted(events: list[Event]) -> PlainRecord:
    record = PlainRecord("u")
    for kind, category, time, amount, dwell in events:
        record.enter(time)
        record.count_event(kind, category, time, amount, dwell)
    return record


def by_definition(events: list[Event], now: float) -> dict[tuple[str, float], float]:
    """(counter, or number of a category, half-life) → its sum at ``now``."""
    found: dict[tuple[str, float], list[float]] = {}
    for kind, category, time, amount, dwell in events:
        weights = [(kind, 1.0), ("$spend", amount), ("$dwell", dwell)]
        for name, weight in weights:
            if weight:
                for half in (FAST, SLOW):
                    found.setdefault((name, half), []).append(weight * 2.0 ** ((time - now) / half))
        if category and kind in INTEREST:
            part = INTEREST[kind] * 2.0 ** ((time - now) / SLOW)
            found.setdefault((f"{category_bucket(category)}", SLOW), []).append(part)
    return {key: math.fsum(parts) for key, parts in found.items()}


def sums(record: PlainRecord) -> list[float]:
    """All decayed numbers at the user's time."""
    now, counters = record.time, record.counters
    kinds = [total for row in range(64) for total in counters.kind(row, now)]
    return [*kinds, *(counters.category(bucket, now) for bucket in range(CATEGORY_BUCKETS))]


# decayed counters


@settings(max_examples=50)
@given(EVENTS)
def test_decayed_numbers_are_those_of_the_definition(events: list[Event]) -> None:
    record = counted(events)
    now, expected = record.time, by_definition(events, record.time)
    rows = {**ROW, "$spend": SPEND_ROW, "$dwell": DWELL_ROW}
    for name, row in rows.items():
        wanted = expected.get((name, FAST), 0.0), expected.get((name, SLOW), 0.0)
        assert record.counters.kind(row, now) == pytest.approx(wanted, rel=1e-12, abs=1e-100)
    for bucket in range(CATEGORY_BUCKETS):
        assert record.counters.category(bucket, now) == pytest.approx(
            expected.get((str(bucket), SLOW), 0.0), rel=1e-12, abs=1e-100
        )
    wanted_features = np.zeros(RAW_DIM)
    places = {**PLACES} | {"$spend": (SPEND_FAST, SPEND_SLOW)}
    for name, (fast, slow) in places.items():
        wanted_features[fast] = expected.get((name, FAST), 0.0)
        wanted_features[slow] = expected.get((name, SLOW), 0.0)
    wanted_features[DWELL_SLOW] = expected.get(("$dwell", SLOW), 0.0)
    for bucket in range(CATEGORY_BUCKETS):
        wanted_features[CATEGORIES + bucket] = expected.get((str(bucket), SLOW), 0.0)
    out = np.empty(RAW_DIM, dtype=np.float32)
    record.features(out)
    np.testing.assert_allclose(out, wanted_features, rtol=2e-7, atol=1e-30)


@settings(max_examples=50)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(events: list[Event], random: Any) -> None:
    shuffled = random.sample(events, len(events))
    assert sums(counted(shuffled)) == pytest.approx(sums(counted(events)), rel=1e-12, abs=1e-100)


@settings(max_examples=50)
@given(EVENTS, st.integers(0, 40))
def test_two_users_who_become_one_have_what_one_would_have(events: list[Event], cut: int) -> None:
    cut %= len(events) + 1
    one, other = counted(events[:cut]), counted(events[cut:])
    theirs = sums(other)
    one.enter(other.time)
    one.counters.unite(other.counters)
    assert sums(other) == theirs
    assert sums(one) == pytest.approx(sums(counted(events)), rel=1e-12, abs=1e-100)


def test_a_user_of_months_ago_is_added_at_the_later_landmark() -> None:
    old: list[Event] = [("view", "shoes", LANDMARK - 40 * DAY, 8.0, 2.0)]
    new: list[Event] = [("click", "", LANDMARK + 40 * DAY, 0.0, 0.0)]
    one, other = counted(new), counted(old)
    one.counters.unite(other.counters)
    assert sums(one) == pytest.approx(sums(counted(old + new)), rel=1e-12)


def test_twenty_thousand_events_in_two_orders_differ_by_less_than_1e_12() -> None:
    random = np.random.default_rng(5)
    times = LANDMARK + random.uniform(0.0, 90 * DAY, 20_000)
    events: list[Event] = [("view", "shoes", float(time), 19.99, 3.0) for time in times]
    assert sums(counted(events)) == pytest.approx(sums(counted(events[::-1])), rel=1e-12)


# windows


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(SPECS), st.floats(0.0, 400.0), st.integers(0, 2**51)), max_size=30),
    st.sampled_from([0.01, 1.0, 3_600.0, 1e6]),
    st.floats(0.0, 1e5),
)
def test_tallies_are_those_of_the_definition(
    events: list[tuple[TallySpec, float, int]], scale: float, later: float
) -> None:
    record = PlainRecord("u")
    for spec, at, amount in events:
        time = LANDMARK + at * scale
        record.enter(time)
        record.cells.add(spec, time, amount, record.time)
    for now in (record.time, record.time + later):
        for spec in SPECS:
            before, alive = record.pack(), buckets_of(spec, events, scale, now)
            assert record.cells.total(spec, now) == sum(alive.values())
            ends = [float(end_of(spec, bucket)) for bucket in alive]
            assert record.cells.next_expiry(spec, now) == min(ends, default=NEVER)
            assert record.pack() == before
    record.enter(record.time + later)
    record.settle(SPECS, ())
    for spec in SPECS:
        assert dict(record.cells.buckets(spec)) == buckets_of(spec, events, scale, record.time)


def end_of(spec: TallySpec, bucket: int) -> int:
    return (bucket + 1) * spec.width + spec.window


def buckets_of(spec: TallySpec, events: list[tuple[TallySpec, float, int]], scale: float, now: float) -> dict[int, int]:
    """What is in the window at ``now``; what came so late that it was over by then never was."""
    found: dict[int, int] = {}
    time = 0.0
    for of, at, amount in events:
        time = max(time, LANDMARK + at * scale)
        bucket = int((LANDMARK + at * scale) // spec.width)
        if of == spec and end_of(spec, bucket) > time:
            found[bucket] = min(found.get(bucket, 0) + amount, MOST)
    return {bucket: amount for bucket, amount in found.items() if end_of(spec, bucket) > now}


# what is not known


@given(
    st.lists(st.tuples(st.sampled_from(SORTS), st.floats(LANDMARK, LANDMARK + 2e5)), max_size=8),
    st.dictionaries(st.sampled_from(SPECS), st.floats(LANDMARK - 1e5, LANDMARK + 2e5), max_size=4),
    st.dictionaries(st.sampled_from(SORTS), st.floats(LANDMARK - 1e5, LANDMARK + 2e5), max_size=3),
    st.floats(LANDMARK, LANDMARK + 3e5),
)
def test_what_is_not_known_is_what_no_event_tells_and_it_is_known_in_time(
    noted: list[tuple[Sort, float]], uncounted: dict[TallySpec, float], unwatched: dict[Sort, float], now: float
) -> None:
    record = PlainRecord("u")
    record.enter(now)
    for spec, until in uncounted.items():
        record.cells.mark_unknown(spec.key, until)
    for sort, until in unwatched.items():
        record.cells.mark_unknown("@" + sort.key, until)
    for sort, time in noted:
        record.cells.note(sort, time)
    record.settle(SPECS, ABSENCES)
    for spec in SPECS:
        uncounted_until = uncounted.get(spec)
        over = uncounted_until is None or end_of(spec, int(uncounted_until // spec.width)) <= now
        assert record.cells.unknown_until(spec.key) == (None if over else uncounted_until)
    for sort in SORTS:
        latest = max((time for of, time in noted if of == sort), default=0.0)
        until = unwatched.get(sort, 0.0)
        assert record.cells.latest(sort) == (latest if latest > until else -until)
    times = [float(end_of(spec, int(until // spec.width))) for spec, until in uncounted.items()]
    times += [each.next_sure(record.cells, now) for each in ABSENCES]
    assert record.known_at == min((time for time in times if time > now), default=NEVER)


# records of format 1

TIMES = st.floats(1e-3, LANDMARK + 5e6)
COUNTS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(["a", "ab", "a\0", "é", "用户", "🙂", "x" * 512])
SIGNED = TIMES | TIMES.map(lambda time: -time)
WRITTEN = st.builds(
    User, time=st.just(LANDMARK + 5e6), first=TIMES, count=COUNTS, sequence=COUNTS,
    edges=st.dictionaries(NAMES, SIGNED, max_size=3),
    groups=st.dictionaries(NAMES, TIMES, max_size=3),
    pending=st.lists(st.builds(PendingText, NAMES, TIMES, NAMES, TIMES), max_size=2),
    labels=st.lists(st.builds(PendingLabel, NAMES, st.booleans(), st.floats(0.0, 1.0)), max_size=2),
    members=st.dictionaries(
        NAMES, st.builds(Membership, TIMES, st.floats(0, 1), COUNTS, COUNTS, st.none() | st.floats(0, 1)), max_size=3
    ),
    texts=COUNTS, due=st.just(NEVER) | TIMES, plan=COUNTS, encode_at=COUNTS, dirty=COUNTS, queued=st.booleans(),
    scored=COUNTS, life=COUNTS, erased=st.just(0.0) | TIMES, texts_put=st.integers(10, 20),
    texts_taken=st.integers(0, 10), aliases=st.lists(NAMES, max_size=3), identified=st.booleans(),
    known_at=st.just(NEVER) | TIMES,
    last=st.dictionaries(st.sampled_from([sort.key for sort in SORTS]), st.just(0.0) | SIGNED),
    unknown=st.dictionaries(st.sampled_from([spec.key for spec in SPECS]), TIMES),
)  # fmt: skip


def with_events(state: User, events: list[Event]) -> User:
    """Decayed counters as format 1 had them: each as it stood at its latest event."""
    latest: dict[str, float] = {}
    for kind, category, time, amount, dwell in events:
        names = {kind: 1.0, "$spend": amount, "$dwell": dwell}
        if category and kind in INTEREST:
            names[f"{category_bucket(category)}"] = 1.0
        for name in (name for name, weight in names.items() if weight):
            latest[name] = max(time, latest.get(name, 0.0))
    for name, time in latest.items():
        at = by_definition(events, time)
        if name.isdigit():
            state.categories[int(name)] = [time, at[name, SLOW]]
        else:
            state.decayed[name] = [time, at[name, FAST], at[name, SLOW]]
    return state


@settings(max_examples=50)
@given(WRITTEN, EVENTS, st.lists(st.tuples(st.sampled_from(SPECS), st.floats(0.0, 5e6), COUNTS), max_size=9),
       st.integers(0, 200))  # fmt: skip
def test_a_record_of_format_1_says_in_format_2_what_it_said(
    state: User, events: list[Event], tallied: list[tuple[TallySpec, float, int]], ids: int
) -> None:
    events = [event for event in events if event[2] <= state.time]
    state.decayed, state.categories = {}, {}
    with_events(state, events)
    state.tallies = {}
    for spec in SPECS:
        buckets: dict[int, int] = {}
        for of, at, amount in tallied:
            if of == spec:
                bucket = int((LANDMARK + at) // spec.width)
                buckets[bucket] = buckets.get(bucket, 0) + amount
        if buckets:
            state.tallies[spec.key] = tally_of(buckets)
    entries = [(number << 50, LANDMARK + number) for number in range(ids)]
    state.ids, chunks = ids_of(entries)
    data = encode_user(state)
    record, pending = format1.read("u", data, chunks, lambda plan: plan)

    out = np.empty(RAW_DIM, dtype=np.float32)
    record.features(out)
    counted_now = counted([*events, *([("delete", "", state.time, 0.0, 0.0)])])
    expected = np.empty(RAW_DIM, dtype=np.float32)
    counted_now.features(expected)
    expected[[PLACES["delete"][0], PLACES["delete"][1]]] = out[[PLACES["delete"][0], PLACES["delete"][1]]]
    expected[[features.FOLLOWEES, features.GROUPS, features.TEXTS]] = (
        sum(time > 0 for time in state.edges.values()), len(state.groups), state.texts,
    )  # fmt: skip
    np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-30)
    same = (
        "time", "first", "count", "sequence", "due", "encode_at", "dirty", "queued", "scored", "life", "erased",
        "texts", "texts_put", "texts_taken", "known_at", "identified",
    )  # fmt: skip
    assert {name: getattr(record, name) for name in same} == {name: getattr(state, name) for name in same}
    assert (record.user, record.epoch, list(pending)) == ("u", state.plan, state.pending)
    assert (list(record.labels), list(record.aliases)) == (state.labels, state.aliases)
    assert dict(record.members.items()) == state.members
    assert dict(record.edges.items()) == state.edges
    assert dict(record.groups.items()) == state.groups
    for spec in SPECS:
        tally = state.tallies.get(spec.key)
        alive = (
            {}
            if tally is None
            else {bucket: amount for bucket, amount in tally.buckets.items() if end_of(spec, bucket) > state.time}
        )
        assert dict(record.cells.buckets(spec)) == alive
        assert record.cells.unknown_until(spec.key) == state.unknown.get(spec.key)
    assert {sort.key: record.cells.latest(sort) for sort in SORTS if sort.key in state.last} == state.last
    assert [one for one, _ in record.ids.items()] == [one & ID_MASK for one, _ in entries]
    assert record.ids.numbers == record.ids.saved == format1.ids_numbers(data) == range(ids // CHUNK)
    assert record.ids.unsaved == {}  # what lies in records of their own stays as it is
    assert unpack("u", record.pack()).pack() == record.pack()


def test_a_long_tail_of_format_1_becomes_records() -> None:
    state = User(ids={number: LANDMARK + number for number in range(150)})
    record, _ = format1.read("u", encode_user(state), [], lambda plan: plan)
    assert record.ids.numbers == range(2)
    assert [len(chunk or b"") for chunk in record.ids.unsaved.values()] == [464, 464]
    assert len(record.ids) == 150
    assert len(unpack("u", record.pack()).ids) == 150 - 2 * CHUNK


@pytest.mark.parametrize(
    "ids",
    [
        None, 5, [], [0, 0], [1, 0, b""], [-1, 0, b""], [0, 0, b"x"], [0.0, 0, b""], [0, 0, "x" * 12], {"a": 1},
        {1: "a"}, {-1: 1}, [0, 2_000, b""], [2**40, 2**40, b""],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_list_of_ids_is_refused(ids: Any) -> None:
    with pytest.raises((layout.FormatError, ValueError)):
        format1.read("u", encode_user(User(ids=ids)), None, lambda plan: plan)


@pytest.mark.parametrize(
    "state",
    [
        User(time=2.0**32),
        User(time=float("nan"), first=-1.0),
        User(count=-1),
        User(texts=2**32),
        User(edges={"v": 1e10}),
        User(edges={"": 1.0}),
        User(decayed={"view": [5.0, -1.0, 1.0]}),
        User(decayed={"view": [1e18, 1.0, 1.0]}),
        User(decayed={"view": [5.0, 1.0, 1.0, 1.0]}),
        User(categories={64: [5.0, 1.0]}),
        User(categories={7: [5.0, float("nan")]}),
        User(tallies={"view|count": Tally(1, 1, {1: 1})}),
        User(tallies={"view|count|60|": Tally(1, 1, {1: -1})}),
        User(tallies={"view|count|60|": Tally(1, 1, {2**63: 1})}),
        User(unknown={"view|count|60|": -1.0}),
        User(last={"view": 5.0}),
        User(last={"view|": -5e10}),
        User(members={"s": Membership(5.0, float("nan"), 1, 1)}),
        User(aliases=[""]),
        User(texts_put=1, texts_taken=2),
        User(due=float("nan")),
    ],
    ids=lambda state: str(encode_user(state)[9:].hex()[:40]),
)
def test_what_format_2_cannot_say_is_refused_in_a_sentence(state: User) -> None:
    with pytest.raises(layout.FormatError) as refused:
        format1.read("u", encode_user(state), [], lambda plan: plan)
    assert "\n" not in str(refused.value)
