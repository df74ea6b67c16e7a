"""The ids that a user's state has seen: whatever is saved and read again, no event counts twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from state.seen import CHUNK, DEDUPE_EVENTS, DEDUPE_SECONDS, MOST_CHUNKS, Seen

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
        assert (back.tail, back.tail_seconds) == (seen.tail, seen.tail_seconds)
        if again:
            seen = back


def test_at_least_the_last_thousand_ids_are_remembered_and_not_many_more() -> None:
    seen = Seen()
    for number in range(3 * DEDUPE_EVENTS):
        seen.add(number, BASE + number)
        if number % 50 == 0:
            assert set(seen) >= set(range(max(0, number + 1 - DEDUPE_EVENTS), number + 1))
        assert len(seen) <= (MOST_CHUNKS + 1) * CHUNK
    assert len(seen.numbers) == MOST_CHUNKS


def test_ids_are_forgotten_a_day_after_their_arrival_by_whole_records() -> None:
    seen = Seen()
    for number in range(2 * CHUNK):
        seen.add(number, BASE + number)
    later = BASE + DEDUPE_SECONDS + CHUNK  # the first record is a day old by then, the second not quite
    for number in range(2 * CHUNK, 3 * CHUNK):
        seen.add(number, later)
    assert set(seen) == set(range(CHUNK, 3 * CHUNK))
    assert seen.unsaved[0] is None


def test_what_is_known_keeps_its_place_and_is_not_kept_twice() -> None:
    seen = Seen()
    for number in (1, 2, 1, 3):
        seen.add(number, BASE)
    assert list(seen) == [1, 2, 3]


@given(st.integers(0, 1_300), st.integers(0, 1_300), st.booleans())
def test_two_that_are_one_person_remember_the_newest_of_both(mine: int, others: int, interleaved: bool) -> None:
    one, other, kept = Seen(), Seen(), Kept()
    for number in range(mine):
        one.add(number, BASE + number)
    for number in range(others):
        other.add(10_000 + number, BASE + number + (0 if interleaved else 5_000))
    kept.save(one)
    all_ids = {id_hash: second for seen in (one, other) for id_hash, second in seen.seconds.items()}
    newest = sorted(all_ids, key=lambda id_hash: all_ids[id_hash])[-DEDUPE_EVENTS:]
    one.unite(other.whole())
    kept.save(one)
    if others:
        assert sorted(one.seconds.values()) == sorted(all_ids[id_hash] for id_hash in newest)
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
    assert {number for number in back if number >= 0} == {*range(CHUNK), *range(2 * CHUNK, 3 * CHUNK + 5)}
    for number in range(10_000, 10_000 + 2_000):
        back.add(number, BASE + number)
    assert set(back) >= set(range(11_000, 12_000))


def test_a_time_of_arrival_that_cannot_be_is_no_stumbling_block() -> None:
    seen, kept = Seen(), Kept()
    for number, arrived in enumerate((-0.001, -1e18, 1e18, float(BASE))):
        seen.add(number, arrived)
    kept.save(seen)
    assert list(kept.read()) == [0, 1, 2, 3]
