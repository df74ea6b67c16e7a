"""Follows a topic of one partition: a thread that reads it, from its start or from some time ago, and hands it on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.reading import learn_leaders, take
from streams.ops.outage import CLIENT_LINE, CLIENTS

log = logging.getLogger(__name__)

_TIMEOUT = 10.0
_ASK_SECONDS = 2.0
#: seconds between two lines about a topic that cannot be read
_AGAIN = 60.0


class TopicFollower:
    """``on_messages`` gets what was read, in order, in the follower's thread; it must not raise for a bad record.

    ``what`` is for people: "heads". ``back``: seconds; where older records do not matter, reading begins so long ago.
    """

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        topic: str,
        what: str,
        on_messages: Callable[[list[Message]], None],
        back: float | None = None,
    ) -> None:
        self._conf = dict(conf)
        self._topic = topic
        self._what = what
        self._on_messages = on_messages
        self._back = back
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._told = -_AGAIN
        self._thread = threading.Thread(target=self._run, name=f"{what}-follower", daemon=True)
        self.next_offset = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=_TIMEOUT)

    @property
    def ready(self) -> bool:
        """All that was there at the start was handed on."""
        return self._caught_up.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def look(self) -> None:
        """Called several times a second by the follower's thread, from when all that was there at the start is read."""

    def _run(self) -> None:
        consumer = Consumer(
            {
                **self._conf,
                "group.id": f"{self._topic}-follower",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            },
            logger=CLIENTS,
        )
        try:
            consumer.assign([TopicPartition(self._topic, 0, self._start(consumer))])
            while not self._stopping.is_set():
                self._take(take(consumer, 500, 0.2))
        except Exception:
            log.exception("cannot follow the topic %s (%s)", self._topic, self._what)
        finally:
            consumer.close()

    def _start(self, consumer: Consumer) -> int:
        if self._back is None:
            return 0
        asked = TopicPartition(self._topic, 0, int(1000 * (time.time() - self._back)))
        while not self._stopping.is_set():
            try:
                return int(consumer.offsets_for_times([asked], _ASK_SECONDS)[0].offset)  # the end, where all is older
            except KafkaException as error:
                self._tell(error.args[0])
                self._stopping.wait(1.0)
                learn_leaders(consumer, self._topic)
        return 0

    def _take(self, messages: list[Message]) -> None:
        found = []
        ended = False
        for message in messages:
            error = message.error()
            if error is None:
                self.next_offset = (message.offset() or 0) + 1
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ended = True
                self.next_offset = max(self.next_offset, message.offset() or 0)
            elif not error.retriable():
                self._tell(error)
        if found:
            self._on_messages(found)
        if ended or self.ready:
            self.look()
        if ended:
            self._caught_up.set()

    def _tell(self, error: KafkaError) -> None:
        if time.monotonic() - self._told >= _AGAIN:
            self._told = time.monotonic()
            log.warning("the topic %s cannot be read: %s", self._topic, error.str(), extra=CLIENT_LINE)
