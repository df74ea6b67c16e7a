"""kill -9 in the middle of a rebalance: while partitions are given up, and while they are taken over."""

from __future__ import annotations

from tests.crash.killing import Killing


def test_a_worker_killed_while_it_gives_up_partitions_loses_and_doubles_nothing(killing: Killing) -> None:
    killing.send()
    one = killing.start("one", kill_at="close:1")
    one.wait_ready()
    killing.send()
    two = killing.start("two")
    killing.dies(one, "close:1")
    killing.send()
    killing.settle_and_verify(two, killing.start("one"))


def test_a_worker_killed_while_it_joins_loses_and_doubles_nothing(killing: Killing) -> None:
    killing.send()
    one = killing.start("one")
    one.wait_ready()
    for where in ("open.fenced:1", "open.restored:1"):
        killing.send()
        two = killing.start("two", kill_at=where)
        killing.dies(two, where)
    killing.settle_and_verify(one)


def test_a_worker_killed_while_it_takes_over_from_one_that_leaves_loses_and_doubles_nothing(killing: Killing) -> None:
    killing.send()
    two = killing.start("two")
    two.wait_ready()
    one = killing.start("one", kill_at="open.restored:2")  # the first one comes with joining
    one.wait(
        lambda status: bool(status["ready"]) and len(status["partitions"]) == 1, 60.0, "the owner of one partition"
    )
    killing.send()
    two.stop()
    killing.send()
    killing.dies(one, "open.restored:2")
    killing.settle_and_verify(killing.start("one"))
