"""Turns that Kafka refuses, halves or loses with their worker: what is published and kept is as if nothing had been."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from state import layout
from state.store import SharedMemory, Store
from streams.kafka.clock import Told
from streams.kafka.errors import AbortedError, TooMuchError
from streams.kafka.output import Output
from streams.kafka.pieces import Size, in_pieces, units
from streams.kafka.transactions import Transactions
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects
from streams.steps.in_force import InForce
from streams.steps.segments import parse_plan
from tests.records import block_with
from tests.small_partition import PLACE, T0, Sent, models_of

DAY = 86_400.0
VIEWS = '[[segment]]\nid = "v"\nrule = \'count("view", within="{}") >= 2\'\n'
IDLE = '[[segment]]\nid = "n"\nrule = \'count("purchase", within="2d") == 0\'\n'
ABSENT = '[[segment]]\nid = "ab"\nrule = \'absent("purchase", after="click", wait="{}", within="2d")\'\n'
DEFINITIONS = [VIEWS.format("1d") + IDLE, VIEWS.format("3d") + ABSENT.format("30m"), ABSENT.format("10m") + IDLE]
USERS = [f"u{number}" for number in range(5)]
SOON = dataclasses.replace(PLACE, wall_clock=True, anonymous_ttl=4 * DAY, state_ttl=6 * DAY)


@dataclasses.dataclass
class Step:
    now: float
    events: list[Sent]
    version: int
    plan: int
    sweeps: bool


def steps(chance: random.Random) -> list[Step]:
    """Events in time, late, ahead and doubled; other definitions now and then; long pauses."""
    found: list[Step] = []
    now, offset, version, plan = T0 + 10 * DAY, 0, 1, 0
    for _ in range(12):
        now += chance.choice((1, 60, 3_600, 20_000, DAY, 2 * DAY))
        events = []
        for _ in range(chance.choice((0, 1, 3, 12))):
            event: dict[str, Any] = {
                "user": chance.choice(USERS),
                "kind": chance.choice(("view", "view", "click", "purchase", "comment")),
                "time": now - chance.choice((0, 0.5, 5, 100, 4_000, DAY, -2, -50, -500)),
                "id": f"e{max(0, offset - chance.choice((0, 0, 0, 3)))}",
                "text": "hello",
                "anonymous": chance.random() < 0.3,
            }
            events.append(Sent(offset, msgspec.json.encode(event), timestamp=int(now * 1_000)))
            offset += 1
        if chance.random() < 0.3:
            version, plan = version + 1, chance.randrange(3)
        found.append(Step(now, events, version, plan, chance.random() < 0.5))
    return found


class Bench:
    """A partition's writer on a Kafka that refuses what ``refuses`` says."""

    def __init__(self, path: Path, trouble: random.Random | None) -> None:
        self.changes: list[tuple[Any, ...]] = []
        self._path, self._trouble, self._memory, self._size = path, trouble, SharedMemory(8), Size()
        self._many = False
        self._offset = 0
        self.now, self.definitions = T0, InForce(0, parse_plan(""), models_of(IDLE))
        self.writer = self._opened()

    def _opened(self) -> PartitionWriter:
        writer = PartitionWriter(
            Settings(data_dir=self._path), lambda: self.definitions, SOON, self._memory, clock=lambda: self.now
        )
        writer._transactions = cast(Transactions, self)
        writer._begin(Store(self._path / "store", self._memory))
        return writer

    def write(self, _output: Output, effects: Effects, produced: Callable[[], None]) -> int:
        self._refuse(0.2)
        produced()
        self._refuse(0.2)
        self._offset += effects.count + 1
        return self._offset

    def _refuse(self, share: float) -> None:
        if self._trouble is not None and self._trouble.random() < share:
            raise (TooMuchError if self._many and self._trouble.random() < 0.7 else AbortedError)("refused")

    def do(self, work: Work) -> None:
        if self._trouble is not None and self._trouble.random() < 0.2:
            self.writer.close()
            self.writer = self._opened()
        for topic in self.writer.clock.topics:
            self.writer.clock.told(topic, Told(0, self.now), 0)
        for done in in_pieces(work, self._size, self._once):
            for change in (emitted.change for emitted in done.effects.changes):
                what = (change.segment, change.change, change.event_time, change.origin)
                self.changes.append((change.user, change.sequence, *what))

    def _once(self, piece: Work) -> Done:
        self._many = units(piece) > 1
        while True:
            try:
                return self.writer.process(piece)
            except AbortedError:
                continue

    def step(self, step: Step) -> None:
        self.now = step.now
        self.definitions = InForce(step.version, parse_plan(DEFINITIONS[step.plan]), self.definitions.models)
        self.do(Work(sources=[(SOON.topics.events, step.events)] if step.events else [], timers=True))
        after = ""
        while step.sweeps and self.writer.definitions_changed:
            users = self.writer.some_users(after, 2)
            self.do(Work(sweep=users, epoch=self.writer.meta.epoch))
            after = users[-1] if users else ""
        while self.writer.timer_clock() >= self.writer.due.next:
            self.do(Work(timers=True))
        if idle := self.writer.idle_users("", 100)[0]:
            self.do(Work(idle=idle))

    def kept(self) -> dict[bytes, Any]:
        """All records. In what order users of one turn begin is no promise: the number of a life."""
        store = self.writer.store
        self.writer.behind.end()
        found: dict[bytes, Any] = {
            key: value for first in (b"w", b"d", b"q", b"y", b"z") for key, value in store.items(first)
        }
        for key, value in store.items(b"u"):
            if layout.has_timer(value):  # timers that moved may be there besides: they do nothing
                assert store.get(layout.timer_key(layout.due_of(value), key[1:])) is not None
            found[key] = block_with(key[1:].decode(), value, life=0, version=0)
        found[b"p"] = self.writer.meta
        return found


@pytest.mark.parametrize("seed", range(6))
def test_aborted_halved_and_interrupted_turns_leave_no_trace(tmp_path: Path, seed: int) -> None:
    smooth, rough = Bench(tmp_path / "a", None), Bench(tmp_path / "b", random.Random(seed))
    for step in steps(random.Random(seed)):
        smooth.step(step)
        rough.step(step)
        assert sorted(rough.changes) == sorted(smooth.changes)
        assert rough.kept() == smooth.kept()
    assert smooth.changes
    smooth.writer.close()
    rough.writer.close()
