"""Arenas, and how turns end (``state.tables``): what each implementation must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from state.layout2 import CHUNK_BYTES
from state.tables import Arena, Table
from state.windows import NEVER
from tests.turns import LARGE, T0, commit, see, settle, stored, with_users


@pytest.mark.parametrize("ends", ["commit", "drop"])
def test_after_a_turn_all_of_it_is_over(users: Table, ends: str) -> None:
    area = users.begin()
    record = area.begin("emma", 1, 1)
    settle(area)
    getattr(area, ends)()
    verbs: tuple[Callable[[], Any], ...] = (
        lambda: record.count,
        lambda: setattr(record, "count", 1),
        lambda: record.enter(T0),
        lambda: record.version,
        lambda: area.find(["emma"]),
        lambda: area.get("emma"),
        lambda: area.begin("noah", 1, 1),
        lambda: area.admit("noah", *stored(3, "noah")),
        lambda: area.admit_whole({"noah": stored(3, "noah")[0]}),
        lambda: area.forget("emma", erased=True),
        lambda: area.due("emma"),
        area.users,
        lambda: "emma" in area,
        lambda: settle(area),
        area.commit,
    )
    for verb in verbs:
        with pytest.raises(RuntimeError, match="the turn is over"):
            verb()
    area.drop()
    area.drop()
    users.begin().drop()


def test_there_is_one_turn_at_a_time(users: Table) -> None:
    with_users(users, "emma")
    area = users.begin()
    with pytest.raises(RuntimeError, match="turn is under way"):
        users.begin()
    with pytest.raises(RuntimeError, match="turn is under way"):
        users.get("emma")
    users.tidy()
    area.drop()
    assert users.get("emma") is not None
    users.begin().drop()


def test_a_turn_is_settled_once_and_before_it_is_committed(users: Table) -> None:
    area = users.begin()
    area.begin("emma", 1, 1)
    with pytest.raises(RuntimeError, match="not settled"):
        area.commit()
    settle(area)
    with pytest.raises(RuntimeError, match="settled"):
        settle(area)
    area.commit()
    empty = users.begin()
    assert settle(empty) == ({}, set(), (NEVER, 0, 0))
    empty.commit()
    users.begin().commit()


def test_what_could_not_be_settled_is_not_committed(users: Table) -> None:
    with_users(users, "emma")
    before, area = users.get("emma"), users.begin()
    area.find(["emma"])
    emma = area.get("emma")
    assert emma is not None
    emma.count, emma.texts_taken = 5, 1  # of none that were put: nobody could read that again
    with pytest.raises(ValueError, match="texts_taken"):
        settle(area)
    with pytest.raises(RuntimeError, match="not settled"):
        area.commit()
    area.drop()
    assert users.get("emma") == before


def test_who_comes_after_the_turn_was_settled_is_not_committed(users: Table) -> None:
    area = users.begin()
    area.begin("emma", 1, 1)
    settle(area)
    area.begin("noah", 1, 2)
    with pytest.raises(RuntimeError, match="not settled"):
        area.commit()
    area.drop()
    assert users.users == 0


def test_when_a_partition_closes_all_goes(make: Callable[[int], Arena]) -> None:
    arena = make(LARGE)
    users, others = arena.table(), arena.table()
    with_users(users, "emma", "noah")
    with_users(others, "emma")
    area = users.begin()
    area.find(["emma"])
    record = area.get("emma")
    users.clear()
    assert (users.users, users.bytes_held, users.get("emma")) == (0, 0, None)
    with pytest.raises(RuntimeError, match="the turn is over"):
        area.users()
    with pytest.raises(RuntimeError, match="the turn is over"):
        record.count  # type: ignore[union-attr]  # noqa: B018
    area.drop()
    assert others.get("emma") is not None
    assert 0 < others.bytes_held <= arena.bytes_held
    with_users(users, "emma")
    assert users.users == 1


def test_tables_share_the_bound_and_let_the_excess_go(make: Callable[[int], Arena]) -> None:
    bound = 4 << 20
    arena = make(bound)
    tables = [arena.table() for _ in range(3)]
    names = [f"user {number}" for number in range(5_000)]
    for start in range(0, len(names), 500):
        for users in tables:
            area = users.begin()
            for name in names[start : start + 500]:
                area.begin(name, 1, 1).aliases = [name * 40]
            commit(area)
            for each in tables:  # as the worker does each second
                each.tidy()
    for _ in range(4):
        for users in tables:
            users.tidy()
    assert bound // 2 < arena.bytes_held <= bound * 33 // 32
    assert sum(users.bytes_held for users in tables) == arena.bytes_held
    for users in tables:
        assert 0 < users.users < len(names)
        area = users.begin()
        missing = set(area.find(names))
        assert len(names) - len(missing) == len(area.users())
        for name in set(names) - missing:
            record = area.get(name)
            assert record is not None
            assert record.aliases[0] == name * 40
        area.drop()


def test_ids_beyond_the_block_count_in_what_is_held(make: Callable[[int], Arena]) -> None:
    arena = make(LARGE)
    users = arena.table()
    area = users.begin()
    see(area.begin("emma", 1, 1), 64 * 400)
    commit(area)
    assert arena.bytes_held >= 400 * CHUNK_BYTES
    assert users.bytes_held == arena.bytes_held
    area = users.begin()
    area.forget("emma", erased=True)
    commit(area)
    assert arena.bytes_held < 400 * CHUNK_BYTES


def test_one_arenas_bytes_are_all_that_its_tables_hold(make: Callable[[int], Arena]) -> None:
    arena = make(LARGE)
    first, second = arena.table(), arena.table()
    with_users(first, *(f"a{number}" for number in range(500)))
    with_users(second, *(f"a{number}" for number in range(100)))
    assert arena.bytes_held == first.bytes_held + second.bytes_held
    first.clear()
    assert arena.bytes_held == second.bytes_held
