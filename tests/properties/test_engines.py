"""The compiled engine does what the Python one does: the same bytes, changes, counts, refusals."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout, tables
from state.compiled import COMPILED
from state.layout2 import MOST_IDS
from state.plain.record import unpack
from state.plain.table import PlainArena
from state.windows import MOST
from streams.steps.effects import Effects
from streams.steps.membership import plain_next_due
from streams.steps.segments import parse_plan
from tests.rule_sets import COUNTING
from tests.small_partition import PLACE, T0, Sent, SmallPartition

pytestmark = pytest.mark.compiled

RULES = (
    COUNTING
    + """[[segment]]
id = "dropped-out"
rule = 'absent("purchase", after="click", wait="2m", within="1h")'
[[segment]]
id = "silent"
rule = 'absent("view", after="view", after_category="c1", wait="5m", within="20m") and count("view", within="1d") > 1'
min_stay = "1m"
[[segment]]
id = "score"
rule = 'count("view", within="1h") / 4'
enter = 1.0
exit = 0.5
"""
)
LEARNED = RULES + '[[segment]]\nid = "warm"\nlearned = "taste"\n[[segment]]\nid = "cold"\nlearned = "taste"\n'
KINDS = [
    "view", "view", "view", "click", "click", "click", "purchase", "comment", "follow", "unfollow", "join", "leave",
    "delete", "identify", "nonsense",
]  # fmt: skip
EVENTS = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["u", "u", "u", "v", "", "用户"]),
        "kind": st.sampled_from(KINDS),
        "time": st.integers(0, 200).map(lambda step: T0 + 37.5 * step),
        "id": st.sampled_from(["", *"abcdefgh", "schön"]) | st.uuids().map(str),
        "category": st.sampled_from(["", "c1", "c2", "用"]),
        "amount": st.sampled_from([0.0, 0.0, 1e-7, 9.99, 12.0, 1e9, -1.0, 2e9]),
        "dwell": st.sampled_from([0.0, 0.0005, 0.25, 3.0, 86_400.0]),
        "anonymous": st.booleans(),
        "target": st.sampled_from(["w", "u"]),
        "group": st.just("g"),
        "text": st.sampled_from(["", "", "words"]),
    }
)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=30), min_size=1, max_size=6)


class Both:
    """A partition compiled and one in Python; whatever is done is done to both, and must give the same."""

    def __init__(self, definitions: str, most_bytes: int = 1 << 28) -> None:
        self.native, self.plain = SmallPartition(definitions), SmallPartition(definitions)
        self._most_bytes = most_bytes
        self._offset = 0
        self._begin()

    def _begin(self) -> None:
        assert COMPILED is not None
        assert self.native.plan.quiet is not None
        self.native.table = tables.new_arena(self._most_bytes).table()
        self.plain.table = PlainArena(self._most_bytes).table()
        self.plain.plan.quiet = None

    def redefine(self, definitions: str) -> None:
        for each in (self.native, self.plain):
            each.redefine(definitions)
        self._begin()

    def do(self, verb: str, *given: Any) -> Effects:
        """Returns what the compiled one did."""
        one, other = (getattr(each, verb)(*given) for each in (self.native, self.plain))
        assert told(one) == told(other)
        assert self.native.meta == self.plain.meta
        assert self.native.memory.data == self.plain.memory.data
        assert isinstance(one, Effects)
        return one

    def deliver(self, effects: Effects) -> None:
        """What it sends to this partition, and what follows from that, each record in a turn of its own."""
        waiting = deque(effects.messages)
        while waiting:
            message = waiting.popleft()
            if message.topic in (PLACE.topics.reroute, PLACE.topics.graph):
                self._offset += 1
                headers = [(name, as_bytes(value)) for name, value in message.headers]
                record = Sent(self._offset, message.value, key=message.key, headers=headers)
                waiting += self.do("take", message.topic, [record]).messages


def as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def told(effects: Effects) -> dict[str, Any]:
    """All of it, to be compared."""
    says = {name: getattr(effects, name) for name in Effects.__dataclass_fields__}
    says["rejects"] = [(str(each.error), each.record.offset) for each in effects.rejects]
    says["snapshots"] = sorted(effects.snapshots, key=lambda each: each.user)
    return {name: msgspec.to_builtins(value, enc_hook=repr) for name, value in says.items() if name != "puts"} | {
        "puts": effects.puts
    }


def raws(batch: list[dict[str, Any]], *left_out: str) -> list[bytes]:
    return [msgspec.json.encode({k: v for k, v in event.items() if v not in ("", *left_out)}) for event in batch]


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.booleans(), st.integers(0, 6), st.integers(0, 6), st.sampled_from([1, 1 << 28]))
def test_compiled_and_in_python_all_is_the_same(
    batches: list[list[dict[str, Any]]], in_order: bool, change_at: int, fire_at: int, most_bytes: int
) -> None:
    both = Both(RULES, most_bytes)
    for number, batch in enumerate(batches):
        if number == change_at:  # from here on not all is known of those who were there
            both.redefine(RULES.replace('"1h"', '"2h"').replace('"click", within="1m"', '"comment", within="30m"'))
        if number == fire_at:
            both.do("fire", T0 + 37.5 * 100)
            both.do("sweep")
        if in_order:
            batch.sort(key=lambda event: str(event["time"]))
        both.do("raw", *raws(batch), *([b"{not json", b""] if number == 1 else []))
        for each in (both.native, both.plain):
            each.table.tidy()
    both.do("fire", T0 + 1e6)


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.integers(0, 6), st.sampled_from([1, 1 << 28]))
def test_ids_of_one_person_become_one_user_alike(
    batches: list[list[dict[str, Any]]], change_at: int, most_bytes: int
) -> None:
    both = Both(RULES, most_bytes)
    for number, batch in enumerate(batches):
        if number == change_at:
            both.redefine(RULES.replace('"1h"', '"2h"').replace('"click", within="1m"', '"comment", within="30m"'))
        for event in batch:
            if event["kind"] in ("follow", "nonsense"):
                event |= {"kind": "identify", "target": {"u": "v", "v": "u"}.get(event["user"], "u")}
        both.deliver(both.do("raw", *raws(batch)))
        for each in (both.native, both.plain):
            each.table.tidy()


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.floats(0.0, 1e5))
def test_the_next_timer_of_any_state_is_the_same_at_any_time(batches: list[list[dict[str, Any]]], on: float) -> None:
    both = Both(RULES)
    for batch in batches:
        both.do("raw", *raws(batch))
    compiled = parse_plan(RULES)
    assert compiled.quiet is not None
    for user in ("u", "v", "用户"):
        if (state := both.native.state(user)) is not None:
            state.enter(state.time + on)
            assert compiled.quiet.next_due(state) == plain_next_due(compiled, state)


@settings(deadline=None)  # the first example loads the models
@given(BATCHES, st.integers(0, 6))
def test_who_has_to_be_encoded_waits_in_the_same_order(batches: list[list[dict[str, Any]]], encoded: int) -> None:
    both = Both(LEARNED)
    for number, batch in enumerate(batches):
        batch.sort(key=lambda event: str(event["time"]))
        both.do("raw", *raws(batch, "words"))
        if number == encoded:
            both.do("encode_waiting")


@settings(deadline=None)  # the first example loads the models
@given(st.integers(1, 400), st.integers(1, 90), st.sampled_from([1, 1 << 28]))
def test_many_events_of_one_user_fill_records_of_ids_alike(count: int, batch: int, most_bytes: int) -> None:
    both = Both(RULES, most_bytes)
    for start in range(0, count, batch):
        events = [{"kind": "click", "time": T0 + n, "id": f"e{n}"} for n in range(start, min(start + batch, count))]
        both.do("raw", *(msgspec.json.encode({"user": "u", **event}) for event in events))
        for each in (both.native, both.plain):
            each.table.tidy()


@pytest.mark.parametrize("most_bytes", [1, 1 << 28])
def test_two_users_of_many_ids_become_one_and_are_parted_alike(most_bytes: int) -> None:
    both = Both(RULES, most_bytes)
    for user, count in (("u", 100), ("v", 300)):
        events = [{"user": user, "kind": "view", "time": T0 + n, "id": f"{user}{n}"} for n in range(count)]
        both.do("raw", *map(msgspec.json.encode, events))
    said = both.do("raw", msgspec.json.encode({"user": "u", "kind": "identify", "target": "v", "time": T0 + 400}))
    both.deliver(said)
    state = both.native.state("u")
    assert state is not None
    assert both.native.state("v") is None
    assert (state.count, list(state.aliases)) == (401, ["v"])
    again = [{"user": "v", "kind": "view", "time": T0 + n, "id": f"v{n}"} for n in range(0, 300, 50)]
    new = {"user": "v", "kind": "view", "time": T0 + 500, "id": "new"}
    both.deliver(both.do("raw", *map(msgspec.json.encode, [*again, new])))
    both.deliver(both.do("raw", msgspec.json.encode({"user": "u", "kind": "delete", "time": T0 + 600})))
    assert both.native.meta.users == 0


def test_of_a_user_with_more_ids_than_are_kept_the_same_are_forgotten() -> None:
    both = Both(RULES)
    both.do("raw", msgspec.json.encode({"user": "u", "kind": "view", "time": T0, "id": "first"}))
    for each in (both.native, both.plain):  # who has nearly as many
        data, key = each.memory.data, layout.user_key("u")
        record = unpack("u", data[key])
        for number in range(MOST_IDS - 1_000):
            record.ids.add(number * 0x9E37_79B9_7F4A_7C15, T0 + 1e9)
        data[key] = record.pack()
        chunks = record.ids.unsaved
        data |= {key: chunk for key, chunk in zip(layout.seen_keys("u", chunks), chunks.values(), strict=True) if chunk}
        each.restart()
    events = [{"user": "u", "kind": "view", "time": T0, "id": f"e{number}"} for number in range(4_000)]
    assert both.do("raw", *map(msgspec.json.encode, events)).forgotten_ids > 2_900


def test_a_bucket_that_is_full_stays_full() -> None:
    both = Both(RULES)
    full = {"user": "u", "kind": "purchase", "time": T0, "amount": 1e9}
    for start in range(0, 1_200, 300):
        both.do("raw", *(msgspec.json.encode({**full, "id": f"{start + number}"}) for number in range(300)))
    state = both.native.state("u")
    assert state is not None
    specs = both.native.plan.specs
    assert MOST in [amount for spec in specs for _, amount in state.cells.buckets(spec)]


def test_no_reference_is_lost_or_kept() -> None:
    """The same load again and again leaves as many objects as before."""
    partition = SmallPartition(RULES)

    def load(round_: int) -> int:
        for start in range(0, 2_000, 100):
            partition.events(
                *(
                    {
                        "user": f"u{n % 7}",
                        "kind": "view",
                        "time": T0 + 1e5 * round_ + n,
                        "id": f"{round_}-{n}",
                        "category": "c1",
                    }
                    for n in range(start, start + 100)
                )
            )
        partition.changes.clear()
        return sys.getallocatedblocks()

    for warm in range(3):
        load(warm)
    before = load(3)
    after = max(load(round_) for round_ in range(4, 8))
    assert after < before + 4_000  # half an object an event: what is kept of the users and their changes
