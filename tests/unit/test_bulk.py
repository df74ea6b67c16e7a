"""A load in bulk waits for RocksDB before it writes, and not for one that is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from state import bulk
from state.bulk import wait_for_room
from state.store import SharedMemory, Store
from tests.raw_batches import as_fetched


class Database:
    """Says one thing after the other: (memtables that wait, files that wait, errors)."""

    def __init__(self, *said: tuple[int, int, int]) -> None:
        self._said = list(said)
        self.looks = 0

    def property_int_value(self, name: str) -> int:
        memtables, _, errors = self._said[0]
        if name.endswith("background-errors"):
            self.looks += 1
            self._said[1:] and self._said.pop(0)
            return errors
        assert name == "rocksdb.num-immutable-mem-table"
        return memtables

    def property_value(self, name: str) -> str:
        assert name == "rocksdb.num-files-at-level0"
        return str(self._said[0][1])


@pytest.mark.parametrize(
    ("said", "looks"),
    [
        ([(0, 0, 0)], 0),
        ([(2, 35, 7)], 0),
        ([(3, 0, 0), (4, 0, 0), (2, 0, 0)], 2),
        ([(0, 36, 0), (0, 40, 0), (3, 35, 0), (2, 35, 0)], 3),
        ([(3, 0, 0), (3, 0, 1)], 2),
        ([(0, 50, 1)], 1),
    ],
)
def test_a_load_waits_while_memtables_or_files_wait_and_nothing_is_wrong(
    monkeypatch: pytest.MonkeyPatch, said: list[tuple[int, int, int]], looks: int
) -> None:
    monkeypatch.setattr(bulk, "_LOOK_SECONDS", 0.0)
    database = Database(*said)
    wait_for_room(database)
    assert database.looks == looks


def test_rocksdb_knows_what_is_asked_for_and_never_slows_down_whoever_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bulk, "_BUFFER_BYTES", 64 * 1024)
    monkeypatch.setattr(bulk, "_LOOK_SECONDS", 0.0005)
    store = Store(tmp_path / "0", SharedMemory(8))
    with store.bulk():
        for number in range(60):
            store.load(as_fetched({b"q%d-%d" % (number, at): bytes(1_000) for at in range(80)}), number + 1)
            assert store._db.property_int_value("rocksdb.is-write-stopped") == 0
            assert store._db.property_int_value("rocksdb.actual-delayed-write-rate") == 0
    assert store.count(b"q") == 60 * 80
    store.close()
