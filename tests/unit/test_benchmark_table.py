"""The benchmark of the table builds with the core as it is, and finds and copies whole blocks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import AHEAD, build, measure


def test_the_driver_builds_with_the_core_and_weighs_whole_blocks(tmp_path: Path) -> None:
    found = measure(build(tmp_path), 1_000, 704, "small", AHEAD, 4)
    assert (found["users"], found["bytes"]) == (1_000, 704)
    assert found["bytes_a_user"] > 704
    assert found["find_and_copy_ns"] > 0.0
    assert found["commit_ns"] > 0.0
