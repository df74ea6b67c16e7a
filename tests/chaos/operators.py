"""What operators and producers do to an installation in a campaign, besides killing it.

New definitions, records whose headers nobody reads, a staging installation beside it whose topic is made anew, and
audits: each by the command or client that a person would take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient

from streams.kafka.admin import create_topics
from streams.wire.topics import Topics
from tests.chaos.fleet import Fleet
from tests.chaos.load import OTHER_RULES, RULES, definitions
from tests.chaos.producers import Producers

#: of one command, on a machine that is busy
COMMAND_SECONDS = 300.0
#: of the staging installation
PARTITIONS = 2


class OperatorError(RuntimeError):
    """A command failed; the message has what it said."""


def segments(settings: dict[str, str], *arguments: str) -> str:
    """Run ``segments …`` as a person would; gives what it printed. Raises OperatorError."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.tools.cli", *arguments],
        env=_environment(settings), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise OperatorError(f"segments {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def _environment(settings: dict[str, str]) -> dict[str, str]:
    without = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTS_")}
    return without | {f"SEGMENTS_{name.upper()}": value for name, value in settings.items()}


class Definitions:
    """The versions of the definitions, as files; the first is in force at the begin and at the end."""

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self.files: list[Path] = []
        for number, rules in enumerate((RULES, *OTHER_RULES)):
            file = directory / f"segments-{number}.toml"
            file.write_text(definitions(rules))
            self.files.append(file)
        self._settings = settings
        self.in_force = 0

    @property
    def others(self) -> list[int]:
        """The versions that are not in force."""
        return [number for number in range(len(self.files)) if number != self.in_force]

    def apply(self, number: int) -> None:
        """Make a file the next version."""
        segments(self._settings, "apply", str(self.files[number]), "--author", "chaos")
        self.in_force = number


def poison(bootstrap: str, topic: str, user: str, number: int) -> None:
    """An event that counts, with a header whose name is no UTF-8: Kafka does not look at header names."""
    event = {"user": user, "kind": "view", "time": time.time(), "id": f"poison-{number}", "dwell": 3.0}
    subprocess.run(
        [
            b"kcat", b"-P", b"-b", bootstrap.encode(), b"-t", topic.encode(), b"-k", user.encode(), b"-c", b"1",
            b"-X", b"topic.partitioner=murmur2_random", b"-H", b"\xff\xfe\x80=x",
        ],
        input=json.dumps(event).encode() + b"\n", timeout=60.0, check=True, capture_output=True,
    )  # fmt: skip


class Staging:
    """A second installation on the same cluster: the same app, another prefix, one worker and its own events."""

    PREFIX = "staging-"

    def __init__(self, bootstrap: str, app: str, settings: dict[str, str], fleet: Fleet, seed: int) -> None:
        """``fleet``: a fleet of its own, with the prefix among its settings."""
        self._topics = Topics(app, self.PREFIX)
        self._bootstrap = bootstrap
        self._settings = settings | {"topic_prefix": self.PREFIX}
        self._fleet = fleet
        self._producers = Producers(bootstrap, self._topics, seed + 1, 100, 1, 20.0)
        create_topics({"bootstrap.servers": bootstrap}, self._topics.specs(PARTITIONS), 1)

    def start(self) -> None:
        self._producers.start()
        self._fleet.add("staging")

    def tend(self) -> None:
        self._fleet.tend()

    def recreate(self, rest: Callable[[float], None]) -> None:
        """Stop its worker, make its events' topic anew, and accept that."""
        self._producers.pause(True)
        self._fleet.remove("staging")
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for future in admin.delete_topics([self._topics.events]).values():
            future.result(30.0)
        while self._topics.events in admin.list_topics(timeout=30.0).topics:
            rest(0.2)
        events = [spec for spec in self._topics.specs(PARTITIONS) if spec.name == self._topics.events]
        create_topics({"bootstrap.servers": self._bootstrap}, events, 1)
        segments(self._settings, "accept-topic", self._topics.events)
        self._fleet.add("staging")
        self._producers.pause(False)

    def close(self) -> None:
        """Stop producing and the worker."""
        self._producers.stop()
        if "staging" in self._fleet.slots:
            self._fleet.remove("staging")


class Audit:
    """``segments audit`` beside the workers; one that ended, as when Kafka was killed, goes on after a while."""

    PAUSE_SECONDS = 20.0

    def __init__(self, settings: dict[str, str], directory: Path) -> None:
        self._settings = settings | {"data_dir": str(directory / "audit")}
        self._log = directory / "audit.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at = 0.0
        self.ends: Counter[str] = Counter()
        """How its runs ended: the exit status, and what a failed one said last."""

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams.tools.cli", "audit"],
                env=_environment(self._settings), stdout=log, stderr=log,
            )  # fmt: skip

    def tend(self) -> None:
        """Start the next run when the last one ended a while ago."""
        if self._process is not None and (status := self._process.poll()) is not None:
            lines = self._log.read_text(errors="replace").splitlines()
            self.ends["0" if not status else f"{status}: {lines[-1].partition(' (')[0] if lines else ''}"] += 1
            self._process, self._ended_at = None, time.monotonic()
        elif self._ended_at and time.monotonic() > self._ended_at + self.PAUSE_SECONDS:
            self._ended_at = 0.0
            self.start()

    def close(self) -> None:
        """Kill a run that is under way."""
        self.tend()
        if self._process is not None:
            self.ends["still running"] += 1
            self._process.kill()
            self._process.wait()
            self._process = None
