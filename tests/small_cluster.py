"""Several partitions in memory, and the topics between them: records of a topic-partition stay in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from state import layout
from state.user import PendingText, UserState
from streams.steps.effects import Effects, Place, Record, Reject
from streams.steps.partitioner import partition_of
from streams.wire.emit import Change
from streams.wire.receipts import Receipt
from tests.small_partition import PLACE, Sent, SmallPartition

Queue = tuple[str, int]
#: nobody's edges are bounded away
ROOMY = replace(PLACE, followees=64)


class SmallCluster:
    """``publish``, then ``settle``. ``rejects`` are all dead letters so far, ``receipts`` those of erasures."""

    def __init__(self, definitions: str, partitions: int, place: Place = ROOMY) -> None:
        places = [replace(place, partition=number, partitions=partitions) for number in range(partitions)]
        self.topics = PLACE.topics
        self.partitions = [SmallPartition(definitions, place) for place in places]
        self.queues: dict[Queue, deque[Record]] = {}
        self.rejects: list[Reject] = []
        self.receipts: list[Receipt] = []
        self.misrouted = 0
        self._offsets: dict[Queue, int] = {}

    def publish(self, event: dict[str, Any], partition: int | None = None) -> None:
        """An event; ``partition`` None: where murmur2 puts it."""
        self._send(self.topics.events, event, partition)

    def publish_label(self, label: dict[str, Any], partition: int | None = None) -> None:
        self._send(self.topics.labels, label, partition)

    def _send(self, topic: str, content: dict[str, Any], partition: int | None) -> None:
        home = partition_of(content["user"], len(self.partitions))
        self._append(
            topic, home if partition is None else partition, content["user"].encode(), msgspec.json.encode(content)
        )

    def settle(self, choose: Callable[[int], int] = lambda _count: 0, most: Callable[[], int] = lambda: 100) -> None:
        """Deliver until nothing is on its way: of so many waiting queues ``choose`` one, take ``most`` records."""
        for _ in range(10_000):
            waiting = sorted(queue for queue, records in self.queues.items() if records)
            if not waiting:
                return
            topic, partition = waiting[choose(len(waiting))]
            records = self.queues[topic, partition]
            self.step(topic, partition, min(len(records), most()))
        raise AssertionError(f"still on its way: {self.queues}")

    def step(self, topic: str, partition: int, count: int = 1) -> Effects:
        """Deliver the first records of one queue, as one batch."""
        records = self.queues[topic, partition]
        return self.take(self.partitions[partition].deliver(topic, [records.popleft() for _ in range(count)]))

    def encode(self, *numbers: int) -> None:
        """Run the encode lane over everybody who waits, in these partitions or everywhere."""
        for number in numbers or range(len(self.partitions)):
            self.take(self.partitions[number].encode_waiting())

    def events(self, *events: dict[str, Any]) -> None:
        """Each at once in its user's partition, in a batch of its own; what it sends waits."""
        for event in events:
            self.take(self.home(event["user"]).events(event))

    def deliver(self, partition: int, most: int = 1) -> None:
        """A batch of the oldest graph messages that wait for the partition."""
        waiting = self.queues.get((self.topics.graph, partition))
        if waiting:
            self.step(self.topics.graph, partition, min(most, len(waiting)))

    def finish(self) -> None:
        """Until nothing is on its way and nobody waits for the encode lane."""
        self.settle()
        while any(True for partition in self.partitions for _ in partition.memory.keys(b"q")):
            self.encode()
            self.settle()

    def take(self, effects: Effects) -> Effects:
        """Put a turn's messages where they belong."""
        self.rejects += effects.rejects
        self.misrouted += effects.misrouted
        for message in effects.messages:
            if message.topic == self.topics.receipts:
                self.receipts.append(msgspec.json.decode(message.value or b"", type=Receipt))
                continue
            assert message.partition is not None
            headers = [(name, value.encode() if isinstance(value, str) else value) for name, value in message.headers]
            self._append(message.topic, message.partition, message.key, message.value, headers)
        return effects

    def _append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        queue = (topic, partition)
        offset = self._offsets[queue] = self._offsets.get(queue, -1) + 1
        self.queues.setdefault(queue, deque()).append(Sent(offset, value, key=key, headers=headers or []))

    # looking

    def bytes(self) -> bytes:
        """All keys and values of all partitions."""
        return b"\n".join(key + b"=" + value for each in self.partitions for key, value in each.memory.data.items())

    def home(self, user: str) -> SmallPartition:
        return self.partitions[partition_of(user, len(self.partitions))]

    def state(self, user: str) -> UserState | None:
        return self.home(user).state(user)

    def texts(self, user: str) -> list[PendingText]:
        """What of the user waits for the encode lane, oldest first."""
        memory = self.home(user).memory
        return [layout.decode_text(memory.data[key]) for key in memory.keys(layout.texts_prefix(user))]

    def alias(self, user: str) -> layout.Alias | None:
        value = self.home(user).memory.get(layout.alias_key(user))
        return layout.decode_alias(value) if value else None

    def states(self) -> dict[str, UserState]:
        """All users, wherever they are; fails when one is at two places or not at home."""
        found: dict[str, UserState] = {}
        for number, partition in enumerate(self.partitions):
            for key in partition.memory.keys(b"u"):
                user = key[1:].decode()
                assert partition_of(user, len(self.partitions)) == number, f"{user} is not at home"
                found[user] = layout.decode_user(partition.memory.data[key])
        return found

    def changes(self, user: str) -> list[Change]:
        return [change for partition in self.partitions for change in partition.changes if change.user == user]

    def check(self, erased: bool = False) -> None:
        """What must hold whatever happened: exact counts, whole sequences, changes in turn, an index as the edges.

        ``erased``: somebody was, whose events were counted all the same.
        """
        states = self.states()
        metas = [partition.meta for partition in self.partitions]
        assert sum(meta.users for meta in metas) == len(states)
        assert erased or sum(meta.events for meta in metas) == sum(state.count for state in states.values())
        aliases = [key for partition in self.partitions for key in partition.memory.keys(b"a")]
        assert sum(meta.aliases for meta in metas) == len(aliases)
        members: dict[str, set[str]] = {}
        sequences: dict[str, int] = {}
        for change in (change for partition in self.partitions for change in partition.changes):
            assert change.sequence == sequences.get(change.user, 0) + 1, change
            sequences[change.user] = change.sequence
            inside = members.setdefault(change.user, set())
            assert (change.segment in inside) == (change.change == "exited"), change
            inside ^= {change.segment}
        for user, inside in members.items():
            assert inside == (set(states[user].members) if user in states else set()), user
        for segment in {segment for meta in metas for segment in meta.members}:
            counted = sum(meta.members.get(segment, 0) for meta in metas)
            assert counted == sum(segment in state.members for state in states.values())
        self._check_index(states)

    def _check_index(self, states: dict[str, UserState]) -> None:
        followers = {
            (
                layout.follower_key(target, user),
                layout.FOLLOWS if time > 0 else layout.UNFOLLOWED,
                partition_of(user, len(self.partitions)),
            )
            for user, state in states.items()
            for target, time in state.edges.items()
        }
        indexed = {
            (key, partition.memory.data[key], number)
            for number, partition in enumerate(self.partitions)
            for key in partition.memory.keys(b"f")
        }
        assert indexed == followers
