"""The look through all users for states that have expired."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from state import layout
from state.store import SharedMemory, Store
from state.windows import NEVER
from streams.kafka import background
from streams.kafka.background import Background
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from tests.records import block_of
from tests.small_partition import PLACE, T0, SmallPartition

DAY = 86_400.0
T = TypeVar("T")


class Users:
    """A writer's look at 1,200 users, every tenth of whom is over."""

    definitions_changed = False

    def __init__(self, ttl: float) -> None:
        self.place = replace(PLACE, wall_clock=True, anonymous_ttl=ttl)
        self.meta = layout.Meta()
        self.users = [f"u{number:04}" for number in range(1_200)]
        self.looks = 0

    def idle_users(self, after: str, most: int) -> tuple[list[str], str]:
        self.looks += 1
        some = [user for user in self.users if user > after][:most]
        return [user for user in some if user.endswith("0")], some[-1] if some else ""


def looked(users: Users, hours: float) -> list[str]:
    """Who is found so long after the first look is due."""

    async def read(look: Callable[[PartitionWriter], T]) -> T:
        return look(cast(PartitionWriter, users))

    async def look() -> list[str]:
        here = Background(cast(PartitionWriter, users), read)
        inner: Any = here
        inner._guards_at = NEVER
        now = inner._idle_at + background.IDLE_INTERVAL + hours * 3_600.0
        return [user for _ in range(20) for user in (await here.next(now, idle=True)).idle]

    return asyncio.run(look())


def test_all_users_are_looked_at_once_in_an_interval_and_none_where_nothing_expires() -> None:
    users = Users(90 * DAY)
    assert looked(users, 0.1) == [user for user in users.users if user.endswith("0")]
    assert users.looks == 4  # three pieces, and the end
    assert looked(Users(90 * DAY), -0.1) == []
    assert looked(Users(NEVER), 100.0) == []


def test_a_writer_finds_them_without_a_write(tmp_path: Path) -> None:
    memory = SharedMemory(8)
    store = Store(tmp_path / "0", memory)
    for number in range(20):
        block = block_of(time=T0 if number % 10 == 0 else T0 + 99 * DAY)
        store.write([(layout.user_key(f"u{number:02}"), block)], number + 1)
    definitions = SmallPartition("").definitions
    place = replace(PLACE, anonymous_ttl=90 * DAY)
    writer = PartitionWriter(Settings(data_dir=tmp_path), lambda: definitions, place, memory)
    writer._begin(store)
    writer.meta.watermark = T0 + 100 * DAY
    assert writer.idle_users("", 15) == (["u00", "u10"], "u14")
    assert writer.idle_users("u14", 15) == ([], "u19")
    assert writer.idle_users("u19", 15) == ([], "")
    writer.meta.watermark = T0 + 89 * DAY
    assert writer.idle_users("", 15) == ([], "u14")
    store.close()
