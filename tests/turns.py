"""Turns of a table (``state.tables``) in tests: who implements it, and what is done over and over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from state.compiled import COMPILED
from state.plain import table
from state.plain.record import PlainRecord
from state.record import Record
from state.tables import Area, Arena, Table
from state.windows import TallySpec

LARGE: Final = 64 << 20
T0: Final = 1_700_000_000.0
SPEC: Final = TallySpec("view", "count", 3_600)
OLDER: Final = TallySpec("view", "count", 60)
MAKERS: Final[dict[str, Callable[[int], Arena]]] = {"plain": table.PlainArena}
if COMPILED is not None:
    MAKERS["compiled"] = COMPILED.Arena
Puts = dict[bytes, bytes | None]


def settle(area: Area) -> tuple[Puts, set[bytes], tuple[float, int, int]]:
    puts: Puts = {}
    timed: set[bytes] = set()
    return puts, timed, area.settle((SPEC, OLDER), puts, timed)


def commit(area: Area) -> Puts:
    puts, _, _ = settle(area)
    area.commit()
    return puts


def with_users(users: Table, *names: str) -> Table:
    area = users.begin()
    for life, name in enumerate(names):
        area.begin(name, 1, life).count = 1
    commit(area)
    return users


def hash_of(number: int) -> int:
    return number * 0x9E37_79B9_7F4A_7C15 % 2**56


def see(record: Record, count: int, begin: int = 0) -> None:
    for number in range(begin, begin + count):
        record.ids.add(hash_of(number), T0 + number)


def stored(count: int, user: str = "emma") -> tuple[bytes, list[bytes | None]]:
    """A block and its chunks, as the store has them."""
    record = PlainRecord(user, 1, 1)
    record.due = T0 + 5
    see(record, count)
    return record.pack(), [record.ids.unsaved[number] for number in record.ids.numbers]
