"""What real damage to RocksDB's files and a real full disk look like from outside: a clear error, then healing."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from state import layout
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreDamagedError, StoreFullError, StoreLockedError, store_error
from tests.raw_batches import as_fetched
from tests.records import block_of

USERS = 3_000


def make(path: Path) -> SharedMemory:
    """A closed store with several files and incompressible records."""
    memory = SharedMemory(16)
    store = Store(path, memory)
    filler = random.Random(1)
    for start in range(0, USERS, 1_000):
        users = range(start, start + 1_000)
        said = {layout.user_key(f"{user:06d}"): record(filler.randbytes(300)) for user in users}
        store.load(as_fetched(said), start + 1_000)
        store.close()
        store = Store(path, memory)
    store.close()
    return memory


def record(filler: bytes) -> bytes:
    return block_of(due=1e9) + filler


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 500):
        data[place] ^= 0xFF
    file.write_bytes(data)


def tables(path: Path) -> list[Path]:
    return sorted(path.glob("*.sst"))


def test_a_block_that_cannot_be_read_is_an_error_and_never_a_short_answer(tmp_path: Path) -> None:
    path = tmp_path / "0"
    memory = make(path)
    for table in tables(path):
        flip(table)
    looks: list[Callable[[Store], object]] = [
        lambda store: list(store.keys(b"u")),
        lambda store: list(store.items(b"u")),
        lambda store: store.get_many([layout.user_key(f"{user:06d}") for user in range(USERS)]),
        lambda store: [store.get(layout.user_key(f"{user:06d}")) for user in range(USERS)],
    ]
    for look in looks:
        store = Store(path, memory)
        with pytest.raises(StoreDamagedError, match=f"cannot read the local state at {path}.*wiped and restored"):
            look(store)
        store.close()
        with pytest.raises(StoreDamagedError, match="was found damaged before"):
            Store(path, memory)
        (tmp_path / "0.damaged").unlink()


def delete_table(path: Path) -> None:
    tables(path)[0].unlink()


def flip_manifest(path: Path) -> None:
    flip(next(path.glob("MANIFEST-*")))


def empty_current(path: Path) -> None:
    (path / "CURRENT").write_bytes(b"")


def delete_manifest(path: Path) -> None:
    next(path.glob("MANIFEST-*")).unlink()


def cut_table(path: Path) -> None:
    table = tables(path)[0]
    table.write_bytes(table.read_bytes()[:-1_000])


def flip_tables(path: Path) -> None:
    for table in tables(path):
        data = bytearray(table.read_bytes())
        for place in range(0, len(data) * 3 // 4, 200):
            data[place] ^= 0xFF
        table.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [flip_tables, delete_table, flip_manifest, empty_current, delete_manifest, cut_table]
)
def test_damaged_files_are_refused_and_a_wiped_store_is_new(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "0"
    memory = make(path)
    damage(path)
    try:
        store = Store(path, memory)
        try:
            list(store.keys(b"u"))
        finally:
            store.close()
    except StoreDamagedError:
        wipe(path)  # nothing has the files open, although the error with all its frames is still there
        again = Store(path, memory)
    else:
        pytest.fail("the damage was not noticed")
    assert again.changelog_offset == 0
    assert again.count(b"") == 0
    again.close()


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file of this process may grow beyond ``most`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def wait_for_file(path: Path) -> None:
    """Until the store has written its first sorted file."""
    until = time.monotonic() + 60.0
    while not list(path.glob("*.sst")):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_full_disk_says_so_and_leaves_a_sound_store(tmp_path: Path) -> None:
    path = tmp_path / "0"
    memory = SharedMemory(16)
    store = Store(path, memory)
    store.write([(b"qbefore", b"")], 1, complete_at=1e9)
    wait_for_file(path)
    filler = random.Random(2)

    def write_much() -> None:
        for batch in range(2, 10_000):  # a full disk is noticed when what is in memory goes to the files
            store.write([(b"v%d" % batch, filler.randbytes(10_000))], batch, complete_at=1e9)

    with full_disk(200_000):
        with pytest.raises(StoreFullError, match=f"cannot write the local state at {path}.*make room"):
            write_much()
        store.close()
    again = Store(path, memory)
    assert again.get(b"qbefore") == b""
    assert again.count(b"v") == again.changelog_offset - 1
    again.write([(b"qafter", b"")], 100)
    again.close()


def test_errors_that_are_not_the_files_fault_do_not_wipe_them(tmp_path: Path) -> None:
    full = store_error(tmp_path, "write", RuntimeError("IO error: No space left on device: While appending to file"))
    assert type(full) is StoreFullError
    locked = store_error(tmp_path, "open", RuntimeError("IO error: lock hold by current process: /x/LOCK"))
    assert type(locked) is StoreLockedError
    forbidden = store_error(tmp_path, "open", RuntimeError("IO error: While opening a file: /x: Permission denied"))
    assert not isinstance(forbidden, StoreDamagedError | StoreLockedError | StoreFullError)
    assert type(store_error(tmp_path, "read", RuntimeError("Corruption: block checksum mismatch"))) is StoreDamagedError


# loading in bulk and following


def due_at(due: float) -> bytes:
    return block_of(due=due)


def timers(store: Store) -> list[tuple[float, bytes]]:
    return [layout.timer_parts(key) for key in store.keys(b"t")]


def test_what_is_loaded_in_bulk_is_as_if_it_were_written(tmp_path: Path) -> None:
    memory = SharedMemory(16)
    written, loaded = Store(tmp_path / "w", memory), Store(tmp_path / "l", memory)
    batches: list[dict[bytes, bytes | None]] = [
        {b"ub": due_at(7.0), b"ua": due_at(5.0), b"qa": b"", b"p": b"meta"},
        {b"ua": due_at(float("inf")), b"qa": None, b"uc": due_at(0.001)},
        {b"ub": None, b"ud": due_at(3.0005)},
    ]
    with loaded.bulk():
        for number, batch in enumerate(batches):
            written.write(batch.items(), number + 1, complete_at=9.0)
            loaded.load(as_fetched(batch), number + 1, 9.0)
    assert list(loaded.items(b"")) == list(written.items(b""))
    assert (loaded.changelog_offset, loaded.complete_at) == (3, 9.0)
    written.close()
    loaded.close()


KILLED = """
import os, sys
from pathlib import Path
from state.store import SharedMemory, Store
from tests.raw_batches import as_fetched
store = Store(Path(sys.argv[1]), SharedMemory(8))
with store.bulk():
    for batch in range(1, 301):
        store.load(as_fetched({b"q%d" % batch: os.urandom(200_000)}), batch)
    os.kill(os.getpid(), 9)
