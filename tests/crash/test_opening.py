"""kill -9 while a partition is opened: others are fenced, in mid-restore, it is restored, the claim is committed."""

from __future__ import annotations

import pytest

from tests.crash.killing import Killing


@pytest.mark.parametrize("wiped", [False, True], ids=["with its disk", "with a lost disk"])
def test_a_kill_while_opening_loses_and_doubles_nothing(killing: Killing, wiped: bool) -> None:
    killing.send(600)
    where = "fold.3-4:1"
    killing.dies(killing.start(kill_at=where), where)  # what is committed is not in the local store
    steps = ("fenced:1", "restoring:1", "restored:1", "claimed:1", "fenced:2", "restored:2", "claimed:2")
    for where in (f"open.{step}" for step in steps):
        if wiped or where.startswith("open.restoring"):
            killing.wipe()
        killing.dies(killing.start(kill_at=where), where)
    killing.settle_and_verify(killing.start())
