"""Local state of an earlier release, which left the prefix out of the directory's name, is moved to its new place."""

from __future__ import annotations

import logging
from pathlib import Path

from state.layout import FormatError
from state.store import SharedMemory, Store
from state.store_errors import StoreError
from streams.settings import Settings
from streams.wire.topics import Topics

log = logging.getLogger(__name__)


def take_over(settings: Settings, topics: Topics, memory: SharedMemory) -> None:
    """Move this installation's partitions from the directory that was named by the app alone, if there is none yet.

    That directory may be another installation's, or in use: a store is moved only if its position record names the
    events of this one, and if no other process has it. What stays is restored from the changelog instead.
    """
    before, after = settings.data_dir / settings.worker_name / settings.app, settings.state_dir
    if before == after or after.exists() or not before.is_dir():
        return
    mine = [path for path in sorted(before.iterdir()) if path.name.isdecimal() and _is_of(path, topics, memory)]
    if not mine:
        return
    after.mkdir(parents=True)
    for path in mine:
        path.rename(after / path.name)
    log.info("local state of %d partitions was moved from %s to %s", len(mine), before, after)


def _is_of(path: Path, topics: Topics, memory: SharedMemory) -> bool:
    try:
        store = Store(path, memory)
    except StoreError:  # another process has it, or it is damaged
        return False
    try:
        return topics.events in store.meta.positions
    except (StoreError, FormatError):
        return False
    finally:
        store.close()
