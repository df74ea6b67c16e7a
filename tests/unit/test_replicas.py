"""Each partition is followed by so many workers and not by all, and little changes when one comes or goes."""

from __future__ import annotations

import asyncio
from typing import cast

from confluent_kafka import KafkaError, KafkaException

from streams.kafka.replicas import Members, Replicas, followed_by
from streams.kafka.standby import Standby

PARTITIONS = 64


def shared_out(names: list[str]) -> dict[str, set[int]]:
    """In ranges, as the group does it."""
    size = -(-PARTITIONS // len(names))
    return {name: set(range(PARTITIONS)[place * size : (place + 1) * size]) for place, name in enumerate(names)}


def followers(members: Members, count: int) -> list[set[str]]:
    found: list[set[str]] = [set() for _ in range(PARTITIONS)]
    for name in members:
        for number in followed_by(name, members, PARTITIONS, count):
            assert number not in members[name]
            found[number].add(name)
    return found


def test_each_partition_has_so_many_replicas_and_none_at_its_owner() -> None:
    for workers in (1, 2, 5, 8):
        members = shared_out([f"w{number}" for number in range(workers)])
        for count in (1, 2, 3):
            assert {len(each) for each in followers(members, count)} == {min(count, workers - 1)}


def test_a_new_worker_without_partitions_moves_only_what_it_follows_itself() -> None:
    members = shared_out([f"w{number}" for number in range(6)])
    before = followers(members, 2)
    after = followers(members | {"new": set()}, 2)
    for old, new in zip(before, after, strict=True):
        assert new == old or (new - old == {"new"} and len(old - new) == 1)
    assert 8 <= sum("new" in each for each in after) <= 32


class Told:
    """What a standby was told to follow."""

    def __init__(self) -> None:
        self.followed: list[tuple[frozenset[int], frozenset[int]]] = []

    def follow(self, partitions: frozenset[int], owned: frozenset[int]) -> None:
        self.followed.append((partitions, owned))


def test_nothing_is_followed_until_the_members_are_known_and_what_was_followed_while_they_are_not() -> None:
    told = Told()
    answers: list[Members | Exception | None] = [
        None,
        {"other": {0, 1}},  # this worker has not joined yet
        {"me": {2, 3}, "other": {0, 1}},
        KafkaException(KafkaError(KafkaError._TRANSPORT)),
    ]

    def members() -> Members | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    replicas = Replicas(cast(Standby, told), "me", 4, 1, members)
    replicas.assigned(frozenset({2, 3}))

    async def run() -> None:
        while answers:
            await replicas.look()

    asyncio.run(run())
    assert told.followed == [(frozenset(), frozenset({2, 3})), (frozenset({0, 1}), frozenset({2, 3}))]
    replicas.assigned(frozenset({0, 2, 3}))
    assert told.followed[-1] == (frozenset({1}), frozenset({0, 2, 3}))


def test_without_a_number_everything_that_others_own_is_followed_at_once() -> None:
    told = Told()
    replicas = Replicas(cast(Standby, told), "me", 4, None, lambda: None)
    replicas.assigned(frozenset({1}))
    assert told.followed == [(frozenset({0, 2, 3}), frozenset({1}))]
