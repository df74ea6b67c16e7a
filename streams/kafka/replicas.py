"""Which partitions a worker follows as a standby, so that each is followed by so many and not by all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

import xxhash
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.standby import Standby
from streams.ops.outage import CLIENT_LINE, CLIENTS

log = logging.getLogger(__name__)

#: seconds between two looks at who is in the group
_LOOK_SECONDS = 10.0
_TIMEOUT = 10.0
Members = Mapping[str, Collection[int]]
"""Worker → the partitions that it owns."""


def followed_by(me: str, members: Members, partitions: int, count: int) -> frozenset[int]:
    """What ``me`` follows: of each partition, ``count`` members other than its owner do (rendezvous hashing: where a
    member comes or goes, only what it followed, or follows now, changes hands)."""
    found = set()
    for number in range(partitions):
        others = [name for name, owned in members.items() if number not in owned]
        others.sort(key=lambda name: xxhash.xxh3_64_intdigest(f"{number}/{name}".encode()))
        if me in others[:count]:
            found.add(number)
    return frozenset(found)


class Group:
    """The members of a consumer group as the broker knows them; a worker's client id is its name."""

    def __init__(self, conf: Mapping[str, str | int | float | bool], group: str, topic: str) -> None:
        self._client = AdminClient(dict(conf), logger=CLIENTS)
        self._group = group
        self._topic = topic

    def members(self) -> Members | None:
        """None while they share the partitions out. Raises KafkaException."""
        described = self._client.describe_consumer_groups([self._group], request_timeout=_TIMEOUT)
        group = described[self._group].result(_TIMEOUT)
        if group.state is not ConsumerGroupState.STABLE:
            return None
        found: dict[str, set[int]] = {}
        for member in group.members:
            owned = found.setdefault(member.client_id, set())
            owned.update(each.partition for each in member.assignment.topic_partitions if each.topic == self._topic)
        return found


class Replicas:
    """Tells the standby what to follow: everything that others own, or where there are to be fewer replicas, its part
    of that as soon as the members of the group are known."""

    def __init__(
        self, standby: Standby, me: str, partitions: int, count: int | None, members: Callable[[], Members | None]
    ) -> None:
        """``count``: replicas of each partition; None: as many as there are other workers."""
        self._standby = standby
        self._me = me
        self._all = frozenset(range(partitions))
        self._count = count
        self._members = members
        self._owned: frozenset[int] = frozenset()
        self._chosen = self._all if count is None else frozenset()

    def assigned(self, owned: frozenset[int]) -> None:
        """The worker owns these from now on."""
        self._owned = owned
        self._standby.follow(self._chosen - owned, owned)

    async def run(self) -> None:
        """Until cancelled, look at who is there."""
        while self._count is not None:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Follow what is this worker's part now; where that cannot be known, what it was."""
        assert self._count is not None
        try:
            members = await asyncio.get_running_loop().run_in_executor(None, self._members)
        except (KafkaException, TimeoutError) as error:
            log.warning(
                "who is in the group cannot be asked, the standby follows what it did: %s", error, extra=CLIENT_LINE
            )
            return
        if members is None or self._me not in members:
            return
        chosen = followed_by(self._me, members, len(self._all), self._count)
        if chosen != self._chosen:
            log.info("standby: of each partition there are %d replicas, here of %s", self._count, sorted(chosen))
            self._chosen = chosen
        self._standby.follow(chosen - self._owned, self._owned)
