"""A store that is loaded in bulk: RocksDB's options for it, and how it is kept from letting a write wait.

rocksdict writes under Python's lock. Where RocksDB lets a write wait for its threads, all that the worker does waits
with it, so who loads waits before that, without the lock.
"""

from __future__ import annotations

import time
from typing import Any, Final

#: files that wait to be merged from which on RocksDB slows writes down, whether in bulk or not
SLOW_FILES: Final = 40
#: of one memtable; each becomes one sorted file. It lies in the processor's cache: one of 32 MB costs a fifth more
_BUFFER_BYTES: Final = 8 * 1024 * 1024
#: memtables that wait to be written to files, and files that wait to be merged, from which on a load waits
_BUFFERS, _FILES = 3, 36
#: memtables at which RocksDB lets a write wait
_MOST_BUFFERS: Final = 8
#: seconds between two looks whether there is room
_LOOK_SECONDS: Final = 0.002


def for_bulk(options: Any) -> None:
    """Of rocksdict's options, those for a load. Compaction waits for the end, unless it gets much."""
    # what is loaded comes in the order of its keys: if only one thread writes, none is searched for its place
    options.set_allow_concurrent_memtable_write(False)
    options.set_write_buffer_size(_BUFFER_BYTES)
    options.set_max_write_buffer_number(_MOST_BUFFERS)
    options.set_level_zero_file_num_compaction_trigger(24)


def wait_for_room(database: Any) -> None:
    """Until rocksdict's database takes a batch at once. Where something is wrong with it, the write says what."""
    number = database.property_int_value
    while (
        number("rocksdb.num-immutable-mem-table") >= _BUFFERS
        or int(database.property_value("rocksdb.num-files-at-level0")) >= _FILES
    ) and not number("rocksdb.background-errors"):
        time.sleep(_LOOK_SECONDS)
