"""The workers of an installation know each other: who looks after whom, and what all have together."""

from __future__ import annotations

import pytest

from streams.ops.directory import FORGET_SECONDS, SILENT_SECONDS, Directory, advertised, reachable
from streams.wire.workers import PartitionReport, WorkerReport, decode_report, encode_report


def part(number: int, users: int = 10, *, known: bool = True) -> PartitionReport:
    return PartitionReport(
        partition=number, known=known, users=users, events=users * 3, changes=users, members={"vip": users // 2},
        refused={"not-json": number},
    )  # fmt: skip


def report(worker: str, *parts: PartitionReport, generation: int = 1, host: str = "here") -> WorkerReport:
    return WorkerReport(
        worker=worker,
        url=f"http://127.0.0.1:{ord(worker[0])}",
        host=host,
        generation=generation,
        partitions=list(parts),
    )


@pytest.fixture
def directory() -> Directory:
    found = Directory("one", "here", 4)
    found.note(report("one", part(0), part(1)), 100.0)
    found.note(report("two", part(2, 20)), 101.0)
    return found


def test_sizes_are_summed_over_all_workers_and_what_is_not_known_is_named(directory: Directory) -> None:
    together = directory.together(102.0)
    assert (together.users, together.events, together.changes) == (40, 120, 40)
    assert together.members == {"vip": 20}
    assert together.refused == {"not-json": 3}
    assert (together.as_of, together.unknown, together.old) == (100.0, [3], [])
    assert [(line.worker, line.partitions, line.silent) for line in together.workers] == [
        ("one", [0, 1], False),
        ("two", [2], False),
    ]


def test_a_worker_that_is_not_heard_of_is_shown_as_such_and_its_users_stay_counted(directory: Directory) -> None:
    now = 101.0 + SILENT_SECONDS + 1
    directory.note(report("one", part(0), part(1)), now)
    together = directory.together(now)
    assert (together.users, together.old) == (40, [2])
    assert [line.silent for line in together.workers] == [False, True]
    assert directory.owner(2, now).worker == ""
    assert directory.names(now) == {"one"}
    assert [line.worker for line in directory.together(101.0 + FORGET_SECONDS + 1).workers] == ["one"]


def test_the_owner_is_who_said_so_in_the_latest_generation(directory: Directory) -> None:
    assert directory.owner(2, 102.0).worker == "two"
    assert directory.owner(3, 102.0).worker == ""
    directory.note(report("three", part(2, 21), generation=2), 103.0)
    directory.note(report("two", part(2, 20)), 104.0)  # it slept, and does not know yet
    assert directory.owner(2, 105.0).worker == "three"
    assert directory.together(105.0).users == 41


def test_a_partition_that_moves_keeps_its_totals_until_the_new_owner_has_read_them(directory: Directory) -> None:
    directory.note(report("two", generation=2), 102.0)
    directory.note(report("three", part(2, 0, known=False), generation=2), 102.0)
    assert directory.owner(2, 103.0).worker == "three"
    assert directory.together(103.0).users == 40


def test_a_group_that_was_made_anew_is_believed_when_the_old_one_is_silent(directory: Directory) -> None:
    directory.note(report("two", part(2, 30), generation=90), 102.0)
    directory.note(report("three", part(2, 31), generation=1), 103.0)
    assert directory.together(104.0).users == 50
    directory.note(report("three", part(2, 31), generation=1), 103.0 + SILENT_SECONDS)
    assert directory.together(104.0 + SILENT_SECONDS).users == 51


def test_who_ends_in_order_is_gone_at_once(directory: Directory) -> None:
    directory.gone("two")
    assert directory.owner(2, 102.0).worker == ""
    assert directory.together(102.0).users == 40


def test_what_an_earlier_process_told_does_not_replace_what_this_one_tells(directory: Directory) -> None:
    directory.note(report("one", part(3, 5)), 50.0)
    assert directory.together(102.0).workers[0].partitions == [0, 1]


def test_the_loopback_of_another_machine_is_not_asked(directory: Directory) -> None:
    directory.note(report("far", part(3), host="elsewhere"), 102.0)
    found = directory.owner(3, 103.0)
    assert (found.worker, found.url) == ("far", "")
    assert reachable("http://10.0.0.7:6066", "elsewhere", "here")
    assert not reachable("http://localhost:6066", "elsewhere", "here")
    assert not reachable("file:///etc/passwd", "here", "here")
    assert not reachable("", "here", "here")


def test_the_same_name_on_another_machine_is_noticed(directory: Directory) -> None:
    mine = report("one").url
    assert directory.namesake(report("one", host="elsewhere"), mine, fresh=False)
    assert not directory.namesake(report("one"), mine, fresh=True)
    assert directory.namesake(report("one"), "http://127.0.0.1:7", fresh=True)  # two on one machine
    assert not directory.namesake(report("one"), "http://127.0.0.1:7", fresh=False)  # its own, before it was restarted


def test_a_report_survives_the_wire() -> None:
    told = report("one", part(0), part(1, known=False))
    assert decode_report(encode_report(told)) == told


def test_the_address_that_others_are_told() -> None:
    assert advertised("http://pod-3:6066/", "0.0.0.0", 1, "machine") == "http://pod-3:6066"
    assert advertised("", "0.0.0.0", 6066, "machine") == "http://machine:6066"
    assert advertised("", "127.0.0.1", 6066, "machine") == "http://127.0.0.1:6066"
    assert advertised("", "::1", 6066, "machine") == "http://[::1]:6066"
