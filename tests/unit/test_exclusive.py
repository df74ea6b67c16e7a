"""Exclusive groups: nobody is in two of their segments, and minimum stays are kept, whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.base import E_H, FUSED
from encoders.heads import PublishedHead
from state import layout
from state.vectors import Vectors, pack
from streams.wire.emit import Change
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0, SmallPartition
from tests.unit.membership_cases import view

STAY = 3_600.0
SEGMENTS = "".join(
    f'[[segment]]\nid = "{name}"\nlearned = "taste"\nmin_stay = "1h"\n' for name in ("fashion", "food", "sport")
)
#: the third has no minimum stay, and thresholds that two may reach at once
LOW = SEGMENTS.replace(
    'id = "sport"\nlearned = "taste"\nmin_stay = "1h"', 'id = "sport"\nlearned = "taste"\nenter = 0.3'
)
OPEN = SEGMENTS + '[[group]]\nid = "taste"\nexclusive = false\n'
NAMES = ("fashion", "food", "sport")


class SayingHead(PublishedHead):
    """Gives everybody the same scores."""

    def __init__(self, version: int, scores: dict[str, float]) -> None:
        super().__init__(
            tuple(scores), np.zeros((len(scores), FUSED + 1), np.float32), np.ones(len(scores), np.bool_),
            temperature=1.0, exclusive=True, version=version, seen=1_000,
        )  # fmt: skip
        self._row = list(scores.values())

    def predict_proba_many(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        return np.tile(np.array(self._row, np.float32), (len(np.asarray(x)), 1))


def say(partition: SmallPartition, scores: dict[str, float]) -> None:
    """A new head is published."""
    partition.models = partition.models.with_heads({"taste": SayingHead(partition.models.epoch + 1, scores)})


def score(partition: SmallPartition, at: float, user: str = "u", **scores: float) -> None:
    """An event of the user is scored by a new head."""
    partition.memory.data.setdefault(
        layout.vectors_key(user), layout.encode_vectors(Vectors(behaviour=pack(np.ones(E_H, np.float32))))
    )
    say(partition, scores)
    partition.events(view(at, user=user))


def test_while_a_minimum_stay_holds_somebody_nothing_else_of_the_group_is_entered() -> None:
    partition = SmallPartition(SEGMENTS)
    score(partition, 0, fashion=0.9, food=0.1)
    score(partition, 60, fashion=0.1, food=0.9)
    assert partition.members() == {"fashion"}
    assert partition.due() == T0 + STAY
    partition.fire(T0 + STAY)
    assert partition.told() == [
        ("fashion", "entered", "event", 0.0),
        ("fashion", "exited", "expiry", STAY),
        ("food", "entered", "expiry", STAY),
    ]
    assert "the head gives 0.10, below 0.4" in partition.changes[1].reason.summary
    assert partition.changes[2].head_version == 2


def test_the_minimum_stay_ends_with_an_event_as_with_a_timer() -> None:
    partition = SmallPartition(SEGMENTS)
    score(partition, 0, fashion=0.9, food=0.1)
    score(partition, 60, fashion=0.1, food=0.9)
    partition.events(view(STAY + 5))
    assert partition.told()[1:] == [("fashion", "exited", "expiry", STAY), ("food", "entered", "expiry", STAY)]


def test_when_the_stay_ends_the_latest_scores_decide() -> None:
    partition = SmallPartition(SEGMENTS)
    score(partition, 0, fashion=0.9, food=0.1)
    score(partition, 60, fashion=0.1, food=0.9)
    say(partition, {"fashion": 0.2, "food": 0.3, "sport": 0.7})
    partition.fire(T0 + STAY)
    assert partition.members() == {"sport"}


def test_who_is_wanted_back_before_the_stay_ends_has_never_left() -> None:
    partition = SmallPartition(SEGMENTS)
    score(partition, 0, fashion=0.9, food=0.1)
    score(partition, 60, fashion=0.1, food=0.9)
    say(partition, {"fashion": 0.8, "food": 0.1})
    partition.fire(T0 + STAY)
    assert partition.told() == [("fashion", "entered", "event", 0.0)]
    assert partition.due() == float("inf")


def test_without_a_head_the_stay_ends_by_the_score_that_was_kept() -> None:
    partition = SmallPartition(SEGMENTS)
    score(partition, 0, fashion=0.9, food=0.1)
    score(partition, 60, fashion=0.1, food=0.9)
    partition.models = replace(partition.models, heads={})
    partition.fire(T0 + STAY)
    assert partition.told()[1:] == [("fashion", "exited", "expiry", STAY)]


def test_between_its_thresholds_a_segment_is_held_until_another_is_reached_and_higher() -> None:
    partition = SmallPartition(LOW)
    score(partition, 0, fashion=0.1, food=0.1, sport=0.35)
    score(partition, 60, fashion=0.2, food=0.5, sport=0.31)  # food is below its own threshold
    assert partition.members() == {"sport"}
    score(partition, 120, fashion=0.1, food=0.62, sport=0.31)  # sport is at or above its own
    assert partition.members() == {"sport"}
    score(partition, 180, fashion=0.1, food=0.62, sport=0.30)
    score(partition, 240, fashion=0.1, food=0.72, sport=0.29)
    assert partition.told()[1:] == [("sport", "exited", "event", 240.0), ("food", "entered", "event", 240.0)]


def test_of_two_that_are_reached_at_once_the_higher_is_entered() -> None:
    partition = SmallPartition(SEGMENTS.replace('min_stay = "1h"', "enter = 0.3"))
    score(partition, 0, fashion=0.4, food=0.5)
    assert partition.told() == [("food", "entered", "event", 0.0)]


def test_a_group_that_becomes_exclusive_keeps_the_membership_with_the_best_claim() -> None:
    partition = SmallPartition(OPEN)
    score(partition, 0, fashion=0.7, food=0.8, sport=0.75)
    assert partition.members() == set(NAMES)
    models = partition.models
    partition.redefine(SEGMENTS)
    partition.models = models
    partition.events(view(10))
    assert partition.told()[3:] == [("fashion", "exited", "definition", 10.0), ("sport", "exited", "definition", 10.0)]


def test_a_segment_that_the_head_does_not_know_yet_is_held_alone() -> None:
    partition = SmallPartition(SEGMENTS.replace('"taste"', '"other"', 1))  # fashion is of another group
    partition.models = partition.models.with_heads({"other": SayingHead(1, {"fashion": 0.9})})
    score(partition, 0)
    partition.redefine(SEGMENTS)
    score(partition, 10, food=0.9, sport=0.1)
    assert partition.members() == {"fashion"}


def check(changes: list[Change], names: tuple[str, ...] = NAMES) -> None:
    """One at most is held, each at least for its minimum stay."""
    held: dict[str, Change] = {}
    for change in changes:
        before = held.pop(change.user, None)
        if change.change == "entered":
            assert before is None, (before, change)
            held[change.user] = change
        else:
            assert before is not None
            assert before.segment == change.segment
            if change.origin in ("event", "expiry"):
                assert change.event_time >= before.event_time + STAY


SCORES = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 0.65, 1.0]) for name in NAMES})
WHAT = st.sampled_from(["score", "fire", "say", "merge"])
STEPS = st.lists(
    st.tuples(WHAT, st.sampled_from(["u", "v"]), st.integers(0, 4_000), SCORES),
    min_size=2,
    max_size=14,
)  # fmt: skip


@settings(deadline=None)
@given(STEPS)
def test_in_no_sequence_of_scores_times_and_merges_are_two_of_a_group_held(
    steps: list[tuple[str, str, int, dict[str, float]]],
) -> None:
    cluster = SmallCluster(SEGMENTS, 1, PLACE)
    (partition,) = cluster.partitions
    now = 0.0
    for number, (what, user, later, scores) in enumerate(steps):
        now += later
        if what == "fire":
            partition.fire(T0 + now)
        elif what == "say":
            say(partition, scores)
        elif what == "merge":
            identify: dict[str, Any] = {"user": user, "kind": "identify", "target": "v" if user == "u" else "u"}
            cluster.publish({**identify, "time": T0 + now, "id": f"i{number}"})
            cluster.flow()
        else:
            if cluster.state(user) is not None:
                vectors = layout.encode_vectors(Vectors(behaviour=pack(np.ones(E_H, np.float32))))
                partition.memory.data[layout.vectors_key(user)] = vectors
            say(partition, scores)
            cluster.publish({**view(now), "user": user, "id": f"s{number}"})
            cluster.flow()
    partition.fire(T0 + now + 10 * STAY)
    check(partition.changes)
    for user in ("u", "v"):
        assert len(partition.members(user)) <= 1
        assert partition.state(user) is None or partition.due(user) == float("inf")
