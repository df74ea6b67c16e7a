"""Several partitions in one transaction: kill -9 at each step, a worker that sleeps in it, another that takes over."""

from __future__ import annotations

import contextlib
import signal

import pytest

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.terminal import CommandError
from streams.wire.topics import Topics
from tests.crash.killing import Killing
from tests.forked import ForkedWorker
from tests.helpers import APP, wait_for
from tests.pausing import is_paused

PARTITIONS = 6
#: all go by one producer: while it commits what came first, the others wait and share the next transaction
TOGETHER = {"slots": "1"}


@pytest.fixture
def topics(broker: EmbeddedBroker, unique_prefix: str) -> Topics:
    found = Topics(APP, unique_prefix)
    create_topics({"bootstrap.servers": broker.bootstrap}, found.specs(PARTITIONS), 1)
    return found


@pytest.fixture
def killing(killing: Killing) -> Killing:
    killing.partitions = PARTITIONS
    return killing


@pytest.mark.parametrize("step", ["3.produced", "3-4", "4-5"])
def test_a_kill_while_partitions_share_a_transaction_loses_and_doubles_nothing(killing: Killing, step: str) -> None:
    for nth in (1, 2):  # of the first and the second partition of such a transaction
        killing.send()
        where = f"round.{step}:{nth}"
        killing.dies(killing.start(kill_at=where, **TOGETHER), where)
    killing.settle_and_verify(killing.start())


def asleep_while_another_takes_over(killing: Killing, step: str) -> tuple[ForkedWorker, ForkedWorker]:
    """The one that slept at a step, and has just woken; and the one that owns all partitions meanwhile."""
    killing.send()
    one = killing.start("one", test_stop_at=step, **TOGETHER)
    wait_for(lambda: is_paused(one.pid), 60.0, f"the worker sleeps at {step}")
    killing.send()
    two = killing.start("two", **TOGETHER)
    two.wait(lambda status: bool(status["ready"]) and len(status["partitions"]) == PARTITIONS, 60.0, "the owner")
    killing.send()
    one.signal(signal.SIGCONT)
    return one, two


@pytest.mark.parametrize("step", ["round.3.produced:1", "round.3.produced:2"])
def test_who_sleeps_with_an_open_transaction_past_its_session_commits_nothing_of_any_partition(
    killing: Killing, step: str
) -> None:
    one, two = asleep_while_another_takes_over(killing, step)
    killing.ends(one)
    assert one.exit_status == 1, one.tail()
    killing.settle_and_verify(two)


@pytest.mark.parametrize("step", ["round.3-4:1", "open.restored:2", "open.claimed:1"])
def test_who_sleeps_past_its_session_with_none_open_harms_nobody(killing: Killing, step: str) -> None:
    one, two = asleep_while_another_takes_over(killing, step)
    # it is fenced and ends, or it hears first that it is not in the group any more and joins it again
    wait_for(lambda: not one.running or is_member_again(one), 60.0, "the one that slept knows")
    killing.settle_and_verify(two, *([one] if one.running else []))


def is_member_again(worker: ForkedWorker) -> bool:
    if worker.log_path.read_text().count("assigned partitions") < 2:
        return False
    with contextlib.suppress(CommandError):  # it ends
        return bool(worker.status().get("ready"))
    return False
