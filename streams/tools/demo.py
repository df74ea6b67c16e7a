"""The demo: a real Kafka, one worker as a process of its own, and a town that lives in real time."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Message
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from streams.kafka.admin import ConfValue, create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.ops.view import WorkerStatus
from streams.tools.agreement import Memberships, agreement
from streams.tools.demo_screen import Look, Moment, Screen, Summary, screen_for, summary_view
from streams.tools.lookup import LookupFailedError, WorkerClient
from streams.tools.reader import TopicReader, ends_of
from streams.tools.replay import ReplayReport, replay
from streams.tools.sources import Record, Records
from streams.tools.terminal import CommandError, connection, read_settings, sigterm_interrupts
from streams.tools.town import Town
from streams.tools.watch import read_change
from streams.tools.workers import WorkerProcess
from streams.wire.events import Label
from streams.wire.topics import Topics

_PARTITIONS = 2
_FAVOURITE_PORT = 6066
_READY_SECONDS = 180.0
#: without anything becoming less for so long, the worker will not catch up; a busy machine only takes longer
_STALLED_SECONDS = 60.0
_LAG_INTERVAL = 0.5  # seconds
_STATUS_EVERY = 0.5  # seconds
_TICK = 0.1  # seconds
_BEFORE = 0.3  # seconds before the change of tastes that the agreement is looked at


@dataclass(frozen=True)
class Demo:
    """What was asked for: ``seconds`` that the town lives, ``rate`` in records a second; port 0 takes a free one."""

    seconds: float
    people: int
    rate: float
    seed: int
    port: int = 0
    web_port: int = 0
    keep: bool = False


def run_demo(demo: Demo, console: Console) -> None:
    """Run it and show it; Ctrl-C and SIGTERM end it early and in order.

    Raises BrokerError when Kafka cannot start, CommandError with the tail of the log when the worker dies, or when it
    does not catch up.
    """
    with ExitStack() as stack:
        stack.enter_context(sigterm_interrupts())
        directory = Path(tempfile.mkdtemp(prefix="segments-demo-"))
        if demo.keep:
            stack.callback(console.print, Text(f"kept: {directory}", style="dim"), soft_wrap=True)
        else:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        try:
            _run(demo, console, directory, stack)
        except KeyboardInterrupt:
            console.print(Text("stopping …", style="yellow"))


def _run(demo: Demo, console: Console, directory: Path, stack: ExitStack) -> None:
    console.print("starting Apache Kafka …", style="dim")
    broker = stack.enter_context(EmbeddedBroker(directory / "kafka", demo.port))
    web_port = demo.web_port or _free_port(_FAVOURITE_PORT)
    given = {
        "app": "demo",
        "bootstrap": broker.bootstrap,
        "topic_prefix": "",
        "kafka_security_protocol": "PLAINTEXT",
        "clock": "wall",
        "data_dir": str(directory / "state"),
        "worker_name": "demo",
        "web_host": "127.0.0.1",
        "web_port": str(web_port),
        "lag_interval": str(_LAG_INTERVAL),
        "value_format": "change",
        "segments_file": "demo",
    }
    settings = read_settings(**given)
    topics, conf = Topics(settings.app, settings.topic_prefix), connection(settings)
    create_topics(conf, topics.specs(_PARTITIONS), 1)
    worker = WorkerProcess(given, directory / "worker.log")
    stack.callback(worker.stop)
    client = WorkerClient(f"http://127.0.0.1:{web_port}")
    console.print("starting a worker (it loads BERT and the GNN) …", style="dim")
    _wait_until_ready(client, worker)
    console.print(Panel(Text(client.url, style="bold underline green", justify="center"), title="open this page"))
    console.print(
        Text(f"Kafka at {broker.bootstrap}; try `segments watch --bootstrap {broker.bootstrap}`", style="dim"),
        soft_wrap=True,
    )
    play = _Play(demo, conf, topics, worker, client)
    stack.callback(play.close)
    with screen_for(console) as screen:
        summary = play.run(screen)
    conclude(summary, console)


def conclude(summary: Summary, console: Console) -> None:
    """Show how it went. Raises CommandError when the worker did not catch up."""
    console.print()
    console.print(summary_view(summary))
    if summary.drained is None:
        raise CommandError(
            f"the worker did not catch up: {summary.left}, and that became no less for {_STALLED_SECONDS:g} s; its log "
            "(worker.log, in the directory that --keep leaves) says what it does"
        )


def _wait_until_ready(client: WorkerClient, worker: WorkerProcess) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        worker.check()
        try:
            missing = client.unready_because()
        except LookupFailedError:
            missing = "it does not answer yet"
        if not missing:
            return
        if time.monotonic() >= deadline:
            raise CommandError(
                f"the worker is not ready after {_READY_SECONDS:g} s ({missing}); the end of its log:\n{worker.tail()}"
            )
        time.sleep(_TICK)


class _Feed(threading.Thread):
    """Sends the town's records in real time, from a thread of its own."""

    def __init__(self, records: Iterator[Record], total: int, conf: Mapping[str, ConfValue], topics: Topics) -> None:
        super().__init__(name="town", daemon=True)
        self.sent = 0
        self.report: ReplayReport | None = None
        self.error: Exception | None = None
        self._records, self._total, self._conf, self._topics = records, total, conf, topics
        self._stop_asked = threading.Event()

    def run(self) -> None:
        source = Records("town", self._counted(), self._total)
        try:
            self.report = replay(source, self._conf, self._topics, speedup=1.0, stop=self._stop_asked.is_set)
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        """Send nothing more, and wait until what was sent is acknowledged."""
        self._stop_asked.set()
        self.join(10.0)

    def _counted(self) -> Iterator[Record]:
        for record in self._records:
            yield record
            self.sent += not isinstance(record, Label)  # what the worker counts as events


