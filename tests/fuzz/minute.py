"""A minute of whatever bytes may come to the compiled module's doors, of another seed each time.

python -m tests.fuzz.minute --seconds 60 --seed 1

Beside each other, half of the time each: blocks of users' records and images of plans, which drivers in C damage under
the sanitizers; and in Python mutated events, read as Python reads them, and parts of merges, which a partition takes
or refuses. Where there is clang, ``make fuzz-core`` looks further than the damage that is made here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from state.compiled import COMPILED
from state.plan_image import write
from streams.steps import merge
from streams.steps.effects import Record
from streams.steps.segments import parse_plan
from streams.steps.turn import Turn
from tests import core
from tests.fuzz.internal import DEFINITIONS, Partition
from tests.fuzz.mutate import Mutator
from tests.properties.test_native_read import check

#: of one run of a driver, or one batch: about a second, so that a minute is not much more
_BLOCKS, _PLANS, _EVENTS, _MOVES = 500, 200, 100, 50
_RULES: Final = """
[[segment]]
id = "busy"
rule = 'count("view", within="1h") >= 3 and not count("click", category="shoes", within="7d") > 2'
min_stay = "10m"
[[segment]]
id = "left"
rule = 'absent("purchase", after="click", wait="30m", within="2d") or total("purchase", "amount", within="30d") > 100'
"""
Door = Callable[[int], int]


def _driver(name: str, flags: str) -> str:
    sources = [*core.SOURCES.glob("*.c"), core.DRIVERS / f"{name}.c"]
    return str(core.build(name, f"{core.STRICT} {core.SANITIZE}{flags}", sources))


def blocks() -> Door:
    """Damaged blocks through ``block_check``; those that it takes are written as the same bytes."""
    driver = _driver("fuzz_block", "")

    def door(seed: int) -> int:
        subprocess.run([driver, str(seed), str(_BLOCKS)], stdout=subprocess.DEVNULL, check=True)
        return _BLOCKS * 20

    return door


def plans() -> Door:
    """Damaged images through ``plan_open``, and folds by those that it takes."""
    driver, image = _driver("fuzz_plan", " -DMEMORY_FAULTS"), write(parse_plan(_RULES).described)

    def door(seed: int) -> int:
        subprocess.run([driver, str(seed), str(_PLANS)], input=image, stdout=subprocess.DEVNULL, check=True)
        return _PLANS

    return door


def events() -> Door:
    """Mutated events, compiled and in Python: the same events, to the bit."""

    def door(seed: int) -> int:
        mutator = Mutator(seed)
        check([mutator.event() for _ in range(_EVENTS)])
        return _EVENTS

    return door


def moves() -> Door:
    """Parts of merges that one partition gets, each taken or refused; what is taken is folded in and written."""
    partition = Partition(DEFINITIONS)

    def receive(turn: Turn, records: list[Record]) -> None:
        for record in records:
            merge.receive(turn, record)

    def door(seed: int) -> int:
        mutator = Mutator(seed)
        partition.deliver(receive, [mutator.move() for _ in range(_MOVES)])
        return _MOVES

    return door


def _try(what: str, end: float, seed: int, door: Door) -> None:
    """Until then, and once at least. Each run has a seed of its own, which its failure tells."""
    began, tried = seed, 0
    while seed == began or time.monotonic() < end:
        try:
            tried += door(seed)
        except BaseException as error:
            error.add_note(f"{what}: seed {seed}")
            raise
        seed += 1
    sys.stdout.write(f"fuzzed: {tried:,} {what}\n")
    sys.stdout.flush()


def main() -> int:
    """Raises what was found, with its seed; the time is that of the search, after what it needs is built."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.minute", description="Any bytes at the module's doors.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31)
    given = parser.parse_args()
    assert COMPILED is not None, "the module is not compiled"
    lanes = (("blocks", blocks()), ("plans", plans())), (("events", events()), ("parts of merges", moves()))
    now, half = time.monotonic(), given.seconds / 2
    sys.stdout.write(f"fuzzing for {given.seconds:.0f} s from seed {given.seed}\n")

    def run(lane: Sequence[tuple[str, Door]]) -> None:
        for at, (what, door) in enumerate(lane, 1):
            _try(what, now + at * half, given.seed, door)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, lanes))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
