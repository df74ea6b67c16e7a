"""The ids that a user's record has seen: whatever is saved and read again, no event counts twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.compiled import COMPILED
from state.layout2 import (
    CHUNK,
    DEDUPE_EVENTS,
    DEDUPE_SECONDS,
    GROUP,
    ID_MASK,
    LAST_CHUNKS,
    MOST_CHUNKS,
    MOST_IDS,
)
from state.plain.ids import Ids, unite
from state.plain.table import PlainArena
from state.record import Ids as AnyIds
from state.tables import Arena, ids_numbers

BASE = 1_700_000_000
ARENAS: dict[str, Callable[[int], Arena]] = {"plain": PlainArena}
if COMPILED is not None:
    ARENAS["compiled"] = COMPILED.Arena
EVERY = pytest.mark.parametrize("arena", ARENAS.values(), ids=ARENAS)
Entry = tuple[int, int]


class Home:
    """One user, turn by turn: in memory and in the store."""

    def __init__(self, arena: Callable[[int], Arena] = PlainArena) -> None:
        self._table = arena(1 << 26).table()
        self.store: dict[bytes, bytes] = {}
        self.cut = 0

    def turn(self, act: Callable[[AnyIds], object], *, committed: bool = True) -> Any:
        area = self._table.begin()
        if area.find(["u"]):
            block = self.store.get(layout.user_key("u"))
            if block is None:
                area.begin("u", 1, 1)
            else:
                chunks = [self.store.get(key) for key in layout.seen_keys("u", ids_numbers(block))]
                area.admit("u", block, chunks)
        record = area.get("u")
        assert record is not None
        found = act(record.ids)
        puts: dict[bytes, bytes | None] = {}
        _, cut, _ = area.settle([], puts, set())
        if not committed:
            area.drop()
            return found
        area.commit()
        self.cut += cut
        for key, value in puts.items():
            if value is None:
                self.store.pop(key, None)
            else:
                self.store[key] = value
        return found

    def add(self, entries: Iterable[tuple[int, float]], *, committed: bool = True) -> None:
        def act(ids: AnyIds) -> None:
            for id_hash, arrived in entries:
                ids.add(id_hash, arrived)

        self.turn(act, committed=committed)

    def replace(self, entries: list[Entry]) -> None:
        self.turn(lambda ids: ids.replace(entries))

    def ids(self) -> list[int]:
        found: list[int] = self.turn(lambda ids: [id_hash for id_hash, _ in ids.items()])
        return found

    def numbers(self) -> range:
        return ids_numbers(self.store[layout.user_key("u")])

    def restart(self) -> None:
        self._table.clear()

    def chunks(self) -> dict[bytes, bytes]:
        return {key: value for key, value in self.store.items() if key[:1] == b"d"}


@EVERY
@given(st.lists(st.tuples(st.integers(1, 200), st.sampled_from(["", "restart", "drop"])), max_size=20),
       st.integers(0, 500))  # fmt: skip
@settings(max_examples=40)
def test_saved_and_read_again_at_any_time_it_is_the_same(
    arena: Callable[[int], Arena], steps: list[tuple[int, str]], pace: int
) -> None:
    home, ids, number = Home(arena), Ids(), 0
    for count, then in steps:
        entries = [((number + at) * 2**40, BASE + (number + at) * pace) for at in range(count)]
        number += count
        for entry in entries:
            ids.add(*entry)
        home.add(entries)
        assert set(home.chunks()) == set(layout.seen_keys("u", ids.numbers))
        if then == "restart":
            home.restart()
        elif then == "drop":
            home.add([(2**55 + at, BASE + 2**30) for at in range(150)], committed=False)
        assert home.turn(lambda mine: mine.items()) == ids.items()
        assert home.turn(lambda mine: mine.latest) == ids.latest


@EVERY
def test_at_least_the_last_thousand_ids_are_remembered_however_old_and_not_many_more(
    arena: Callable[[int], Arena],
) -> None:
    home = Home(arena)
    for begin in range(0, 3 * DEDUPE_EVENTS, 50):
        home.add((number, BASE + number * 3_600) for number in range(begin, begin + 50))
        ids = home.ids()
        assert set(ids) >= set(range(max(0, begin + 50 - DEDUPE_EVENTS), begin + 50))
        assert len(ids) <= (LAST_CHUNKS + 2) * CHUNK
    assert len(home.numbers()) == LAST_CHUNKS
    assert home.cut == 0


@EVERY
def test_all_ids_of_the_last_day_are_remembered_and_then_forgotten_by_whole_records(
    arena: Callable[[int], Arena],
) -> None:
    home = Home(arena)
    pace = DEDUPE_SECONDS // 20_000
    for begin in range(0, 40_000, 5_000):
        home.add((number, BASE + number * pace) for number in range(begin, begin + 5_000))
        last = begin + 4_999
        least = max(0, last - DEDUPE_SECONDS // pace)
        known = set(home.ids())
        assert known >= set(range(least, last + 1))
        assert len(known) <= last - least + 1 + 2 * CHUNK
    assert home.cut == 0
    assert layout.seen_keys("u", [0])[0] not in home.store
    assert home.turn(lambda ids: (0 in ids, 39_999 in ids)) == (False, True)


@EVERY
def test_beyond_the_bound_the_oldest_are_forgotten_and_that_is_counted(arena: Callable[[int], Arena]) -> None:
    home = Home(arena)
    home.add((number, BASE + number // 100) for number in range(MOST_IDS))
    home.restart()
    home.add((number, BASE + number // 100) for number in range(MOST_IDS, MOST_IDS + 10 * CHUNK))
    assert len(home.numbers()) == len(home.chunks()) == MOST_CHUNKS
    assert home.cut == 10 * CHUNK
    assert home.turn(lambda ids: (10 * CHUNK in ids, 10 * CHUNK - 1 in ids)) == (True, False)


@EVERY
def test_of_a_record_the_youngest_id_says_how_old_it_is(arena: Callable[[int], Arena]) -> None:
    home = Home(arena)
    # each record has one that arrived later than the others: it was rerouted
    home.add((n, BASE + (2 * DEDUPE_SECONDS if n % CHUNK == 5 else 0)) for n in range(40 * CHUNK))
    home.add((n, BASE + 2 * DEDUPE_SECONDS) for n in range(40 * CHUNK, 41 * CHUNK))
    assert 5 in home.ids()


@EVERY
def test_what_is_known_keeps_its_place_and_is_not_kept_twice(arena: Callable[[int], Arena]) -> None:
    home = Home(arena)
    home.add((number, BASE) for number in (1, 2, 1, 3, 2 + 2**56))
    assert home.ids() == [1, 2, 3]


@EVERY
def test_a_lost_record_forgets_its_ids_and_nothing_else(arena: Callable[[int], Arena]) -> None:
    home = Home(arena)
    home.add((number, BASE + number) for number in range(3 * CHUNK + 5))
    del home.store[layout.seen_keys("u", [1])[0]]
    home.restart()
    assert home.ids() == [*range(CHUNK), *range(2 * CHUNK, 3 * CHUNK + 5)]
    home.add((number, BASE + number) for number in range(10_000, 12_000))
    assert set(home.ids()) >= set(range(11_000, 12_000))


@EVERY
def test_a_time_of_arrival_that_cannot_be_is_no_stumbling_block(arena: Callable[[int], Arena]) -> None:
    home = Home(arena)
    home.add(enumerate((-0.001, -1e18, 1e18, float(BASE))))
    home.restart()
    assert home.turn(lambda ids: ids.items()) == [(number, 2**32 - 1) for number in range(4)]


@EVERY
@settings(max_examples=40)
@given(st.integers(0, 1_300), st.integers(0, 1_300), st.booleans(), st.sampled_from([1, 100, 5_000]))
def test_two_that_are_one_person_remember_the_newest_of_both(
    arena: Callable[[int], Arena], mine: int, others: int, interleaved: bool, pace: int
) -> None:
    home, other = Home(arena), Ids()
    home.add((number, BASE + number * pace) for number in range(mine))
    for number in range(others):
        other.add(10_000 + number, BASE + (number + (0 if interleaved else 5_000)) * pace)
    both = dict(home.turn(lambda ids: ids.items())) | dict(other.items())
    order = sorted(both.values(), reverse=True)
    needed = [second for at, second in enumerate(order) if at < DEDUPE_EVENTS or second >= order[0] - DEDUPE_SECONDS]
    home.turn(lambda ids: unite(ids, other.items()))
    home.restart()
    # of sixteen that lie together now the latest counts, so they are kept longer, never shorter
    ids = home.ids()
    assert set(ids) <= both.keys()
    if others:
        least = min(needed)
        assert set(ids) >= {id_hash for id_hash, second in both.items() if second > least}
        assert len(ids) == len(needed)
    assert set(home.chunks()) == set(layout.seen_keys("u", home.numbers()))
    home.add([(99_999, BASE + 20_000)])
    assert 99_999 in home.ids()


# by the definition (docs/adr/0035)


class Model:
    """What is remembered, by the rule as it is written: records of CHUNK go as a whole."""

    def __init__(self) -> None:
        self.records: list[list[Entry]] = []
        self.tail: list[Entry] = []
        self.first = self.cut = 0

    def items(self) -> list[Entry]:
        found = []
        for part in (*self.records, self.tail):
            for begin in range(0, len(part), GROUP):
                latest = max(second for _, second in part[begin : begin + GROUP])
                found += [(id_hash, latest) for id_hash, _ in part[begin : begin + GROUP]]
        return found

    def add(self, id_hash: int, second: int) -> None:
        id_hash &= ID_MASK
        if any(id_hash == known for part in (*self.records, self.tail) for known, _ in part):
            return
        self.tail.append((id_hash, max(0, min(second, 2**32 - 1))))
        if len(self.tail) < CHUNK:
            return
        self.records.append(self.tail)
        horizon = max(second for _, second in self.tail[-GROUP:]) - DEDUPE_SECONDS
        self.tail = []
        while len(self.records) > LAST_CHUNKS:
            young = max((second for _, second in self.records[0]), default=0) >= horizon
            if young and len(self.records) <= MOST_CHUNKS:
                break
            self.cut += CHUNK * young
            del self.records[0]
            self.first += 1

    def replace(self, entries: Iterable[Entry]) -> None:
        self.first += len(self.records)
        self.records, self.tail = [], []
        for id_hash, second in entries:
            self.add(id_hash, second)


HASHES = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.integers(0, 300).map(lambda number: number << 48)
SECONDS = st.integers(-5, 2**33) | st.integers(BASE, BASE + 3 * DEDUPE_SECONDS)
STEPS = st.lists(
    st.tuples(st.just("add"), HASHES, SECONDS)
    | st.tuples(st.just("many"), st.integers(1, 200) | st.integers(1_000, 1_500), st.integers(0, 3 * DEDUPE_SECONDS))
    | st.tuples(st.just("lose"), st.sets(st.integers(0, 20)))
    | st.tuples(st.just("replace"), st.dictionaries(HASHES.map(ID_MASK.__and__), SECONDS, max_size=150))
    | st.tuples(st.sampled_from(["restart", "turn"])),
    max_size=12,
)


def fresh() -> Iterator[int]:
    return iter(range(2**50, 2**51, 2**13 + 1))


@EVERY
@settings(max_examples=40)
@given(STEPS)
def test_by_the_definition_it_is_the_same_whatever_happens_to_it(
    arena: Callable[[int], Arena], steps: list[tuple[Any, ...]]
) -> None:
    home, model, numbers = Home(arena), Model(), fresh()
    for step in steps:
        match step:
            case ("add", int(id_hash), int(second)):
                home.add([(id_hash, second)])
                model.add(id_hash, second)
            case ("many", int(count), int(later)):
                entries = [(number, BASE + later) for number in islice(numbers, count)]
                home.add(entries)
                for entry in entries:
                    model.add(*entry)
            case ("lose", set(lost)):
                for number in lost:
                    home.store.pop(layout.seen_keys("u", [model.first + number])[0], None)
                    if number < len(model.records):
                        model.records[number] = []
                home.restart()
            case ("replace", dict(others)):
                kept = [(id_hash, max(0, min(second, 2**32 - 1))) for id_hash, second in others.items()]
                home.replace(kept)
                model.replace(kept)
            case ("restart",):
                home.restart()
        assert home.turn(lambda ids: ids.items()) == model.items()
        assert home.numbers() == range(model.first, model.first + len(model.records))
        assert home.cut == model.cut
        known = {id_hash for id_hash, _ in model.items()}
        assert home.turn(lambda ids: all(id_hash in ids for id_hash in known))  # noqa: B023 # at once
        assert not home.turn(lambda ids: any(id_hash ^ 1 in ids for id_hash in known if id_hash ^ 1 not in known))  # noqa: B023
