"""The compiled record and its Python twin: the same verbs give the same bytes, answers and refusals; and no reference
and no memory is lost, whatever fails."""

from __future__ import annotations

import math
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.features import RAW_DIM
from state.layout import FormatError
from state.layout2 import CHUNK, CHUNK_BYTES
from state.plain.record import PlainRecord
from state.record import Record
from state.user import Membership
from state.windows import MOST, TallySpec
from tests.native_records import FULL, REFUSED, fill, new, opened, record_module, restless
from tests.record_verbs import ABSENCES, SORTS, SPECS, VERBS, Verb, all_told, counts_alike
from tests.records import LANDMARK

pytestmark = pytest.mark.compiled
DAY = 86_400.0


# the same as the twin


@given(st.lists(VERBS, max_size=40))
def test_the_same_verbs_give_the_same_bytes_and_answers(verbs: list[Verb]) -> None:
    plain, native = PlainRecord("u", 3, 4), new()
    for verb in verbs:
        assert verb(plain) == verb(native)
    assert native.pack() == plain.pack()
    assert all_told(native) == all_told(plain)
    assert (native.ids.unsaved, native.ids.cut) == (plain.ids.unsaved, plain.ids.cut)


@given(st.lists(VERBS, max_size=20))
def test_a_block_that_moves_between_two_verbs_makes_no_difference(verbs: list[Verb]) -> None:
    native, moved = new(), restless(new().pack())
    for verb in verbs:
        assert verb(moved) == verb(native)
    assert all_told(moved) == all_told(native)
    assert moved.pack() == native.pack()


def test_after_its_turn_each_verb_of_a_record_says_that_it_is_over() -> None:
    record = restless(FULL)
    views = record.members, record.edges, record.cells, record.ids
    members, edges, cells, ids = views
    fill(record)
    record_module().end(record)
    for act in (
        record.pack, lambda: record.time, lambda: record.count, lambda: record.labels,
        lambda: record.enter(5.0), lambda: setattr(record, "due", 5.0), lambda: setattr(record, "aliases", ["x"]),
        lambda: record.features(np.empty(RAW_DIM, np.float32)), lambda: record.settle(SPECS, ABSENCES),
        lambda: record.slow_counters(5.0), lambda: record.count_event("view", "", 5.0, 0.0, 0.0),
        lambda: record.unite_counters(FULL), lambda: members.get("s"), lambda: "s" in members, lambda: len(members),
        lambda: members.put("s", Membership(1.0, 2.0, 3, 4)), members.items, members.segments, edges.items,
        lambda: members.remove("s"), edges.present, lambda: edges.count, lambda: edges.bound(0), lambda: edges.get("v"),
        lambda: edges.set("v", 5.0, present=True), lambda: edges.drop("v"), lambda: cells.total(SPECS[0], 5.0),
        lambda: "k" in cells, lambda: cells.buckets(SPECS[0]), lambda: cells.add(SPECS[0], 5.0, 1, 5.0),
        lambda: cells.mark_unknown("@click|", 5.0), lambda: cells.latest(SORTS[0]), lambda: cells.opaque("k"),
        cells.next_change, lambda: cells.keep_only(set()), lambda: cells.drop("k"), ids.items, lambda: len(ids),
        lambda: 5 in ids, lambda: ids.add(5, 5.0), lambda: ids.replace([]), lambda: ids.restore([]),
        lambda: ids.unsaved, lambda: ids.numbers, lambda: ids.saved, lambda: ids.cut, lambda: ids.latest,
        lambda: setattr(ids, "cut", 0),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="the turn is over"):
            act()
    assert record.user == "u"


@given(st.lists(VERBS, max_size=12), st.lists(VERBS, max_size=12), st.floats(0.0, 9e7))
def test_another_s_counters_are_added_as_the_twin_adds_them(mine: list[Verb], theirs: list[Verb], later: float) -> None:
    plain, native, other = PlainRecord("u", 3, 4), new(), PlainRecord("v")
    for verb in theirs:
        verb(other)
    for record in (plain, native):
        for verb in mine:
            verb(record)
        record.enter(max(other.time, min(other.time + later, 2.0**32 - 1)))
    plain.counters.unite(other.counters)
    before = native.cells.next_change()
    native.unite_counters(other.pack())
    assert native.pack() == plain.pack()
    assert native.cells.next_change() == before


