"""Raw batches of one partition, fetched as often as is needed: what passes is waited for, what stays is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError as ClientError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaError

log = logging.getLogger(__name__)

#: of one answer; a first batch that is larger comes all the same
FETCH_BYTES: Final = 2 * 1024 * 1024
#: milliseconds that an answer waits for the first record
_WAIT_MS: Final = 500
#: seconds before what failed is tried again
_AGAIN: Final = 0.5
#: seconds for an answer, as aiokafka has it; and those in which a partition may be nowhere
_ANSWER_SECONDS: Final = 40.0
_PATIENCE: Final = 60.0
_READ_COMMITTED: Final = 1
_SINCE_V11: Final = 11
#: Kafka's codes for what passes: leaders move, metadata are old, a disk is busy
PASSING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)


class LogError(RuntimeError):
    """The partition cannot be read; the message says why."""


class OffsetGoneError(LogError):
    """The partition does not have the offset, or not any more."""


@dataclass(frozen=True)
class Answer:
    """To a fetch."""

    data: bytes = b""
    """Batches one after the other; the last may be cut off."""
    aborted: list[tuple[int, int]] = field(default_factory=list)
    """(producer, first offset) of the aborted transactions among them."""


class Source(Protocol):
    """Where the batches of a partition come from."""

    async def fetch(self, offset: int) -> Answer | None:
        """From the batch on that has ``offset``. None: not now, ask again. Raises LogError."""

    async def close(self) -> None:
        """Never raises."""


class KafkaSource:
    """Asks the partition's leader, as a client of its own: connects when it is first needed, and again."""

    def __init__(self, conf: Mapping[str, str | int | float | bool], topic: str, partition: int) -> None:
        """``conf`` as librdkafka has it."""
        self._conf = conf
        self._place = TopicPartition(topic, partition)
        self._client: AIOKafkaClient | None = None
        self._missing_since = 0.0

    async def fetch(self, offset: int) -> Answer | None:
        try:
            client = self._client or await self._connect()
            node = client.cluster.leader_for_partition(self._place)
            if node is None or node < 0:
                await self._look(client)
                return None
            wanted = [(self._place.topic, [(self._place.partition, offset, FETCH_BYTES)])]
            response = await client.send(node, FetchRequest(_WAIT_MS, 1, FETCH_BYTES, _READ_COMMITTED, wanted))
        except (ClientError, OSError, TimeoutError) as error:
            log.debug("%s: %s; again in %.1f s", self._name, error, _AGAIN)
            await asyncio.sleep(_AGAIN)
            return None
        ((_, ((_, code, _, *found),)),) = response.topics
        if code:
            await self._refused(client, code, offset)
            return None
        self._missing_since = 0.0
        return Answer(found[-1] or b"", found[2 if response.API_VERSION >= _SINCE_V11 else -2] or [])

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._client.close(), 5.0)

    @property
    def _name(self) -> str:
        return f"{self._place.topic}-{self._place.partition}"

    async def _connect(self) -> AIOKafkaClient:
        client = AIOKafkaClient(**connection(self._conf), client_id="segments-restore")
        try:
            await client.bootstrap()
            await asyncio.wait_for(client.set_topics([self._place.topic]), _ANSWER_SECONDS)
        except BaseException:
            await client.close()
            raise
        self._client = client
        return client

    async def _look(self, client: AIOKafkaClient) -> None:
        """Who leads the partition is not known, or nobody does."""
        known = await asyncio.wait_for(client.force_metadata_update(), _ANSWER_SECONDS)
        if self._place.topic in client.cluster.unauthorized_topics:
            raise LogError(f"{self._name} may not be read: {KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)}")
        if known and client.cluster.leader_for_partition(self._place) is None:
            self._miss()
        await asyncio.sleep(_AGAIN)

    async def _refused(self, client: AIOKafkaClient, code: int, offset: int) -> None:
        if code == KafkaError.OFFSET_OUT_OF_RANGE:
            raise OffsetGoneError(f"{self._name} has not got the offset {offset}")
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._miss()
        elif code not in PASSING:
            raise LogError(f"{self._name} cannot be read at offset {offset}: {KafkaError(code)}")
        client.force_metadata_update()
        await asyncio.sleep(_AGAIN)

    def _miss(self) -> None:
        """A topic that was only just made is not known everywhere; one that stays away was deleted."""
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        if now - self._missing_since > _PATIENCE:
            raise LogError(f"{self._name} is not there: {KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)}")


def connection(conf: Mapping[str, str | int | float | bool]) -> dict[str, Any]:
    """aiokafka's settings for librdkafka's (``Settings.librdkafka``)."""
    protocol = str(conf.get("security.protocol", "PLAINTEXT"))
    found: dict[str, Any] = {"bootstrap_servers": conf["bootstrap.servers"], "security_protocol": protocol}
    if protocol.startswith("SASL"):
        found["sasl_mechanism"] = conf["sasl.mechanism"]
        found["sasl_plain_username"] = conf["sasl.username"]
        found["sasl_plain_password"] = conf["sasl.password"]
    if protocol.endswith("SSL"):
        found["ssl_context"] = ssl.create_default_context(cafile=str(conf.get("ssl.ca.location") or "") or None)
    return found
