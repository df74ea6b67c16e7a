"""Events ahead of the clock: sent early, in any order, through crashes, they do what they do when they come in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.plain.ids import Ids
from state.plain.record import unpack
from streams.steps import ahead, fold, timers, waiting
from tests.records import block_with
from tests.small_partition import PLACE, T0, Sent, SmallPartition

RULES = """
[[segment]]
id = "cart"
rule = 'absent("purchase", after="click", wait="10s", within="60s")'
[[segment]]
id = "looking"
rule = 'count("view", within="20s") >= 2'
[[segment]]
id = "buyer"
rule = 'total("purchase", "amount", within="40s") >= 10'
min_stay = "5s"
"""
WALL = replace(PLACE, wall_clock=True)
USERS = ["u", "v", "用户"]


@dataclass(frozen=True)
class Told:
    """An event, and when the broker took it (seconds)."""

    event: dict[str, Any]
    arrived: float

    @property
    def time(self) -> float:
        return float(self.event["time"])

    @property
    def turn_comes(self) -> float:
        return self.time if self.time > self.arrived + ahead.TOLERANCE else self.arrived


class Wall:
    """A partition by the wall clock; it may be lost and opened anew between two turns."""

    def __init__(self) -> None:
        self.partition = SmallPartition(RULES, WALL)
        self._offset = 0

    def receive(self, told: list[Told]) -> None:
        records = []
        for each in told:
            self._offset += 1
            records.append(Sent(self._offset, msgspec.json.encode(each.event), round(each.arrived * 1_000)))
        self.partition.take(WALL.topics.events, [*records])

    def clock(self, now: float) -> None:
        """All turns that are due; what is folded in one may be due to end in the next."""
        while self.partition.meta.waiting and waiting.first(self.partition.memory, 0.0) <= now:
            self._turn(now)
        while self.partition.due_keys(now):
            self._turn(now)

    def _turn(self, now: float) -> None:
        partition = self.partition
        turn = partition._turn()
        until = fold.receive_waiting(turn, now)
        timers.receive_timers(turn, partition.due_keys(until), until)
        partition._commit(turn)

    def crash(self) -> None:
        self.partition.restart()

    def state(self) -> dict[bytes, bytes]:
        found = {}
        for key, value in self.partition.memory.data.items():
            if key[:1] == b"u":
                # by the order of users, by that of turns, and lies in records of its own
                found[key] = block_with(key[1:].decode(), value, life=0, version=0, ids=Ids())
            else:
                found[key] = value
        found.pop(layout.POSITION_KEY, None)
        return found


def seconds(most: int) -> st.SearchStrategy[float]:
    return st.integers(0, most * 10).map(lambda tenths: T0 + tenths / 10.0)


def events(*kinds: str) -> st.SearchStrategy[list[Told]]:
    one = st.builds(
        lambda user, kind, arrived, early, number: Told(
            {"user": user, "kind": kind, "time": arrived + early, "id": f"e{number}", "amount": 6.0}, arrived
        ),
        st.sampled_from(USERS),
        st.sampled_from(kinds),
        seconds(60),
        st.sampled_from([0.0, 0.0, -3.0, 0.5, 1.5, 8.0, 30.0]),
        st.integers(0, 40),  # some are sent twice
    )
    return st.lists(one, max_size=25)


BETWEEN = st.lists(st.sampled_from(["turn", "clock", "crash", ""]), max_size=25)


def both(told: list[Told], between: list[str]) -> tuple[Wall, Wall]:
    """What comes of these events sent early, in such turns, and of the same ones when each comes at its own time."""
    told = sorted(told, key=lambda each: each.arrived)
    early, batch = Wall(), []
    for number, each in enumerate(told):
        batch.append(each)
        what = between[number] if number < len(between) else ""
        if what:
            early.receive(batch)
            batch = []
        if what == "clock":  # it knows all that had arrived by then
            early.clock(each.arrived - 0.001)
        elif what == "crash":
            early.crash()
    if batch:
        early.receive(batch)
    early.clock(T0 + 1_000.0)

    in_time = Wall()
    for _, each in sorted(enumerate(told), key=lambda pair: order(*pair)):
        in_time.receive([replace(each, arrived=each.turn_comes)])
    in_time.clock(T0 + 1_000.0)
    assert early.partition.meta.waiting == in_time.partition.meta.waiting == 0
    assert early.partition.meta.events == in_time.partition.meta.events
    return early, in_time


@settings(deadline=None, max_examples=200)
@given(events("click", "view", "purchase"), BETWEEN)
def test_an_early_event_does_what_it_does_when_it_comes_at_its_own_time(told: list[Told], between: list[str]) -> None:
    early, in_time = both(told, between)
    assert early.state() == in_time.state()
    assert told_by_user(early) == told_by_user(in_time)


@settings(deadline=None, max_examples=200)
@given(events("view", "purchase", "delete"), BETWEEN)
def test_so_does_an_early_erasure(told: list[Told], between: list[str]) -> None:
    # a timer that is due before a delete may or may not have fired before it: the sequence differs, nothing else
    early, in_time = (wall.state() for wall in both(told, between))
    assert early.keys() == in_time.keys()
    for key in early:
        if key[:1] == b"u":
            one, other = unpack("u", early[key]), unpack("u", in_time[key])
            assert (one.time, one.count, one.cells.pack(), one.erased) == (
                other.time, other.count, other.cells.pack(), other.erased,
            )  # fmt: skip
            assert one.members.segments() == other.members.segments()


def order(number: int, each: Told) -> tuple[Any, ...]:
    """What waited comes before what arrives at the same moment, in the order of its keys."""
    waits = each.turn_comes > each.arrived
    return (each.turn_comes, not waits, 0 if waits else number, key_of(each) if waits else b"")


def key_of(each: Told) -> bytes:
    return xxhash.xxh3_64_digest(msgspec.json.encode(each.event))


def told_by_user(wall: Wall) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for each in wall.partition.changes:
        what = (each.segment, each.change, each.event_time, each.sequence, each.origin)
        found.setdefault(each.user, []).append(what)
    return found
