"""What every crash test does: send load, start workers that are to die at a step, settle, verify."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from confluent_kafka import Producer

from state.store import wipe
from streams.kafka.broker import EmbeddedBroker
from streams.steps.segments import load_plan
from streams.tools.applying import apply_definitions
from streams.wire.topics import Topics
from tests.chaos.load import OTHERS, Sent, load
from tests.forked import ForkedWorker, ForkServer
from tests.helpers import APP, settled, wait_for
from tests.verifier import Absent, Rule, Term, verify

PARTITIONS = 2
_SILENT = logging.Logger("tests.crash.killing", level=logging.CRITICAL + 1)
#: windows of two seconds: there are timers to be killed in
RULES = (
    Rule("clicking", (Term("click", 2, 1),)),
    Rule("resting", (Term("view", 86_400, 1), Term("click", 2, 1, negated=True))),
    Rule("abandoned", (Absent("purchase", "click", 1, 4),)),
    Rule("spenders", (Term("purchase", 86_400, 100.0, "amount"),)),
)


class Killing:
    """One test's topics, workers and check."""

    def __init__(
        self, server: ForkServer, broker: EmbeddedBroker, topics: Topics, directory: Path, port: Callable[[], int]
    ) -> None:
        self._server, self._broker, self._topics, self._port = server, broker, topics, port
        self._directory = directory
        self._file = directory / "segments.toml"
        self._workers: list[ForkedWorker] = []
        self.meet_again()
        self._chunks = 0
        self.partitions = PARTITIONS
        self.define(1)

    def meet_again(self) -> None:
        """Another producer, which asks anew how many partitions there are."""
        conf = {"bootstrap.servers": self._broker.bootstrap, "partitioner": "murmur2_random"}
        self._producer = Producer(conf, logger=_SILENT)

    def define(self, version: int) -> None:
        """Another version of the same definitions is in force: all users are swept."""
        rules = "\n".join(rule.definition() + f"version = {version}\n" for rule in RULES)
        self._file.write_text(rules + OTHERS)
        conf = {"bootstrap.servers": self._broker.bootstrap}
        apply_definitions(conf, self._topics.definitions, load_plan(self._file), "the test", "")

    def send(self, count: int = 200) -> None:
        """A mixed load, and besides something new for each lane."""
        self._chunks += 1
        chunk = f"c{self._chunks}"
        now = time.time()
        records = list(islice(load(self._chunks, 40, name=chunk), count))
        for each in range(6):
            user, other = f"u{each}", f"{chunk}-{each}"
            events = [
                {"user": other, "kind": "comment", "text": f"I cook pasta and bread, part {chunk}"},
                {"user": user, "kind": "follow", "target": other},
                {"user": user, "kind": "click"},
                {"user": f"{other}-anonymous", "kind": "click"},
                {"user": user, "kind": "identify", "target": f"{other}-anonymous"},
            ]
            for kind, event in enumerate(events):
                value = json.dumps(event | {"time": now, "id": f"{chunk}-{each}-{kind}"}).encode()
                records.append(Sent(event["user"].encode(), value))
            label = {"user": user, "segment": "taste-food", "member": each % 2 == 0, "time": now, "id": other}
            records.append(Sent(user.encode(), json.dumps(label).encode(), label=True))
        for record in records:
            topic = self._topics.labels if record.label else self._topics.events
            self._producer.produce(topic, record.value, record.key)
        assert self._producer.flush(30.0) == 0

    def start(self, name: str = "one", kill_at: str = "", **settings: str) -> ForkedWorker:
        """A worker that dies at ``kill_at``, if that is given (``step:n``)."""
        if kill_at:
            settings["test_kill_at"] = kill_at
        worker = ForkedWorker(
            self._server,
            self._port(),
            self._directory / f"{name}.log",
            app=APP,
            bootstrap=self._broker.bootstrap,
            topic_prefix=self._topics.prefix,
            data_dir=str(self._directory / "state"),
            worker_name=name,
            session_timeout="2",
            lag_interval="0.5",
            segments_file=str(self._file),
            rocksdb_cache_mb="16",
            **settings,
        )
        self._workers.append(worker)
        return worker

    def wipe(self, name: str = "one") -> None:
        """A lost disk."""
        wipe(self._directory / "state" / name)

    def ends(self, worker: ForkedWorker) -> None:
        """Wait until a worker has ended by itself."""
        wait_for(lambda: not worker.running, 60.0, "the worker ends")

    def dies(self, worker: ForkedWorker, where: str) -> None:
        """Wait until a worker has killed itself; fails when it never gets to its step, or ends otherwise."""
        wait_for(lambda: not worker.running, 60.0, f"the worker dies at {where}")
        assert worker.exit_status == -signal.SIGKILL, f"{where}: exit status {worker.exit_status}\n{worker.tail()}"

    def settle_and_verify(self, *workers: ForkedWorker, former: Sequence[tuple[int, float]] = ()) -> None:
        """Until all is done; then the workers stop, and the verifier finds nothing. ``former``: how many partitions
        there once were, and until when."""
        stopped_at = self.settle(*workers)
        found = verify(self._broker.bootstrap, APP, self._topics.prefix, RULES, stopped_at, former=former)
        if found.differences:
            raise AssertionError("\n".join(found.differences))
        assert found.changes > 50

    def settle(self, *workers: ForkedWorker) -> float:
        """Until all is done; then the workers stop. Returns when they did (seconds since the epoch)."""
        quiet_since = 0.0

        def quiet() -> bool:
            nonlocal quiet_since
            now = time.monotonic()
            done = settled([worker.status() for worker in workers], self.partitions)
            quiet_since = (quiet_since or now) if done else 0.0
            return bool(quiet_since) and now - quiet_since > 1.5

        wait_for(quiet, 90.0, "all is settled", 0.1)
        stopped_at = time.time()
        for worker in workers:
            worker.stop()
            assert worker.exit_status == 0, worker.tail()
        return stopped_at

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
