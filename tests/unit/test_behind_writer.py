"""A partition's writer whose users are written to the store behind their turns: what it sees of them, and that the
store keeps nothing of the erased for that."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from state import layout
from state.tables import new_arena
from streams.kafka.scrub import Scrubber
from streams.kafka.work import Work
from tests.properties.test_behind import LARGE, Killed
from tests.properties.test_refused_turns import DAY, SOON
from tests.small_partition import T0, Sent
from tests.unsaved_store import use


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Killed:
    """Nobody is: there is nothing but what a test does."""
    use(monkeypatch)
    partition = Killed(tmp_path, random.Random(0), monkeypatch)
    monkeypatch.setattr(partition.chance, "random", lambda: 1.0)
    partition.now = T0 + 10.0
    partition.writer = partition._on(partition.writer.store, new_arena(LARGE))
    return partition


def events(*sent: tuple[int, str, str]) -> Work:
    """By offset, user and kind."""
    made = [
        Sent(
            offset, msgspec.json.encode({"user": user, "kind": kind, "time": T0 + offset, "id": f"e{offset}"}),
            timestamp=int((T0 + offset) * 1_000),
        )
        for offset, user, kind in sent
    ]  # fmt: skip
    return Work(sources=[(SOON.topics.events, made)])


def test_a_look_at_users_sees_who_is_newer_in_memory(killed: Killed) -> None:
    killed.do(events((0, "emma", "view"), (1, "noah", "view")))
    killed.writer.behind.end()
    killed.now += 7 * DAY
    day = int(7 * DAY)
    killed.do(events((day, "emma", "view"), (day + 1, "mia", "view")))
    state = killed.writer.state_of("emma")
    assert state is not None
    assert (state.count, state.time) == (2, T0 + day)
    assert killed.writer.some_users("", 10) == ["emma", "mia", "noah"]
    assert killed.writer.idle_users("", 10) == (["noah"], "noah")


def test_who_is_erased_and_begins_again_in_one_turn_leaves_nothing_of_before_in_the_store(killed: Killed) -> None:
    killed.do(events((0, "emma", "view")))
    killed.writer.behind.end()
    before = killed.disk.data[b"uemma"]
    killed.do(events((1, "emma", "delete"), (2, "emma", "view")))
    block = killed.writer._table.get("emma")
    assert block is not None
    assert block != before
    assert killed.disk.data[b"uemma"] == block


def test_files_are_rewritten_once_the_store_has_all_that_was_committed_by_then(
    killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed.do(events(*((at, f"u{at}", "view") for at in range(50)), (50, "emma", "delete")))
    killed.do(events(*((51 + at, f"u{at}", "view") for at in range(50))))
    table, found = killed.writer._table, list[bool]()
    assert table.dirty == 50

    def compact(*_of: object) -> None:
        users = [f"u{at}" for at in range(50)]
        found[:] = [killed.disk.data.get(layout.user_key(user)) == table.get(user) for user in users]

    monkeypatch.setattr(killed.disk, "compact_range", compact, raising=False)

    async def run() -> None:
        with ThreadPoolExecutor(1) as threads:
            scrubber = Scrubber(killed.writer, threads, threads, asyncio.Lock())
            scrubber.poll()
            assert scrubber._task is not None
            await scrubber._task

    asyncio.run(run())
    assert found == [True] * 50
    assert killed.writer.store.erasures == 0
