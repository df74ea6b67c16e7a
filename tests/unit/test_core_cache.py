"""The users in memory, as the compiled core has them: test programs in ``tests/c``, which say what they check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import core

pytestmark = pytest.mark.compiled
CACHE = ("memory", "arena", "slab", "table", "cache", "behind", "turn", "fetch", "tail", "ids", "block")
#: every access by two threads that no lock orders
THREADS = "-O1 -g -fsanitize=thread"


def run(name: str, flags: str, *others: str) -> None:
    """Build ``tests/c/NAME.c`` with the cache and run it: it must end well, and no sanitizer may have complained."""
    sources = [core.SOURCES / f"{file}.c" for file in CACHE] + [core.DRIVERS / f"{file}.c" for file in (name, *others)]
    program = core.build(name, f"{core.STRICT} {flags}", sources)

    def ended(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)

    result = ended(program)
    if "unexpected memory mapping" in result.stderr:  # gcc's thread sanitizer where addresses are shuffled too widely
        result = ended("setarch", "-R", program)
    assert (result.returncode, result.stderr, result.stdout[-5:]) == (0, "", "well\n")


def test_the_cache_is_as_plain_arrays_are_and_every_call_for_memory_may_fail() -> None:
    run("test_cache", f"{core.SANITIZE} -DMEMORY_FAULTS", "model")


def test_ids_beyond_the_block_count_in_the_bound_and_leave_nothing_behind() -> None:
    run("test_tail", f"{core.SANITIZE} -DMEMORY_FAULTS")


def test_what_is_dirty_when_a_round_begins_is_in_the_store_at_its_end_and_stays_in_memory_until_then() -> None:
    run("test_behind", core.SANITIZE)


def test_two_partitions_on_two_threads_share_nothing_but_the_arena() -> None:
    run("test_cache_threads", THREADS, "model")


def test_the_bound_holds_for_many_partitions_and_what_is_let_go_goes_back_to_the_system() -> None:
    run("test_cache_memory", "-O2")
