"""What a store says while users are written to it behind their turns: up to where it has all, and who is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from state import behind, layout
from state.behind import ROUND_SECONDS, Behind
from state.store import FLUSH_SECONDS, SharedMemory
from state.store_errors import StoreError
from state.tables import Arena
from state.windows import NEVER
from tests.turns import LARGE, MAKERS, settle
from tests.unsaved_store import Disk, UnsavedStore, use

NOW = 1_700_000_000.0


@dataclass
class Partition:
    """A table on a store in memory, and a clock."""

    path: Path
    arena: Arena
    disk: Disk = field(default_factory=Disk)
    now: float = NOW
    offset: int = 0
    flushes: list[float] = field(default_factory=list)
    """What the files say: when that was the changelog's end."""

    def __post_init__(self) -> None:
        self.table = self.arena.table()
        self.store = UnsavedStore(self.path / "store", SharedMemory(8), self.disk)
        self.disk.flush = lambda wait=True: self.flushes.append(self.store.complete_at)  # type: ignore[method-assign]
        self.behind = Behind(self.store, self.table, lambda: self.now)

    def turn(self, *users: str, due: float = NEVER, through: bool = False, forgotten: str = "") -> None:
        area = self.table.begin()
        for user in area.find(users):
            area.begin(user, 1, 1)
        for user in users:
            record = area.get(user)
            assert record is not None
            record.due = due
            record.count += 1
        puts, timed, _ = settle(area)
        if forgotten:
            area.forget(forgotten, erased=False)
            puts[layout.user_key(forgotten)] = None
        self.offset += 10
        self.behind.write(area, {**puts, b"qx": b""}, self.offset, [], timed, through)

    @property
    def told(self) -> tuple[int, int]:
        """(the offset to continue from, that of the newest record)."""
        told = self.disk.data[layout.OFFSET_KEY]
        return layout.decode_offset(told)[0], layout.newest_offset(told)

    @property
    def stored(self) -> dict[str, int]:
        """Who is in the store, at which version."""
        return {
            key[1:].decode(): int.from_bytes(value[12:16], "little")
            for key, value in self.disk.data.items()
            if key[:1] == b"u"
        }


@pytest.fixture(params=["plain", pytest.param("compiled", marks=pytest.mark.compiled)])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Partition]:
    use(monkeypatch)
    return lambda most_bytes: Partition(tmp_path, MAKERS[request.param](most_bytes))


@pytest.fixture
def partition(make: Callable[[int], Partition]) -> Partition:
    return make(LARGE)


def test_a_turn_writes_all_but_users_and_the_offset_stays(partition: Partition) -> None:
    partition.turn("emma", "noah", due=NOW + 5)
    assert partition.stored == {}
    assert partition.disk.data.keys() == {b"qx", layout.OFFSET_KEY} | {
        layout.timer_key(NOW + 5, user) for user in (b"emma", b"noah")
    }
    assert partition.told == (0, 10)
    partition.turn("emma", forgotten="noah")
    assert partition.told == (0, 20)
    assert partition.table.dirty == 1


def test_a_round_writes_each_user_once_and_then_its_beginning_is_where_to_continue(partition: Partition) -> None:
    users = [f"u{number}" for number in range(50)]
    for _ in range(5):
        partition.turn(*users)
    assert partition.told == (0, 50)
    seen: set[int] = set()
    while partition.told[0] == 0:
        partition.now += ROUND_SECONDS / 10
        partition.turn(*(f"late{number}" for number in range(30)))
        seen.add(len(partition.stored))
    assert len(seen) > 5  # by and by
    assert {user: partition.stored[user] for user in users} == dict.fromkeys(users, 5)
    # nobody was dirty before the first turn, so the round began with it
    assert partition.told == (10, partition.offset)
    assert partition.now - NOW == pytest.approx(ROUND_SECONDS, abs=1.1)
    partition.now += ROUND_SECONDS
    partition.behind.tidy()
    assert partition.told == (partition.offset, partition.offset)


