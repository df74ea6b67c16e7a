"""A follower that goes on reading has missed nothing, however long it goes and whatever it is behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from state import layout
from state.store import SharedMemory, Store
from streams.kafka.changelog import StaleStoreError, check_offset
from streams.kafka.complete import Complete
from streams.kafka.standby import Standby
from streams.ops.metrics import Metrics
from tests.records import block_of

HOUR = 3_600.0
T0 = 1_700_000_000.0


class Message:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def error(self) -> None: ...

    def key(self) -> bytes:
        return layout.user_key(f"u{self._offset % 7}")

    def value(self) -> bytes:
        return block_of()

    def offset(self) -> int:
        return self._offset


class Consumer:
    """Of a changelog that always has a commit marker more than what was read."""

    end = 0

    def get_watermark_offsets(self, _place: Any, timeout: float = 0.0, cached: bool = False) -> tuple[int, int]:
        del timeout, cached
        return 0, self.end


class Following:
    """A standby without its thread, on a real store, with a clock that is set by hand."""

    def __init__(self, directory: Path) -> None:
        self.now = T0
        memory = SharedMemory(8)
        self.standby = Standby({}, "changelog", directory, memory, Metrics(), 0.0, lambda: self.now)
        self.consumer = Consumer()
        self.store = Store(directory / "0", memory)
        self.store.write((), 1, complete_at=T0)
        self.standby.follow({0})
        inner: Any = self.standby
        inner._stores[0] = self.store
        inner._assigned, inner._consumer = {0}, self.consumer
        self.inner = inner

    def read(self, offset: int) -> None:
        """A transaction is read, whose marker is not."""
        self.consumer.end = offset + 2
        self.inner._with_store(0, lambda store: self.inner._apply(0, [Message(offset)], store))

    def ask(self) -> None:
        self.inner._ask_end()

    def age(self) -> float:
        return self.now - self.store.complete_at


def test_a_standby_under_steady_load_is_kept_after_thirteen_hours(tmp_path: Path) -> None:
    following = Following(tmp_path)
    offset = 1
    for _ in range(13 * 60 * 2):
        following.now += 30.0
        following.read(offset)
        following.ask()
        offset += 2
    assert following.age() <= 2 * 60.0
    check_offset(following.store, "changelog-0", 0, offset + 100, following.age())
    following.inner._close(0)


def test_a_standby_of_a_partition_where_nothing_is_written_is_kept_as_well(tmp_path: Path) -> None:
    following = Following(tmp_path)
    following.consumer.end = 1
    for _ in range(13 * 60):
        following.now += 60.0
        following.ask()
    assert following.age() <= 60.0
    following.inner._close(0)


def test_a_standby_that_hears_nothing_for_thirteen_hours_does_not_claim_to_be_complete(tmp_path: Path) -> None:
    following = Following(tmp_path)
    following.consumer.end = 1
    following.ask()
    following.now += 13 * HOUR  # the broker is away, and another owner writes
    stores = following.inner._stores
    taken = following.standby.take(0)
    assert taken is following.store
    assert not stores
    with pytest.raises(StaleStoreError, match="13 h ago"):
        check_offset(taken, "changelog-0", 0, 500, following.age())
    taken.close()


def test_an_owner_that_was_idle_for_a_weekend_goes_on_from_its_own_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "0", SharedMemory(8))
    store.write((), 10, complete_at=T0)
    assert check_offset(store, "changelog-0", 0, 11, 60 * HOUR) == 10  # only the marker of its last transaction
    with pytest.raises(StaleStoreError, match="60 h ago"):
        check_offset(store, "changelog-0", 0, 12, 60 * HOUR)
    store.close()


def test_an_end_that_is_never_reached_proves_nothing() -> None:
    complete = Complete(T0)
    assert not complete.due(T0 + 59.0, 60.0)
    assert complete.due(T0 + 60.0, 60.0)
    complete.asked(100, T0 + 60.0)
    assert not complete.due(T0 + 1e6, 60.0)
    assert not complete.reached(99)
    assert complete.at == T0
    assert complete.reached(100)
    assert complete.at == T0 + 60.0
    assert not complete.reached(200)
