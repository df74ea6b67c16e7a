"""The replay producer: sends a source's records to Kafka, at full speed or paced, and sees each of them delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from streams.tools.sources.base import Raw, Record, Source
from streams.wire.events import Label, encode_event
from streams.wire.topics import MAX_RECORD_BYTES, Topics

_POLL_EVERY = 512  # records between two looks at delivery reports
_LONGEST_WAIT = 0.1  # seconds until stop() is asked again
_AHEAD = 0.002  # seconds that a record may be early: the clock of poll() has milliseconds
_SHOW_EVERY = 0.1  # seconds
_CONNECT_SECONDS = 15.0


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did: records that the brokers have acknowledged, and those refused."""

    events: int
    labels: int
    seconds: float
    skipped: Mapping[str, int]
    """Reason -> rows of the source that became no record."""
    failed: int = 0

    @property
    def rate(self) -> float:
        """Acknowledged records a second."""
        return (self.events + self.labels) / self.seconds if self.seconds else 0.0


class DeliveryError(RuntimeError):
    """Some records were not delivered; ``report`` tells how many were."""

    def __init__(self, report: ReplayReport, first: str) -> None:
        super().__init__(f"{report.failed} records were not delivered; the first because: {first}")
        self.report = report


class MissingTopicsError(LookupError):
    """The cluster lacks topics that a replay writes to."""


def _never() -> bool:
    return False


def replay(
    source: Source,
    conf: Mapping[str, str | int | float | bool],
    topics: Topics,
    *,
    rate: float | None = None,
    speedup: float | None = None,
    progress: Console | None = None,
    stop: Callable[[], bool] = _never,
) -> ReplayReport:
    """Send all records of ``source``: labels to ``topics.labels``, the rest to ``topics.events``.

    - ``conf``: connection settings of librdkafka (``Settings.librdkafka()``). The producer is idempotent, and keys are
      placed by murmur2 as every other client of the topics expects.
    - ``rate``: records a second of wall-clock time; after a stall the replay catches up.
    - ``speedup``: seconds of event time that pass in one second; records without a known time follow at once.
    - ``progress``: shows a bar with rate and time left there.
    - ``stop``: asked before each record; once true, the rest is not sent.

    Returns when every sent record has been acknowledged. Raises DeliveryError when some were refused or timed out,
    MissingTopicsError, ValueError for settings that make no sense, KafkaException when no broker answers within 15 s or
    the producer cannot go on.
    """
    pace = _Pace(rate, speedup)
    producer = Producer(
        {
            **conf,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.max.bytes": MAX_RECORD_BYTES,
        }
    )
    _require(producer, topics.events, topics.labels)
    events, labels = _Tally(topics.events), _Tally(topics.labels)
    started = time.monotonic()
    with _Bar(progress, source) if progress else nullcontext() as bar:
        next_show = started
        for number, record in enumerate(source):
            due = started + pace.due(number, record)
            while not (stopped := stop()) and (wait := due - time.monotonic()) > _AHEAD:
                producer.poll(min(wait, _LONGEST_WAIT))
            if stopped:
                break
            tally = labels if _is_label(record) else events
            _send(producer, tally, record)
            if number % _POLL_EVERY == 0:
                producer.poll(0)
            if bar and (now := time.monotonic()) >= next_show:
                bar.show(number + 1)
                next_show = now + _SHOW_EVERY
        # ends by itself: librdkafka gives up on a record after message.timeout.ms
        while producer.flush(1.0):
            pass
        if bar:
            bar.show(events.delivered + labels.delivered)
    seconds = time.monotonic() - started
    failed = events.failed + labels.failed
    report = ReplayReport(events.delivered, labels.delivered, seconds, dict(source.skipped), failed)
    if failed:
        raise DeliveryError(report, events.first_error or labels.first_error)
    return report


class _Tally:
    """Counts the delivery reports of one topic; an instance is the producer's callback."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.delivered = 0
        self.failed = 0
        self.first_error = ""

    def __call__(self, error: KafkaError | None, message: Message[Any, Any]) -> None:
        if error is None:
            self.delivered += 1
        else:
            self.fail(error)

    def fail(self, error: KafkaError) -> None:
        self.failed += 1
        self.first_error = self.first_error or f"{error.str()} ({error.name()}, topic {self.topic})"


def _require(producer: Producer, *names: str) -> None:
    """Before the clock starts: librdkafka would wait half a minute for a missing topic, then fail each record."""
    known = producer.list_topics(timeout=_CONNECT_SECONDS).topics
    if missing := [name for name in names if name not in known]:
        raise MissingTopicsError(f"no such topic: {', '.join(missing)} (`segments topics` creates them)")


def _send(producer: Producer, tally: _Tally, record: Record) -> None:
    if isinstance(record, Raw):
        key, value = record.key, record.value
    else:
        key, value = record.user.encode(), encode_event(record)
    while True:
        try:
            producer.produce(tally.topic, value, key, on_delivery=tally)
        except BufferError:  # the local queue is full: let it drain
            producer.poll(_LONGEST_WAIT)
        except KafkaException as refused:
            error: KafkaError = refused.args[0]
            if error.fatal() or error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            tally.fail(error)
            return
        else:
            return


def _is_label(record: Record) -> bool:
    return record.label if isinstance(record, Raw) else isinstance(record, Label)


class _Pace:
    """When a record is due, in seconds after the start."""

    def __init__(self, rate: float | None, speedup: float | None) -> None:
        if rate is not None and speedup is not None:
            raise ValueError("a replay is paced by rate or by speedup, not by both")
        for name, value in (("rate", rate), ("speedup", speedup)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self._rate = rate
        self._speedup = speedup
        self._first: float | None = None
        self._latest = 0.0

    def due(self, number: int, record: Record) -> float:
        """Never earlier than the record before."""
        if self._rate is not None:
            return number / self._rate
        if self._speedup is not None and record.time is not None:
            if self._first is None:
                self._first = record.time
            self._latest = max(self._latest, (record.time - self._first) / self._speedup)
        return self._latest


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class _Bar:
    """The progress bar of one replay; without a known total it pulses."""

    def __init__(self, console: Console, source: Source) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._progress.add_task(source.name, total=source.total)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, done: int) -> None:
        """``done`` records have been sent."""
        self._progress.update(self._task, completed=done)