class _Play:
    """One town's life before an audience: feeds, watches, and looks at the agreement at three moments."""

    def __init__(
        self,
        demo: Demo,
        conf: Mapping[str, ConfValue],
        topics: Topics,
        worker: WorkerProcess,
        client: WorkerClient,
    ) -> None:
        self._demo, self._conf, self._topics = demo, conf, topics
        self._worker, self._client = worker, client
        self._changes = TopicReader(conf, topics.changes, from_start=True, group="demo-watch")
        self._memberships = Memberships(conf, topics.memberships)
        self._town = Town(demo.seed, demo.people)
        self._moment = Moment(client.url)
        self._looks: list[Look] = []
        self._next_status = 0.0
        self._feed: _Feed | None = None

    def close(self) -> None:
        """Send nothing more and release the connections."""
        if self._feed is not None:
            self._feed.stop()
        self._changes.close()
        self._memberships.close()

    def run(self, screen: Screen) -> Summary:
        total = round(self._demo.seconds * self._demo.rate)
        start = time.time()
        feed = _Feed(self._town.events(total, start, self._demo.rate), total, self._conf, self._topics)
        end, change = start + self._demo.seconds, self._town.change_time
        marks = [
            (change - _BEFORE, "before the change"),
            (change + (end - change) / 3, "a third after it"),
        ]
        self._feed = feed
        feed.start()
        while feed.is_alive():
            now = time.time()
            if marks and now >= marks[0][0]:
                self._look(*marks.pop(0))
            self._moment.elapsed = now - start
            self._moment.sent = feed.sent
            self._moment.phase = "before the change of tastes" if now < change else "tastes have changed"
            self._tick(screen)
        if feed.error is not None:
            raise feed.error
        assert feed.report is not None
        self._moment.sent = feed.sent
        drained = self._drain(screen, start)
        self._look(end, "at the end")
        self._take_changes(self._changes.read_to_end)
        status = self._status_now()
        duplicates = round(self._client.total("segments_duplicates_total"))
        return Summary(feed.report, status, duplicates, self._moment.seen, drained, self._looks)

    def _tick(self, screen: Screen) -> None:
        """Read what came, ask the worker when it is time, draw."""
        self._worker.check()
        self._take_changes(lambda: self._changes.read(_TICK))
        self._moment.now = time.time()
        if self._moment.now >= self._next_status:
            self._next_status = self._moment.now + _STATUS_EVERY
            try:
                self._moment.status = self._client.status()
            except LookupFailedError:
                self._worker.check()  # a worker that is only busy answers the next time
        screen.show(self._moment)

    def _take_changes(self, read: Callable[[], list[Message[bytes, bytes]]]) -> None:
        for record in read():
            value = record.value()
            if value is not None:
                self._moment.seen += 1
                self._moment.changes.appendleft(read_change(value))

    def _look(self, at: float, when: str) -> None:
        """Compare memberships as they are now with the truth at ``at``."""
        now = self._memberships.now()
        truth = {user: self._town.truth(user, at) for user in self._town.users}
        changing = {user: truth[user] for user in self._town.changed}
        self._looks.append(Look(when, agreement(now, truth), agreement(now, changing)))

    def _drain(self, screen: Screen, start: float) -> float | None:
        """Wait until all that was sent is processed; seconds that took, or None when it gets no further."""
        began = time.monotonic()
        remains = Remains(0.0)
        ends = ends_of(self._conf, self._topics.events)
        self._moment.phase = "the town sleeps; waiting for lag 0 and an empty encode queue"
        quiet_since: float | None = None
        while not remains.stalled(waited := time.monotonic() - began):
            self._moment.elapsed = time.time() - start
            self._tick(screen)
            remains.note(self._moment.status, ends, waited)
            if not caught_up(self._moment.status, ends):
                quiet_since = None
            elif quiet_since is None:
                quiet_since = waited
            elif waited - quiet_since >= 2.5 * _LAG_INTERVAL:  # lag is looked at on a timer: two looks must agree
                return quiet_since
        return None

    def _status_now(self) -> WorkerStatus:
        self._worker.check()
        return self._client.status()


def caught_up(status: WorkerStatus | None, ends: Mapping[int, int]) -> bool:
    """Whether the worker has processed its events up to ``ends`` (partition -> offset) and has nothing left to do."""
    if status is None or status.lag_records != 0 or status.encode_queue_depth:
        return False
    positions = {partition.partition: partition.position for partition in status.partitions}
    return all(positions.get(number, 0) >= end for number, end in ends.items())


class Remains:
    """Whether what is left to do becomes less. Pure: times are passed in, in seconds."""

    def __init__(self, now: float) -> None:
        self._least: int | None = None
        self._at = now

    def note(self, status: WorkerStatus | None, ends: Mapping[int, int], now: float) -> None:
        """Another look."""
        if status is None or status.lag_records is None:
            return
        positions = {partition.partition: partition.position for partition in status.partitions}
        unread = sum(max(0, end - positions.get(number, 0)) for number, end in ends.items())
        left = unread + status.lag_records + status.encode_queue_depth
        if self._least is None or left < self._least:
            self._least, self._at = left, now

    def stalled(self, now: float) -> bool:
        """It was never less than a while ago."""
        return now - self._at >= _STALLED_SECONDS


def _free_port(favourite: int) -> int:
    """The favourite port on loopback, or any other when it is taken."""
    for port in (favourite, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CommandError("no free port on 127.0.0.1")
