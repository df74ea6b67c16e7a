"""What one of several workers says: what is its own, what others have told, and of whose users it says nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from state import layout
from streams.kafka.definitions import Present
from streams.kafka.partition import State
from streams.ops.metrics import Metrics
from streams.service import Service
from streams.steps.partitioner import partition_of
from streams.wire.workers import PartitionReport, WorkerReport
from tests.small_partition import PLACE, SmallPartition
from tests.unit.membership_cases import TWO_VIEWS, view

HERE, THERE = "http://127.0.0.1:1", "http://127.0.0.1:2"


def users_of(partition: int, count: int) -> list[str]:
    return [user for user in map(str, range(100)) if partition_of(user, 2) == partition][:count]


def service(partition: SmallPartition) -> Service:
    """Of a worker that looks after this partition of two, and was started just now."""
    writer = SimpleNamespace(meta=partition.meta, place=partition.place)
    running = SimpleNamespace(
        number=partition.place.partition, state=State.RUNNING, writer=writer, restored=0,
        attempts=SimpleNamespace(failing=""),
    )  # fmt: skip
    parts: Any = SimpleNamespace(
        partitions={running.number: running}, generation=3, depth=0, age=0.0, ready=True, alive=True
    )
    made = Service("one", Present(partition.definitions), 2, parts, parts, Metrics(), parts, parts)
    made.url = HERE
    return made


def told_by_the_other(made: Service) -> None:
    """Another worker has the other partition, and 20 users in it."""
    there = PartitionReport(
        partition=1, known=True, users=20, events=70, changes=7, members={"keen": 7}, refused={"not-json": 2}
    )
    report = WorkerReport(worker="two", url=THERE, host=made.report().host, generation=3, partitions=[there])
    made.directory.note(report, time.time())


@pytest.fixture
def partition() -> SmallPartition:
    """Partition 0 of two: three are in a segment, and one record was refused."""
    found = SmallPartition(TWO_VIEWS, replace(PLACE, partition=0, partitions=2))
    found.events(*(view(at, user=user, id=f"{user}-{at}") for user in users_of(0, 3) for at in (0, 1)))
    found.raw(b"{")
    return found


def test_sizes_are_those_of_all_workers_and_what_is_here_is_named_as_such(partition: SmallPartition) -> None:
    made = service(partition)
    told_by_the_other(made)
    status = made.status()
    (keen,) = status.segments
    assert (keen.users, keen.here) == (10, 3)
    assert (status.events_total, status.all_workers.events) == (6, 76)


def test_a_user_of_another_workers_partition_is_asked_of_that_worker(partition: SmallPartition) -> None:
    made = service(partition)
    (elsewhere,) = users_of(1, 1)
    assert made.owner(users_of(0, 1)[0]).here
    assert made.owner(elsewhere).worker == ""  # nobody has told yet: then nobody says that there is no such user
    told_by_the_other(made)
    owner = made.owner(elsewhere)
    assert (owner.here, owner.worker, owner.url) == (False, "two", THERE)


def test_what_was_refused_is_known_to_a_worker_that_was_started_anew(partition: SmallPartition) -> None:
    assert service(partition).status().dead_letters == {"not-json": 1}
    partition.meta = layout.decode_meta(layout.encode_meta(partition.meta))  # all that is restored
    made = service(partition)
    assert made.status().dead_letters == {"not-json": 1}
    told_by_the_other(made)
    assert made.status().dead_letters == {"not-json": 3}
