"""Compiled turns beside each other on two threads, and ten thousand of them one after the other."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any, Final

import msgspec
import pytest

from state.compiled import COMPILED
from state.layout import FormatError
from state.plain.record import PlainRecord
from state.tables import Area, Arena, Table
from state.windows import NEVER
from streams.steps.segments import parse_plan
from streams.wire.decode import Limits, decode_unchecked
from tests.core import SANITIZED
from tests.small_partition import T0, Sent

pytestmark = pytest.mark.compiled
#: so many records that they are folded without the interpreter's lock
MANY: Final = 3_000
USERS: Final = 700
PLAN: Final = parse_plan("""
[[segment]]
id = "far"
rule = 'count("view", within="1h") >= 1000000 or count("view", category="c7", within="7d") > 100000'
""")
Puts = dict[bytes, bytes | None]


def new_arena(most_bytes: int = 1 << 27) -> Arena:
    assert COMPILED is not None
    arena: Arena = COMPILED.Arena(most_bytes)
    return arena


def read(batch: int, count: int, users: int = USERS) -> Mapping[str, Any]:
    assert PLAN.quiet is not None
    events = (
        {
            "user": f"u{number * 11 % users}", "kind": "view", "time": T0 + batch + number / count,
            "id": f"{batch} {number}", "category": f"c{number % 40}",
        }
        for number in range(count)
    )  # fmt: skip
    records = [Sent(number, msgspec.json.encode(event)) for number, event in enumerate(events)]
    found: Mapping[str, Any]
    found, _ = PLAN.quiet.read(records, decode_unchecked, lambda _: None, Limits().usual)
    return found


def folded(area: Area, batch: Mapping[str, Any]) -> int:
    """How many events of the batch were folded; whoever is missing begins."""
    assert PLAN.quiet is not None
    for user in area.find(batch):
        area.begin(user, 1, 1)
    counted, _, left = PLAN.quiet.fold(area, batch, (), 1, 0, False, None)
    assert left == {}
    return counted


def turn(users: Table, batch: Mapping[str, Any]) -> Puts:
    area, puts = users.begin(), Puts()
    folded(area, batch)
    area.settle(PLAN.specs, puts, set())
    area.commit()
    return puts


def in_threads(*works: Callable[[], object]) -> None:
    """All at the same time; raises what one of them raised."""
    barrier, errors = Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_two_partitions_fold_beside_each_other_and_come_to_the_same_as_alone() -> None:
    batches = [read(number, MANY) for number in range(4)]
    alone = new_arena().table()
    wanted = [turn(alone, batch) for batch in batches]
    arena = new_arena()
    tables = [arena.table(), arena.table()]
    found: list[list[Puts]] = [[], []]
    # a batch is of one partition's turn, so each reads its own
    reads = [[read(number, MANY) for number in range(4)] for _ in tables]

    def work(which: int) -> None:
        for batch in reads[which]:
            found[which].append(turn(tables[which], batch))
            tables[which].tidy()

    in_threads(lambda: work(0), lambda: work(1))
    assert found == [wanted, wanted]
    assert [users.users for users in tables] == [USERS, USERS]


def test_two_partitions_above_the_bound_let_only_their_own_go() -> None:
    arena = new_arena(1 << 20)
    tables = [arena.table(), arena.table()]
    reads = [[read(number, MANY, 2_900) for number in range(6)] for _ in tables]

    def work(which: int) -> None:
        for batch in reads[which]:
            puts = turn(tables[which], batch)
            assert len(puts) == len(batch)
            tables[which].tidy()

    in_threads(lambda: work(0), lambda: work(1))
    for users in tables:
        users.clear()
    assert arena.bytes_held == 0


@contextmanager
def only_who_gives_the_lock_away_loses_it() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1_000.0)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_while_a_batch_is_folded_others_run_and_are_told_to_keep_off() -> None:
    batch, few = read(0, 40_000), read(1, 10)
    users = new_arena().table()
    area, other = users.begin(), new_arena().table().begin()
    record = area.begin("noah", 1, 1)
    told: list[RuntimeError] = []
    assert PLAN.quiet is not None
    quiet = PLAN.quiet
    verbs: Sequence[Callable[[], object]] = (
        area.users, area.drop, area.commit, users.clear, users.begin, lambda: area.get("noah"), lambda: record.count,
        lambda: area.find(few), lambda: quiet.fold(area, few, (), 1, 0, False, None),
        lambda: area.settle((), {}, set()), lambda: other.find(batch),
    )  # fmt: skip
    for _ in range(100):  # until the other thread came to run in the middle of it
        started = Event()

        def work(area: Area = area, started: Event = started) -> None:
            started.set()
            folded(area, batch)

        with only_who_gives_the_lock_away_loses_it():
            thread = Thread(target=work)
            thread.start()
            started.wait()
            while thread.is_alive() and not told:
                try:
                    area.due("noah")
                except RuntimeError as error:
                    told.append(error)
                    for verb in verbs:
                        with pytest.raises(RuntimeError):
                            verb()
                else:
                    thread.join(0.001)
        thread.join()
        area.drop()
        if told:
            break
        users.clear()
        area = users.begin()
        record = area.begin("noah", 1, 1)
    assert "another thread" in str(told[0])
    users.begin().drop()


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def any_turn(users: Table, number: int, batch: Mapping[str, Any], block: bytes, chunks: list[bytes | None]) -> None:
    """One of each verb, those that fail included."""
    assert PLAN.quiet is not None
    area, puts, timed = users.begin(), Puts(), set[bytes]()
    area.find([f"u{number % 90}", "nobody", "nobody"])
    folded(area, batch)
    name = f"from the store {number % 50}"
    area.find([name])
    if name not in area:
        record = area.admit(name, block, chunks)
        record.ids.add(number * 0x9E37_79B9_7F4A_7C15, T0)
        for damaged in (block[:-1], b""):
            with pytest.raises(FormatError):
                area.admit(f"{name}!", damaged, chunks)
        with pytest.raises(RuntimeError):
            area.begin(name, 1, 1)
    for user, items in batch.items():
        found = area.get(user)
        assert found is not None
        PLAN.quiet.fold_on(found, items, 0, NEVER, 0.0)
        PLAN.quiet.next_due(found)
        assert found.members.items() == []
        break
    moved = PlainRecord(f"moved {number % 3}", 1, 1)
    area.forget(moved.user, erased=False)
    area.take(moved, NEVER)
    area.forget(f"u{number % 90}", number % 2 == 0)
    with pytest.raises(TypeError):
        area.settle(None, puts, timed)  # type: ignore[arg-type]
    area.settle(PLAN.specs, puts, timed)
    if number % 3 == 0:
        area.drop()
    else:
        area.commit()
    with pytest.raises(RuntimeError):
        area.users()
    users.get("u1")
    if number % 100 == 0:
        users.tidy()
    if number % 1_000 == 0:
        users.clear()


def test_ten_thousand_turns_leave_nothing_behind() -> None:
    stored = PlainRecord("x", 1, 1)
    for number in range(300):
        stored.ids.add(number * 0x9E37_79B9_7F4A_7C15, T0)
    block, chunks = stored.pack(), [stored.ids.unsaved[number] for number in stored.ids.numbers]
    arena = new_arena(1 << 22)
    users = arena.table()

    def turns(first: int, count: int) -> tuple[int, int]:
        """Objects of Python's and bytes of the process that there are afterwards."""
        for number in range(first, first + count):
            any_turn(users, number, read(number, 5, 90), block, chunks)
        users.clear()
        assert arena.bytes_held == 0
        gc.collect()
        return sys.getallocatedblocks(), resident()

    turns(0, 1_000)
    blocks, memory = turns(1_000, 1_000)
    after, then = turns(2_000, 1_000 if SANITIZED else 10_000)
    assert after - blocks < 1_000  # what is kept once for each turn is ten times that
    if not SANITIZED:
        assert then - memory < 1 << 20
