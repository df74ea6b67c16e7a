"""The local store: whole batches, timers in order, restarts, and one owner at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from state import layout
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreError
from state.windows import NEVER
from streams.kafka.changelog import StaleStoreError, check_offset
from tests.raw_batches import as_fetched
from tests.records import block_of


def user(due: float = NEVER, count: int = 0) -> bytes:
    return block_of(due=due, count=count)


def put_users(store: Store, offset: int = 1, **dues: float) -> None:
    store.write([(layout.user_key(name), user(due)) for name, due in dues.items()], offset)


def timers(store: Store) -> list[tuple[float, bytes]]:
    return [layout.timer_parts(key) for key in store.keys(b"t")]


def test_a_new_store_is_empty_and_continues_from_the_start(store: Store) -> None:
    assert store.changelog_offset == 0
    assert store.meta == layout.Meta()
    assert store.first_timer() == NEVER
    assert store.due_timers(1e12, 0.0, 10) == []
    assert store.get(b"unobody") is None
    assert store.get_many([]) == []


def test_a_batch_writes_records_timers_and_offset_together(store: Store) -> None:
    meta = layout.Meta(positions={"user-events": 7}, events=3)
    store.write(
        [(b"ua", user(5.0)), (b"qa", b""), (layout.POSITION_KEY, layout.encode_meta(meta)), (b"ub", user())], 42
    )
    assert store.get_many([b"ub", b"nothing", b"qa", b"ua"]) == [user(), None, b"", user(5.0)]
    assert (store.changelog_offset, store.meta) == (42, meta)
    assert timers(store) == [(5.0, b"a")]
    store.write([(b"qa", None), (b"ua", None), (b"never-there", None)], 43)
    assert store.get_many([b"qa", b"ua"]) == [None, None]
    assert store.changelog_offset == 43


def test_a_batch_that_fails_on_the_way_leaves_nothing_behind(store: Store) -> None:
    put_users(store, offset=1, a=5.0)

    def broken() -> Iterator[tuple[bytes, bytes | None]]:
        yield b"ua", user(9.0)
        yield b"ub", user(7.0)
        raise RuntimeError("the power fails here")

    with pytest.raises(RuntimeError):
        store.write(broken(), 2)
    assert store.changelog_offset == 1
    assert store.get_many([b"ua", b"ub"]) == [user(5.0), None]
    assert timers(store) == [(5.0, b"a")]


def test_due_timers_are_the_oldest_first_up_to_now_and_the_limit(store: Store) -> None:
    put_users(store, c=300.0, a=20.0, b=20.0, d=1e9, e=NEVER)
    assert [layout.timer_parts(key)[1] for key in store.due_timers(1_000.0, 0.0, 10)] == [b"a", b"b", b"c"]
    assert [layout.timer_parts(key)[1] for key in store.due_timers(1_000.0, 0.0, 2)] == [b"a", b"b"]
    assert [layout.timer_parts(key)[1] for key in store.due_timers(300.0, 20.001, 10)] == [b"c"]
    assert store.due_timers(19.999, 0.0, 10) == []
    assert store.first_timer() == 20.0
    assert store.first_timer(20.0) == 20.0
    assert store.first_timer(20.001) == 300.0
    assert store.first_timer(2e9) == store.first_timer(NEVER) == NEVER
    assert len(store.due_timers(1e12, NEVER, 10)) == 0


def test_a_fired_timer_is_gone_and_one_that_was_put_off_stands_at_both_times(store: Store) -> None:
    put_users(store, a=20.0)
    put_users(store, a=50.0)
    assert timers(store) == [(20.0, b"a"), (50.0, b"a")]
    store.write([(b"ua", user(50.0))], 3, fired=store.due_timers(20.0, 0.0, 10))
    assert timers(store) == [(50.0, b"a")]


def test_a_timer_that_fires_and_is_due_at_the_same_time_again_is_not_lost(store: Store) -> None:
    put_users(store, a=20.0)
    store.write([(b"ua", user(20.0, count=1))], 2, fired=store.due_timers(20.0, 0.0, 10))
    assert timers(store) == [(20.0, b"a")]


def test_iteration_stays_within_its_prefix_and_starts_where_asked(store: Store) -> None:
    names = ["a", "a\0", "ab", "b", "é", "🙂"]
    store.write([(layout.user_key(name), user()) for name in names], 1)
    store.write([(layout.vectors_key(name), b"v") for name in names], 2)
    assert [key[1:].decode() for key in store.keys(b"u")] == names
    assert [key[1:].decode() for key in store.keys(b"u", b"ua\0")] == names[1:]
    assert [key for key, _ in store.items(b"v")] == [layout.vectors_key(name) for name in names]
    assert store.count(b"u") == len(names)
    assert list(store.keys(b"x")) == []


def test_followers_of_names_that_begin_alike_do_not_mix(store: Store) -> None:
    followees = ["a", "ab", "a\0", "a" * 512]
    store.write([(layout.follower_key(followee, f"f-{followee}"), b"") for followee in followees], 1)
    for followee in followees:
        prefix = layout.followers_prefix(followee)
        assert [key[len(prefix) :].decode() for key in store.keys(prefix)] == [f"f-{followee}"]


def test_a_restart_keeps_everything(tmp_path: Path, memory: SharedMemory) -> None:
    first = Store(tmp_path / "store", memory)
    put_users(first, offset=17, a=20.0, b=NEVER)
    first.close()
    again = Store(tmp_path / "store", memory)
    assert again.changelog_offset == 17
    assert again.get_many([b"ua", b"ub"]) == [user(20.0), user()]
    assert timers(again) == [(20.0, b"a")]
    again.close()


def test_an_iterator_that_was_left_open_does_not_keep_the_store_from_closing(
    tmp_path: Path, memory: SharedMemory
) -> None:
    first = Store(tmp_path / "store", memory)
    put_users(first, a=20.0, b=30.0)
    keys, items = first.keys(b"u"), first.items(b"u")
    next(keys)
    next(items)
    first.close()
    assert list(keys) == []
    assert list(items) == []
    Store(tmp_path / "store", memory).close()


def test_records_newer_than_the_offset_are_told_whatever_is_written_and_a_shorter_changelog_is_another_one(
    tmp_path: Path, memory: SharedMemory
) -> None:
    first = Store(tmp_path / "store", memory)
    first.put(first.batch({b"qa": b""}), 10, 5.0, newest=90)
    put_users(first, offset=20)
    first.load(as_fetched({b"qb": b""}), 30)
    first.close()
    again = Store(tmp_path / "store", memory)
    assert (again.changelog_offset, again.newest) == (30, 90)
    assert check_offset(again, "changelog-0", 0, 90, 0.0) == 30
    with pytest.raises(StaleStoreError, match="goes up to offset 90 of changelog-0, which ends at 89"):
        check_offset(again, "changelog-0", 0, 89, 0.0)
    put_users(again, offset=100)
    assert (again.changelog_offset, again.newest) == (100, 100)
    again.close()


HOLD = """
import sys
from pathlib import Path
from state.store import SharedMemory, Store
store = Store(Path(sys.argv[1]), SharedMemory(8))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_holds_is_refused_until_that_ends(tmp_path: Path, memory: SharedMemory) -> None:
    path = tmp_path / "store"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"cannot open the local state at {path}"):
            Store(path, memory)
        holder.kill()
    Store(path, memory).close()


