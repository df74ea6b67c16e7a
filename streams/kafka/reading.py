"""Reading with a plain consumer."""

from __future__ import annotations

from confluent_kafka import Consumer, Message


def take(consumer: Consumer, most: int, timeout: float) -> list[Message]:
    """What is there, at most ``most``; waits for the first one only, ``timeout`` seconds.

    ``Consumer.consume`` waits for all of them or the whole timeout.
    """
    first = consumer.poll(timeout)
    return [] if first is None else [first, *consumer.consume(most - 1, timeout=0.0)]
