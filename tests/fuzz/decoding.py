"""Mutated records through the decoders, on all cores."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from streams.wire.refused import RefusedError
from tests.fuzz.checks import check_event, check_label
from tests.fuzz.mutate import Mutator

#: of ten records this many are labels
_LABELS = 2
_CHUNK = 25_000
#: a record that takes longer (seconds) is a finding, were it taken or refused
SLOW = 1.0


@dataclass
class Outcome:
    """What became of the records; a finding is one that gave neither an event nor a refusal."""

    records: int = 0
    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0

    def add(self, other: Outcome) -> None:
        self.records += other.records
        self.taken += other.taken
        self.refused.update(other.refused)
        self.findings += other.findings
        self.slowest_seconds = max(self.slowest_seconds, other.slowest_seconds)

    @property
    def accounted(self) -> bool:
        return self.records == self.taken + self.refused.total() + len(self.findings)


def fuzz_chunk(seed: int, count: int) -> Outcome:
    """Decode ``count`` mutated records of the stream that begins with ``seed``."""
    mutator, found = Mutator(seed), Outcome()
    for number in range(count):
        label = number % 10 < _LABELS
        value = mutator.label() if label else mutator.event()
        found.records += 1
        began = time.thread_time()  # a machine that is busy with others is not slow decoding
        try:
            outcome = check_label(value) if label else check_event(value)
        except Exception as error:
            found.findings.append(
                f"seed {seed}, record {number}: {type(error).__name__}: {error}; bytes {value!r:.2000}"
            )
            continue
        seconds = time.thread_time() - began
        found.slowest_seconds = max(found.slowest_seconds, seconds)
        if seconds > SLOW:
            found.findings.append(f"seed {seed}, record {number} took {seconds:.1f} s; bytes {value!r:.2000}")
        elif isinstance(outcome, RefusedError):
            found.refused[str(outcome.code)] += 1
        else:
            found.taken += 1
    return found


def fuzz_decoders(seed: int, records: int, processes: int | None = None) -> Outcome:
    """``records`` mutated records, in chunks with seeds of their own; one process runs here, more in parallel."""
    chunks = [(seed * 1_000_003 + at, min(_CHUNK, records - at)) for at in range(0, records, _CHUNK)]
    outcome = Outcome()
    count = processes or os.cpu_count() or 1
    if count == 1:
        for chunk in chunks:
            outcome.add(fuzz_chunk(*chunk))
        return outcome
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(fuzz_chunk, *zip(*chunks, strict=True)):
            outcome.add(part)
    return outcome
