"""Several partitions in memory, and the topics between them: records of a topic-partition stay in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from state import layout
from state.aliases import Alias, decode_alias
from state.record import Record as State
from streams.steps.effects import Effects, Place, Record, Reject
from streams.steps.partitioner import partition_of
from streams.wire.emit import Change
from streams.wire.receipts import Receipt
from tests.small_partition import PLACE, Sent, SmallPartition

Queue = tuple[str, int]


class SmallCluster:
    """``events`` are taken at once, ``publish``ed records wait in their topic. ``receipts`` are all receipts of erasure
    so far, ``rejects`` all dead letters."""

    def __init__(self, definitions: str, partitions: int, place: Place = PLACE) -> None:
        self.partitions = [
            SmallPartition(definitions, replace(place, partition=number, partitions=partitions))
            for number in range(partitions)
        ]
        self.topics = place.topics
        self.queues: dict[Queue, deque[Record]] = {}
        self.receipts: list[Receipt] = []
        self.rejects: list[Reject] = []
        self.misrouted = 0
        self._offsets: dict[Queue, int] = {}

    def home(self, user: str) -> SmallPartition:
        return self.partitions[partition_of(user, len(self.partitions))]

    # events and labels

    def events(self, *events: dict[str, Any]) -> None:
        """Each in a batch of its own, at its user's home."""
        for event in events:
            self.took(self.home(event["user"]).events(event))

    def publish(self, event: dict[str, Any], partition: int | None = None) -> None:
        """An event; ``partition`` None: where murmur2 puts it."""
        self._publish(self.topics.events, event, partition)

    def publish_label(self, label: dict[str, Any], partition: int | None = None) -> None:
        self._publish(self.topics.labels, label, partition)

    def _publish(self, topic: str, content: dict[str, Any], partition: int | None) -> None:
        home = partition_of(content["user"], len(self.partitions))
        value = msgspec.json.encode(content)
        self._append(topic, home if partition is None else partition, content["user"].encode(), value)

    # what happens next

    def step(self, topic: str, partition: int, count: int = 1) -> Effects:
        """Deliver the first records of one queue, as one batch."""
        records = self.queues[topic, partition]
        return self.took(self.partitions[partition].take(topic, [records.popleft() for _ in range(count)]))

    @property
    def waiting(self) -> list[deque[Record]]:
        """Graph messages on their way to each partition."""
        return [self.queues.get((self.topics.graph, number), deque()) for number in range(len(self.partitions))]

    def deliver(self, partition: int, most: int = 1) -> None:
        """A batch of the oldest graph messages that wait for the partition."""
        if count := min(most, len(self.waiting[partition])):
            self.step(self.topics.graph, partition, count)

    def flow(self, choose: Callable[[int], int] = lambda _count: 0, most: Callable[[], int] = lambda: 100) -> None:
        """Deliver until nothing is on its way: of so many waiting queues ``choose`` one, take ``most`` records."""
        for _ in range(2_000):
            waiting = sorted(queue for queue, records in self.queues.items() if records)
            if not waiting:
                return
            topic, partition = waiting[choose(len(waiting))]
            self.step(topic, partition, min(len(self.queues[topic, partition]), most()))
        raise AssertionError(f"still on its way: {self.queues}")

    def encode(self, partition: int) -> None:
        """The encode lane takes all who wait there."""
        self.took(self.partitions[partition].encode_waiting())

    def encode_all(self) -> None:
        for number in range(len(self.partitions)):
            self.encode(number)

    def settle(self) -> None:
        """Until nothing waits any more, for the encode lane either."""
        self.flow()
        while any(True for partition in self.partitions for _ in partition.memory.keys(b"q")):
            self.encode_all()
            self.flow()

    def took(self, effects: Effects) -> Effects:
        """Put what a partition sends where it belongs."""
        self.rejects += effects.rejects
        self.misrouted += effects.misrouted
        for message in effects.messages:
            if message.topic == self.topics.receipts:
                self.receipts.append(msgspec.json.decode(message.value or b"", type=Receipt))
            elif message.topic in self.topics.sources:
                assert message.partition is not None
                headers = [
                    (name, value.encode() if isinstance(value, str) else value) for name, value in message.headers
                ]
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

    def state(self, user: str) -> State | None:
        return self.home(user).state(user)

    def alias(self, user: str) -> Alias | None:
        value = self.home(user).memory.get(layout.alias_key(user))
        return decode_alias(value) if value else None

    def states(self) -> dict[str, State]:
        """All users, wherever they are; fails when one is at two places or not at home."""
        found: dict[str, State] = {}
        for number, partition in enumerate(self.partitions):
            for key in partition.memory.keys(b"u"):
                user = key[1:].decode()
                assert partition_of(user, len(self.partitions)) == number, f"{user} is not at home"
                state = partition.state(user)
                assert state is not None
                found[user] = state
        return found

    def changes(self, user: str) -> list[Change]:
        return [change for partition in self.partitions for change in partition.changes if change.user == user]

    def check(self) -> None:
        """What must hold whatever happened: exact counts, whole sequences, changes in turn, an index as the edges."""
        states = self.states()
        metas = [partition.meta for partition in self.partitions]
        assert sum(meta.users for meta in metas) == len(states)
        counted = sum(state.count for state in states.values())
        if not self.receipts:  # what the erased did was counted as well
            assert sum(meta.events for meta in metas) == counted
        aliases = [key for partition in self.partitions for key in partition.memory.keys(b"a")]
        assert sum(meta.aliases for meta in metas) == len(aliases)
        members: dict[str, set[str]] = {}
        sequences: dict[str, int] = {}
        floor = max(meta.sequence_floor for meta in metas)
        for change in (change for partition in self.partitions for change in partition.changes):
            begun = not members.get(change.user) and change.sequence <= floor + 1  # after others' states had expired
            before = sequences.get(change.user, 0)
            assert change.sequence == before + 1 or (begun and change.sequence > before), change
            sequences[change.user] = change.sequence
            inside = members.setdefault(change.user, set())
            assert (change.segment in inside) == (change.change == "exited"), change
            inside ^= {change.segment}
        for user, inside in members.items():
            assert inside == (set(states[user].members.segments()) if user in states else set()), user
        for segment in {segment for meta in metas for segment in meta.members}:
            counted = sum(meta.members.get(segment, 0) for meta in metas)
            assert counted == sum(segment in state.members for state in states.values())
        self._check_index(states)
        self._check_ids(states)

    def _check_ids(self, states: dict[str, State]) -> None:
        """The records of ids are those of users and of forwarding records."""
        for number, partition in enumerate(self.partitions):
            seen = {user: state.ids for user, state in states.items() if self.home(user) is partition}
            merged = [key[1:].decode() for key in partition.memory.keys(b"a")]
            assert not seen.keys() & merged, number
            seen |= {user: alias.seen for user in merged if (alias := self.alias(user)) is not None}
            expected = {key for user, each in seen.items() for key in layout.seen_keys(user, each.numbers)}
            assert set(partition.memory.keys(b"d")) == expected

    def _check_index(self, states: dict[str, State]) -> None:
        expected = {
            (layout.follower_key(target, user), partition_of(user, len(self.partitions))): (
                layout.FOLLOWS if time > 0 else layout.UNFOLLOWED
            )
            for user, state in states.items()
            for target, time in state.edges.items()
        }
        indexed = {
            (key, number): partition.memory.data[key]
            for number, partition in enumerate(self.partitions)
            for key in partition.memory.keys(b"f")
        }
        assert indexed == expected

    def bytes(self) -> bytes:
        """All keys and values of all partitions."""
        return b"\n".join(key + b"=" + value for each in self.partitions for key, value in each.memory.data.items())
