"""Labels that wait for their user's vector: the newest are kept, and that others went is counted and told."""

from __future__ import annotations

import logging

import pytest

from state import layout
from state.record import Record
from state.user import MOST_LABELS, PendingLabel
from streams.kafka.turn_metrics import Tellings
from streams.steps.effects import Effects
from tests.records import block_with
from tests.small_cluster import SmallCluster
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import view

LEARNED = '[[segment]]\nid = "s"\nlearned = "g"\n'


def waiting(count: int, begin: int = 0) -> list[PendingLabel]:
    return [PendingLabel("s", True, float(begin + number + 1)) for number in range(count)]


def weights(state: Record | None) -> list[float]:
    assert state is not None
    return [label.weight for label in state.labels]


def label(weight: float) -> dict[str, object]:
    return {"segment": "s", "member": True, "time": T0 + 1, "weight": weight}


def with_labels(count: int) -> SmallPartition:
    """Of a user who has viewed something, so many labels wait, whatever the bound says."""
    partition = SmallPartition(LEARNED)
    partition.events(view(0))
    key = layout.user_key("u")
    partition.memory.data[key] = block_with("u", partition.memory.data[key], labels=waiting(count))
    partition.restart()
    return partition


def test_the_oldest_label_goes_when_too_many_wait_and_is_counted() -> None:
    partition = with_labels(MOST_LABELS - 2)
    effects = partition.batch(labels=tuple(label(0.5 + number) for number in range(5)))
    assert effects.labels_dropped == 3
    assert weights(partition.state()) == [
        *(each.weight for each in waiting(MOST_LABELS)[3 : MOST_LABELS - 2]),
        *(0.5 + number for number in range(5)),
    ]


def test_more_labels_than_are_kept_now_are_cut_when_the_next_one_comes() -> None:
    """An earlier release had no bound."""
    partition = with_labels(MOST_LABELS + 500)
    assert partition.events(view(1)).labels_dropped == 0
    assert len(weights(partition.state())) == MOST_LABELS + 500
    assert partition.batch(labels=(label(0.5),)).labels_dropped == 501
    assert weights(partition.state())[-2:] == [MOST_LABELS + 500, 0.5]


def test_two_users_who_become_one_have_no_more_labels_than_one() -> None:
    cluster = SmallCluster(LEARNED, 3)
    for user, home, begin in (("known", 2, 0), ("anon-3", 0, 10_000)):
        cluster.publish({"user": user, "id": user, **view(0)})
        cluster.flow()
        data = cluster.partitions[home].memory.data
        key = layout.user_key(user)
        data[key] = block_with(user, data[key], labels=waiting(MOST_LABELS - 24, begin))
        cluster.partitions[home].restart()
    cluster.publish({"user": "known", "id": "login", "kind": "identify", "time": T0 + 2, "target": "anon-3"})
    cluster.flow()
    both = [*waiting(MOST_LABELS - 24), *waiting(MOST_LABELS - 24, 10_000)]
    assert weights(cluster.state("known")) == [each.weight for each in both[-MOST_LABELS:]]


def test_dropped_labels_are_told_once_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    tellings = Tellings(7)
    with caplog.at_level(logging.WARNING):
        for now, dropped in ((0.0, 3), (1.0, 5), (59.0, 0), (61.0, 2), (62.0, 1)):
            tellings.tell(Effects(labels_dropped=dropped), now)
    assert [record.args for record in caplog.records] == [(7, 3, MOST_LABELS), (7, 7, MOST_LABELS)]
    assert "labels were dropped" in caplog.text
