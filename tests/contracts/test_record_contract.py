"""What every implementation of a user's record must do: the same answers, the same bytes, the same refusals."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.features import RAW_DIM, SPEND_SLOW
from state.layout import FormatError
from state.layout2 import CHUNK, ID_MASK, MOST_NAME
from state.record import Opaque
from state.user import Membership, PendingLabel
from state.windows import MOST, NEVER
from tests.record_faults import FAULTS, SOUND
from tests.record_verbs import ABSENCES, AROUND, KEYS, MEMBERS, NAMES, SORTS, SPECS, TIMES, VERBS, Verb, all_told
from tests.records import IMPLEMENTATIONS, LANDMARK, Implementation, golden_blocks, reopened

GOLDEN = {name: block for name, block in golden_blocks().items() if name != "ids-record"}


EACH = pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))


# what is written is read


@EACH
@given(st.lists(VERBS, max_size=30))
def test_after_any_verbs_what_is_packed_is_read_as_the_same_and_packed_as_the_same_bytes(
    name: str, verbs: list[Verb]
) -> None:
    kind = IMPLEMENTATIONS[name]
    record = kind.new("u", 3, 4)
    for verb in verbs:
        verb(record)
    before = all_told(record)
    block = record.pack()
    assert all_told(record) == before  # packing changes nothing
    read = reopened(kind, record)
    assert all_told(read) == before
    assert read.pack() == block


@EACH
@given(st.lists(VERBS, max_size=12), st.lists(VERBS, max_size=12))
def test_a_record_that_was_read_goes_on_as_the_one_that_was_written(
    name: str, verbs: list[Verb], more: list[Verb]
) -> None:
    kind = IMPLEMENTATIONS[name]
    record = kind.new("u", 3, 4)
    for verb in verbs:
        verb(record)
    read = reopened(kind, record)
    for verb in more:
        verb(record)
        verb(read)
    assert all_told(read) == all_told(record)
    assert read.pack() == record.pack()


@EACH
@given(st.data())
def test_whatever_order_things_are_put_in_the_bytes_are_the_same(name: str, data: st.DataObject) -> None:
    kind = IMPLEMENTATIONS[name]
    times = st.dictionaries(NAMES, TIMES, max_size=6)
    members = data.draw(st.dictionaries(NAMES, MEMBERS, max_size=6))
    edges, tallies = (
        data.draw(times),
        data.draw(st.lists(st.tuples(st.sampled_from(SPECS), AROUND, st.integers(0, 2**32)), max_size=8)),
    )

    def made(order: Callable[[list[Any]], list[Any]]) -> bytes:
        record = kind.new("u", 0, 0)
        record.enter(LANDMARK + 5e6)
        for segment, member in order(sorted(members.items())):
            record.members.put(segment, member)
        for target, time in order(sorted(edges.items())):
            record.edges.set(target, time, present=time > 1e9)
        for spec, time, amount in order(tallies):
            record.cells.add(spec, time, amount, record.time)
        return record.pack()

    assert made(lambda items: items) == made(lambda items: items[::-1]) == made(data.draw(st.just(_halves)))


def _halves(items: list[Any]) -> list[Any]:
    return [*items[1::2], *items[::2]]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_blocks_are_opened_and_packed_as_they_are(kind: Implementation, name: str) -> None:
    assert kind.open("u", GOLDEN[name]).pack() == GOLDEN[name]


# what anybody may have written


@pytest.mark.parametrize("name", SOUND)
def test_what_is_unusual_but_right_is_taken(kind: Implementation, name: str) -> None:
    assert kind.open("u", SOUND[name]).pack() == SOUND[name]


@pytest.mark.parametrize("name", FAULTS)
def test_what_breaks_a_rule_is_refused_in_a_sentence(kind: Implementation, name: str) -> None:
    with pytest.raises(FormatError) as refused:
        kind.open("u", FAULTS[name])
    assert str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", GOLDEN)
def test_no_other_length_is_taken(kind: Implementation, name: str) -> None:
    block = GOLDEN[name]
    for size in {*range(0, len(block), 7), *range(max(0, len(block) - 9), len(block))}:
        with pytest.raises(FormatError):
            kind.open("u", block[:size])
    for more in (b"\0", bytes(8)):
        with pytest.raises(FormatError):
            kind.open("u", block + more)


@EACH
@given(st.sampled_from(sorted(GOLDEN)), st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1))
def test_a_damaged_block_is_refused_or_written_again_as_it_is(
    name: str, block: str, damages: list[tuple[int, int]]
) -> None:
    kind = IMPLEMENTATIONS[name]
    damaged = bytearray(GOLDEN[block])
    for at, value in damages:
        damaged[at % len(damaged)] = value
    try:
        record = kind.open("u", bytes(damaged))
    except FormatError:
        return
    assert record.pack() == bytes(damaged)
    record.enter(2.0**32 - 1)
    record.settle(SPECS, ABSENCES)
    all_told(record)
    assert kind.open("u", record.pack()).pack() == record.pack()


@EACH
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_written_again_as_they_are(name: str, data: bytes) -> None:
    kind = IMPLEMENTATIONS[name]
    for block in (data, b"\2" + data, GOLDEN["new"][:80] + data):
        try:
            assert kind.open("u", block).pack() == block
        except FormatError:
            continue


# verbs


def test_somebody_never_seen_has_nothing(kind: Implementation) -> None:
    record = kind.new("u", 3, 4)
    says = all_told(record)
    assert (says["user"], says["epoch"], says["life"], says["encode_at"]) == ("u", 3, 4, 1)
    assert says["due"] == says["known_at"] == NEVER
    for name in ("time", "first", "count", "sequence", "scored", "version", "dirty", "texts", "texts_put", "erased"):
        assert says[name] == 0
    assert says["identified"] is says["queued"] is False
    assert says["members"] == says["labels"] == says["aliases"] == []
    assert says["slow"] == {}
    assert set(says["features"]) == {0.0}
    assert says["edges"] == says["groups"] == ([], [], 0, 0)
    assert says["ids"] == ([], range(0), 0)
    assert len(record.pack()) == 112


def test_time_does_not_go_back_and_ends_before_2_to_the_32(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    record.enter(LANDMARK + 5.0)
    record.enter(LANDMARK - 5.0)
    assert record.time == LANDMARK + 5.0
    for time in (2.0**32, math.inf):
        with pytest.raises(ValueError, match="2"):
            record.enter(time)


def test_names_that_no_record_can_have_are_refused(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    for name in ("", "\ud800", "x" * (MOST_NAME + 1)):
        with pytest.raises(ValueError, match="name"):
            record.members.put(name, Membership(0.0, 0.0, 0, 0))
        with pytest.raises(ValueError, match="name"):
            record.edges.set(name, 1.0, present=True)
        with pytest.raises(ValueError, match="name"):
            record.groups.set(name, 1.0, present=True)
        with pytest.raises(ValueError, match="name"):
            record.aliases = ["a", name]
        with pytest.raises(ValueError, match="name"):
            record.labels = [PendingLabel(name, member=True, weight=1.0)]
    assert record.pack() == kind.new("u", 0, 0).pack()


def test_numbers_that_no_record_can_have_are_refused(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    for member in (
        Membership(2.0**32, 0.0, 0, 0), Membership(-1.0, 0.0, 0, 0), Membership(0.0, math.nan, 0, 0),
        Membership(0.0, 0.0, 2**64, 0), Membership(0.0, 0.0, 0, -1), Membership(0.0, 0.0, 0, 0, math.inf),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="cannot be in a record"):
            record.members.put("s", member)
    for time in (0.0, -1.0, 2.0**32, math.nan):
        with pytest.raises(ValueError, match="time"):
            record.edges.set("v", time, present=True)
    for cell in (Opaque(2**16, b"", NEVER), Opaque(0, b"", math.nan), Opaque(0, b"", 5.0, 2.0**32)):
        with pytest.raises(ValueError, match="record"):
            record.cells.put_opaque(KEYS[0], cell)
    with pytest.raises(ValueError, match="cell"):
        record.cells.put_opaque(KEYS[0], Opaque(0, bytes(0xFFFF * 8), NEVER))
    with pytest.raises(ValueError, match="weight"):
        record.labels = [PendingLabel("s", member=True, weight=math.nan)]
    with pytest.raises(ValueError, match="kinds"):
        record.count_event("dance", "", 5.0, 0.0, 0.0)
    assert record.pack() == kind.new("u", 0, 0).pack()


def test_a_membership_that_was_taken_out_or_put_in_is_a_copy(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    record.members.put("s", Membership(1.0, 2.0, 3, 4))
    record.members.set_leaving("s", 0.5)
    assert record.members.get("s") == Membership(1.0, 2.0, 3, 4, 0.5)
    assert record.members.get("t") is None
    assert record.members.segments() == ["s"]
    assert len(record.members) == 1
    with pytest.raises(KeyError):
        record.members.remove("t")
    with pytest.raises(KeyError):
        record.members.set_leaving("t", None)


def test_of_edges_the_last_by_time_wins_and_the_removal_at_the_same_time(kind: Implementation) -> None:
    edges = kind.new("u", 0, 0).edges
    assert edges.set("v", 5.0, present=True)
    assert not edges.set("v", 4.0, present=False)
    assert edges.set("v", 5.0, present=False)
    assert not edges.set("v", 5.0, present=True)
    assert not edges.set("w", 3.0, present=False)
    assert edges.set("x", 7.0, present=True)
    assert edges.set("y", 7.0, present=True)
    assert edges.set("z", 8.0, present=True)
    assert edges.items() == [("v", -5.0), ("w", -3.0), ("x", 7.0), ("y", 7.0), ("z", 8.0)]
    assert (edges.present(), edges.count, edges.present_count) == (["z", "x", "y"], 5, 3)
    assert (edges.bound(1), edges.bound_removed(1)) == (["x", "y"], ["w"])
    edges.drop("v")
    edges.drop("nobody")
    assert edges.items() == [("z", 8.0)]
    assert edges.get("v") == 0.0


def test_a_tally_forgets_what_is_over_and_reading_changes_nothing(kind: Implementation) -> None:
    record, spec = kind.new("u", 0, 0), SPECS[0]  # ten seconds in buckets of one
    cells = record.cells
    cells.add(spec, 100.5, 3, 100.5)
    cells.add(spec, 105.0, MOST, 105.0)
    cells.add(spec, 105.0, 5, 105.0)
    before = record.pack()
    assert (cells.total(spec, 105.0), cells.total(spec, 111.0), cells.total(spec, 116.0)) == (MOST + 3, MOST, 0)
    assert [cells.next_expiry(spec, now) for now in (105.0, 111.0, 116.0)] == [111.0, 116.0, NEVER]
    assert record.pack() == before
    cells.add(spec, 100.0, 7, 111.0)  # over before it comes
    assert record.pack() == before
    cells.add(spec, 110.0, 7, 111.0)
    assert cells.buckets(spec) == [(105, MOST), (110, 7)]


def test_of_an_event_at_the_end_of_what_was_not_watched_nothing_is_known(kind: Implementation) -> None:
    cells = kind.new("u", 0, 0).cells
    cells.note(SORTS[0], 50.0)
    cells.mark_unknown("@" + SORTS[0].key, 50.0)
    assert cells.latest(SORTS[0]) == -50.0


def test_a_window_after_a_quiet_year_begins_anew(kind: Implementation) -> None:
    record, spec = kind.new("u", 0, 0), SPECS[0]
    record.cells.add(spec, LANDMARK, 1, LANDMARK)
    later = LANDMARK + 366 * 86_400.0
    record.cells.add(spec, later, 2, later)
    assert record.cells.buckets(spec) == [(int(later), 2)]


def test_a_cell_that_is_empty_and_known_is_not_there(kind: Implementation) -> None:
    record, spec = kind.new("u", 0, 0), SPECS[0]
    new = record.pack()
    record.cells.mark_unknown("@" + SORTS[0].key, 0.0)
    record.cells.mark_unknown(spec.key, 90.0)
    record.cells.mark_unknown(spec.key, 80.0)
    assert record.cells.unknown_until(spec.key) == 90.0
    assert spec.key in record.cells
    record.settle([spec], [])
    assert record.known_at == 101.0
    record.enter(101.0)
    record.settle([spec], [])
    assert (record.known_at, spec.key in record.cells) == (NEVER, False)
    assert kind.open("u", new).pack()[112:] == record.pack()[112:] == b""


def test_an_opaque_cell_says_when_it_changes_and_is_known(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    record.enter(50.0)
    assert record.cells.next_change() == NEVER
    record.cells.put_opaque(KEYS[0], Opaque(1, b"x", NEVER, 60.0))
    record.cells.put_opaque(KEYS[1], Opaque(1, b"y", 70.0, 40.0))
    record.settle([], [])
    assert record.known_at == 60.0
    assert record.cells.next_change() == 70.0
    assert record.cells.opaque(KEYS[0]) == Opaque(1, b"x", NEVER, 60.0)
    assert record.cells.unknown_until(KEYS[1]) == 40.0
    assert record.cells.opaque(SPECS[0].key) is None


def test_money_fades_by_half_in_thirty_days_across_months_and_years(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    record.enter(LANDMARK)
    record.count_event("purchase", "shoes", LANDMARK, 64.0, 0.0)
    features = np.empty(RAW_DIM, dtype=np.float32)
    for months in range(1, 7):
        record.enter(LANDMARK + months * 30 * 86_400.0)
        record.features(features)
        assert features[SPEND_SLOW] == 64.0 / 2**months
    assert record.slow_counters(record.time) == {"purchase": 2.0**-6, "$spend": 1.0}
    record.enter(LANDMARK + 20 * 30 * 86_400.0)
    _, fast, slow = struct.unpack_from("<3d", record.pack(), 112)  # of purchases
    assert fast == 0.0  # by itself 2^-600: what is below 2^-500 is gone, so that no number is ever subnormal
    assert slow == 2.0**-20
    record.enter(LANDMARK + 5e8)
    record.count_event("view", "", LANDMARK - 5e8, 0.0, 0.0)
    assert record.slow_counters(record.time)["$spend"] == pytest.approx(64.0 * 2.0 ** (-5e8 / 2_592_000))


def test_two_users_who_become_one_have_what_one_would_have(kind: Implementation) -> None:
    later = LANDMARK + 70 * 86_400.0
    one, other, both = (kind.new("u", 0, 0) for _ in range(3))
    for record, category, time in ((other, "shoes", LANDMARK - 5.0), (one, "tools", later)):
        for each in (record, both):
            each.enter(time)
            each.count_event("purchase", category, time, 64.0, 3.0)
    before = other.pack()
    with pytest.raises(FormatError):
        one.unite_counters(before[:-8])
    one.unite_counters(before)
    assert other.pack() == before
    assert one.slow_counters(later) == pytest.approx(both.slow_counters(later), rel=1e-14)
    found, expected = np.empty(RAW_DIM, np.float32), np.empty(RAW_DIM, np.float32)
    one.features(found)
    both.features(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_ids_count_to_56_bits_and_a_full_sixty_four_become_a_record(kind: Implementation) -> None:
    record = kind.new("u", 0, 0)
    for number in range(CHUNK - 1):
        record.ids.add(number + 2**60, 5.0 + number)
    assert record.ids.unsaved == {}
    record.ids.add(2**60, 500.0)
    assert 2**60 in record.ids
    assert 0 in record.ids  # the same to 56 bits
    assert len(record.ids) == CHUNK - 1
    record.ids.add(2**56 - 1, 3.0)
    assert record.ids.numbers == range(1)
    assert {number: len(chunk or b"") for number, chunk in record.ids.unsaved.items()} == {0: 464}
    assert record.ids.items()[-1] == (ID_MASK, 67)  # the latest second of its sixteen
    again = kind.open("u", record.pack())
    again.ids.restore([record.ids.unsaved[0]])
    assert again.ids.items() == record.ids.items()
    with pytest.raises(FormatError):
        again.ids.restore([bytes(465)])
