"""What tests of the local store share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from state.store import SharedMemory, Store


@pytest.fixture(scope="module")
def memory() -> SharedMemory:
    return SharedMemory(16)


@pytest.fixture
def store(tmp_path: Path, memory: SharedMemory) -> Iterator[Store]:
    opened = Store(tmp_path / "store", memory)
    yield opened
    opened.close()
