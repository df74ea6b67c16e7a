"""The record of format 2 counts what the state of format 1 counts: decayed numbers, windows, ids, what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state import absence, decay, features, format1, layout, unknown, user, windows
from state.absence import Absence, Sort, Watch
from state.features import RAW_DIM, raw_features
from state.layout2 import CHUNK, ID_MASK
from state.plain.ids import Ids
from state.plain.record import PlainRecord, unpack
from state.seen import PlainSeen, Seen
from state.user import CATEGORY_BUCKETS, INTEREST, Membership, PendingLabel, PendingText, UserState, category_bucket
from state.windows import Tally, TallySpec
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


def counted_as_before(events: list[Event]) -> UserState:
    state = user.new_state(0)
    for kind, category, time, amount, dwell in events:
        state.time = max(state.time, time)
        decay.add_pair(state._decayed, kind, time, 1.0)
        if category and kind in INTEREST:
            decay.add_slow(state._categories, category_bucket(category), time, INTEREST[kind])
        if amount:
            decay.add_pair(state._decayed, user.SPEND, time, amount)
        if dwell:
            decay.add_pair(state._decayed, user.DWELL, time, dwell)
    return state


def sums(record: PlainRecord) -> list[float]:
    """All decayed numbers at the user's time."""
    now, counters = record.time, record.counters
    kinds = [total for row in range(64) for total in counters.kind(row, now)]
    return [*kinds, *(counters.category(bucket, now) for bucket in range(CATEGORY_BUCKETS))]


# decayed counters


@settings(max_examples=50)
@given(EVENTS)
def test_decayed_numbers_are_those_of_before(events: list[Event]) -> None:
    record, state = counted(events), counted_as_before(events)
    now = state.time
    for name, (since, fast, slow) in state._decayed.items():
        expected = decay.value_at(fast, since, now, decay.FAST), decay.value_at(slow, since, now, decay.SLOW)
        row = (*KINDS, user.SPEND, user.DWELL).index(name)
        assert record.counters.kind(row, now) == pytest.approx(expected, rel=1e-12, abs=1e-100)
    for bucket, (since, slow) in state._categories.items():
        expected_slow = decay.value_at(slow, since, now, decay.SLOW)
        assert record.counters.category(bucket, now) == pytest.approx(expected_slow, rel=1e-12)
    assert record.counters.categories.keys() == state._categories.keys()
    out = np.empty(RAW_DIM, dtype=np.float32)
    record.features(out)
    np.testing.assert_allclose(out, raw_features(state), rtol=2e-7, atol=1e-30)


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
def test_tallies_are_those_of_before(events: list[tuple[TallySpec, float, int]], scale: float, later: float) -> None:
    record, tallies = PlainRecord("u"), dict[str, Tally]()
    for spec, at, amount in events:
        time = LANDMARK + at * scale
        record.enter(time)
        record.cells.add(spec, time, amount, record.time)
        windows.add(tallies, spec, time, amount, record.time)
    for now in (record.time, record.time + later):
        for spec in SPECS:
            before = record.pack()
            assert record.cells.total(spec, now) == windows.total_at(tallies.get(spec.key), spec, now)
            assert record.cells.next_expiry(spec, now) == windows.next_expiry(tallies.get(spec.key), spec, now)
            assert record.pack() == before
    record.enter(record.time + later)
    record.settle(SPECS, ())
    for spec in SPECS:
        tally = tallies.get(spec.key)
        assert dict(record.cells.buckets(spec)) == (tally.buckets if tally else {})


# ids


