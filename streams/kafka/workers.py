"""The workers' topic: each worker publishes its report there and follows those of the others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from streams.kafka.follower import TopicFollower
from streams.kafka.skew import Skew
from streams.ops.directory import FORGET_SECONDS, REPORT_SECONDS, Directory
from streams.ops.outage import CLIENTS
from streams.wire.workers import WorkerReport, decode_report, encode_report

log = logging.getLogger(__name__)

#: seconds between two looks at whether partitions came or went: that is told at once
_LOOK_SECONDS = 0.25
_LEAVE_SECONDS = 2.0


class Workers:
    """Keeps the directory up to date, and this worker in those of the others."""

    def __init__(
        self, conf: Mapping[str, str | int | float | bool], topic: str, directory: Directory,
        report: Callable[[], WorkerReport], skew: Skew,
    ) -> None:  # fmt: skip
        self._conf = dict(conf)
        self._topic = topic
        self._directory = directory
        self._report = report
        self._skew = skew
        self._name = ""
        self._url = ""
        self._told_at = 0.0
        self._warned = False
        self._producer: Producer | None = None
        self._follower = TopicFollower(conf, topic, "workers", self._take, back=FORGET_SECONDS)

    def start(self) -> None:
        self._producer = Producer({**self._conf, "message.timeout.ms": 10_000, "acks": 1}, logger=CLIENTS)
        self._follower.start()

    async def run(self) -> None:
        """Publish what this worker is, every few seconds and when its partitions change."""
        told: object = None
        next_at = 0.0
        while True:
            report = self._report()
            mine = [(each.partition, each.known) for each in report.partitions]
            if mine != told or time.monotonic() >= next_at:
                told, next_at = mine, time.monotonic() + REPORT_SECONDS
                self._name, self._url = report.worker, report.url
                self._told_at = self._told_at or time.time()
                self._directory.note(report, time.time())
                self._publish(report.worker, encode_report(report))
            if self._producer is not None:
                self._producer.poll(0)
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Take leave: nobody is sent here any more."""
        self._follower.stop()
        if self._name and self._producer is not None:
            self._publish(self._name, None)
            self._producer.flush(_LEAVE_SECONDS)

    def _publish(self, worker: str, value: bytes | None) -> None:
        assert self._producer is not None
        sent = time.time()

        def delivered(error: KafkaError | None, message: Message) -> None:
            kind, stamp = message.timestamp()
            if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
                self._skew.stamped(sent, stamp / 1000.0, time.time())

        try:
            self._producer.produce(self._topic, value, worker.encode(), 0, on_delivery=delivered)
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:  # the topic is missing, or Kafka is away: others hear later
            log.debug("the report of this worker was not published: %s", error)

    def _take(self, messages: list[Message]) -> None:
        now = time.time()
        for message in messages:
            key, value = message.key() or b"", message.value()
            if value is None:
                self._directory.gone(key.decode(errors="replace"))
                continue
            try:
                report = decode_report(value)
            except ValueError as error:
                log.warning("workers topic: offset %s is passed over: %s", message.offset(), error)
                continue
            # clocks differ: what is read as it comes was heard now
            self._directory.note(report, now if self._follower.ready else min(now, message.timestamp()[1] / 1000.0))
            fresh = self._follower.ready and message.timestamp()[1] / 1000.0 > self._told_at > 0.0
            if self._directory.namesake(report, self._url, fresh) and not self._warned:
                self._warned = True
                log.warning(
                    "a worker on %s (%s) has the name %s as well: each hides the other; "
                    "let SEGMENTS_WORKER_NAME differ",
                    report.host, report.url, report.worker,
                )  # fmt: skip
