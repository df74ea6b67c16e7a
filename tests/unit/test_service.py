"""What the service answers: whether a restart helps, whether it does its work, and what it knows of a user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from streams.kafka.agents import Host
from streams.kafka.definitions import Present
from streams.kafka.follower import TopicFollower
from streams.kafka.lane import EncodeLane
from streams.kafka.writer import PartitionWriter
from streams.ops import health
from streams.ops.metrics import Metrics
from streams.service import Service, describe
from streams.steps.segments import parse_plan
from tests.small_partition import SmallPartition
from tests.unit.membership_cases import view


class Bench:
    """A worker that has no partition."""

    def __init__(self) -> None:
        definitions = SmallPartition("").definitions
        self.present = Present(definitions)
        self.heads = SimpleNamespace(alive=True, ready=True)
        self.definitions = SimpleNamespace(alive=True, ready=True)
        metrics = Metrics()
        lane = EncodeLane(lambda: definitions, 8, metrics, ThreadPoolExecutor(1))
        heads, follower = (cast(TopicFollower, each) for each in (self.heads, self.definitions))
        host = cast(Host, SimpleNamespace(partitions={}, generation=1))
        self.service = Service("w", self.present, 1, host, lane, metrics, heads, follower)


@pytest.mark.parametrize("which", ["heads", "definitions"])
def test_a_worker_whose_follower_died_is_to_be_restarted(which: str) -> None:
    bench = Bench()
    assert health.livez(bench.service).status == "ok"
    getattr(bench, which).alive = False
    assert health.livez(bench.service).status == "unavailable"
    assert health.readyz(bench.service).status == "unavailable"


def test_a_worker_whose_topic_of_definitions_went_away_is_not_ready_and_says_why() -> None:
    bench = Bench()
    bench.present.topic_problem = "the topic is not there any more"
    assert health.readyz(bench.service).reason == "the topic is not there any more"
    assert bench.service.status().definitions_note == "the topic is not there any more"
    bench.present.problem = "something else"
    bench.present.topic_problem = ""
    assert health.readyz(bench.service).reason == "something else"


def test_what_is_still_counted_though_no_rule_asks_for_it_is_marked() -> None:
    views, more = (f'[[segment]]\nid = "s"\nrule = \'count("view", within="{days}d") >= 9\'\n' for days in (1, 2))
    partition = SmallPartition(views + more.replace('"s"', '"t"'))
    partition.events(view(0))
    writer = SimpleNamespace(
        place=partition.place, state_of=partition.state, waiting_of=lambda _user: 0, timer_clock=lambda: 0.0
    )
    found = describe(cast(PartitionWriter, writer), parse_plan(views, kept=parse_plan(more).asks), "u", [])
    assert found is not None
    assert found.windows == {"view count within 1 d": 1, "view count within 2 d (in no rule now)": 1}
