"""One RocksDB for each partition: a cache of the state changelog that makes restarts fast."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from rocksdict import (
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    CompactOptions,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
)

from state import layout
from state.windows import NEVER

T = TypeVar("T")


class StoreError(RuntimeError):
    """The local store cannot be opened or written."""


class StoreLockedError(StoreError):
    """Another process has the local store open."""


class SharedMemory:
    """One block cache and one write-buffer budget for all partitions of a worker."""

    def __init__(self, megabytes: int) -> None:
        size = megabytes * 1024 * 1024
        self.cache = Cache(size)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(size // 2, False, self.cache)


class Store:
    """Keys and values of one partition, as ``layout`` describes them. Not thread-safe: one writer owns it."""

    def __init__(self, path: Path, memory: SharedMemory) -> None:
        """Open or create. Raises StoreError when another process holds it or the files are damaged."""
        self.path = path
        self._memory = memory
        self._cancelled = False
        self._iterators: WeakSet[Generator[Any, None, None]] = WeakSet()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        self.erasures = int(self.get(layout.SCRUB_WANTED_KEY) is not None)
        """Grows with each erasure since the last scrub; 0: there was none."""

    def _open(self) -> None:
        memory, path = self._memory, self.path
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_manager(memory.buffers)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_max_background_jobs(2)
        options.set_max_open_files(512)
        options.set_keep_log_file_num(2)
        table = BlockBasedOptions()
        table.set_block_cache(memory.cache)
        table.set_bloom_filter(10, False)
        table.set_block_size(16 * 1024)
        options.set_block_based_table_factory(table)
        try:
            self._db: Any = Rdict(str(path), options)  # its stubs do not know raw mode: keys and values are bytes
        except Exception as error:
            kind = StoreLockedError if "lock" in str(error).lower() else StoreError
            raise kind(f"cannot open the local state at {path}: {error}") from error

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(key)
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Values in the order of the keys; None where there is none."""
        if not keys:
            return []
        values: list[bytes | None] = self._db.get(keys)
        return values

    def write(self, puts: Iterable[tuple[bytes, bytes | None]], offset: int, fired: Iterable[bytes] = ()) -> None:
        """Write one atomic batch: records (None deletes), their timers, and the changelog offset to continue from.

        ``fired`` are timer keys to remove, before a record puts the same one anew. Raises StoreError.
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key in fired:
            delete(key)
        for key, value in puts:
            if value is None:
                delete(key)
                continue
            put(key, value)
            if key[0] == 117:  # b"u"
                if layout.has_timer(value):
                    put(layout.timer_key(layout.due_of(value), key[1:]), b"")
            elif key[0] == 101:  # b"e": somebody was erased, and the old values lie in files yet
                put(layout.SCRUB_WANTED_KEY, b"")
                self.erasures += 1
        put(layout.OFFSET_KEY, layout.encode_offset(offset))
        self._write(batch)

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch)
        except Exception as error:
            raise StoreError(f"cannot write the local state at {self.path}: {error}") from error

    @property
    def changelog_offset(self) -> int:
        """The changelog offset to continue from; 0 for a new store."""
        value = self.get(layout.OFFSET_KEY)
        return layout.decode_offset(value) if value else 0

    @property
    def meta(self) -> layout.Meta:
        """The position record: positions, watermark and exact counts."""
        value = self.get(layout.POSITION_KEY)
        return layout.decode_meta(value) if value else layout.Meta()

    def keys(self, prefix: bytes, start: bytes | None = None) -> Iterator[bytes]:
        """Keys with a prefix, in order, from ``start`` on."""

        def keys() -> Generator[bytes, None, None]:
            for key in self._db.keys(from_key=start or prefix):
                if not key.startswith(prefix):
                    return
                yield key

        return self._until_closed(keys())

    def items(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys with a prefix and their values, in order, from ``start`` on."""

        def items() -> Generator[tuple[bytes, bytes], None, None]:
            for key, value in self._db.items(from_key=start or prefix):
                if not key.startswith(prefix):
                    return
                yield key, value

        return self._until_closed(items())

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

    def purge_timers(self, start: bytes, most: int) -> bytes | None:
        """Of ``most`` timer keys from ``start`` on remove those that no user record has; returns where to go on."""
        keys = list(islice(self.keys(b"t", start), most))
        values = self.get_many([b"u" + layout.timer_parts(key)[1] for key in keys])
        batch = WriteBatch(raw_mode=True)
        for key, value in zip(keys, values, strict=True):
            if value is None or layout.timer_key(layout.due_of(value), layout.timer_parts(key)[1]) != key:
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
            raise StoreError(f"cannot compact the local state at {self.path}: {error}") from error

    def stop_compacting(self) -> None:
        """A compaction under way ends soon, with StoreError. Only closing makes sense after that."""
        self._cancelled = True
        self._db.cancel_all_background(False)

    def reopen(self) -> None:
        """Close and open: RocksDB then begins a new manifest and log and removes the old ones. Iterators end."""
        self.close()
        self._open()

    def scrubbed(self, erasures: int, now: float) -> None:
        """The bytes of so many erasures are gone; those that came meanwhile wait for the next time."""
        batch = WriteBatch(raw_mode=True)
        batch.put(layout.SCRUB_DONE_KEY, layout.encode_moment(now))
        if self.erasures == erasures:
            self.erasures = 0
            batch.delete(layout.SCRUB_WANTED_KEY)
        self._write(batch)

    def count(self, prefix: bytes) -> int:
        return sum(1 for _ in self.keys(prefix))

    def close(self) -> None:
        """Release the files. Iterators end: one that is left open would keep RocksDB's lock."""
        for iterator in list(self._iterators):
            iterator.close()
        try:
            self._db.close()
        except DbClosedError:
            pass  # it could not be opened again
        except Exception:
            # RocksDB refuses the last flush once its background work is cancelled; the log has what was written
            if not self._cancelled:
                raise


def wipe(path: Path) -> None:
    """Remove a partition's local files; the changelog restores them."""
    shutil.rmtree(path, ignore_errors=True)