def test_a_record_may_be_added_to_itself_but_none_that_is_ahead_or_damaged() -> None:
    record, ahead = new(), new()
    record.enter(LANDMARK)
    record.count_event("view", "shoes", LANDMARK, 2.0, 0.0)
    record.unite_counters(record.pack())
    assert record.slow_counters(LANDMARK) == {"view": 2.0, "$spend": 4.0}
    ahead.enter(LANDMARK + 1.0)
    with pytest.raises(ValueError, match="ahead"):
        record.unite_counters(ahead.pack())
    with pytest.raises(FormatError):
        record.unite_counters(record.pack()[:-8])


@given(st.integers(0, 2**32), st.integers(0, 70), st.integers(0, 70))
def test_many_edges_are_bounded_as_the_twin_does(seed: int, most: int, most_removed: int) -> None:
    draw, plain, native = random.Random(seed), PlainRecord("u"), new(epoch=0, life=0)
    for _ in range(200):
        name, time = draw.choice(["v", "用", ""]) + str(draw.randrange(80)), float(draw.randrange(1, 30))
        present = draw.random() < 0.6
        for record in (plain, native):
            record.groups.set(name, time, present)
    assert native.groups.bound(most) == plain.groups.bound(most)
    assert native.groups.bound_removed(most_removed) == plain.groups.bound_removed(most_removed)
    assert native.groups.present() == plain.groups.present()
    assert native.pack() == plain.pack()


def test_what_is_counted_in_ten_thousand_events_is_the_same_to_the_bit() -> None:
    counts_alike(PlainRecord("u"), new(epoch=0, life=0))


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_twin_refuses_is_refused_alike_and_changes_nothing(name: str) -> None:
    refusals = []
    for record in (PlainRecord("u", 3, 4), new()):
        record.members.put("s", Membership(1.0, 2.0, 3, 4))
        for number in range(CHUNK):
            record.ids.add(number, 5.0)
        before = record.pack()
        with pytest.raises((ValueError, KeyError, FormatError)) as refused:
            REFUSED[name](record)
        assert record.pack() == before
        assert str(refused.value)
        refusals.append(refused.type)
    assert refusals[0] is refusals[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", -1), ("count", 2**64), ("life", -5), ("epoch", 2**32), ("version", -1), ("dirty", 2**64),
        ("texts", 2**32), ("due", -1.0), ("due", math.nan), ("first", 2.0**32), ("first", math.nan), ("erased", -1.0),
        ("erased", 2.0**32), ("known_at", math.nan), ("known_at", -1.0),
    ],
)  # fmt: skip
def test_a_number_that_no_record_can_have_is_refused_when_it_is_set(name: str, value: float) -> None:
    record = new()
    with pytest.raises(ValueError, match="record"):
        setattr(record, name, value)
    assert record.pack() == new().pack()


def test_more_texts_taken_than_put_are_refused_when_it_is_packed() -> None:
    record = new()
    record.texts_taken = 3
    with pytest.raises(ValueError, match="texts_taken 3 of 0"):
        record.pack()
    record.texts_put = 3
    assert opened(record.pack()).texts_taken == 3


def test_what_is_of_another_type_is_refused() -> None:
    record = new()
    for act in (
        lambda: record.members.get(5), lambda: record.edges.set("v", "now", present=True), lambda: record.enter("now"),
        lambda: record.cells.latest("click|"), lambda: record.cells.total(SPECS[0], None), lambda: record.edges.get(5),
        lambda: record.count_event("view", "", 5.0, 0.0), lambda: record.count_event("view", "", 5.0, 0.0, who=0.0),
        lambda: record.ids.add("x", 5.0), lambda: record.ids.replace([5]), lambda: record.ids.restore("x"),
        lambda: setattr(record, "count", 1.5), lambda: setattr(record, "aliases", 5), lambda: record.settle([5], []),
        lambda: record.features(5), lambda: delattr(record, "count"), lambda: delattr(record, "labels"),
        lambda: setattr(record, "time", 5.0), lambda: opened("x"), lambda: new(5), type(record.cells),
    ):  # fmt: skip
        with pytest.raises((TypeError, AttributeError)):
            act()
    for name in (5, None, b"s", "\udc00", "x" * 70_000):
        assert name not in record.members
    assert record.members.get("\udc00") is None
    assert record.edges.get("") == 0.0
    record.edges.drop("x" * 70_000)
    assert "x" not in record.ids
    assert record.pack() == new().pack()


