"""An installation gets more partitions, in an attempt that dies between every two of its steps, on a real Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.kafka.broker import EmbeddedBroker
from streams.kafka.repartition import Repartition, RepartitionError
from streams.settings import Settings
from streams.tools.repartitioning import working_off
from streams.wire.topics import Topics
from tests.crash.killing import PARTITIONS, Killing
from tests.helpers import APP, wait_for

AFTER = 5
#: step and time, in the order of the attempts; each finds what those before it left
DEATHS = ["marking:2", "grown:3", "moving", "neighbours", "leftovers", "last", "done"]


class Died(BaseException):
    """What SIGKILL is to a process: nothing runs after it."""


def dying(step: str, nth: int) -> Callable[[str], None]:
    """What dies at a step; at none when that is empty."""
    left = nth

    def checkpoint(reached: str) -> None:
        nonlocal left
        if reached == f"repartition.{step}":
            left -= 1
            if left == 0:
                raise Died(step)

    return checkpoint


@pytest.fixture
def attempt(broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> Callable[[str], Repartition]:
    """An attempt that dies at ``step:n``, or (empty) does not."""
    settings = Settings(
        app=APP, bootstrap=broker.bootstrap, topic_prefix=topics.prefix, segments_file=tmp_path / "segments.toml"
    )
    directory = tmp_path / "copies"

    def make(dies_at: str = "") -> Repartition:
        step, _, nth = dies_at.partition(":")
        work_off = working_off(settings, directory, lambda _what: None)
        return Repartition(settings, AFTER, directory, work_off, checkpoint=dying(step, int(nth or 1)))

    return make


@pytest.fixture
def command(broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command in a process of its own, with options and variables."""

    def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        arguments = ["--bootstrap", broker.bootstrap, "--app", APP, "--prefix", topics.prefix, *options]
        arguments += ["--segments-file", str(tmp_path / "segments.toml"), "--data-dir", str(tmp_path / "tool")]
        return subprocess.run(
            [sys.executable, "-m", "streams.tools.cli", "repartition", str(AFTER), *arguments],
            capture_output=True, text=True, timeout=120.0, env=os.environ | variables, check=False,
        )  # fmt: skip

    return run


def test_state_sequences_and_memberships_go_on_with_more_partitions_whatever_died(
    killing: Killing, attempt: Callable[[str], Repartition], command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    killing.send()
    worker = killing.start()
    killing.settle(worker)
    told = command("--dry-run").stdout
    assert f"would move from {PARTITIONS} to {AFTER} partitions" in told
    killing.send()
    worker = killing.start()
    wait_for(lambda: worker.status().get("ready"), 60.0, "the worker is ready")
    with pytest.raises(RepartitionError, match="stop all of them first"):
        attempt("").run()
    worker.kill()  # with events that are not processed, and what they led to on its way between partitions
    killing.send()
    wait_for(lambda: fenced(attempt("fenced")), 30.0, "the worker's session is over")
    assert command(SEGMENTS_TEST_KILL_AT="repartition.marking:1").returncode == -signal.SIGKILL
    for step in DEATHS:
        with pytest.raises(Died):
            attempt(step).run()
        if step == "neighbours":  # a worker that somebody starts meanwhile does nothing and says why
            early = killing.start("early")
            killing.ends(early)
            assert early.exit_status == 1
            assert f"segments repartition {AFTER}" in early.tail()
    assert "already: nothing is to be done" in command().stdout
    killing.partitions, until = AFTER, time.time()
    killing.send()  # by a producer that does not know of the new partitions
    killing.meet_again()
    killing.send()
    killing.settle_and_verify(killing.start(), former=[(PARTITIONS, until)])


def fenced(attempt: Repartition) -> bool:
    """It found nobody at work, and died then."""
    try:
        attempt.run()
    except Died:
        return True
    except RepartitionError:
        return False
    raise AssertionError("it should have died")