def test_where_nobody_comes_the_round_goes_on_and_ends_for_good(partition: Partition) -> None:
    partition.turn("emma")
    for _ in range(30):
        partition.now += 1.0
        partition.behind.tidy()
    assert partition.told == (10, 10)
    assert partition.stored == {"emma": 1}
    before = dict(partition.disk.data)
    partition.now += 1.0
    partition.behind.tidy()
    assert partition.disk.data == before


def test_no_turn_writes_many_more_users_than_it_has(partition: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "MOST", 20)
    partition.turn(*(f"u{number}" for number in range(2_000)))
    before = 0
    for _ in range(20):
        partition.now += 1e6  # the worker stood still
        partition.turn("late")
        assert 0 < len(partition.stored) - before < 60
        before = len(partition.stored)


def test_a_stop_writes_all_and_the_next_owner_reads_nothing(partition: Partition) -> None:
    users = [f"u{number}" for number in range(500)]
    partition.turn(*users)
    partition.turn(*users[:100])
    partition.behind.end()
    assert partition.told == (20, 20)
    assert partition.stored == {user: 2 if number < 100 else 1 for number, user in enumerate(users)}
    assert partition.table.dirty == 0


def test_where_memory_is_tight_users_are_written_with_their_turn(make: Callable[[int], Partition]) -> None:
    partition = make(1)
    for _ in range(10):
        partition.turn("noah")
    assert partition.stored == {"noah": 10}
    assert partition.told == (partition.offset, partition.offset)


def test_who_is_forgotten_goes_from_the_store_with_the_turn_and_who_begins_again_is_written(
    partition: Partition,
) -> None:
    partition.turn("emma", "noah")
    partition.behind.end()
    area = partition.table.begin()
    area.forget("emma", erased=True)
    area.begin("emma", 1, 2).count = 7
    puts, timed, _ = settle(area)
    partition.behind.write(area, puts, 50, [], timed, through=True)
    assert partition.disk.data[b"uemma"] == puts[b"uemma"] == partition.table.get("emma")


def test_a_sweep_finds_who_is_in_memory_alone(partition: Partition) -> None:
    partition.turn("emma")
    partition.behind.put_new()
    assert partition.stored == {"emma": 1}
    assert partition.told == (0, 10)
    partition.turn("emma", "noah")
    partition.behind.put_new()
    assert partition.stored == {"emma": 1, "noah": 1}


def test_a_timer_of_a_record_in_memory_is_not_purged(partition: Partition) -> None:
    partition.turn("emma", "gone", due=NOW + 5)
    partition.behind.end()
    partition.turn("emma", due=NOW + 9)
    partition.turn(forgotten="gone")
    assert partition.behind.purge_timers(b"t", 100) is None
    assert list(partition.store.keys(b"t")) == [layout.timer_key(NOW + 9, b"emma")]


def test_what_waits_for_the_store_gets_all_up_to_then_in_pieces(partition: Partition) -> None:
    users = [f"u{number}" for number in range(300)]
    partition.turn(*users)
    commits, pieces = partition.behind.commits, 1
    while not partition.behind.go_on(commits, 30):
        pieces += 1
        partition.turn("late")
    assert 5 < pieces < 40
    assert partition.stored.keys() >= set(users)
    assert partition.behind.go_on(commits, 1)  # and that is so


def test_when_a_write_failed_the_offset_stays_however_it_is_closed(partition: Partition) -> None:
    partition.turn("emma", "mia")
    partition.disk.fails = True
    with pytest.raises(StoreError):
        partition.turn("emma", "noah", through=True)  # then mia alone is dirty
    partition.disk.fails = False
    partition.behind.end()
    assert partition.told == (0, 10)


@pytest.mark.parametrize("users", [1, 50])
def test_files_are_written_when_a_round_has_ended_so_that_a_crash_goes_back_by_half_a_minute(
    partition: Partition, users: int
) -> None:
    back = []
    while partition.now < NOW + 300.0:
        partition.turn(*(f"u{number}" for number in range(users)))
        partition.now += 0.5
        if partition.now > NOW + 60.0:
            back.append(partition.now - partition.flushes[-1])
    assert len(partition.flushes) > 8  # but no more than are of use
    assert len(partition.flushes) <= 300.0 / FLUSH_SECONDS + 2
    assert max(back) <= FLUSH_SECONDS + ROUND_SECONDS + 2.0
