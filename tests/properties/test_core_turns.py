"""Turns of the compiled core against records of the twin: whatever users do, in turns that are committed or dropped,
while users go from memory and come from the store, both give the same answers and the same bytes to write."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.layout2 import CHUNK, CHUNK_BYTES, DEDUPE_SECONDS, LAST_CHUNKS, MOST_CHUNKS
from state.plain.ids import Entry, unite, unpack_chunk
from state.plain.record import PlainRecord, unpack
from state.record import Opaque, Record
from state.windows import NEVER, TallySpec
from tests.core_record import CoreRecord
from tests.core_turn import CoreTable, CoreTurn
from tests.record_verbs import ABSENCES, SPECS, VERBS, Verb, all_told

pytestmark = pytest.mark.compiled
DAY: Final = DEDUPE_SECONDS
SMALL: Final = 1 << 20
USERS: Final = ("emma", "é" * 40, "x", "bot-1", "bot-2")


@dataclass
class Stored:
    """What the store has of a user."""

    block: bytes
    chunks: dict[int, bytes] = field(default_factory=dict)


class Forget:
    """A user is forgotten in the turn."""


Act = Verb | type[Forget]


class Partition:
    """The core's cache and the twin's records, side by side."""

    def __init__(self, most_bytes: int = SMALL, draw: random.Random | None = None) -> None:
        """``draw``: of chunks that come from the store some are missing or of format 1."""
        self.table = CoreTable(most_bytes)
        self.users: dict[str, PlainRecord] = {}
        self.store: dict[str, Stored] = {}
        self._draw = draw

    def turn(self, acts: Iterable[tuple[str, Act]], commit: bool) -> None:
        turn, acts = self.table.turn(), list(acts)
        missing = set(turn.find(list(dict.fromkeys(user for user, _ in acts))))
        mine: dict[str, PlainRecord | None] = {}
        forgotten: set[str] = set()
        for user, act in acts:
            if user not in mine:
                mine[user] = self._found(turn, user, user in missing)
            if (plain := mine[user]) is None:
                mine[user] = plain = PlainRecord(user)
                turn.begin(user).encode_at = 1
            core = turn.get(user)
            assert core is not None
            if act is Forget:
                turn.forget(user, erased=len(acts) % 2 == 0)
                mine[user] = None
                forgotten.add(user)
                assert (turn.get(user), turn.due(user)) == (None, None)
            else:
                assert act(core) == act(plain)  # type: ignore[call-arg]
        for user, plain in mine.items():
            core = turn.get(user)
            assert (core is None) == (plain is None)
            if core is not None and plain is not None:
                assert all_told(core) == all_told(plain)
                assert (len(core.ids), core.ids.saved) == (len(plain.ids), plain.ids.saved)
                assert turn.due(user) == plain.due
        self._settle(turn, mine, forgotten, commit)
        self._compare()

    def _found(self, turn: CoreTurn, user: str, missing: bool) -> PlainRecord | None:
        """The twin's copy; if the user is not in memory, it is read from the store as the core's is."""
        if user not in self.users:
            assert missing
            return None
        if not missing:
            return deepcopy(self.users[user])
        stored = self.store[user]
        assert self.table.get(user) is None
        plain = unpack(user, stored.block)
        chunks = [self._as_it_may_come(stored.chunks.get(number)) for number in plain.ids.numbers]
        plain.ids.restore(chunks)
        turn.admit(user, stored.block, chunks)
        return plain

    def _as_it_may_come(self, chunk: bytes | None) -> bytes | None:
        kind = self._draw.randrange(10) if self._draw and chunk else 9
        return None if kind == 0 else as_format_1(chunk) if kind == 1 and chunk else chunk

    def _settle(self, turn: CoreTurn, mine: dict[str, PlainRecord | None], forgotten: set[str], commit: bool) -> None:
        summary = turn.settle(SPECS)
        there = {user: plain for user, plain in mine.items() if plain is not None}
        assert summary.users.keys() == there.keys()
        assert summary.earliest == min((plain.due for plain in there.values()), default=NEVER)
        assert summary.cut == sum(plain.ids.cut for plain in there.values())
        size = 0
        for user, plain in there.items():
            plain.cells.trim(SPECS, plain.time)
            plain.version = (plain.version + 1) % 2**32
            block, ids, timed = summary.users[user]
            assert block == plain.pack()
            assert ids == plain.ids.unsaved
            size += len(block) + sum(len(chunk or b"") for chunk in ids.values())
            was = None if user in forgotten else self.users.get(user)
            assert timed == (plain.due == (was.due if was else NEVER))
        assert summary.bytes == size
        if not commit:
            turn.drop()
            return
        turn.commit()
        for user in forgotten:  # their records are the engine's to remove
            self.store.pop(user, None)
        for user, found in mine.items():
            if found is None:
                self.users.pop(user, None)
                self.store.pop(user, None)
                continue
            self.users[user] = found
            stored = self.store.setdefault(user, Stored(b""))
            stored.block = summary.users[user].block
            for number, chunk in found.ids.unsaved.items():
                if chunk is None:
                    stored.chunks.pop(number, None)
                else:
                    stored.chunks[number] = chunk
            assert all(number in found.ids.numbers for number in stored.chunks)
            found.ids.save()

    def _compare(self) -> None:
        """Between turns memory has what is committed."""
        for user in USERS:
            block = self.table.get(user)
            assert block is None or (user in self.users and block == self.store[user].block)
        own, all_held = self.table.held
        assert own == all_held

    def end(self) -> None:
        assert self.table.close() == 0


def as_format_1(chunk: bytes) -> bytes:
    entries = unpack_chunk(chunk)
    hashes = b"".join((id_hash | (id_hash & 0xFF) << 56).to_bytes(8, "little") for id_hash, _ in entries)
    seconds = [second if at % 16 == 7 else second // 2 for at, (_, second) in enumerate(entries)]
    return hashes + b"".join(second.to_bytes(4, "little") for second in seconds)


def remembers(begin: int, count: int, second: float, step: float) -> Verb:
    """``count`` ids from a number on."""

    def act(record: Record) -> list[bool]:
        known = []
        for n in range(count):
            id_hash = (begin + n) * 0x9E3779B97F4A7C15 % 2**64
            known.append(id_hash in record.ids)
            record.ids.add(id_hash, second + n * step)
        return known

    return act


def replaced(entries: Sequence[Entry]) -> Verb:
    return lambda record: record.ids.replace(entries)


def united(entries: Sequence[Entry]) -> Verb:
    return lambda record: unite(record.ids, entries)


ENTRIES = st.lists(
    st.tuples(st.integers(0, 2**56 - 1), st.integers(0, 2**32 - 1)), max_size=200, unique_by=lambda entry: entry[0]
)
IDS: st.SearchStrategy[Act] = st.one_of(
    st.builds(
        remembers, st.integers(0, 400), st.integers(0, 300), st.floats(0.0, 2.0**32),
        st.sampled_from([0.0, 0.5, 60.0, 900.0, -5.0]),
    ),
    st.builds(replaced, ENTRIES),
    st.builds(united, ENTRIES),
    st.just(Forget),
)  # fmt: skip
ACTS = st.lists(st.tuples(st.sampled_from(USERS), VERBS | IDS), max_size=12)


@given(st.lists(st.tuples(ACTS, st.booleans(), st.sampled_from([0, 0, 200, 10**6])), max_size=6), st.randoms())
def test_whatever_users_do_core_and_twin_give_the_same(
    turns: list[tuple[list[tuple[str, Act]], bool, int]], draw: random.Random
) -> None:
    partition = Partition(draw=draw)
    for acts, commit, let_go in turns:
        partition.turn(acts, commit)
        if let_go:
            partition.table.let_go(let_go)
        else:
            partition.table.tidy()
    partition.end()


@pytest.mark.parametrize("seed", range(4))
def test_ids_of_weeks_are_remembered_as_the_twin_does(seed: int) -> None:
    """Users of a few to some hundred ids a turn, in turns from minutes to days apart, a third of which are dropped."""
    draw = random.Random(seed)
    partition, now, number = Partition(draw=draw), 1.7e9, 0
    for _ in range(60):
        acts: list[tuple[str, Act]] = []
        for user in draw.sample(USERS, draw.randint(1, 4)):
            count = draw.choice([1, 20, 64, 130, 700, 1_500])
            begin = max(0, number - draw.choice([0, 0, 30, 900]))  # some come again
            acts.append((user, remembers(begin, count, now, draw.choice([0.0, 1.0, -3.0, 900.0]))))
            number = begin + count
            if draw.random() < 0.1:
                acts.append((user, Forget))
                if draw.random() < 0.5:  # and comes back at once
                    acts.append((user, remembers(begin, draw.choice([3, 70, 1_500]), now, 900.0)))
        partition.turn(acts, draw.random() < 0.66)
        now += draw.choice([60.0, 3_600.0, 0.4 * DAY, 1.1 * DAY])
        partition.table.let_go(draw.choice([0, 0, 0, 0, 1, 20_000]))
    partition.end()


def filled(count: int, second: Callable[[int], float]) -> tuple[Partition, PlainRecord]:
    partition = Partition(16 * SMALL)
    plain = PlainRecord("emma")
    for n in range(count):
        plain.ids.add(n * 977, second(n))
    core = partition.table.turn()
    chunks = [plain.ids.unsaved.get(number) for number in plain.ids.numbers]
    core.admit("emma", plain.pack(), chunks)
    partition.store["emma"] = Stored(plain.pack(), {n: chunk for n, chunk in plain.ids.unsaved.items() if chunk})
    plain.ids.save()
    partition.users["emma"] = plain
    core.commit()
    return partition, plain


def test_a_user_has_no_more_than_sixty_five_thousand_ids_and_those_that_went_early_are_counted() -> None:
    partition, plain = filled(MOST_CHUNKS * CHUNK, lambda n: 1e9)
    assert len(plain.ids.numbers) == MOST_CHUNKS
    for commit in (False, True):
        partition.turn([("emma", remembers(1, 5 * CHUNK, 1e9, 0.0))], commit)
    assert len(partition.users["emma"].ids.numbers) == MOST_CHUNKS
    assert partition.users["emma"].ids.numbers.start > 0
    partition.turn([("emma", replaced([(5, 5)]))], commit=False)
    held = partition.table.held[0]
    partition.turn([("emma", replaced([(5, 5)]))], commit=True)
    assert held - partition.table.held[0] > MOST_CHUNKS * CHUNK_BYTES  # nothing is kept of what is forgotten
    partition.end()


def test_a_tail_becomes_small_again_when_its_records_are_old() -> None:
    partition, _ = filled(400 * CHUNK, lambda n: 1e9 + n)
    before = partition.table.held[0]
    for day in range(1, 4):
        partition.turn([("emma", remembers(10**6 * day, 2 * CHUNK, 1e9 + 3 * DAY * day, 0.0))], commit=True)
    assert len(partition.users["emma"].ids.numbers) == LAST_CHUNKS
    assert before - partition.table.held[0] > 300 * CHUNK_BYTES
    partition.end()


@pytest.mark.parametrize(("age", "stays"), [(DAY, True), (DAY + 1, False)])
def test_a_record_stays_as_long_as_its_youngest_id_is_no_older_than_a_day(age: int, stays: bool) -> None:
    partition, _ = filled(LAST_CHUNKS * CHUNK, lambda n: 1e9)
    partition.turn([("emma", remembers(5_000, CHUNK, 1e9 + age, 0.0))], commit=True)
    assert len(partition.users["emma"].ids.numbers) == LAST_CHUNKS + stays
    partition.end()


def test_a_record_that_moved_in_is_told_by_what_the_store_has_of_it() -> None:
    partition, plain = Partition(), PlainRecord("emma")
    for n in range(3 * CHUNK + 5):
        plain.ids.add(n, 1e9 + n)
    turn = partition.table.turn()
    chunks = [plain.ids.unsaved[number] for number in plain.ids.numbers]
    core = turn.admit("emma", plain.pack(), chunks, (NEVER, range(1)))
    assert core.ids.items() == plain.ids.items()
    settled = turn.settle(SPECS).users["emma"]
    assert settled.timed
    assert settled.ids == {1: chunks[1], 2: chunks[2]}
    turn.drop()
    turn = partition.table.turn()
    turn.admit("emma", plain.pack(), chunks, (5.0, range(3)))
    assert turn.settle(SPECS).users["emma"][1:] == ({}, False)
    turn.commit()
    with pytest.raises(ValueError, match="bytes"):
        partition.table.turn().admit("anna", plain.pack(), [bytes(465)] * 3)
    partition.table.close()


def test_all_that_is_over_goes_at_the_end_of_a_turn_and_other_cells_stay() -> None:
    specs = [TallySpec("view", "count", 10 + number) for number in range(40)]
    other, now = specs[7], 1.7e9

    def counts(record: Record) -> None:
        record.enter(now)
        for spec in (*SPECS, *specs):
            if spec != other:
                record.cells.add(spec, now, 300, now)
                record.cells.add(spec, now - 5.0, 1, now)
        record.cells.put_opaque(other.key, Opaque(1, b"what a term keeps" * 99, NEVER, 1.1))

    core, plain = CoreRecord("u"), PlainRecord("u")
    for seconds in (0.0, 20.0, 33.0, 1e8):
        for record in (core, plain):
            counts(record)
            record.enter(now + seconds)
            record.cells.trim((*SPECS, *specs), record.time)
        assert core.pack() == plain.pack()
        assert core.cells.opaque(other.key) == plain.cells.opaque(other.key) is not None
    assert len(plain.cells) == 1


def test_a_timer_is_known_without_a_copy() -> None:
    partition = Partition()

    def due_at(record: Record) -> None:
        record.due = 7.5

    partition.turn([("emma", due_at)], commit=True)
    turn = partition.table.turn()
    assert turn.due("emma") == 7.5
    assert turn.due("x") is None
    assert turn.get("emma") is None
    assert turn.find(["emma"]) == []
    core = turn.get("emma")
    assert isinstance(core, CoreRecord)
    core.settle(SPECS, ABSENCES)
    assert turn.settle(SPECS).users["emma"].timed
    turn.drop()
    partition.end()
