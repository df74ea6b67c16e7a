"""Users are written to the store behind their turns: whenever the worker is killed, and again while it restores, what
is published and kept is as if each turn had been written whole."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from state import layout
from state.store import Store
from state.tables import Arena, new_arena
from streams.kafka import changelog
from streams.kafka.changelog import RestoreStoppedError, restore
from streams.kafka.output import Output
from streams.kafka.transactions import Transactions
from streams.kafka.work import Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects
from tests.properties.test_refused_turns import SOON, USERS, Bench, steps
from tests.unsaved_store import Disk, UnsavedStore, use

LARGE = 1 << 26


@dataclasses.dataclass
class Logged:
    offset: int
    key: bytes
    value: bytes | None


class Through(Bench):
    """Memory is always tight."""

    def _opened(self) -> PartitionWriter:
        return self._on(UnsavedStore(self._path / "store", self._memory, Disk()), new_arena(1))

    def _on(self, store: Store, arena: Arena) -> PartitionWriter:
        writer = PartitionWriter(
            Settings(data_dir=self._path), lambda: self.definitions, SOON, self._memory, clock=lambda: self.now,
            arena=arena,
        )  # fmt: skip
        writer._transactions = cast(Transactions, self)
        writer._begin(store)
        return writer


class Killed(Through):
    """A partition's writer on a changelog in memory, killed at any moment."""

    def __init__(self, path: Path, trouble: random.Random, patch: pytest.MonkeyPatch) -> None:
        self.disk, self.log, self.chance = Disk(), list[Logged](), trouble
        self.behind = 0
        self._patch = patch
        patch.setattr(changelog, "ask_bounds", lambda *_: (0, self._offset))
        patch.setattr(changelog, "committed", self._read)
        super().__init__(path, None)

    def _opened(self) -> PartitionWriter:
        store = UnsavedStore(self._path / "store", self._memory, self.disk)
        for bulk in ("BULK_OFFSETS", "BULK_OFFSETS_EMPTY"):
            self._patch.setattr(changelog, bulk, self.chance.choice((1, 1 << 40)))
        # tombstones are never too old here
        restore({}, "changelog", 0, store, store.complete_at, lambda _count: None, lambda: False)
        return self._on(store, new_arena(self.chance.choice((1, LARGE, LARGE, LARGE))))

    def _read(
        self, _conf: object, _topic: str, _partition: int, start: int, end: int, stopping: object
    ) -> Iterator[tuple[list[Logged], int]]:
        left = [each for each in self.log if each.offset >= start]
        while left:
            if self.chance.random() < 0.1:
                raise RestoreStoppedError("killed")
            size = self.chance.choice((1, 5, 30, len(left)))
            part, left = left[:size], left[size:]
            yield part, left[0].offset if left else end

    def write(self, output: Output, effects: Effects, produced: Callable[[], None]) -> int:
        offset = super().write(output, effects, produced)
        begin = offset - effects.count - 1
        self.log += [Logged(begin + at, key, value) for at, (key, value) in enumerate(effects.puts.items())]
        if self.chance.random() < 0.05:  # compaction, of all but the newest; tombstones are kept for a day
            newest = {each.key: each.offset for each in self.log}
            keep = offset - self.chance.randrange(200)
            self.log = [each for each in self.log if each.offset > keep or newest[each.key] == each.offset]
        return offset

    def do(self, work: Work) -> None:
        for chance, happens in (
            (0.2, self._kill), (0.1, self._stop), (0.2, self._tidy), (0.1, self._purge), (0.1, self._go_on),
        ):  # fmt: skip
            if self.chance.random() < chance:
                happens()
                self._look()
        super().do(work)
        self._look()

    def _kill(self) -> None:
        while True:
            self.disk.crash(self.chance)
            try:
                self.writer = self._opened()
            except RestoreStoppedError:
                continue
            return

    def _stop(self) -> None:
        self.writer.close()
        end = self._offset
        told = self.disk.data[layout.OFFSET_KEY]
        assert (layout.decode_offset(told)[0], layout.newest_offset(told)) == (end, end)
        self.writer = self._opened()  # nothing is left to be read

    def _tidy(self) -> None:
        self.writer.tidy()

    def _purge(self) -> None:
        self.writer.behind.purge_timers(b"t", 1_000)

    def _go_on(self) -> None:
        self.writer.behind.go_on(self.writer.behind.commits, 1)

    def _look(self) -> None:
        """The changelog has it all, memory or store has it, and the store each timer."""
        latest = {each.key: each.value for each in self.log}
        self.behind += self.writer._table.dirty > 0
        for user in USERS:
            key = layout.user_key(user)
            value = self.writer._table.get(user) or self.disk.data.get(key)
            assert value == latest.get(key)
            if value is not None and layout.has_timer(value):
                assert layout.timer_key(layout.due_of(value), key[1:]) in self.disk.data
        newest = {key: value for key, value in latest.items() if value is not None and key[:1] not in (b"u", b"p")}
        assert newest.items() <= self.disk.data.items()


@pytest.mark.parametrize("seed", range(12))
def test_whoever_is_killed_goes_on_as_if_each_turn_had_been_written_whole(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch)
    monkeypatch.setattr("state.behind.ROUND_SECONDS", 50_000.0)  # of steps of seconds to days
    through, killed = Through(tmp_path / "a", None), Killed(tmp_path / "b", random.Random(seed), monkeypatch)
    for step in steps(random.Random(seed)):
        through.step(step)
        killed.step(step)
        assert sorted(killed.changes) == sorted(through.changes)
    assert killed.behind > 3
    assert killed.kept() == through.kept()
    through.writer.close()
    killed.writer.close()