def arrivals(gaps: list[tuple[int, int]]) -> list[tuple[int, float]]:
    """(hash, second of arrival): so many ids, so many seconds after the ones before."""
    found, second, number = [], float(LANDMARK), 0
    for count, gap in gaps:
        second += gap
        for _ in range(count):
            number += 1
            found.append((number * 0x9E3779B97F4A7C15 % 2**64, second))
    return found


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 40_000)), max_size=12), st.integers(0, 100))
@example([(CHUNK, 0), (16 * CHUNK, 86_400)], 0)
@example([(CHUNK, 0), (16 * CHUNK, 86_401)], 0)
def test_ids_are_kept_and_forgotten_as_before(gaps: list[tuple[int, int]], again: int) -> None:
    ids, seen = Ids(), PlainSeen()
    for id_hash, second in arrivals(gaps):
        for both in (ids, seen):
            both.add(id_hash, second)
            if again:
                both.add(id_hash, second + again)
    assert [id_hash for id_hash, _ in ids.items()] == [id_hash & ID_MASK for id_hash, _ in seen.items()]
    assert ids.numbers == seen.numbers
    assert (ids.cut, ids.latest, ids.unsaved.keys()) == (seen.cut, seen.latest, seen.unsaved.keys())
    assert [chunk is None for chunk in ids.unsaved.values()] == [chunk is None for chunk in seen.unsaved.values()]
    seconds = [second for _, second in seen.items()]
    latest = [max(seconds[at - at % 16 : at - at % 16 + 16]) for at in range(len(seconds))]
    assert [second for _, second in ids.items()] == latest
    assert all(id_hash in ids for id_hash in seen)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 60_000)), max_size=8),
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 60_000)), max_size=8),
)
def test_ids_of_two_users_are_united_as_before(mine: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    ids, other_ids, seen, other_seen = Ids(), Ids(), PlainSeen(), PlainSeen()
    for gaps, both, salt in ((mine, (ids, seen), 0), (theirs, (other_ids, other_seen), 3)):
        for id_hash, second in arrivals(gaps):
            for each in both:
                each.add(id_hash ^ salt, second)
    ids.unite(other_ids.items())
    seen.unite(other_seen)
    assert {id_hash & ID_MASK for id_hash in seen} <= {id_hash for id_hash, _ in ids.items()}  # longer, never shorter
    assert len(ids.items()) <= len(seen) + 2 * CHUNK


# what is not known


@given(
    st.lists(st.tuples(st.sampled_from(SORTS), st.floats(LANDMARK, LANDMARK + 2e5)), max_size=8),
    st.dictionaries(st.sampled_from(SPECS), st.floats(LANDMARK - 1e5, LANDMARK + 2e5), max_size=4),
    st.dictionaries(st.sampled_from(SORTS), st.floats(LANDMARK - 1e5, LANDMARK + 2e5), max_size=3),
    st.floats(LANDMARK, LANDMARK + 3e5),
)
def test_what_is_not_known_and_when_it_will_be_is_as_before(
    noted: list[tuple[Sort, float]], uncounted: dict[TallySpec, float], unwatched: dict[Sort, float], now: float
) -> None:
    record, state = PlainRecord("u"), user.new_state(0, watch=Watch(SORTS))
    record.enter(now)
    for spec, until in uncounted.items():
        record.cells.mark_unknown(spec.key, until)
        state.cells.mark_unknown(spec.key, until)
    for sort, until in unwatched.items():
        record.cells.mark_unknown("@" + sort.key, until)
        state.cells.mark_unknown("@" + sort.key, until)
    for sort, time in noted:
        record.cells.note(sort, time)
        absence.note(state._last, (sort.key,), time)
    record.settle(SPECS, ABSENCES)
    unknown.refresh(state, {spec.key: spec for spec in SPECS}, ABSENCES, now)
    assert record.known_at == state.known_at
    assert {sort.key: record.cells.latest(sort) for sort in SORTS} == state._last
    for spec in SPECS:
        assert record.cells.unknown_until(spec.key) == state._unknown.get(spec.key)


# records of format 1

TIMES = st.floats(1e-3, LANDMARK + 5e6)
COUNTS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(["a", "ab", "a\0", "é", "用户", "🙂", "x" * 512])
SIGNED = TIMES | TIMES.map(lambda time: -time)
WRITTEN = st.builds(
    UserState, time=st.just(LANDMARK + 5e6), first=TIMES, count=COUNTS, sequence=COUNTS,
    _edges=st.dictionaries(NAMES, SIGNED, max_size=3),
    _groups=st.dictionaries(NAMES, TIMES, max_size=3),
    pending=st.lists(st.builds(PendingText, NAMES, TIMES, NAMES, TIMES), max_size=2),
    labels=st.lists(st.builds(PendingLabel, NAMES, st.booleans(), st.floats(0.0, 1.0)), max_size=2),
    _members=st.dictionaries(
        NAMES, st.builds(Membership, TIMES, st.floats(0, 1), COUNTS, COUNTS, st.none() | st.floats(0, 1)), max_size=3
    ),
    texts=COUNTS, due=st.just(windows.NEVER) | TIMES, plan=COUNTS, encode_at=COUNTS, dirty=COUNTS, queued=st.booleans(),
    scored=COUNTS, life=COUNTS, erased=st.just(0.0) | TIMES, texts_put=st.integers(10, 20),
    texts_taken=st.integers(0, 10), aliases=st.lists(NAMES, max_size=3), identified=st.booleans(),
    known_at=st.just(windows.NEVER) | TIMES,
    _last=st.dictionaries(st.sampled_from([sort.key for sort in SORTS]), st.just(0.0) | SIGNED),
    _unknown=st.dictionaries(st.sampled_from([spec.key for spec in SPECS]), TIMES),
)  # fmt: skip


@settings(max_examples=50)
@given(WRITTEN, EVENTS, st.lists(st.tuples(st.sampled_from(SPECS), st.floats(0.0, 5e6), COUNTS), max_size=9),
       st.integers(0, 200))  # fmt: skip
def test_a_record_of_format_1_says_in_format_2_what_it_said(
    state: UserState, events: list[Event], tallied: list[tuple[TallySpec, float, int]], ids: int
) -> None:
    was = counted_as_before([event for event in events if event[2] <= state.time] or [("view", "", 5.0, 0.0, 0.0)])
    state._decayed, state._categories = was._decayed, was._categories
    for spec, at, amount in tallied:
        windows.add(state._tallies, spec, LANDMARK + at, amount, state.time)
    for number in range(ids):
        state.ids.add(number << 50, LANDMARK + number)
    chunks = [state.ids.unsaved[number] for number in state.ids.numbers]
    record, pending = format1.read("u", layout.encode_user(state), chunks, 77)
    expected = raw_features(state)
    out = np.empty(RAW_DIM, dtype=np.float32)
    record.features(out)
    np.testing.assert_allclose(out, expected, rtol=2e-7, atol=1e-30)
    same = (
        "time", "first", "count", "sequence", "due", "encode_at", "dirty", "queued", "scored", "life", "erased",
        "texts", "texts_put", "texts_taken", "known_at", "identified",
    )  # fmt: skip
    assert {name: getattr(record, name) for name in same} == {name: getattr(state, name) for name in same}
    assert (record.user, record.epoch, list(pending)) == ("u", 77, state.pending)
    assert (list(record.labels), list(record.aliases)) == (state.labels, state.aliases)
    assert dict(record.members.items()) == state._members
    assert dict(record.edges.items()) == state._edges
    assert dict(record.groups.items()) == state._groups
    for spec in SPECS:
        tally = state._tallies.get(spec.key)
        assert record.cells.total(spec, state.time) == windows.total_at(tally, spec, state.time)
        assert record.cells.unknown_until(spec.key) == state._unknown.get(spec.key)
    assert {sort.key: record.cells.latest(sort) for sort in SORTS if sort.key in state._last} == state._last
    assert [one for one, _ in record.ids.items()] == [one & ID_MASK for one, _ in state.ids.items()]
    assert record.ids.numbers == state.ids.numbers
    assert record.ids.unsaved == {}  # what lies in records of their own stays as it is
    assert unpack("u", record.pack()).pack() == record.pack()


def test_a_long_tail_of_format_1_becomes_records() -> None:
    state = UserState(ids=Seen({number: LANDMARK + number for number in range(150)}))
    record, _ = format1.read("u", layout.encode_user(state), [], 0)
    assert record.ids.numbers == range(2)
    assert [len(chunk or b"") for chunk in record.ids.unsaved.values()] == [464, 464]
    assert len(record.ids) == 150
    assert len(unpack("u", record.pack()).ids) == 150 - 2 * CHUNK


@pytest.mark.parametrize(
    "state",
    [
        UserState(time=2.0**32),
        UserState(time=float("nan"), first=-1.0),
        UserState(count=-1),
        UserState(texts=2**32),
        UserState(_edges={"v": 1e10}),
        UserState(_edges={"": 1.0}),
        UserState(_decayed={"view": [5.0, -1.0, 1.0]}),
        UserState(_decayed={"view": [1e18, 1.0, 1.0]}),
        UserState(_decayed={"view": [5.0, 1.0, 1.0, 1.0]}),
        UserState(_categories={64: [5.0, 1.0]}),
        UserState(_categories={7: [5.0, float("nan")]}),
        UserState(_tallies={"view|count": Tally(1, 1, {1: 1})}),
        UserState(_tallies={"view|count|60|": Tally(1, 1, {1: -1})}),
        UserState(_tallies={"view|count|60|": Tally(1, 1, {2**63: 1})}),
        UserState(_unknown={"view|count|60|": -1.0}),
        UserState(_last={"view": 5.0}),
        UserState(_last={"view|": -5e10}),
        UserState(_members={"s": Membership(5.0, float("nan"), 1, 1)}),
        UserState(aliases=[""]),
        UserState(texts_put=1, texts_taken=2),
        UserState(due=float("nan")),
    ],
    ids=lambda state: str(layout.encode_user(state)[9:].hex()[:40]),
)
def test_what_format_2_cannot_say_is_refused_in_a_sentence(state: UserState) -> None:
    with pytest.raises(layout.FormatError) as refused:
        format1.read("u", layout.encode_user(state), [], 0)
    assert "\n" not in str(refused.value)
