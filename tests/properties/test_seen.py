"""The ids that a user's state has seen: whatever is saved and read again, no event counts twice."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.seen import CHUNK, DEDUPE_EVENTS, DEDUPE_SECONDS, LAST_CHUNKS, MOST_CHUNKS, MOST_IDS, PlainSeen, Seen

BASE = 1_700_000_000


class Kept:
    """What the store has of one user."""

    def __init__(self) -> None:
        self.record = Seen().pack()
        self.chunks: dict[int, bytes] = {}

    def save(self, seen: Seen) -> None:
        for number, chunk in seen.unsaved.items():
            if chunk is None:
                self.chunks.pop(number, None)
            else:
                self.chunks[number] = chunk
        seen.unsaved = {}
        self.record = seen.pack()

    def read(self) -> Seen:
        seen = Seen.unpack(list(self.record))
        seen.restore([self.chunks[number] for number in seen.numbers])
        return seen


@given(st.lists(st.tuples(st.integers(1, 200), st.booleans()), max_size=20), st.integers(0, 50))
def test_saved_and_read_again_at_any_time_it_is_the_same(steps: list[tuple[int, bool]], pace: int) -> None:
    kept, seen, number = Kept(), Seen(), 0
    for count, again in steps:
        for _ in range(count):
            seen.add(number * 2**40, BASE + number * pace)
            number += 1
        kept.save(seen)
        assert set(kept.chunks) == set(seen.numbers)
        back = kept.read()
        assert back == seen
        assert back.pack() == seen.pack()
        if again:
            seen = back


@pytest.mark.parametrize("kind", [Seen, PlainSeen])
def test_at_least_the_last_thousand_ids_are_remembered_however_old_and_not_many_more(kind: type[Seen]) -> None:
    seen = kind()
    for number in range(3 * DEDUPE_EVENTS):
        seen.add(number, BASE + number * 3_600)
        if number % 50 == 0:
            assert set(seen) >= set(range(max(0, number + 1 - DEDUPE_EVENTS), number + 1))
        assert len(seen) <= (LAST_CHUNKS + 2) * CHUNK
    assert len(seen.numbers) == LAST_CHUNKS
    assert seen.cut == 0


@pytest.mark.parametrize("kind", [Seen, PlainSeen])
def test_all_ids_of_the_last_day_are_remembered_and_then_forgotten_by_whole_records(kind: type[Seen]) -> None:
    seen = kind()
    pace = DEDUPE_SECONDS // 20_000
    for number in range(40_000):
        seen.add(number, BASE + number * pace)
        if number % 5_000 == 4_999:
            least = max(0, number - DEDUPE_SECONDS // pace)
            assert all(known in seen for known in range(least, number + 1, 97))
            assert len(seen) <= number - least + 1 + 2 * CHUNK
    assert seen.cut == 0
    assert seen.unsaved[0] is None
    assert 0 not in seen


@pytest.mark.parametrize("kind", [Seen, PlainSeen])
def test_beyond_the_bound_the_oldest_are_forgotten_and_that_is_counted(kind: type[Seen]) -> None:
    seen = kind()
    for number in range(MOST_IDS + 10 * CHUNK):
        seen.add(number, BASE + number // 100)
    assert len(seen.numbers) == MOST_CHUNKS
    assert seen.cut == 10 * CHUNK
    assert 10 * CHUNK in seen
    assert 10 * CHUNK - 1 not in seen


@pytest.mark.parametrize("kind", [Seen, PlainSeen])
def test_of_a_record_the_youngest_id_says_how_old_it_is(kind: type[Seen]) -> None:
    seen = kind()
    for number in range(40 * CHUNK):  # each record has one that arrived later than the others: it was rerouted
        seen.add(number, BASE + (2 * DEDUPE_SECONDS if number % CHUNK == 5 else 0))
    for number in range(40 * CHUNK, 41 * CHUNK):
        seen.add(number, BASE + 2 * DEDUPE_SECONDS)
    assert 5 in seen


def test_what_is_known_keeps_its_place_and_is_not_kept_twice() -> None:
    seen = Seen()
    for number in (1, 2, 1, 3):
        seen.add(number, BASE)
    assert list(seen) == [1, 2, 3]


@given(st.integers(0, 1_300), st.integers(0, 1_300), st.booleans(), st.sampled_from([1, 100, 5_000]))
def test_two_that_are_one_person_remember_the_newest_of_both(
    mine: int, others: int, interleaved: bool, pace: int
) -> None:
    one, other, kept = Seen(), Seen(), Kept()
    for number in range(mine):
        one.add(number, BASE + number * pace)
    for number in range(others):
        other.add(10_000 + number, BASE + (number + (0 if interleaved else 5_000)) * pace)
    kept.save(one)
    all_ids = {id_hash: second for seen in (one, other) for id_hash, second in seen.items()}
    order = sorted(all_ids.values(), reverse=True)
    needed = [second for at, second in enumerate(order) if at < DEDUPE_EVENTS or second >= order[0] - DEDUPE_SECONDS]
    one.unite(other.whole())
    kept.save(one)
    if others:
        assert sorted((second for _, second in one.items()), reverse=True) == needed
    assert kept.read() == one
    assert set(kept.chunks) == set(one.numbers)
    one.add(99_999, BASE + 20_000)
    assert 99_999 in one


def test_the_map_of_an_earlier_release_becomes_records_with_the_next_event() -> None:
    seen, kept = Seen.unpack({number: BASE + number for number in range(1_000)}), Kept()
    assert len(seen) == 1_000
    seen.add(5_000, BASE + 5_000)
    kept.save(seen)
    assert len(seen.numbers) == 1_001 // CHUNK
    assert len(kept.record[2]) == 12 * (1_001 % CHUNK)
    assert kept.read() == seen


def test_a_lost_record_forgets_its_ids_and_nothing_else() -> None:
    seen, kept = Seen(), Kept()
    for number in range(3 * CHUNK + 5):
        seen.add(number, BASE + number)
    kept.save(seen)
    back = Seen.unpack(list(kept.record))
    back.restore([kept.chunks[0], None, kept.chunks[2]])
    assert set(back) == {*range(CHUNK), *range(2 * CHUNK, 3 * CHUNK + 5)}
    for number in range(10_000, 10_000 + 2_000):
        back.add(number, BASE + number)
    assert set(back) >= set(range(11_000, 12_000))


def test_a_time_of_arrival_that_cannot_be_is_no_stumbling_block() -> None:
    seen, kept = Seen(), Kept()
    for number, arrived in enumerate((-0.001, -1e18, 1e18, float(BASE))):
        seen.add(number, arrived)
    kept.save(seen)
    assert list(kept.read()) == [0, 1, 2, 3]


HASHES = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.integers(0, 300).map(lambda number: number << 48)
SECONDS = st.integers(-5, 2**33) | st.integers(BASE, BASE + 3 * DEDUPE_SECONDS)
STEPS = st.lists(
    st.tuples(st.just("add"), HASHES, SECONDS)
    | st.tuples(st.just("many"), st.integers(1, 400) | st.integers(1_000, 5_000), st.integers(0, 3 * DEDUPE_SECONDS))
    | st.tuples(st.just("reload"), st.sets(st.integers(0, 90)), st.booleans())
    | st.tuples(st.just("unite"), st.dictionaries(HASHES, SECONDS, max_size=150))
    | st.tuples(st.just("replace"), st.dictionaries(HASHES, SECONDS, max_size=150))
    | st.tuples(st.just("whole")),
    max_size=15,
)


def same(one: Seen, plain: PlainSeen) -> None:
    assert one.items() == plain.items()
    assert list(one) == list(plain)
    assert len(one) == len(plain)
    assert (one.first, one.stored, one.numbers) == (plain.first, plain.stored, plain.numbers)
    assert one.unsaved == plain.unsaved
    assert one.pack() == plain.pack()
    assert (one.cut, one.places) == (plain.cut, plain.places)


@settings(deadline=None)
@given(STEPS)
def test_compiled_or_not_it_is_the_same_whatever_happens_to_it(steps: list[tuple[Any, ...]]) -> None:
    one, plain = Seen(), PlainSeen()
    chunks: dict[int, bytes] = {}
    numbers = iter(range(2**50, 2**51, 2**13 + 1))
    for step in steps:
        match step:
            case ("add", int(id_hash), int(second)):
                one.add(id_hash, second)
                plain.add(id_hash, second)
                assert id_hash in one
            case ("many", int(count), int(later)):
                for number in islice(numbers, count):
                    assert (number in one) == (number in plain)
                    one.add(number, BASE + later + 0.5)
                    plain.add(number, BASE + later + 0.5)
            case ("reload", set(lost), bool(damaged)):
                same(one, plain)
                for number, chunk in plain.unsaved.items():
                    if chunk is None:
                        chunks.pop(number, None)
                    else:
                        chunks[number] = chunk
                kept = [
                    None if damaged and number - plain.first in lost else chunks.get(number) for number in plain.numbers
                ]
                one, plain = Seen.unpack(one.pack()), PlainSeen.unpack(list(plain.pack()))
                one.restore(kept)
                plain.restore(kept)
            case ("unite", dict(others)):
                one.unite(Seen(others))
                plain.unite(PlainSeen(others))
            case ("replace", dict(others)):
                one.replace(others)
                plain.replace(others)
            case ("whole",):
                same(one.whole(), plain.whole())
        same(one, plain)
        assert one == one.whole() or one.numbers
        known = list(plain)
        assert all(id_hash in one for id_hash in known)
        assert not any(id_hash ^ 1 << 63 in one for id_hash in known if id_hash ^ 1 << 63 not in plain)


@pytest.mark.parametrize("kind", [Seen, PlainSeen])
def test_what_is_no_record_of_ids_is_refused(kind: type[Seen]) -> None:
    broken: list[object] = [
        None, 5, [], [0, 0], [0, 0, b"", 0], [1, 0, b""], [-1, 0, b""], [0, 0, b"x"], [0.0, 0, b""], [0, 0, "x" * 12],
        {"a": 1}, {1: "a"}, {-1: 1}, {2**64: 1},
    ]  # fmt: skip
    for packed in broken:
        with pytest.raises(ValueError, match="not the ids that a user's state has seen"):
            kind.unpack(packed)
    assert kind.unpack((0, 0, b"")) == kind() == kind({})
    assert kind({5: 2**40, 6: -1}).items() == [(5, 2**32 - 1), (6, 0)]
    assert -1 not in kind({5: 1})
    assert 2**64 not in kind({5: 1})
    with pytest.raises(TypeError):
        hash(kind())


def test_one_whose_ids_are_few_is_small() -> None:
    seen = Seen()
    seen.add(2**63, BASE)
    assert sys.getsizeof(seen) <= 250
