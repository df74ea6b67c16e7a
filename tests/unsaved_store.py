"""A store whose RocksDB is a dictionary that remembers all batches: a crash takes it back to after any of them, as
RocksDB without a log may be, whatever the moment."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state.store import SharedMemory, Store

Data = dict[bytes, bytes]


class Batch:
    """What ``rocksdict.WriteBatch`` does."""

    def __init__(self, raw_mode: bool) -> None:
        assert raw_mode
        self.done: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.done.append((key, value))

    def delete(self, key: bytes) -> None:
        self.done.append((key, None))

    __setitem__, __delitem__ = put, delete


class Disk:
    """What there is of ``rocksdict.Rdict``."""

    def __init__(self) -> None:
        self.data: Data = {}
        self._states: list[Data] = [{}]
        self.fails = False

    def crash(self, chance: random.Random) -> None:
        """All but the first so many batches is lost: mostly the last few, or all."""
        back = chance.choice((0, 1, 2, 3, 5, 8, chance.randrange(200)))
        self._states = self._states[: max(1, len(self._states) - back)]
        self.data = dict(self._states[-1])

    def write(self, batch: Batch) -> None:
        if self.fails:
            raise OSError("IO error: no space left on device")
        for key, value in batch.done:
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value
        self._states.append(dict(self.data))

    def get(self, key: bytes | list[bytes]) -> Any:
        return [self.data.get(each) for each in key] if isinstance(key, list) else self.data.get(key)

    def keys(self, from_key: bytes) -> Iterator[bytes]:
        return iter(sorted(key for key in self.data if key >= from_key))

    def items(self, from_key: bytes) -> Iterator[tuple[bytes, bytes]]:
        return ((key, self.data[key]) for key in self.keys(from_key))

    def iter(self) -> Disk:
        return self

    def set_options(self, options: dict[str, str]) -> None: ...
    def property_int_value(self, name: str) -> int:
        return 0

    def property_value(self, name: str) -> str:
        return "0"

    def seek(self, key: bytes) -> None: ...
    def status(self) -> None: ...
    def flush(self, wait: bool = True) -> None: ...
    def close(self) -> None: ...


class UnsavedStore(Store):
    def __init__(self, path: Path, memory: SharedMemory, disk: Disk) -> None:
        self._disk = disk
        super().__init__(path, memory)

    def _open(self) -> None:
        self._db = self._disk


def use(patch: pytest.MonkeyPatch) -> None:
    """Stores make batches that a ``Disk`` understands."""
    patch.setattr("state.store.WriteBatch", Batch)
