"""A turn is whole or it was never there: whatever is dropped on the way leaves no trace in memory, and what is
committed in the end is what it is without."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.tables import new_arena
from streams.steps import definitions, expiry, fold, sources, timers
from streams.steps.effects import Effects
from streams.steps.turn import Turn
from tests.small_partition import MEMORY_BYTES, PLACE, T0, Sent, SmallPartition

VIEWS = '[[segment]]\nid = "v"\nrule = \'count("view", within="{}") >= 2\'\nmin_stay = "10m"\n'
ABSENT = '[[segment]]\nid = "ab"\nrule = \'absent("purchase", after="click", wait="30m", within="2d")\'\n'
DEFINITIONS = (VIEWS.format("1h"), VIEWS.format("3h") + ABSENT)
USERS = ["a", "b", "c", "用户"]
SHORT_LIVED = replace(PLACE, state_ttl=20_000.0, anonymous_ttl=20_000.0)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(USERS),
            "kind": st.sampled_from(
                [
                    "view",
                    "view",
                    "click",
                    "purchase",
                    "comment",
                    "follow",
                    "unfollow",
                    "join",
                    "identify",
                    "delete",
                    "?",
                ]
            ),
            "time": st.integers(0, 400).map(lambda step: T0 + 60.0 * step),
            "id": st.integers(0, 60).map(lambda number: f"e{number}"),  # some are sent twice
            "target": st.sampled_from(["z", *USERS]),
            "group": st.just("g"),
            "text": st.just("words"),
            "anonymous": st.booleans(),
        }
    ),
    min_size=1,
    max_size=12,
)
#: what happens, and how often it is tried in vain before: up to where
STEPS = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("events"), EVENTS),
            st.tuples(st.just("events"), EVENTS),
            st.tuples(st.just("bulk"), st.sampled_from(USERS), st.integers(50, 200)),
            st.tuples(st.just("deliver"), st.integers(1, 20)),
            st.tuples(st.just("fire"), st.integers(0, 30_000)),
            st.tuples(st.just("sweep"), st.integers(0, 1)),
            st.tuples(st.just("expire")),
        ),
        st.lists(st.sampled_from(["steps", "settled"]), max_size=3),
        st.sampled_from(["", "", "", "restart", "tidy"]),
    ),
    min_size=1,
    max_size=10,
)


class Side:
    """A partition, and what it has sent to itself."""

    def __init__(self, most_bytes: int) -> None:
        self.partition = SmallPartition(DEFINITIONS[0], SHORT_LIVED)
        self.partition.table = new_arena(most_bytes).table()
        self.tight = most_bytes < MEMORY_BYTES
        """Who is in memory may go at any time."""
        self.queue: deque[tuple[str, Sent]] = deque()

    def turn(self, act: Callable[[Turn], object], in_vain: list[str]) -> Effects:
        partition = self.partition
        for where in in_vain:
            before = self.all_there_is()
            turn = partition._turn()
            act(turn)
            if where == "settled":
                turn.finish({})
            turn.area.drop()
            assert self.all_there_is() == before
        turn = partition._turn()
        act(turn)
        effects = partition._commit(turn)
        for message in effects.messages:
            if message.topic in (partition.place.topics.reroute, partition.place.topics.graph):
                headers = [
                    (name, value.encode() if isinstance(value, str) else value) for name, value in message.headers
                ]
                sent = partition._record(message.value)
                self.queue.append((message.topic, replace(sent, key=message.key, headers=headers)))
        return effects

    def all_there_is(self) -> tuple[Any, ...]:
        """Committed: in the store, and in memory."""
        partition = self.partition
        records = dict(partition.memory.data)
        in_memory = {user: partition.table.get(user) for user in (*USERS, "z")}
        for user, block in in_memory.items():
            assert block is None or block == records[layout.user_key(user)]
        return records, layout.encode_meta(partition.meta), None if self.tight else in_memory

    def step(self, step: tuple[Any, ...], in_vain: list[str]) -> Effects | None:
        partition = self.partition
        match step:
            case ("events", list(events)):
                sent = [partition.sent(event) for event in events]
                return self.turn(partial(fold.receive_events, records=sent, topic=PLACE.topics.events), in_vain)
            case ("bulk", str(user), int(count)):
                clicks = [
                    {"user": user, "kind": "click", "time": T0 + number, "id": f"{user}-{count}-{number}"}
                    for number in range(count)
                ]
                return self.step(("events", clicks), in_vain)
            case ("deliver", int(most)):
                if not self.queue:
                    return None
                topic = self.queue[0][0]
                records = [sent for of, sent in list(self.queue)[:most] if of == topic]
                self.queue = deque(pair for pair in self.queue if not any(pair[1] is sent for sent in records))
                return self.turn(partial(sources.receive, topic=topic, records=records, heads={}), in_vain)
            case ("fire", int(later)):
                now = partition.meta.watermark + later
                keys = partition.due_keys(now)
                return self.turn(partial(timers.receive_timers, keys=keys, now=now), in_vain)
            case ("sweep", int(which)):
                table = partition.table
                partition.redefine(DEFINITIONS[which])
                assert partition.table is table
                users = [key[1:].decode() for key in partition.memory.keys(b"u")]
                return self.turn(partial(definitions.sweep, users=users), in_vain)
        return self.turn(partial(expiry.expire, users=[*USERS, "z"]), in_vain)


def told(effects: Effects | None) -> Any:
    if effects is None:
        return None
    says = {name: getattr(effects, name) for name in Effects.__dataclass_fields__}
    says["rejects"] = [(str(each.error), each.record.offset) for each in effects.rejects]
    says["puts"] = list(effects.puts.items())
    return msgspec.to_builtins(says, enc_hook=repr, str_keys=False) | {"puts": says["puts"]}


@settings(deadline=None)  # the first example loads the models
@given(STEPS, st.sampled_from([1, MEMORY_BYTES]))
def test_what_is_dropped_was_never_there_and_what_is_committed_is_what_it_is_without(
    steps: list[tuple[tuple[Any, ...], list[str], str]], most_bytes: int
) -> None:
    smooth, rough = Side(most_bytes), Side(most_bytes)
    for step, in_vain, then in steps:
        assert told(rough.step(step, in_vain)) == told(smooth.step(step, []))
        for each in (smooth, rough):
            if then == "restart":
                each.partition.restart()
            elif then == "tidy":
                each.partition.table.tidy()
        assert rough.all_there_is() == smooth.all_there_is()
    assert rough.partition.changes == smooth.partition.changes
    for each in (smooth, rough):
        each.partition.restart()
        assert each.partition.table.bytes_held == 0
