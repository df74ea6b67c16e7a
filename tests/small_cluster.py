"""Several partitions in memory, and the graph topic between them: a queue for each partition, delivered when asked."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import msgspec

from streams.steps.effects import Effects, Place
from streams.steps.partitioner import partition_of
from streams.wire.receipts import Receipt
from tests.small_partition import PLACE, SmallPartition


class SmallCluster:
    """Events go to their user's partition; ``receipts`` are all receipts of erasure so far."""

    def __init__(self, definitions: str, partitions: int, place: Place = PLACE) -> None:
        self.partitions = [
            SmallPartition(definitions, replace(place, partition=number, partitions=partitions))
            for number in range(partitions)
        ]
        self.receipts: list[Receipt] = []
        self.waiting: list[deque[bytes | None]] = [deque() for _ in self.partitions]

    def home(self, user: str) -> SmallPartition:
        return self.partitions[partition_of(user, len(self.partitions))]

    def events(self, *events: dict[str, Any]) -> None:
        """Each in a batch of its own."""
        for event in events:
            self.took(self.home(event["user"]).events(event))

    def took(self, effects: Effects) -> None:
        """Put what a partition sends where it belongs."""
        for message in effects.messages:
            if message.topic == self.partitions[0].place.topics.graph:
                assert message.partition is not None
                self.waiting[message.partition].append(message.value)
            elif message.topic == self.partitions[0].place.topics.receipts:
                self.receipts.append(msgspec.json.decode(message.value or b"", type=Receipt))

    def deliver(self, partition: int, most: int = 1) -> None:
        """A batch of the oldest graph messages that wait for the partition."""
        queue = self.waiting[partition]
        if batch := [queue.popleft() for _ in range(min(most, len(queue)))]:
            self.took(self.partitions[partition].graph(batch))

    def encode(self, partition: int) -> None:
        """The encode lane takes all who wait there."""
        self.took(self.partitions[partition].encode_waiting())

    def settle(self) -> None:
        """Until nothing waits any more."""
        while any(self.waiting):
            for number in range(len(self.partitions)):
                self.deliver(number, 100)
        if any(True for partition in self.partitions for _ in partition.memory.keys(b"q")):
            for number in range(len(self.partitions)):
                self.encode(number)
            self.settle()

    def bytes(self) -> bytes:
        """All keys and values of all partitions."""
        return b"\n".join(key + b"=" + value for each in self.partitions for key, value in each.memory.data.items())
