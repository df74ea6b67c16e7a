"""After an erasure the store's files are rewritten: not a byte of an erased id or value stays in them."""

from __future__ import annotations

import os
from pathlib import Path

from state import layout
from state.plain.record import PlainRecord
from state.store import SharedMemory, Store
from state.windows import NEVER

GONE = "Zq7xW0vK3pLm"
GUARD = (layout.guard_key(b"0" * 16), layout.encode_guard(layout.Guard(1.0, 2.0)))


def user(due: float = NEVER, **edges: float) -> bytes:
    state = PlainRecord("u")
    state.due = due
    for target, time in edges.items():
        state.edges.set(target, time, True)
    return state.pack()


def files_with(path: Path, text: bytes) -> list[str]:
    return sorted(each.name for each in path.rglob("*") if each.is_file() and text in each.read_bytes())


def fill(store: Store) -> None:
    """A user with a timer that moved, a follower, and others; some of it in data files, some in memory."""
    others = [(layout.user_key(f"other-{number}"), user() + os.urandom(300)) for number in range(300)]
    store.write([(layout.user_key(GONE), user(50.0)), *others], 1)
    store.compact()
    store.write([(layout.user_key(GONE), user(60.0)), (layout.user_key("fan"), user(**{GONE: 5.0}))], 2)


def test_no_byte_of_an_erased_user_is_in_any_file_after_a_scrub(store: Store) -> None:
    fill(store)
    assert files_with(store.path, GONE[1:].encode())
    store.write([(layout.user_key(GONE), None), (layout.user_key("fan"), user()), GUARD], 3)
    assert store.erasures == 1
    assert store.purge_timers(b"t", 100) is None
    store.compact()
    store.reopen()
    store.scrubbed(1, 77.0)
    assert files_with(store.path, GONE[1:].encode()) == []
    assert (store.erasures, store.scrubbed_at, store.changelog_offset) == (0, 77.0, 3)
    assert store.get(layout.user_key("fan")) == user()
    assert store.count(b"u") == 301


def test_only_timers_that_no_record_has_are_purged_a_few_at_a_time(store: Store) -> None:
    names = [f"u{number}" for number in range(10)]
    store.write([(layout.user_key(name), user(100.0 + place)) for place, name in enumerate(names)], 1)
    store.write([(layout.user_key(name), user(200.0 + place)) for place, name in enumerate(names)], 2)
    store.write([(layout.user_key("u3"), None)], 3)
    start: bytes | None = b"t"
    looks = 0
    while start is not None:
        start = store.purge_timers(start, 4)
        looks += 1
    assert looks == 6
    left = [layout.timer_parts(key) for key in store.keys(b"t")]
    assert left == [(200.0 + place, name.encode()) for place, name in enumerate(names) if name != "u3"]


def test_an_erasure_that_comes_while_files_are_rewritten_waits_for_the_next_time(store: Store) -> None:
    store.write([GUARD], 1)
    began = store.erasures
    store.compact()
    store.write([GUARD], 2)
    store.reopen()
    store.scrubbed(began, 5.0)
    assert store.erasures == 2


def test_a_restart_does_not_forget_that_files_are_to_be_rewritten(tmp_path: Path, memory: SharedMemory) -> None:
    first = Store(tmp_path / "s", memory)
    first.write([GUARD], 1)
    first.close()
    second = Store(tmp_path / "s", memory)
    assert second.erasures > 0
    second.scrubbed(second.erasures, 9.0)
    second.close()
    third = Store(tmp_path / "s", memory)
    assert (third.erasures, third.scrubbed_at) == (0, 9.0)
    third.close()


def test_a_store_that_is_closed_while_it_is_rewritten_is_as_at_some_commit(
    tmp_path: Path, memory: SharedMemory
) -> None:
    first = Store(tmp_path / "s", memory)
    fill(first)
    first.write([GUARD], 3)
    first.stop_compacting()
    first.write([(layout.user_key("last"), user())], 4)
    first.close()
    second = Store(tmp_path / "s", memory)
    # RocksDB refuses the last flush then: what it would have written is in the changelog
    assert second.erasures == 1
    assert (second.changelog_offset, second.count(b"u")) in ((3, 302), (4, 303))
    second.close()


def test_an_iterator_that_is_open_ends_when_the_store_is_opened_anew(store: Store) -> None:
    fill(store)
    keys = store.keys(b"u")
    assert next(keys).startswith(b"u")
    store.reopen()
    assert list(keys) == []
    assert store.count(b"u") == 302
