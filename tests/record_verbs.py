"""Anything that may be done to a user's record, for hypothesis to choose from, and what it then says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from state.absence import Absence, Sort
from state.features import RAW_DIM
from state.layout2 import mark_of
from state.record import Opaque, Record
from state.user import Membership, PendingLabel
from state.windows import MOST, NEVER, TallySpec
from tests.records import LANDMARK, told

NAMES = st.sampled_from(["a", "ab", "a\0", "\0", "é", "用户", "🙂", "\uffff", "x" * 512])
TIMES = st.floats(1e-3, 2.0**32, exclude_max=True)
AROUND = st.floats(LANDMARK - 5e6, LANDMARK + 5e6)
SPECS = tuple(
    TallySpec(kind, measure, window, category)
    for kind, measure, window, category in (
        ("view", "count", 10, ""), ("view", "count", 604_800, ""), ("click", "count", 3_600, "shoes"),
        ("purchase", "amount", 86_400 * 365, ""),
    )
)  # fmt: skip
SORTS = (Sort("click", "shoes"), Sort("purchase"), Sort("view"))
ABSENCES = (Absence(SORTS[1], SORTS[0], 3_600, 86_400), Absence(SORTS[2], SORTS[2], 60, 7_200))
KEYS = ("distinct|view|item|604800", "days|purchase|90")
SCORES = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(0, 2**64 - 1)
HALF = st.integers(0, 2**32 - 1)
MEMBERS = st.builds(Membership, st.just(0.0) | TIMES, SCORES, WHOLE, WHOLE, st.none() | SCORES)
KINDS = st.sampled_from(["view", "click", "purchase", "comment", "follow", "join", "identify", "delete"])
OPAQUES = st.builds(
    Opaque, st.integers(0, 0xFFFF), st.binary(max_size=20), st.just(NEVER) | TIMES, st.just(0.0) | TIMES
)
Verb = Callable[[Record], object]


def set_to(name: str, value: object) -> Verb:
    return lambda record: setattr(record, name, value)


def lane_of(texts: int, put: int, taken: int) -> Verb:
    def act(record: Record) -> None:
        record.texts, record.texts_put, record.texts_taken = texts, max(put, taken), taken

    return act


def event_of(kind: str, category: str, time: float, amount: float, dwell: float) -> Verb:
    def act(record: Record) -> None:
        record.enter(time)
        record.count_event(kind, category, time, amount, dwell)

    return act


def tally_of(spec: TallySpec, time: float, amount: int) -> Verb:
    def act(record: Record) -> None:
        record.enter(time)
        record.cells.add(spec, time, amount, record.time)

    return act


def labels_of(labels: list[PendingLabel]) -> Verb:
    return set_to("labels", labels)


VERBS: st.SearchStrategy[Verb] = st.one_of(
    st.builds(set_to, st.sampled_from(["count", "sequence", "scored", "encode_at", "life", "dirty"]), WHOLE),
    st.builds(set_to, st.sampled_from(["epoch", "version"]), HALF),
    st.builds(set_to, st.sampled_from(["identified", "queued"]), st.booleans()),
    st.builds(set_to, st.just("first"), st.just(0.0) | TIMES),
    st.builds(set_to, st.just("erased"), st.just(0.0) | TIMES),
    st.builds(set_to, st.sampled_from(["due", "known_at"]), st.just(NEVER) | st.floats(0.0, 1e300)),
    st.builds(set_to, st.just("aliases"), st.lists(NAMES, max_size=3)),
    st.builds(labels_of, st.lists(st.builds(PendingLabel, NAMES, st.booleans(), SCORES), max_size=3)),
    st.builds(lane_of, HALF, HALF, HALF),
    st.builds(event_of, KINDS, st.sampled_from(["", "shoes", "tools"]), AROUND, st.floats(0, 1e9), st.floats(0, 6e5)),
    st.builds(lambda time: lambda record: record.enter(time), TIMES),
    st.builds(tally_of, st.sampled_from(SPECS), AROUND, st.integers(0, MOST)),
    st.builds(lambda sort, time: lambda record: record.cells.note(sort, time), st.sampled_from(SORTS), TIMES),
    st.builds(
        lambda key, until: lambda record: record.cells.mark_unknown(key, until),
        st.sampled_from([spec.key for spec in SPECS] + ["@" + sort.key for sort in SORTS]),
        TIMES,
    ),
    st.builds(lambda key, cell: lambda record: record.cells.put_opaque(key, cell), st.sampled_from(KEYS), OPAQUES),
    st.builds(
        lambda key: lambda record: record.cells.drop(key), st.sampled_from([*KEYS, *(spec.key for spec in SPECS)])
    ),
    st.builds(
        lambda keys: lambda record: record.cells.keep_only({mark_of(key) for key in keys}),
        st.sets(st.sampled_from([*KEYS, "@" + SORTS[0].key, *(spec.key for spec in SPECS)])),
    ),
    st.builds(lambda name, member: lambda record: record.members.put(name, member), NAMES, MEMBERS),
    st.builds(lambda name: lambda record: name in record.members and record.members.remove(name), NAMES),
    st.builds(
        lambda name, score: lambda record: name in record.members and record.members.set_leaving(name, score),
        NAMES, st.none() | SCORES,
    ),
    st.builds(
        lambda of, name, time, present: lambda record: getattr(record, of).set(name, time, present),
        st.sampled_from(["edges", "groups"]), NAMES, TIMES, st.booleans(),
    ),
    st.builds(
        lambda of, name: lambda record: getattr(record, of).drop(name), st.sampled_from(["edges", "groups"]), NAMES
    ),
    st.builds(
        lambda of, how, most: lambda record: getattr(getattr(record, of), how)(most),
        st.sampled_from(["edges", "groups"]), st.sampled_from(["bound", "bound_removed"]), st.integers(0, 3),
    ),
    st.builds(
        lambda begin, count, second: lambda record: [record.ids.add(begin + n, second + n) for n in range(count)],
        WHOLE.filter(lambda begin: begin < 2**63), st.integers(0, 70), st.floats(0, 2.0**32),
    ),
    st.just(lambda record: record.settle(SPECS, ABSENCES)),
)  # fmt: skip


def all_told(record: Record) -> dict[str, Any]:
    return told(record, SPECS, SORTS, KEYS)


def counts_alike(one: Record, other: Record) -> None:
    """Ten thousand events, some late by two months, give both the same bytes and features. Those of ``other``
    go into every second place of an array: where they lie is the caller's."""
    draw, now = random.Random(22), 1.7e9
    for _ in range(10_000):
        now += draw.expovariate(1 / 600.0)
        kind, category = draw.choice(["view", "click", "purchase"]), draw.choice(["", "shoes", "tools", "toys"])
        time = now - draw.choice([0.0, 0.0, 90.5, 5e6])
        for record in (one, other):
            record.enter(now)
            record.count_event(kind, category, time, amount=19.99 if kind == "purchase" else 0.0, dwell=3.5)
            record.cells.add(SPECS[0], time, 1, now=now)
            record.cells.add(SPECS[3], time, 19_990_000, now=now)
    assert one.pack() == other.pack()
    ones, others = np.empty(RAW_DIM, np.float32), np.empty(2 * RAW_DIM, np.float32)[::2]
    one.features(ones)
    other.features(others)
    assert ones.tobytes() == others.tobytes()