"""


def test_a_kill_in_a_bulk_load_leaves_whole_batches_to_go_on_from(tmp_path: Path) -> None:
    path = tmp_path / "0"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(path, SharedMemory(16))
    assert 0 < store.changelog_offset <= 300  # 32 MB of the 60 were a file already
    assert store.count(b"q") == store.changelog_offset
    store.close()


KILLED_WRITING = """
import os, sys, time
from pathlib import Path
from state.store import FLUSH_SECONDS, SharedMemory, Store
path = Path(sys.argv[1])
store = Store(path, SharedMemory(64))
for batch in range(1, 201):
    store.write([(b"qa", b"%d" % batch), (b"q%d" % batch, b"")], batch, complete_at=1e9 + batch * FLUSH_SECONDS / 50)
    if batch == 120:  # the flush of batch 101 is done by now
        until = time.monotonic() + 60.0
        while len(list(path.glob("*.sst"))) < 3 and time.monotonic() < until:
            time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def test_a_kill_while_writing_leaves_whole_batches_up_to_the_last_flush_or_later(tmp_path: Path) -> None:
    path = tmp_path / "0"
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITING, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(path, SharedMemory(64))
    reached = store.changelog_offset
    assert 101 <= reached <= 200
    assert store.get(b"qa") == b"%d" % reached
    assert store.count(b"q") == reached + 1
    assert not list(path.glob("*.log")) or all(not log.stat().st_size for log in path.glob("*.log"))
    store.close()


def test_a_followed_record_has_one_timer_however_often_it_moves(tmp_path: Path) -> None:
    store = Store(tmp_path / "0", SharedMemory(16))
    for step in range(20):
        store.follow({b"ua": due_at(100.0 + step), b"ub": due_at(50.0), b"qb": b""}, step + 1)
    assert timers(store) == [(50.0, b"b"), (119.0, b"a")]
    store.follow({b"ua": due_at(float("inf")), b"ub": None}, 30)
    assert timers(store) == []
    store.close()


def test_stale_timers_are_purged_step_by_step_and_valid_ones_stay(tmp_path: Path) -> None:
    store = Store(tmp_path / "0", SharedMemory(16))
    for step in range(4):
        store.write([(b"u%d" % user, due_at(1_000.0 * step + user)) for user in range(10)], step + 1)
    store.write([(b"u3", None), (b"u4", due_at(float("inf")))], 9)
    assert len(timers(store)) == 40
    start: bytes | None = b"t"
    while start is not None:
        start = store.purge_timers(start, 7)
    assert timers(store) == [(3_000.0 + user, b"%d" % user) for user in range(10) if user not in (3, 4)]
    store.close()
