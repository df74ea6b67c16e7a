"""kill -9 while a partition is opened: when it has fenced others, in mid-restore, when it is restored."""

from __future__ import annotations

import pytest

from tests.crash.killing import Killing


@pytest.mark.parametrize("wiped", [False, True], ids=["with its disk", "with a lost disk"])
def test_a_kill_while_opening_loses_and_doubles_nothing(killing: Killing, wiped: bool) -> None:
    killing.send(600)
    where = "fold.3-4:1"
    killing.dies(killing.start(kill_at=where), where)  # what is committed is not in the local store
    for where in ("open.fenced:1", "open.restoring:1", "open.restored:1", "open.fenced:2", "open.restored:2"):
        if wiped or where.startswith("open.restoring"):
            killing.wipe()
        killing.dies(killing.start(kill_at=where), where)
    killing.settle_and_verify(killing.start())
