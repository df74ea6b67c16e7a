"""One RocksDB for each partition: a cache of the state changelog that makes restarts fast.

It has no write-ahead log: the changelog is one. After a crash the store has all batches up to some point and none after
it, and the changelog offset that goes with them, from where a restore goes on.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from state import layout
from state.bulk import SLOW_FILES, USUAL, for_bulk, wait_for_room
from state.loading import Batch, Keyed, load, put
from state.store_errors import StoreDamagedError, StoreError, store_error
from state.windows import NEVER

T = TypeVar("T")

#: what a crash may lose of the local files, and a restart read again: seconds of writing (less where buffers are full)
FLUSH_SECONDS = 20.0


class SharedMemory:
    """One block cache and one write-buffer budget for all partitions of a worker."""

    def __init__(self, megabytes: int) -> None:
        size = megabytes * 1024 * 1024
        self.cache = Cache(size)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(size // 2, False, self.cache)


class Store:
    """Keys and values of one partition, as ``layout`` describes them. Not thread-safe: one owner at a time. Whatever
    RocksDB cannot do raises a StoreError of the right kind."""

    def __init__(self, path: Path, memory: SharedMemory) -> None:
        """Open or create. Raises StoreLockedError, StoreFullError, StoreDamagedError."""
        self.path = path
        self._memory = memory
        self._cancelled = False
        self._flushed_at = 0.0
        self._iterators: WeakSet[Generator[Any, None, None]] = WeakSet()
        self._db: Any = None  # its stubs do not know raw mode: keys and values are bytes
        if _mark(path).exists():
            raise StoreDamagedError(f"the local state at {path} was found damaged before; it is restored anew")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store_error(path, "open", error) from error
        self._open()
        try:
            self.erasures = int(self.get(layout.SCRUB_WANTED_KEY) is not None)
            """Grows with each erasure since the last scrub; 0: there was none."""
            self.newest = layout.newest_offset(self.get(layout.OFFSET_KEY) or bytes(8))
            """The changelog offset that no record is newer than; ``changelog_offset`` may be an earlier one."""
        except StoreError:
            self.close()
            raise

    def _open(self) -> None:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_manager(self._memory.buffers)
        # what is flushed is soon merged into the last level: only there compression is worth its time
        options.set_compression_type(DBCompressionType.none())
        options.set_bottommost_compression_type(DBCompressionType.lz4())
        options.set_max_background_jobs(2)
        options.set_max_open_files(512)
        options.set_keep_log_file_num(2)
        table = BlockBasedOptions()
        table.set_block_cache(self._memory.cache)
        table.set_bloom_filter(10, False)
        table.set_block_size(16 * 1024)
        options.set_block_based_table_factory(table)
        # so that nobody waits who begins with the files of a load in bulk
        options.set_level_zero_slowdown_writes_trigger(SLOW_FILES)
        options.set_level_zero_stop_writes_trigger(64)
        options.set_write_buffer_size(int(USUAL["write_buffer_size"]))
        options.set_max_write_buffer_number(int(USUAL["max_write_buffer_number"]))
        options.set_level_zero_file_num_compaction_trigger(int(USUAL["level0_file_num_compaction_trigger"]))
        try:
            # without naming the family, what is there already is opened by the options in its files: with a small block
            # cache of its own, and no filters
            self._db = Rdict(str(self.path), options, column_families={"default": options})
            written = WriteOptions()
            # its stub says method, but it is a property
            written.disable_wal = True  # type: ignore[method-assign, assignment]
            self._db.set_write_options(written)
        except Exception as error:
            self._fail("open", error)

    def _fail(self, doing: str, error: Exception) -> NoReturn:
        failed = store_error(self.path, doing, error)
        if isinstance(failed, StoreDamagedError) and not isinstance(error, StoreDamagedError):
            with contextlib.suppress(OSError):
                _mark(self.path).touch()
        raise failed from error

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            self._fail("read", error)
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Values in the order of the keys; None where there is none."""
        if not keys:
            return []
        try:
            values: list[bytes | None] = self._db.get(keys)
        except Exception as error:
            self._fail("read", error)
        return values

    def write(
        self,
        puts: Iterable[tuple[bytes, bytes | None]],
        offset: int,
        fired: Iterable[bytes] = (),
        complete_at: float = 0.0,
        timed: Set[bytes] = frozenset(),
    ) -> None:
        """Write one atomic batch: records (None deletes), their timers, and the changelog offset to continue from.

        ``fired`` are timer keys to remove, before a record puts the same one anew. ``complete_at``: when ``offset`` was
        known to be the changelog's end (seconds since the epoch). ``timed`` are keys of records whose timer is there.
        """
        self.put(self.batch(dict(puts), fired, timed), offset, complete_at)
        self.flush(complete_at, FLUSH_SECONDS)

    def batch(
        self, puts: Mapping[bytes, bytes | None], fired: Iterable[bytes] = (), timed: Set[bytes] = frozenset(),
        users: bool = True,
    ) -> WriteBatch:  # fmt: skip
        """What ``write`` writes, but for the offset: for ``put``. Without ``users`` their records are left out, but not
        their timers, nor that they are gone."""
        batch = WriteBatch(raw_mode=True)
        for key in fired:
            batch.delete(key)
        if guards := put(batch, puts, timed, users):  # somebody was erased, and the old values lie in files yet
            batch.put(layout.SCRUB_WANTED_KEY, b"")
            self.erasures += guards
        return batch

    def put(
        self, batch: Batch, offset: int, complete_at: float = 0.0, newest: int = 0, *, in_bulk: bool = False
    ) -> None:
        """Write a batch and the changelog offset to continue from; see ``write``. ``newest``: the offset up to which
        there are newer records among those of the store, if that is a later one. ``in_bulk``: see ``bulk``."""
        self.newest = max(self.newest, offset, newest)
        batch[layout.OFFSET_KEY] = layout.encode_offset(offset, complete_at, self.newest)
        self._write(batch, in_bulk=in_bulk)

    def flush(self, now: float, every: float) -> None:
        """Begin to write to the files what is in memory, if that was not done for so many seconds; RocksDB does it in a
        thread of its own."""
        if 0.0 <= now - self._flushed_at < every:
            return
        self._flushed_at = now
        try:
            self._db.flush(wait=False)
        except Exception as error:
            self._fail("write", error)

    def load(self, records: Iterable[Keyed], offset: int, complete_at: float = 0.0, prefix: bytes = b"") -> None:
        """As ``write``, for many records at once, in bulk as fast as that can be: of each key what is said last.
        ``prefix`` is put before every key. Timers that the records had before are left alone: they do nothing."""
        batch = WriteBatch(raw_mode=True)
        if guards := load(batch, records, prefix):
            batch.put(layout.SCRUB_WANTED_KEY, b"")
            self.erasures += guards
        self.put(batch, offset, complete_at, in_bulk=True)

    def follow(self, records: Mapping[bytes, bytes | None], offset: int, complete_at: float = 0.0) -> None:
        """As ``write``, and the timers that the records had before go: nothing fires where a partition is followed."""
        users = [key for key in records if key[0] == 117]  # b"u"
        stale = [
            layout.timer_key(layout.due_of(old), key[1:])
            for key, old in zip(users, self.get_many(users), strict=True)
            if old is not None and layout.has_timer(old)
        ]
        self.write(records.items(), offset, stale, complete_at)

    def _write(self, batch: Batch, *, in_bulk: bool = False) -> None:
        try:
            if in_bulk:
                wait_for_room(self._db)
            self._db.write(batch)
        except Exception as error:
            self._fail("write", error)

    @contextlib.contextmanager
    def bulk(self) -> Iterator[None]:
        """Only ``load`` within the block: several times as fast."""
        self._set(for_bulk())
        yield
        self._set(USUAL)

    def _set(self, options: dict[str, str]) -> None:
        try:
            self._db.set_options(options)
        except Exception as error:
            self._fail("write", error)

    @property
    def changelog_offset(self) -> int:
        """The changelog offset to continue from; 0 for a new store."""
        return self._continue_from()[0]

    @property
    def complete_at(self) -> float:
        """When the changelog offset was last known to be the end (seconds since the epoch); 0 for a new store."""
        return self._continue_from()[1]

    def _continue_from(self) -> tuple[int, float]:
        value = self.get(layout.OFFSET_KEY)
        return layout.decode_offset(value) if value else (0, 0.0)

    @property
    def meta(self) -> layout.Meta:
        """The position record: positions, watermark and exact counts."""
        value = self.get(layout.POSITION_KEY)
        return layout.decode_meta(value) if value else layout.Meta()

    def keys(self, prefix: bytes, start: bytes | None = None) -> Iterator[bytes]:
        """Keys with a prefix, in order, from ``start`` on."""

        def keys() -> Generator[bytes, None, None]:
            last = start or prefix
            for key in self._db.keys(from_key=last):
                if not key.startswith(prefix):
                    return
                yield key
                last = key
            self._check_end(last)

        return self._until_closed(keys())

    def items(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys with a prefix and their values, in order, from ``start`` on."""

        def items() -> Generator[tuple[bytes, bytes], None, None]:
            last = start or prefix
            for key, value in self._db.items(from_key=last):
                if not key.startswith(prefix):
                    return
                yield key, value
                last = key
            self._check_end(last)

        return self._until_closed(items())

    def _check_end(self, last: bytes) -> None:
        """rocksdict's iterators end without a word at a block that cannot be read: was it really the end?"""
        probe = self._db.iter()
        try:
            probe.seek(last + b"\0")
            probe.status()
        except Exception as error:
            self._fail("read", error)
        finally:
            del probe  # the error's traceback would keep it, and it the files

    def _until_closed(self, iterator: Generator[T, None, None]) -> Generator[T, None, None]:
        self._iterators.add(iterator)
        return iterator

    def due_timers(self, now: float, start: float, most: int) -> list[bytes]:
        """Timer keys due at ``now`` or before, oldest first, at most ``most``.

        ``start``: no timer is earlier than that (skips the tombstones of fired ones).
        """
        found: list[bytes] = []
        for key in self.keys(b"t", layout.timer_key(max(0.0, start), b"")):
            if layout.timer_parts(key)[0] > now or len(found) == most:
                break
            found.append(key)
        return found

    def first_timer(self, start: float = 0.0) -> float:
        """The earliest timer from ``start`` on, in seconds; NEVER when there is none."""
        for key in self.keys(b"t", layout.timer_key(max(0.0, start), b"")):
            return layout.timer_parts(key)[0]
        return NEVER

    # the bytes of the erased: RocksDB keeps old values and keys in its files until they are rewritten

    @property
    def scrubbed_at(self) -> float:
        """When ``scrubbed`` was last called, in seconds; 0: never."""
        value = self.get(layout.SCRUB_DONE_KEY)
        return layout.decode_moment(value) if value else 0.0

    def scrub_due(self, now: float, interval: float) -> bool:
        """Something was erased since the last scrub, and that is ``interval`` seconds ago."""
        return self.erasures > 0 and now - self.scrubbed_at >= interval

    def purge_timers(
        self, start: bytes, most: int, in_memory: Callable[[str], bytes | None] = lambda _user: None
    ) -> bytes | None:
        """Of ``most`` timer keys from ``start`` on remove those that no user record has; returns where to go on.
        ``in_memory``: records that may be newer than those of the store."""
        keys = list(islice(self.keys(b"t", start), most))
        users = [layout.timer_parts(key)[1] for key in keys]
        batch = WriteBatch(raw_mode=True)
        for key, user, stored in zip(keys, users, self.get_many([b"u" + user for user in users]), strict=True):
            value = in_memory(user.decode()) or stored
            if value is None or layout.timer_key(layout.due_of(value), user) != key:
                batch.delete(key)
        self._write(batch)
        return keys[-1] + b"\0" if len(keys) == most else None

    def compact(self) -> None:
        """Rewrite all data files without what is deleted. Reads and writes go on meanwhile. Raises StoreError."""
        options = CompactOptions()
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        try:
            self._db.flush()
            self._db.compact_range(None, None, options)
        except Exception as error:
            if self._cancelled:
                raise StoreError(f"the compaction of the local state at {self.path} was stopped") from error
            self._fail("compact", error)

    def stop_compacting(self) -> None:
        """A compaction under way ends soon, with StoreError. Only closing makes sense after that."""
        self._cancelled = True
        self._db.cancel_all_background(False)

    def reopen(self) -> None:
        """Close and open: RocksDB then begins a new manifest and log and removes the old ones. Iterators end."""
        self._close_db()
        self._open()

    def scrubbed(self, erasures: int, now: float) -> None:
        """The bytes of so many erasures are gone; those that came meanwhile wait for the next time."""
        batch = WriteBatch(raw_mode=True)
        batch.put(layout.SCRUB_DONE_KEY, layout.encode_moment(now))
        if self.erasures == erasures:
            self.erasures = 0
            batch.delete(layout.SCRUB_WANTED_KEY)
        self._write(batch)

    def end_scrub(self, erasures: int, now: float) -> None:
        """The last step of a scrub that began after so many erasures."""
        self.reopen()
        self.scrubbed(erasures, now)

    def count(self, prefix: bytes) -> int:
        return sum(1 for _ in self.keys(prefix))

    def close(self) -> None:
        """Release the files. Iterators end: one that is left open would keep RocksDB's lock. Never raises: what could
        not be written is in the changelog."""
        with contextlib.suppress(StoreError):
            self._close_db()

    def _close_db(self) -> None:
        for iterator in list(self._iterators):
            iterator.close()
        database, self._db = self._db, None
        if database is None:
            return
        try:
            database.close()
        except Exception as error:
            # RocksDB refuses the last flush once its background work is cancelled; the changelog has what was written
            if not self._cancelled:
                self._fail("write", error)


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")


def wipe(path: Path) -> None:
    """Remove a partition's local files and its mark of damage; the changelog restores them."""
    shutil.rmtree(path, ignore_errors=True)
    _mark(path).unlink(missing_ok=True)
