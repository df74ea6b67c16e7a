"""The users in memory, as the core has them: tests in C (``tests/c``), which say what they check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.c_programs import CORE, PLAIN, ROOT, SANITIZED, THREADS, build, run

pytestmark = pytest.mark.compiled
MOST_LINES = 400
CACHE = ("memory", "arena", "slab", "table", "cache", "turn")


def test_the_cache_is_as_plain_arrays_are_and_every_call_for_memory_may_fail(tmp_path: Path) -> None:
    program = build(tmp_path, "test_cache", CACHE, (*SANITIZED, "-DMEMORY_FAULTS"), ["model"])
    assert run(program).endswith("well\n")


def test_two_partitions_on_two_threads_share_nothing_but_the_arena(tmp_path: Path) -> None:
    assert run(build(tmp_path, "test_cache_threads", CACHE, THREADS, ["model"])).endswith("well\n")


def test_the_bound_holds_for_many_partitions_and_what_is_let_go_goes_back_to_the_system(tmp_path: Path) -> None:
    assert run(build(tmp_path, "test_cache_memory", CACHE, PLAIN)).endswith("well\n")


def test_the_core_knows_no_python() -> None:
    files = sorted(CORE.glob("*.[ch]"))
    assert {file.stem for file in files} >= set(CACHE)
    assert [file.name for file in files if "Python.h" in file.read_text("utf-8")] == []


def test_no_file_of_the_core_or_of_its_tests_is_longer_than_four_hundred_lines() -> None:
    files = [*CORE.glob("*.[ch]"), *(ROOT / "tests" / "c").glob("*.[ch]")]
    lengths = {file.name: len(file.read_text("utf-8").splitlines()) for file in files}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}
