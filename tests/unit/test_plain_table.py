"""What is the twin's own: what it counts is what it takes."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from state.layout2 import CHUNK
from state.plain.table import PlainArena
from tests.turns import LARGE, commit, see


@pytest.mark.parametrize(("users", "ids"), [(300, 0), (300, 10), (50, 3 * CHUNK), (20, 20 * CHUNK + 5)])
def test_what_is_counted_of_a_user_is_what_python_takes_for_it(users: int, ids: int) -> None:
    arena = PlainArena(LARGE)
    table = arena.table()
    gc.collect()
    tracemalloc.start()
    try:
        area = table.begin()
        for number in range(users):
            see(area.begin(f"user-{number:06}", 1, number), ids, begin=number * ids)
        commit(area)
        del area
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 1.3 < arena.bytes_held < taken * 1.3
