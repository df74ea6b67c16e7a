"""What can be wrong with a local store, told apart by what is to be done about it."""

from __future__ import annotations

from pathlib import Path

_FULL = ("no space left", "file too large", "disk quota exceeded")
_NOT_THE_FILES = ("permission denied", "read-only file system", "too many open files", "cannot allocate memory")


class StoreError(RuntimeError):
    """The local store cannot be opened, read or written; the message names its path and says what to do."""


class StoreLockedError(StoreError):
    """Another process has the local store open."""


class StoreFullError(StoreError):
    """There is no room on the disk. What is in the store is sound."""


class StoreDamagedError(StoreError):
    """The files are damaged. The store is marked, so that whoever opens it next wipes it first."""


def store_error(path: Path, doing: str, error: Exception) -> StoreError:
    """The right error for what RocksDB said while ``doing`` ("open", "read", "write") the store at ``path``."""
    said = str(error).lower()
    what = f"cannot {doing} the local state at {path}: {error}"
    if any(word in said for word in _FULL):
        return StoreFullError(f"{what}; make room on that disk and start the worker again, the changelog has the rest")
    if "lock" in said and "block" not in said:
        return StoreLockedError(f"{what}; another process works with it")
    if any(word in said for word in _NOT_THE_FILES):
        return StoreError(what)
    return StoreDamagedError(f"{what}; its files are damaged, it is wiped and restored from the changelog")
