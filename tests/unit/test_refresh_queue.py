"""Refreshes that wait: each once, bounded, none forgotten, and nobody's few followers wait for another's many."""

from __future__ import annotations

import time

from streams.kafka.refresh_queue import RefreshQueue


class Target:
    """A partition with the ``r`` records of its store."""

    def __init__(self, number: int = 0, stored: list[str] | None = None) -> None:
        self.number = number
        self.stored = sorted(stored or [])

    def read(self, after: str, most: int) -> list[str]:
        return [each for each in self.stored if each > after][:most]


def read_all(queue: RefreshQueue[Target], most: int) -> None:
    for overflow in queue.to_read():
        asked = min(most, queue.room)
        queue.read(overflow, overflow.target.read(overflow.after, asked), asked)


def names(queue: RefreshQueue[Target]) -> list[str]:
    """Those in memory, in the order in which they would be done."""
    found = []
    while (first := queue.first()) is not None:
        found.append(first.followee)
        queue.done(first)
    return found


def test_a_hundred_thousand_refreshes_are_offered_within_a_second_however_often() -> None:
    queue: RefreshQueue[Target] = RefreshQueue(200_000)
    target = Target()
    followees = [f"f{number}" for number in range(100_000)]
    began = time.process_time()
    for _ in range(2):
        queue.offer(target, followees)
    assert len(queue) == 100_000
    assert time.process_time() - began < 1.0  # quadratic, it would be hours


def test_what_finds_no_room_is_read_from_the_store() -> None:
    target = Target(stored=[f"f{number:03}" for number in range(100)])
    queue: RefreshQueue[Target] = RefreshQueue(10)
    queue.attach(target)
    done: set[str] = set()
    most = 0
    while queue:
        read_all(queue, 7)
        most = max(most, len(queue))
        first = queue.first()
        assert first is not None
        queue.done(first)
        target.stored.remove(first.followee)
        done.add(first.followee)
        if first.followee == "f050":  # two come anew: one before the reader, one after it
            target.stored = sorted({*target.stored, "a", "z"})
            queue.offer(target, [*(f"x{number}" for number in range(10)), "a", "z"])
            target.stored = sorted({*target.stored, *(f"x{number}" for number in range(10))})
    assert most <= 10
    assert done == {f"f{number:03}" for number in range(100)} | {"a", "z"} | {f"x{number}" for number in range(10)}


def test_the_many_followers_of_one_do_not_hold_up_those_of_another() -> None:
    queue: RefreshQueue[Target] = RefreshQueue(10)
    target = Target()
    queue.offer(target, ["star", "neighbour"])
    star = queue.first()
    assert star is not None
    queue.went_on(star, "fan-128")
    assert (queue.first() or star).followee == "neighbour"
    queue.done(queue.first() or star)
    assert queue.first() is star
    assert star.after == "fan-128"


def test_vectors_that_come_during_a_refresh_ask_for_another_one() -> None:
    for after in ("", "fan-1"):
        queue: RefreshQueue[Target] = RefreshQueue(10)
        target = Target()
        queue.offer(target, ["star"])
        star = queue.first()
        assert star is not None
        queue.offer(target, ["star"])  # not begun: it is the same
        assert not star.again
        star.begun, star.after = True, after
        queue.offer(target, ["star"])
        queue.done(star)
        again = queue.first()
        assert again is not None
        assert (again.after, again.begun) == ("", False)
        queue.done(again)
        assert not queue


def test_a_partition_takes_its_refreshes_along_and_none_of_another() -> None:
    queue: RefreshQueue[Target] = RefreshQueue(10)
    leaving, staying = Target(0, ["a"]), Target(1)
    queue.attach(leaving)
    queue.offer(leaving, ["b"])
    queue.offer(staying, ["b", "c"])
    first = queue.first()
    assert first is not None
    queue.drop(leaving)
    queue.went_on(first, "x")
    queue.done(first)
    read_all(queue, 5)
    assert names(queue) == ["b", "c"]
    assert not queue
