"""Producers of a campaign: threads that survive broker restarts and send at a given rate together."""

from __future__ import annotations

import logging
import threading
import time

from confluent_kafka import KafkaException, Producer

from streams.wire.topics import MAX_RECORD_BYTES, Topics
from tests.chaos.load import Sent, load

_SILENT = logging.Logger("tests.chaos.producers", level=logging.CRITICAL + 1)


class Producers:
    """``count`` threads, each with its own load and clients; ``rate`` records a second all together."""

    def __init__(self, bootstrap: str, topics: Topics, seed: int, users: int, count: int, rate: float) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._rate = rate / count
        self._going = threading.Event()
        self._going.set()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.sent = 0
        """Records handed to clients; the topics tell what came of them."""
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(seed, users, f"p{each}"), name=f"producer-{each}", daemon=True)
            for each in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def pause(self, paused: bool) -> None:
        """Send nothing for a while."""
        (self._going.clear if paused else self._going.set)()

    def stop(self) -> None:
        """Stop, and wait until the broker has what was sent. Raises what ended a thread."""
        self._stopping.set()
        self._going.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _client(self, misrouted: bool) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "partitioner": "consistent_random" if misrouted else "murmur2_random",
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": MAX_RECORD_BYTES,
                "message.timeout.ms": 0,
                "reconnect.backoff.max.ms": 500,
            },
            logger=_SILENT,
        )

    def _run(self, seed: int, users: int, name: str) -> None:
        try:
            self._send_all(seed, users, name)
        except BaseException as error:
            self.errors.append(error)

    def _send_all(self, seed: int, users: int, name: str) -> None:
        clients = {misrouted: self._client(misrouted) for misrouted in (False, True)}
        began, done = time.monotonic(), 0
        for sent in load(seed, users, name=name):
            if not self._going.is_set():
                self._going.wait()
                began, done = time.monotonic(), 0
            ahead = began + done / self._rate - time.monotonic()
            if ahead > 0.002:
                clients[False].poll(ahead)
                clients[True].poll(0)
            elif ahead < -5.0:
                began, done = time.monotonic(), 0  # after a stall the rate stays what it is
            if self._stopping.is_set():
                break
            self._send(clients, sent)
            done += 1
            if done % 100 == 0:
                with self._lock:
                    self.sent += 100
        for client in clients.values():
            if left := client.flush(120.0):
                raise RuntimeError(f"{name}: {left} records were not delivered")

    def _send(self, clients: dict[bool, Producer], sent: Sent) -> None:
        topic = self._topics.labels if sent.label else self._topics.events
        while not self._stopping.is_set():
            try:
                clients[sent.misrouted].produce(topic, sent.value, sent.key)
            except BufferError:
                clients[sent.misrouted].poll(0.1)
            except KafkaException as error:
                if error.args[0].fatal():  # idempotence was lost with the broker: begin anew
                    clients[sent.misrouted] = self._client(sent.misrouted)
                else:
                    clients[sent.misrouted].poll(0.1)
            else:
                return
