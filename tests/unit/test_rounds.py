"""Which turns share a transaction, and when: paced, bounded, fair; and whose fault it is that one is aborted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.rounds import (
    ALONE,
    BUSY,
    FREE,
    MANY,
    MARKERS,
    MOST_BYTES,
    MOST_RECORDS,
    MOST_SPACE,
    PACE,
    Ready,
    Rounds,
    slot_of,
    space,
)

FAR = 1_000.0


def turn(partition: int, records: int = 10, size: int = 1_000) -> Ready:
    return Ready(partition, records, size)


def offered(partitions: Iterable[int]) -> Rounds:
    rounds = Rounds()
    for partition in partitions:
        rounds.offer(turn(partition))
    return rounds


def numbers(turns: Iterable[Ready]) -> list[int]:
    return [each.partition for each in turns]


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("assigned", [range(64), range(0, 64, 2), range(1, 64, 2), [5, 63, 0]], ids=str)
def test_slots_have_equal_parts_of_any_assignment(assigned: Collection[int], slots: int) -> None:
    shuffled = random.Random(1).sample(list(assigned), len(assigned))
    found = [slot_of(partition, shuffled, slots) for partition in assigned]
    counts = [found.count(slot) for slot in range(slots)]
    assert max(counts) - min(counts) <= 1


def test_a_turn_after_a_pause_waits_for_nothing() -> None:
    rounds = Rounds()
    assert rounds.due(0.0) == math.inf
    rounds.offer(turn(3))
    assert numbers(rounds.begin(FAR)) == [3]


def test_what_comes_while_a_round_is_under_way_shares_the_next_one() -> None:
    rounds = offered([0])
    rounds.begin(FAR)
    for partition in (5, 2, 7):
        rounds.offer(turn(partition))
    assert rounds.due(FAR + 60.0) == math.inf
    assert rounds.begin(FAR + 60.0) == []
    rounds.committed(FAR + 60.0)
    assert numbers(rounds.begin(FAR + 60.0 + MARKERS)) == [5, 2, 7]


def test_the_next_round_begins_by_the_pace_of_the_busy_and_not_before_the_markers_are_written() -> None:
    rounds = offered(range(20))
    rounds.begin(FAR)
    rounds.committed(FAR + 0.001)
    rounds.offer(turn(0))
    pace = 20 * PACE * 20 / MANY
    assert rounds.due(FAR + 0.001) == pytest.approx(FAR + pace)
    assert rounds.due(FAR + BUSY) == FAR  # the others are idle by then
    rounds.begin(FAR + pace)
    rounds.committed(FAR + BUSY - 0.1)
    rounds.offer(turn(1))
    assert rounds.due(FAR + BUSY - 0.1) == FAR + BUSY - 0.1 + MARKERS


def test_a_partition_that_is_alone_in_its_slot_waits_for_nothing_but_its_own_commits() -> None:
    rounds = offered([0])
    rounds.begin(FAR)
    rounds.committed(FAR + 0.002)
    rounds.offer(turn(0))
    assert rounds.due(FAR + 0.002) < FAR + 0.002


def test_many_partitions_have_hardly_more_turns_a_second_than_a_few_and_none_waits_for_long() -> None:
    assert {space(busy) for busy in range(FREE + 1)} == {0.0}
    many = range(FREE + 4, 65)
    assert all(space(busy - 1) < space(busy) <= MOST_SPACE for busy in range(FREE + 1, 65))
    assert max(busy / space(busy) for busy in many) <= (FREE + 4) / space(FREE + 4)
    assert 64 / space(64) < 350
    assert space(10_000) == MOST_SPACE


def test_who_is_busy_is_counted_where_a_round_costs_something() -> None:
    for rounds, counted in ((Rounds(), [3, 4, 1]), (Rounds(pace=0.0, markers=0.0), [0, 0, 0])):
        found = []
        for now, partitions in ((FAR, (0, 1, 2)), (FAR + 0.5, (3,)), (FAR + BUSY + 0.5, (3,))):
            for partition in partitions:
                rounds.offer(turn(partition))
            rounds.begin(now)
            rounds.committed(now)
            found.append(rounds.busy)
        assert found == counted


def test_a_round_is_bounded_in_records_and_bytes_and_a_large_turn_is_alone() -> None:
    for large in (turn(1, records=MOST_RECORDS // 2), turn(1, size=MOST_BYTES // 2), turn(1, records=9 * MOST_RECORDS)):
        rounds = offered([0])
        for each in (large, turn(2), turn(3, records=MOST_RECORDS * 2 // 5), turn(4, records=MOST_RECORDS * 2 // 5)):
            rounds.offer(each)
        rounds.offer(turn(5, records=MOST_RECORDS * 2 // 5))
        found, now = [], FAR
        while (due := rounds.due(now)) < math.inf:
            now = max(now, due)
            found.append(numbers(rounds.begin(now)))
            rounds.committed(now)
        assert found == [[0, 2, 3, 4], [1], [5]]


def test_a_partition_has_one_turn_at_a_time() -> None:
    rounds = offered([1])
    with pytest.raises(ValueError, match="partition 1 has a turn"):
        rounds.offer(turn(1))
    rounds.begin(FAR)
    with pytest.raises(ValueError, match="partition 1 has a turn"):
        rounds.offer(turn(1))


def test_what_was_too_much_together_is_alone_until_it_is_committed() -> None:
    rounds, now = offered(range(3)), FAR
    rounds.begin(now)
    rounds.too_much(now)
    for partition in range(4):
        rounds.offer(turn(partition))
    found = []
    while (due := rounds.due(now)) < math.inf:
        now = max(now, due)
        found.append(numbers(rounds.begin(now)))
        rounds.committed(now)
    assert found == [[0], [1], [2], [3]]
    for partition in range(4):
        rounds.offer(turn(partition))
    assert numbers(rounds.begin(now + FAR)) == [0, 1, 2, 3]


class Slot:
    """Partitions that always have a turn, on a Kafka that aborts a round of which ``fails`` says so."""

    def __init__(self, partitions: int, fails: Callable[[list[int]], bool]) -> None:
        self.rounds = offered(range(partitions))
        self.now = FAR
        self.commits = [0] * partitions
        self.aborts = 0
        self._fails = fails

    def round(self) -> list[int]:
        self.now = max(self.now, self.rounds.due(self.now))
        assert self.now < math.inf
        taken = numbers(self.rounds.begin(self.now))
        self.now += 0.002
        if self._fails(taken):
            self.aborts += 1
            self.rounds.aborted(self.now)
        else:
            self.rounds.committed(self.now)
            for partition in taken:
                self.commits[partition] += 1
        for partition in taken:
            self.rounds.offer(turn(partition))
        return taken


@given(st.integers(2, 40), st.data())
def test_only_those_whose_turns_fail_are_alone_soon_and_until_a_minute_after_the_last_error(
    partitions: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, partitions - 1), max_size=min(4, partitions - 1)))
    fails = True
    slot = Slot(partitions, lambda taken: fails and bool(bad.intersection(taken)))
    for _ in range(4 * (len(bad) + 1) * (partitions.bit_length() + 2)):
        slot.round()
    found = sorted(slot.round() for _ in range(len(bad) + 1))
    good = [partition for partition in range(partitions) if partition not in bad]
    assert sorted(map(sorted, found)) == sorted([good, *([partition] for partition in bad)])
    assert min(slot.commits[partition] for partition in good) > 0
    fails = False
    slot.now += ALONE
    assert sorted(slot.round()) == [*range(partitions)]


def test_whose_turn_is_known_to_be_refused_is_alone_and_nobody_is_suspected() -> None:
    rounds = offered(range(4))
    rounds.begin(FAR)
    rounds.aborted(FAR + 0.01, culprit=2)
    for partition in range(4):
        rounds.offer(turn(partition))
    now, found = FAR + 1.0, []
    for _ in range(2):
        now = max(now, rounds.due(now))
        found.append(numbers(rounds.begin(now)))
        rounds.committed(now)
    assert found == [[0, 1, 3], [2]]


@given(st.integers(1, 20))
def test_when_all_fails_it_is_nobodys_fault_and_afterwards_all_goes_on(partitions: int) -> None:
    fails = True
    slot = Slot(partitions, lambda _taken: fails)
    for _ in range(5 * partitions + 5):
        slot.round()
    fails = False
    for _ in range(2 * partitions + 1):
        slot.round()
    assert min(slot.commits) > 0
    assert len(slot.round()) == partitions


@given(st.integers(1, 12), st.lists(st.sampled_from(["offer", "round", "wait"]), max_size=80), st.randoms())
def test_every_turn_is_in_one_round_in_bounds_in_time_and_whoever_waits_longest_is_first(
    partitions: int, actions: list[str], chance: random.Random
) -> None:
    rounds, now, ended = Rounds(), FAR, -math.inf
    waiting: dict[int, Ready] = {}
    for action in actions:
        free = [partition for partition in range(partitions) if partition not in waiting]
        if action == "offer" and free:
            each = turn(chance.choice(free), chance.randrange(MOST_RECORDS), chance.randrange(MOST_BYTES))
            waiting[each.partition] = each
            rounds.offer(each)
        elif action == "wait":
            now += chance.choice((0.0005, 0.004, 2.0))
        elif action == "round" and waiting:
            due = rounds.due(now)
            assert due >= ended + MARKERS or len(waiting) == 1
            assert due <= max(now, ended + MARKERS, ended + PACE * partitions)
            taken = rounds.begin(max(now, due))
            now = max(now, due)
            assert taken[0] == next(iter(waiting.values()))
            assert len(taken) == 1 or not any(each.is_large for each in taken)
            assert len(taken) == 1 or sum(each.records for each in taken) <= MOST_RECORDS
            assert len(taken) == 1 or sum(each.bytes for each in taken) <= MOST_BYTES
            for each in taken:
                assert waiting.pop(each.partition) == each
            now += 0.001
            ended = now
            chance.choice((rounds.committed, rounds.committed, rounds.aborted, rounds.too_much))(now)
    assert set(waiting) == set(rounds._ready)
