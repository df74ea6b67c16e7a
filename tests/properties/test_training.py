"""What a head has learned follows from its examples alone: not from turns, aborts and crashes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.base import FUSED
from state import layout
from state.store import SharedMemory, Store
from state.vectors import pack
from streams.kafka.errors import AbortedError
from streams.kafka.work import Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps import training
from streams.steps.effects import Effects, Message, Record
from streams.steps.in_force import InForce
from streams.steps.learned import Example
from streams.steps.segments import parse_plan
from tests.small_partition import PLACE, Sent, models_of

GROUPS = """
[[group]]
id = "taste"
exclusive = true

[[segment]]
id = "food"
learned = "taste"

[[segment]]
id = "travel"
learned = "taste"
"""
T0 = 1_700_000_000.0
MEMORY = SharedMemory(8)


class Output:
    """Commits all, but aborts where it is told to."""

    def __init__(self) -> None:
        self.abort = False
        self.turns = 0
        self.heads: list[Message] = []
        self.rejects = 0
        self.head_puts = 0

    def write(self, _output: object, effects: Effects, _produced: object) -> int:
        if self.abort:
            self.abort = False
            raise AbortedError("as the test wants it")
        self.turns += 1
        self.heads += [message for message in effects.messages if message.topic == PLACE.topics.heads]
        self.rejects += len(effects.rejects)
        self.head_puts += layout.head_key("taste") in effects.puts
        return self.turns


class Trainer:
    """A real writer on a real store; what is committed is what the store has."""

    def __init__(self, log: list[Record]) -> None:
        self._log = log
        self._directory = tempfile.TemporaryDirectory()
        self.now = T0
        self.output = Output()
        self.store = Store(Path(self._directory.name) / "0", MEMORY)
        self.start()

    def start(self) -> None:
        """A new owner, which knows nothing but what was committed."""
        settings = Settings(data_dir=Path(self._directory.name))
        definitions = InForce(0, parse_plan(GROUPS), models_of(GROUPS))
        self.writer = PartitionWriter(settings, lambda: definitions, PLACE, MEMORY, lambda: self.now)
        inner: Any = self.writer
        inner._begin(self.store)
        inner._transactions = cast(Any, self.output)
        self.fetched = self.writer.meta.positions.get(PLACE.topics.examples, 0)

    def turn(self, most: int) -> None:
        """As a partition does: what was fetched, at most so much, and again after an abort."""
        records = [record for record in self._log if record.offset >= self.fetched][:most]
        work = Work(sources=[(PLACE.topics.examples, records)] if records else [], training=self.writer.training_due)
        while work:
            try:
                self.writer.process(work)
                break
            except AbortedError:
                continue
        if records:
            self.fetched = records[-1].offset + 1

    def finish(self) -> bytes | None:
        """Until all is learned; the head."""
        for _ in range(len(self._log) + 1):
            self.turn(1_000)
        self.now += training.PATIENCE
        self.turn(1)
        assert self.writer.meta.positions.get(PLACE.topics.examples, 0) == (
            self._log[-1].offset + 1 if self._log else 0
        )
        return self.store.get(layout.head_key("taste"))

    def close(self) -> None:
        self.store.close()
        self._directory.cleanup()


def example_log(seed: int, gaps: list[float]) -> list[Record]:
    """Examples, some unreadable, so many seconds apart; offsets have gaps where markers lie."""
    rng = np.random.default_rng(seed)
    log: list[Record] = []
    when, offset = T0, 0
    for gap in gaps:
        when, offset = when + gap, offset + int(rng.integers(1, 3))
        food = bool(rng.integers(2))
        vector = rng.standard_normal(FUSED).astype(np.float32) * 0.05
        vector[0] += 1.0 if food else -1.0
        example = Example("taste", "food" if food else "travel", True, 1.0, pack(vector))
        value = b"?" if rng.integers(10) == 0 else msgspec.msgpack.encode(example)
        log.append(Sent(offset, value, timestamp=int(when * 1_000)))
    return log


GAPS = st.lists(st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.2]), min_size=1, max_size=25)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["turn", "turn", "kill", "abort", "wait"]), st.integers(1, 9)), max_size=20
)  # fmt: skip


@given(st.integers(0, 2**16), GAPS, ACTIONS)
@settings(deadline=None, max_examples=12)
def test_the_final_head_is_that_of_an_uninterrupted_run_to_the_bit_whenever_the_trainer_is_killed(
    seed: int, gaps: list[float], actions: list[tuple[str, int]]
) -> None:
    log = example_log(seed, gaps)
    whole, broken = Trainer(log), Trainer(log)
    for action, count in actions:
        broken.now += 0.05 * count
        if action == "turn":
            broken.turn(count)
        elif action == "kill":
            broken.start()
        elif action == "abort":
            broken.output.abort = True
    broken.output.abort = False
    assert broken.finish() == whole.finish()
    assert [message.value for message in broken.output.heads][-1:] == [m.value for m in whole.output.heads][-1:]
    assert broken.output.rejects == whole.output.rejects == sum(record.value == b"?" for record in log)
    for trainer in (whole, broken):
        trainer.close()


def test_a_head_is_written_once_a_second_under_a_label_every_ten_milliseconds() -> None:
    log = example_log(1, [0.01] * 500)
    trainer = Trainer(log)
    for _ in range(len(log)):
        trainer.now += 0.01
        trainer.turn(1)
    trainer.finish()
    assert trainer.output.turns >= 500
    assert trainer.output.head_puts == len(trainer.output.heads) <= 6
    trainer.close()