def test_a_damaged_store_is_refused_and_can_be_wiped(tmp_path: Path, memory: SharedMemory) -> None:
    path = tmp_path / "store"
    first = Store(path, memory)
    put_users(first, a=20.0)
    first.close()
    (path / "CURRENT").write_bytes(b"nonsense")
    with pytest.raises(StoreError):
        Store(path, memory)
    wipe(path)
    again = Store(path, memory)
    assert again.get(b"ua") is None
    again.close()
    wipe(tmp_path / "never-there")


def test_a_timer_that_is_there_need_not_be_written_again(store: Store) -> None:
    put_users(store, a=10.0, b=20.0)
    store.write([(b"ua", user(10.0, count=1)), (b"ub", user(30.0, count=1))], 2, timed={b"ua"})
    assert timers(store) == [(10.0, b"a"), (20.0, b"b"), (30.0, b"b")]


def test_whoever_opens_it_again_opens_it_as_it_was_made(tmp_path: Path) -> None:
    def options_of() -> str:
        return max((tmp_path / "0").glob("OPTIONS-*")).read_text()

    def assert_as_made() -> None:
        assert store._db.property_int_value("rocksdb.block-cache-capacity") == 20 * 1024 * 1024
        assert "filter_policy=bloomfilter" in options_of()

    memory = SharedMemory(20)
    store = Store(tmp_path / "0", memory)
    assert_as_made()
    with store.bulk():
        assert_as_made()
        assert "write_buffer_size=8388608" in options_of()
        assert "level0_file_num_compaction_trigger=24" in options_of()
    assert_as_made()
    assert "write_buffer_size=67108864" in options_of()
    assert "level0_file_num_compaction_trigger=8" in options_of()
    assert "max_write_buffer_number=2" in options_of()
    store.reopen()
    assert_as_made()
    store.close()
    store = Store(tmp_path / "0", memory)
    assert_as_made()
    store.close()
