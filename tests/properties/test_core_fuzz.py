"""Whatever bytes come: ``block_check`` takes or refuses them without harm, and what it takes is written as it was."""

from __future__ import annotations

import subprocess

import pytest

from tests import core

pytestmark = pytest.mark.compiled


def fuzz_block() -> str:
    sources = [*core.SOURCES.glob("*.c"), core.DRIVERS / "fuzz_block.c"]
    return str(core.build("fuzz_block", f"{core.STRICT} {core.SANITIZE}", sources))


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_blocks_are_refused_or_written_as_the_same_bytes(seed: int) -> None:
    """Under the address and undefined-behaviour sanitizers; ``make fuzz-core`` goes on for longer."""
    done = subprocess.run([fuzz_block(), str(seed), "5000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = {words: int(count) for count, words in (line.split(" ", 1) for line in done.stdout.splitlines())}
    assert all(counts.values()), "some way of being wrong never came up"
