"""Mutated records of the internal topics, through the steps of a partition in memory and the follower's reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from encoders.base import FUSED
from streams.kafka.heads import read_head
from streams.steps import graph, learned
from streams.steps.effects import Effects, Record
from streams.steps.turn import Turn
from tests.fuzz.mutate import USERS, Mutator
from tests.small_partition import SmallPartition

Step = Callable[[Turn, list[Record]], None]
DEFINITIONS = """
[[group]]
id = "taste"
exclusive = true
[[segment]]
id = "taste-food"
learned = "taste"
[[segment]]
id = "taste-value"
learned = "taste"
"""


@dataclass
class InternalOutcome:
    """How many records of each topic were taken and refused."""

    records: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def accounted(self) -> bool:
        return self.records == self.taken.total() + self.refused.total()


class Partition(SmallPartition):
    """Takes records of internal topics as they are."""

    def deliver(self, step: Step, values: list[bytes | None]) -> Effects:
        turn = self._turn()
        step(turn, [self._record(value) for value in values])
        return self._commit(turn)

    def offer(self, users: Iterable[str]) -> None:
        """Put users into the encode queue."""
        turn = self._turn()
        for user in users:
            turn.want_encoding(user, turn.user(user))
        self._commit(turn)

    def learn(self, turn: Turn, records: list[Record]) -> None:
        learned.train(turn, [records], self.heads)


def fuzz_internal(seed: int, records: int, batch: int = 500) -> InternalOutcome:
    """Graph messages, examples and heads in turn, in batches; users that follow the named ones are encoded in between.

    Raises what a worker would have met.
    """
    mutator, found = Mutator(seed), InternalOutcome()
    partition = Partition(DEFINITIONS)
    time = 1_690_000_000.0
    partition.events(
        *({"user": f"f-{n}", "kind": "follow", "target": f"u-{n % USERS}", "time": time + n} for n in range(200)),
        *({"user": f"u-{n}", "kind": "click", "time": time + n} for n in range(50)),
    )
    for _ in range(0, records, batch):
        for name, make, step in (
            ("graph", mutator.graph, graph.receive),
            ("examples", mutator.example, partition.learn),
        ):
            values = [make() for _ in range(batch // 3)]
            effects = partition.deliver(step, values)
            found.records += len(values)
            found.refused[name] += len(effects.rejects)
            found.taken[name] += len(values) - len(effects.rejects)
        for _ in range(batch // 3):
            found.records += 1
            taken = _read_head(mutator)
            (found.taken if taken else found.refused)["heads"] += 1
        partition.offer(f"f-{n}" for n in range(0, 200, 25))
        partition.encode_waiting()
    return found


def _read_head(mutator: Mutator) -> bool:
    try:
        _, head = read_head(b"taste", mutator.head())
    except ValueError:
        return False
    probabilities = head.predict_proba_many(np.zeros((2, FUSED), dtype=np.float32))
    assert np.isfinite(probabilities).all()
    return True