@pytest.mark.parametrize("array", [np.empty(95, np.float32), np.empty(RAW_DIM), np.empty((1, RAW_DIM), np.float32)])
def test_features_go_into_an_array_of_their_shape_alone(array: Any) -> None:
    with pytest.raises(ValueError, match="float32"):
        new().features(array)


def test_widths_that_would_overflow_are_refused() -> None:
    spec = TallySpec("view", "count", 10)
    object.__setattr__(spec, "width", 2**60)
    with pytest.raises(ValueError, match="width"):
        new().cells.add(spec, LANDMARK, 1, LANDMARK)
    object.__setattr__(spec, "width", 0)
    with pytest.raises(ValueError, match="width"):
        new().cells.total(spec, LANDMARK)


def test_an_amount_is_what_a_bucket_holds_at_most_and_never_less_than_nothing() -> None:
    record = new()
    record.enter(LANDMARK)
    record.cells.add(SPECS[0], LANDMARK, 2**70, LANDMARK)
    assert record.cells.buckets(SPECS[0]) == [(LANDMARK, MOST)]
    with pytest.raises(ValueError, match="nothing"):
        record.cells.add(SPECS[0], LANDMARK, -1, LANDMARK)


# ids beyond the block


def test_records_of_ids_that_the_store_has_are_not_unsaved() -> None:
    record = new()
    for number in range(3 * CHUNK):
        record.ids.add(number, 5.0)
    chunks = [record.ids.unsaved[number] for number in record.ids.numbers]
    read = opened(record.pack())
    assert (read.ids.saved, read.ids.numbers, read.ids.unsaved, len(read.ids)) == (range(3), range(3), {}, 0)
    read.ids.restore(chunks)
    for number in range(2 * CHUNK):
        read.ids.add(2 * CHUNK + number, 6.0)  # half of them are known
    assert read.ids.saved == range(3)
    assert list(read.ids.unsaved) == [3]
    read.ids.replace([(7, 9)])
    assert (read.ids.items(), read.ids.numbers) == ([(7, 9)], range(4, 4))
    assert all(read.ids.unsaved[number] is None for number in range(3))
    read.ids.cut += 5
    assert read.ids.cut == 5
    with pytest.raises(ValueError, match="records of ids"):
        opened(record.pack()).ids.restore([None] * 4)


def test_records_of_ids_that_are_not_told_are_missing() -> None:
    record = new()
    for number in range(12 * CHUNK):
        record.ids.add(number, 5.0)
    read = opened(record.pack())
    read.ids.restore([record.ids.unsaved[number] for number in range(2)])
    assert [id_hash for id_hash, _ in read.ids.items()] == list(range(2 * CHUNK))
    assert [number in read.ids for number in range(0, 12 * CHUNK, CHUNK)] == 2 * [True] + 10 * [False]
    read.ids.add(3 * CHUNK, 6.0)
    assert len(read.ids) == 2 * CHUNK + 1


def test_a_record_of_ids_that_is_missing_has_none() -> None:
    record = new()
    for number in range(3 * CHUNK + 1):
        record.ids.add(number, 5.0)
    chunks = [record.ids.unsaved[number] for number in record.ids.numbers]
    read = opened(record.pack())
    read.ids.restore([chunks[0], None, b""])
    assert [id_hash for id_hash, _ in read.ids.items()] == [*range(CHUNK), 3 * CHUNK]
    assert len(read.ids) == CHUNK + 1
    assert CHUNK not in read.ids
    assert 0 in read.ids


def test_a_record_of_ids_of_format_1_is_read() -> None:
    record = new()
    for number in range(CHUNK):
        record.ids.add(number, 5.0 + number)
    hashes, seconds = range(2**60, 2**60 + CHUNK), range(50, 50 + CHUNK)
    read = opened(record.pack())
    read.ids.restore([struct.pack("<64Q64I", *hashes, *seconds)])
    assert read.ids.items() == [(number, 65 + number // 16 * 16) for number in range(CHUNK)]
    with pytest.raises(FormatError):
        read.ids.restore([bytes(CHUNK_BYTES - 1)])
    assert len(read.ids) == CHUNK


def test_records_are_as_the_protocol_has_them() -> None:
    record: Record = new()
    for name in dir(Record):
        assert name.startswith("_") or hasattr(record, name), name
