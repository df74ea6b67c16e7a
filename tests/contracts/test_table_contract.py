"""Tables and areas (``state.tables``): what each implementation must do in a turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from state import layout
from state.layout2 import CHUNK, CHUNK_BYTES
from state.plain.record import PlainRecord, unpack
from state.record import Record
from state.tables import Area, Table, ids_numbers
from state.windows import NEVER
from tests.turns import OLDER, SPEC, T0, commit, hash_of, see, settle, stored, with_users


def test_who_begins_is_in_memory_once_the_turn_is_committed(users: Table) -> None:
    area = users.begin()
    assert area.find(["emma"]) == ["emma"]
    record = area.begin("emma", 3, 7)
    assert (record.user, record.epoch, record.life, record.version, record.count) == ("emma", 3, 7, 0, 0)
    assert (record.due, record.known_at, record.encode_at) == (NEVER, NEVER, 1)
    record.enter(T0)
    assert "emma" in area
    assert area.users() == ["emma"]
    puts, timed, (earliest, cut, size) = settle(area)
    block = puts[b"uemma"]
    assert block is not None
    assert (earliest, cut, size) == (NEVER, 0, len(block))
    assert timed == {b"uemma"}  # the store has no timer, and wants none
    area.commit()
    assert users.users == 1
    assert users.get("emma") == block
    assert unpack("emma", block).version == 1


def test_names_are_any_text(users: Table) -> None:
    names = ["é", "用户", "\0", "a\0b", "x" * 512, "🙂"]
    with_users(users, *names)
    area = users.begin()
    assert area.find([*names, "a", "\0\0"]) == ["a", "\0\0"]
    assert area.users() == names
    assert [record.user for name in names if (record := area.get(name))] == names


def test_it_is_told_who_is_not_in_memory_in_order_and_each_once(users: Table) -> None:
    with_users(users, "a", "b")
    area = users.begin()
    assert area.find(iter(["z", "a", "y", "z", "a"])) == ["z", "y"]
    assert area.users() == ["a"]
    assert area.get("b") is None  # in memory, but nobody looked
    assert "b" not in area
    area.begin("y", 1, 1)
    assert area.find(["z", "y", "b"]) == ["z"]
    assert area.users() == ["a", "y", "b"]


def test_a_dropped_turn_was_never_there(users: Table) -> None:
    with_users(users, "emma")
    before = users.get("emma")
    area = users.begin()
    area.find(["emma"])
    record = area.get("emma")
    assert record is not None
    record.enter(T0)
    see(record, 200)
    record.aliases = ["x" * 500] * 40
    area.begin("noah", 1, 1)
    settle(area)
    area.drop()
    assert users.users == 1
    assert users.get("emma") == before
    assert users.get("noah") is None
    again = users.begin()
    assert again.find(["emma", "noah"]) == ["noah"]
    record = again.get("emma")
    assert record is not None
    assert (record.time, len(record.ids)) == (0.0, 0)


def test_what_a_turn_writes_is_what_the_next_one_finds(users: Table) -> None:
    with_users(users, "emma")
    for version in range(2, 6):
        area = users.begin()
        area.find(["emma"])
        record = area.get("emma")
        assert record is not None
        record.enter(T0 + version)
        record.count_event("view", "shoes", T0 + version, 0.0, 1.5)
        see(record, 50, 50 * version)
        told = [record.ids.items(), record.slow_counters(T0 + 10)]
        puts = commit(area)
        assert users.get("emma") == puts[b"uemma"]
        block = puts[b"uemma"]
        assert block is not None
        assert unpack("emma", block).version == version
        check = users.begin()
        check.find(["emma"])
        found = check.get("emma")
        assert found is not None
        assert [found.ids.items(), found.slow_counters(T0 + 10)] == told
        check.drop()


def test_what_is_over_is_trimmed_when_the_turn_is_settled(users: Table) -> None:
    area = users.begin()
    record = area.begin("emma", 1, 1)
    record.enter(T0)
    for spec in (SPEC, OLDER):
        record.cells.add(spec, T0, 5, T0)
    record.enter(T0 + 600)
    block = commit(area)[b"uemma"]
    assert block is not None
    found = unpack("emma", block)
    assert SPEC.key in found.cells
    assert OLDER.key not in found.cells


def test_whose_timer_is_as_the_store_has_it_is_told(users: Table) -> None:
    area = users.begin()
    for name, due in (("same", T0 + 1), ("later", T0 + 2), ("never", NEVER)):
        area.begin(name, 1, 1).due = due
    _, timed, (earliest, _, _) = settle(area)
    assert timed == {b"unever"}
    assert earliest == T0 + 1
    area.commit()
    area = users.begin()
    area.find(["same", "later", "never"])
    for name, due in (("later", T0 + 9), ("never", T0 + 3)):
        record = area.get(name)
        assert record is not None
        record.due = due
    _, timed, (earliest, _, _) = settle(area)
    assert timed == {b"usame"}
    assert earliest == T0 + 1


def test_a_timer_is_told_without_a_copy(users: Table) -> None:
    area = users.begin()
    area.begin("emma", 1, 1).due = T0
    assert area.due("emma") == T0
    commit(area)
    area = users.begin()
    assert (area.due("emma"), area.due("nobody")) == (T0, None)
    assert area.users() == []
    area.find(["emma"])
    record = area.get("emma")
    assert record is not None
    record.due = NEVER
    assert area.due("emma") == NEVER
    area.forget("emma", erased=False)
    assert area.due("emma") is None


def set_due(area: Area, due: float) -> None:
    record = area.get("emma")
    assert record is not None
    record.due = due


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("found", [False, True], ids=["in memory", "in the turn"])
def test_who_is_forgotten_is_missing_and_gone_with_the_commit(users: Table, erased: bool, found: bool) -> None:
    area = with_users(users, "emma", "noah").begin()
    area.find(["emma"])
    set_due(area, T0)
    commit(area)
    before = users.get("emma")
    for ends in ("drop", "commit"):
        area = users.begin()
        if found:
            area.find(["emma"])
            set_due(area, T0 + 1.0)
        assert area.forget("emma", erased) == T0  # the timer that the store has
        assert area.forget("emma", erased) == NEVER  # the caller knows it already
        assert area.forget("nobody", erased) == NEVER
        assert area.get("emma") is None
        assert "emma" not in area
        assert area.find(["emma", "noah"]) == ["emma"]
        assert area.users() == ["noah"]
        puts, _, _ = settle(area)
        assert puts.keys() == {b"unoah"}  # the caller removes what the store has
        getattr(area, ends)()
        assert users.get("emma") == (before if ends == "drop" else None)
    assert users.users == 1


def test_who_is_forgotten_may_begin_anew_in_the_same_turn(users: Table) -> None:
    area = users.begin()
    record = area.begin("emma", 1, 1)
    record.due = T0
    see(record, 150)
    commit(area)
    area = users.begin()
    area.find(["emma"])
    area.forget("emma", erased=True)
    record = area.begin("emma", 2, 9)
    assert (record.epoch, record.life, record.count, record.due, record.version) == (2, 9, 0, NEVER, 0)
    assert record.ids.items() == []
    assert record.ids.numbers == range(0)
    see(record, 64, 1_000)
    puts, timed, _ = settle(area)
    assert timed == {b"uemma"}
    assert puts.keys() == {b"uemma", *layout.seen_keys("emma", range(1))}
    area.commit()
    assert users.get("emma") == puts[b"uemma"]


def test_a_forgotten_users_record_is_over(users: Table) -> None:
    area = users.begin()
    first = area.begin("emma", 1, 1)
    area.forget("emma", erased=False)
    second = area.begin("emma", 1, 2)
    second.count = 5
    with pytest.raises(RuntimeError):
        first.count  # noqa: B018
    with pytest.raises(RuntimeError):
        first.count = 1
    assert second.count == 5


def test_what_the_store_has_is_admitted_with_its_ids(users: Table) -> None:
    block, chunks = stored(300)
    assert ids_numbers(block) == range(4)
    area = users.begin()
    assert area.find(["emma"]) == ["emma"]
    record = area.admit("emma", block, chunks)
    assert area.due("emma") == record.due == T0 + 5
    assert [number for number in range(400) if hash_of(number) in record.ids] == list(range(300))
    see(record, 40, 300)
    puts, timed, _ = settle(area)
    assert timed == {b"uemma"}
    assert puts.keys() == {b"uemma", *layout.seen_keys("emma", range(4, 5))}
    area.commit()
    area = users.begin()
    assert area.find(["emma"]) == []
    found = area.get("emma")
    assert found is not None
    assert len(found.ids) == 340


def test_chunks_may_be_missing_or_of_format_1(users: Table) -> None:
    block, chunks = stored(200)
    old = b"".join(hash_of(number).to_bytes(8, "little") for number in range(CHUNK)) + bytes(4 * CHUNK)
    area = users.begin()
    record = area.admit("emma", block, [old, None, chunks[2]])
    known = [number for number in range(200) if hash_of(number) in record.ids]
    assert known == [*range(64), *range(128, 200)]


def test_what_is_no_record_is_refused_and_nobody_comes(users: Table) -> None:
    block, chunks = stored(100)
    area = users.begin()
    for damaged in (b"", block[:-1], b"\x07" + block[1:], block + bytes(8), bytes(len(block))):
        with pytest.raises(layout.FormatError):
            area.admit("emma", damaged, chunks)
    with pytest.raises(layout.FormatError):
        area.admit("emma", block, [bytes(CHUNK_BYTES - 1)])
    assert area.users() == []
    assert area.find(["emma"]) == ["emma"]
    area.admit("emma", block, chunks)


def test_those_whose_ids_lie_in_their_blocks_come_together_and_who_is_left_is_told(users: Table) -> None:
    few, many = stored(63, "emma"), stored(64, "noah")
    blocks = {"emma": few[0], "noah": many[0], "old": b"\x01" + few[0][1:], "none": b"", "mia": stored(0, "mia")[0]}
    area = users.begin()
    assert area.admit_whole(blocks) == ["noah", "old", "none"]
    assert area.users() == ["emma", "mia"]
    record = area.get("emma")
    assert record is not None
    assert record.pack() == few[0]
    assert [number for number in range(70) if hash_of(number) in record.ids] == list(range(63))
    assert area.due("emma") == T0 + 5
    puts, timed, _ = settle(area)
    assert puts.keys() == timed == {b"uemma", b"umia"}
    area.commit()
    assert users.users == 2


def test_together_nobody_comes_who_is_there_or_is_no_record(users: Table) -> None:
    block, _ = stored(3)
    area = users.begin()
    with pytest.raises(layout.FormatError):
        area.admit_whole({"emma": block[:-8]})
    assert area.users() == []
    area.admit_whole({"emma": block})
    with pytest.raises(RuntimeError):
        area.admit_whole({"emma": block})
    settle(area)
    area.admit_whole({"noah": block})
    with pytest.raises(RuntimeError):  # who came behind is not settled
        area.commit()


def test_who_is_there_comes_no_second_time(users: Table) -> None:
    block, chunks = stored(10)
    area = users.begin()
    area.admit("emma", block, chunks).count = 5
    verbs: tuple[Callable[[], Record], ...] = (
        lambda: area.admit("emma", block, chunks),
        lambda: area.begin("emma", 1, 1),
        lambda: area.take(PlainRecord("emma", 1, 1), NEVER),
    )
    for verb in verbs:
        with pytest.raises(RuntimeError):
            verb()
    record = area.get("emma")
    assert record is not None
    assert record.count == 5


def test_of_a_record_made_in_python_all_is_kept_that_is_not_saved(users: Table) -> None:
    record = PlainRecord("emma", 2, 3)
    record.enter(T0)
    record.due = T0 + 7
    see(record, 64 * 20 + 5)
    record.ids.save()
    see(record, 70, 5_000)
    record.ids.replace(record.ids.items()[-130:])
    record.ids.cut = 3
    unsaved, items, saved = dict(record.ids.unsaved), record.ids.items(), record.ids.saved
    assert None in unsaved.values()
    area = users.begin()
    taken = area.take(record, T0 + 8)
    assert (taken.time, taken.ids.items(), taken.ids.saved) == (T0, items, saved)
    assert taken.ids.unsaved == unsaved
    puts, timed, (earliest, cut, size) = settle(area)
    keys = dict(zip(layout.seen_keys("emma", unsaved), unsaved.values(), strict=True))
    block = puts[b"uemma"]
    assert block is not None
    assert puts == keys | {b"uemma": block}
    assert timed == set()
    assert (earliest, cut) == (T0 + 7, 3)
    assert size == len(block) + sum(len(chunk or b"") for chunk in unsaved.values())
    area.commit()
    area = users.begin()
    area.find(["emma"])
    found = area.get("emma")
    assert found is not None
    assert (found.ids.items(), dict(found.ids.unsaved)) == (items, {})


def test_who_was_forgotten_may_move_in_in_the_same_turn(users: Table) -> None:
    with_users(users, "emma")
    area = users.begin()
    area.find(["emma"])
    area.forget("emma", erased=False)
    record = PlainRecord("emma", 2, 3)
    record.count = 9
    see(record, 70)
    area.take(record, NEVER)
    puts = commit(area)
    assert puts.keys() == {b"uemma", *layout.seen_keys("emma", range(1))}
    block = users.get("emma")
    assert block is not None
    assert unpack("emma", block).count == 9
