"""Users who are newer in memory than in the store (``state.tables``): what each implementation must do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from state.plain.record import PlainRecord
from state.tables import Arena, Table
from state.windows import NEVER
from tests.turns import LARGE, settle, stored

NAMES = [f"u{number}" for number in range(300)]
Store = dict[bytes, bytes]


def visit(users: Table, names: Iterable[str], behind: bool = True) -> Store:
    """A turn in which these begin, or have one event more; what it would put of them."""
    area = users.begin()
    missing = area.find(names := list(names))
    for name in missing:
        area.begin(name, 1, 1)
    for name in names:
        record = area.get(name)
        assert record is not None
        record.count += 1
    puts, _, _ = settle(area)
    area.commit(behind)
    return {key: value for key, value in puts.items() if value is not None}


def test_who_was_written_with_the_turn_is_not_dirty(users: Table) -> None:
    assert users.dirty == 0
    visit(users, NAMES, behind=False)
    assert users.dirty == 0
    store: Store = {}
    assert (users.put_dirty(store, 0.0, 1.0), users.put_new(store), store) == (0, 0, {})
    visit(users, NAMES[:5])
    assert users.dirty == 5
    visit(users, NAMES[:2], behind=False)
    assert users.dirty == 3
    assert users.put_dirty(store, 0.0, 1.0) == 3
    assert store.keys() == {b"u" + name.encode() for name in NAMES[2:5]}


def test_the_dirty_are_put_once_as_they_are_now(users: Table) -> None:
    visit(users, NAMES)
    newest = visit(users, NAMES[:200])
    newest = {**visit(users, NAMES[200:]), **newest}
    store: Store = {}
    assert users.put_dirty(store, 0.0, 1.0) == 300
    assert store == newest
    assert users.dirty == 0
    assert users.put_dirty(store, 0.0, 1.0) == 0


def test_parts_of_a_round_leave_nobody_out_though_turns_come_in_between_and_memory_grows(users: Table) -> None:
    visit(users, NAMES)
    store, parts = Store(), 40
    counts = []
    for part in range(parts):
        counts.append(users.put_dirty(store, part / parts, (part + 1) / parts))
        visit(users, [f"other-{part}-{number}" for number in range(50)])
        visit(users, NAMES[part : part + 3])
    assert store.keys() >= {b"u" + name.encode() for name in NAMES}
    assert max(counts[:10]) < 60  # each is a part of it
    again: Store = {}
    assert users.put_dirty(again, 0.0, 1.0) == users.users - sum(counts) + len(store.keys() & again.keys())
    assert users.dirty == 0


def test_a_dropped_turn_leaves_dirty_what_was(users: Table) -> None:
    before = visit(users, NAMES[:3])
    area = users.begin()
    area.find(NAMES[:2])
    area.forget(NAMES[0], erased=True)
    area.begin("new", 1, 1)
    settle(area)
    area.drop()
    assert users.dirty == 3
    store: Store = {}
    users.put_dirty(store, 0.0, 1.0)
    assert store == before


@pytest.mark.parametrize("erased", [False, True])
def test_who_is_forgotten_is_not_put_unless_they_begin_again(users: Table, erased: bool) -> None:
    visit(users, NAMES[:4])
    area = users.begin()
    for name in NAMES[:3]:
        area.forget(name, erased)
    area.begin(NAMES[0], 2, 9)
    settle(area)
    area.commit(True)
    assert users.dirty == 2
    store: Store = {}
    users.put_dirty(store, 0.0, 1.0)
    assert store.keys() == {b"u" + NAMES[0].encode(), b"u" + NAMES[3].encode()}
    assert store[b"u" + NAMES[0].encode()] == users.get(NAMES[0])


def test_new_are_those_of_whom_the_store_has_nothing(users: Table) -> None:
    visit(users, ["written"], behind=False)
    block, chunks = stored(3, "read")
    area = users.begin()
    area.admit("read", block, chunks)
    area.begin("begun", 1, 1)
    area.take(PlainRecord("moved", 1, 1), NEVER)
    settle(area)
    area.commit(True)
    visit(users, ["written", "begun"])  # one more visit makes nobody less new
    assert users.dirty == 4
    store: Store = {}
    assert users.put_new(store) == 2
    assert store.keys() == {b"ubegun", b"umoved"}
    assert users.put_new(store) == 0
    visit(users, ["begun"])
    assert (users.put_new(store), users.dirty) == (0, 3)


def test_nobody_goes_who_is_dirty(make: Callable[[int], Arena]) -> None:
    users = make(1).table()
    for _ in range(5):  # who was just there stays for a while
        visit(users, NAMES[:100])
        users.tidy()
    assert (users.users, users.dirty) == (100, 100)
    store: Store = {}
    users.put_dirty(store, 0.0, 0.5)
    users.tidy()
    assert users.dirty == 100 - len(store) == sum(users.get(name) is not None for name in NAMES[:100])
    assert users.users < 100


def test_memory_is_tight_when_it_is_nearly_full(make: Callable[[int], Arena]) -> None:
    users = make(LARGE).table()
    assert not users.tight
    visit(users, NAMES)
    users.tidy()
    assert not users.tight
    small = make(1).table()
    visit(small, NAMES, behind=False)
    assert small.tight


def test_there_is_a_time_for_it_and_what_a_batch_says_is_told(users: Table) -> None:
    visit(users, NAMES[:3])
    store: Store = {}
    for start, end in ((-0.1, 1.0), (0.5, 0.4), (0.0, 1.1), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="parts of a round are from 0 to 1"):
            users.put_dirty(store, start, end)
    area = users.begin()
    with pytest.raises(RuntimeError):
        users.put_dirty(store, 0.0, 1.0)
    with pytest.raises(RuntimeError):
        users.put_new(store)
    area.drop()

    class Full(dict[bytes, bytes]):
        def __setitem__(self, key: bytes, value: bytes) -> None:
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        users.put_dirty(Full(), 0.0, 1.0)
    assert users.dirty == 3
    users.clear()
    assert users.dirty == 0
