"""The watchdog: what counts as standing still and what does not."""

from __future__ import annotations

import pytest

from streams.ops.lag import PartitionLag
from streams.ops.watchdog import Stuck, Watchdog


def lag(position: int, end: int = 500, *, readable: bool = True, topic: str = "user-events") -> PartitionLag:
    return PartitionLag(topic, 3, position, end, end - position, 1.0, fresh=readable, readable=readable)


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog(stuck_seconds=60.0)


def test_a_position_that_stands_still_before_a_record_is_found_after_the_time(watchdog: Watchdog) -> None:
    found = [watchdog.look([lag(120)], {}, {}, 10.0 * step) for step in range(7)]
    assert found[:6] == [None] * 6
    assert found[6] == Stuck("user-events", 3, 120, 500, 60.0)
    assert str(found[6]) == (
        "partition 3 of user-events stands still at offset 120 for 60 s, and there are records up to 500"
    )


def test_a_position_that_moves_ever_so_slowly_is_not_stuck(watchdog: Watchdog) -> None:
    assert all(watchdog.look([lag(step // 5)], {}, {}, 10.0 * step) is None for step in range(60))


def test_nothing_to_read_a_silent_broker_and_transaction_markers_are_not_stuck(watchdog: Watchdog) -> None:
    for step in range(20):
        assert watchdog.look([lag(499, readable=False)], {}, {}, 10.0 * step) is None


def test_time_without_an_answer_does_not_count_but_does_not_forgive_either(watchdog: Watchdog) -> None:
    answers = [True] * 4 + [False] * 20 + [True] * 3
    found = [
        watchdog.look([lag(120, readable=answer)], {}, {}, 10.0 * step) is not None
        for step, answer in enumerate(answers)
    ]
    assert found == [False] * 26 + [True]


def test_a_process_that_slept_gets_time_to_move_when_it_wakes(watchdog: Watchdog) -> None:
    assert watchdog.look([lag(120)], {}, {}, 0.0) is None
    now = 3_600.0
    for _ in range(20):
        assert watchdog.look([lag(120)], {}, {}, now) is None
        now += 2.0
    assert watchdog.look([lag(130)], {}, {}, now) is None
    assert watchdog.look([lag(130)], {}, {}, now + 100_000.0) is None


def test_a_turn_that_kafka_refuses_and_that_is_tried_again_is_not_stuck(watchdog: Watchdog) -> None:
    assert all(watchdog.look([lag(120)], {3: step // 2}, {}, 10.0 * step) is None for step in range(30))


def test_a_partition_that_came_back_starts_anew(watchdog: Watchdog) -> None:
    for step in range(6):
        assert watchdog.look([lag(120)], {}, {}, 10.0 * step) is None
    assert watchdog.look([], {}, {}, 60.0) is None
    assert watchdog.look([lag(120)], {}, {}, 70.0) is None


def test_a_restore_without_progress_is_found(watchdog: Watchdog) -> None:
    for step in range(4):
        assert watchdog.look([], {}, {1: 1_000 * step}, 20.0 * step) is None
    for step in range(4, 7):
        assert watchdog.look([], {}, {1: 3_000}, 20.0 * step) is None
    found = watchdog.look([], {}, {1: 3_000}, 140.0)
    assert str(found) == "the restore of partition 1 stands still at 3000 records"
