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

#: RocksDB's names for what is changed while a store is open, and what it is otherwise. Compaction: each merge reads and
#: writes most of what is there, and a get asks the filters of a few files more; a load leaves it for the end, unless it
#: gets much
USUAL: Final = {
    "write_buffer_size": str(64 * 1024 * 1024),
    "max_write_buffer_number": "2",
    "level0_file_num_compaction_trigger": "8",
}


def for_bulk() -> dict[str, str]:
    """The same for a load."""
    return {
        "write_buffer_size": str(_BUFFER_BYTES),
        "max_write_buffer_number": str(_MOST_BUFFERS),
        "level0_file_num_compaction_trigger": "24",
    }


def wait_for_room(database: Any) -> None:
    """Until rocksdict's database takes a batch at once. Where something is wrong with it, the write says what."""
    number = database.property_int_value
    while (
        number("rocksdb.num-immutable-mem-table") >= _BUFFERS
        or int(database.property_value("rocksdb.num-files-at-level0")) >= _FILES
    ) and not number("rocksdb.background-errors"):
        time.sleep(_LOOK_SECONDS)
