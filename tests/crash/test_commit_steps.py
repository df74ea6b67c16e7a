"""kill -9 between every two numbered steps of the commit protocol, in every lane: nothing lost, nothing doubled."""

from __future__ import annotations

import pytest

from tests.crash.killing import Killing

LANES = ("fold", "encode", "timers", "graph", "refresh", "labels", "training", "reroute", "sweep", "definitions")


@pytest.mark.parametrize("step", ["2-3", "3.produced", "3-4", "4-5"])
def test_a_kill_at_a_step_of_each_lane_loses_and_doubles_nothing(killing: Killing, step: str) -> None:
    for number, lane in enumerate(LANES):
        killing.send()
        if lane in ("sweep", "definitions"):
            killing.define(number)
        where = f"{lane}.{step}:1"
        killing.dies(killing.start(kill_at=where), where)
    killing.settle_and_verify(killing.start())
