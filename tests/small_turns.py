"""Turns without folds on a Kafka that is a list: what slots and their threads need of a writer and a producer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from streams.kafka.output import Output, Produced
from streams.kafka.rounds import Rounds
from streams.kafka.slots import Slot, boot_seconds
from streams.kafka.transactions import Transactions
from streams.kafka.turns import Turns
from streams.kafka.work import Done, Folded, Work
from streams.steps.effects import Effects
from tests.small_partition import PLACE

PATIENCE = 30.0


class Kafka:
    """In place of ``Transactions``. ``refuse`` is called with ``begin``, with each partition that is handed over, and
    before a commit with all of them; it may raise."""

    identity = "writer"

    def __init__(self, refuse: Callable[[object], object] = lambda _what: None) -> None:
        self.committed: list[list[int]] = []
        self.refuse = refuse
        self.waits, self.answer = threading.Event(), threading.Event()
        self.answer.set()

    def begin(self) -> None:
        self.refuse("begin")

    def produce(self, output: Any, _effects: Effects) -> Produced:
        self.refuse(output)
        return cast(Produced, output)

    def commit(self, handed: list[Any]) -> list[int]:
        self.waits.set()
        assert self.answer.wait(PATIENCE)
        self.refuse(handed)
        self.committed.append(handed)
        return [100 + number for number in handed]


class SmallWriter:
    """In place of ``PartitionWriter``; ``steps`` says what its turns came to. ``refuse`` may raise in a step."""

    def __init__(self, partition: int = 0, refuse: Callable[[str], object] = lambda _step: None) -> None:
        self.place = replace(PLACE, partition=partition)
        self.output = cast(Output, partition)
        self.steps: list[str] = []
        self._refuse = refuse

    def fold(self, work: Work) -> Folded:
        self._step("fold")
        turn = cast(Any, SimpleNamespace(area=None))
        return Folded(work, turn, Effects(puts={b"p": b""}), 0, [], 0, [], 0.0)

    def reached(self, _folded: Folded, step: str) -> None:
        self.steps.append(step)

    def finish(self, folded: Folded, offset: int) -> Done:
        self._step("finish")
        return Done(folded.effects, offset, [], 0.0)

    def drop(self, _area: object) -> None:
        self.steps.append("drop")

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self._refuse(name)


def slot_on(kafka: Kafka, finishing: Executor, boot_clock: Callable[[], float] = boot_seconds) -> Slot:
    """Rounds begin at once."""
    return Slot(lambda: cast(Transactions, kafka), finishing, Rounds(0.0, 0.0), boot_clock=boot_clock)


@contextmanager
def small_turns(partitions: int = 1, threads: int = 1, kafka: Kafka | None = None) -> Iterator[Turns]:
    """Threads of so many partitions, which go by one slot."""
    on = kafka or Kafka()
    turns = Turns(threads, lambda folding: slot_on(on, folding), 1)
    turns.assign(range(partitions))
    try:
        yield turns
    finally:
        on.answer.set()
        turns.shutdown()
