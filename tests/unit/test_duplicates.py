"""What comes twice counts once, for at least a day and the last thousand events of a user."""

from __future__ import annotations

from typing import Any

from state import layout
from state.layout2 import MOST_IDS
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import TWO_VIEWS


def busy(count: int) -> list[dict[str, Any]]:
    return [{"kind": "click", "time": T0 + number, "id": f"click-{number}"} for number in range(count)]


def test_two_thousand_resent_events_of_a_busy_user_count_once() -> None:
    partition = SmallPartition(TWO_VIEWS)
    for again in (False, True):
        partition.events(*busy(2_000))
        partition.restart()
        state = partition.state()
        assert state is not None
        assert (state.count, partition.meta.duplicates) == (2_000, 2_000 * again)


def test_the_records_of_the_ids_go_with_the_user() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(*busy(2_000))
    assert len(list(partition.memory.keys(b"d"))) == 2_000 // 64
    partition.events({"kind": "delete", "time": T0 + 3_000})
    assert not list(partition.memory.keys(b"d"))


def test_ids_that_are_forgotten_early_are_counted() -> None:
    partition = SmallPartition(TWO_VIEWS)
    assert partition.events(*busy(MOST_IDS)).forgotten_ids == 0
    assert (
        partition.events(*({**event, "id": f"more-{number}"} for number, event in enumerate(busy(64)))).forgotten_ids
        == 64
    )
    assert (
        len([key for key in partition.memory.keys(b"d") if key.startswith(layout.seen_keys("u", [0])[0][:4])])
        == MOST_IDS // 64
    )
