"""The transactional id of a partition, by which it is claimed: made ours, and one transaction with one record.

A producer of librdkafka has threads and connections of its own, and was half of what a claim took where a worker has
many partitions. So the few requests are sent here, by a client that lives as long as they take.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import BrokerResponseError
from aiokafka.errors import KafkaError as ClientError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaError, KafkaException

from streams.kafka.errors import AbortedError, FencedError, classified
from streams.kafka.fencing import COORDINATOR_BUSY, bootstrap, of_coordinator
from streams.kafka.log_source import PASSING, connection

T = TypeVar("T")

#: seconds for each question, for one answer, and before what passes is asked again
_PATIENCE: Final = 30.0
_ANSWER_SECONDS: Final = 10.0
_AGAIN: Final = 0.01
_CLOSE_SECONDS: Final = 1.0
_ALL_IN_SYNC: Final = -1
_BUSY: Final = (
    PASSING | COORDINATOR_BUSY | {KafkaError.NOT_ENOUGH_REPLICAS, KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND}
)


class OwnClaim:
    """For one thread without an event loop; each method blocks."""

    def __init__(
        self, conf: Mapping[str, str | int | float | bool], identity: str, timeout_ms: int, patience: float = _PATIENCE
    ) -> None:
        """Fence whoever has this transactional id, and end what that has open. ``conf`` as librdkafka has it;
        ``timeout_ms`` of a transaction. Raises an error of ``streams.kafka.errors``."""
        self._conf = conf
        self._identity = identity
        self._patience = patience
        self._producer, self._epoch = self._with_client(lambda client: self._init(client, timeout_ms))

    def write(self, topic: str, partition: int, key: bytes, value: bytes) -> int:
        """Commit this record; returns its offset. For one call.

        Raises an error of ``streams.kafka.errors``; unless that is FencedError, nothing of it has happened.
        """
        return self._with_client(lambda client: self._commit(client, TopicPartition(topic, partition), key, value))

    def _with_client(self, act: Callable[[AIOKafkaClient], Awaitable[T]]) -> T:
        async def acting() -> T:
            client = AIOKafkaClient(**connection(self._conf), client_id="segments-claim")
            try:
                await bootstrap(client)
                return await act(client)
            except BrokerResponseError as error:
                raise _refused(int(error.errno)) from error
            except (ClientError, OSError) as error:
                raise AbortedError(f"{self._identity} is not ours: {error or 'no answer'}") from error
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(client.close(), _CLOSE_SECONDS)

        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(acting())
        finally:
            loop.close()

    async def _init(self, client: AIOKafkaClient, timeout_ms: int) -> tuple[int, int]:
        asked = InitProducerIdRequest(self._identity, timeout_ms)
        response = await self._asked(client, lambda: self._of_coordinator(client, asked), lambda each: each.error_code)
        return int(response.producer_id), int(response.producer_epoch)

    async def _commit(self, client: AIOKafkaClient, place: TopicPartition, key: bytes, value: bytes) -> int:
        await asyncio.wait_for(client.set_topics([place.topic]), self._patience)
        begin = AddPartitionsToTxnRequest(
            self._identity, self._producer, self._epoch, [(place.topic, [place.partition])]
        )
        try:
            await self._asked(client, lambda: self._of_coordinator(client, begin), lambda each: each.errors[0][1][0][1])
            offset = await self._produce(client, place, key, value)
        except BaseException:
            with contextlib.suppress(Exception):  # whoever claims next ends it as well
                await asyncio.wait_for(self._of_coordinator(client, self._end(committed=False)), _CLOSE_SECONDS)
            raise
        try:
            end = self._end(committed=True)
            await self._asked(client, lambda: self._of_coordinator(client, end), lambda each: each.error_code)
        except (AbortedError, ClientError, OSError) as error:
            raise FencedError(f"the outcome of a claim is not known: {error or 'no answer'}") from error
        return offset

    async def _produce(self, client: AIOKafkaClient, place: TopicPartition, key: bytes, value: bytes) -> int:
        batch = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=1, producer_id=self._producer, producer_epoch=self._epoch,
            base_sequence=0, batch_size=len(key) + len(value) + 1_024,
        )  # fmt: skip
        batch.append(0, int(time.time() * 1e3), key, value, [])
        topics = [(place.topic, [(place.partition, bytes(batch.build()))])]
        asked = ProduceRequest(self._identity, _ALL_IN_SYNC, int(self._patience * 1e3), topics)

        async def ask() -> Any:
            node = client.cluster.leader_for_partition(place)
            if node is None or node < 0:
                await client.force_metadata_update()
                return None
            return await client.send(node, asked)

        def code(response: Any) -> int:
            return KafkaError.LEADER_NOT_AVAILABLE if response is None else int(response.topics[0][1][0][1])

        # the same batch again after an answer that was lost is not appended again: its numbers are the same
        response = await self._asked(client, ask, code)
        return int(response.topics[0][1][0][2])

    def _end(self, committed: bool) -> EndTxnRequest:
        return EndTxnRequest(self._identity, self._producer, self._epoch, committed)

    async def _of_coordinator(self, client: AIOKafkaClient, asked: Any) -> Any:
        return await of_coordinator(client, self._identity, asked)

    async def _asked(
        self, client: AIOKafkaClient, ask: Callable[[], Awaitable[Any]], code_of: Callable[[Any], int]
    ) -> Any:
        """The answer without an error. What passes, and what is not answered, is asked again."""
        until = time.monotonic() + self._patience
        while True:
            error: Exception
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    response = await ask()
                if not (code := code_of(response)):
                    return response
                error = _refused(code)
            except BrokerResponseError as refused:
                code, error = int(refused.errno), refused
            except (ClientError, OSError) as lost:
                code, error = KafkaError.BROKER_NOT_AVAILABLE, lost
            if code not in _BUSY or time.monotonic() > until:
                raise error
            if code in PASSING:
                client.force_metadata_update()
            await asyncio.sleep(_AGAIN)


def _refused(code: int) -> Exception:
    if code == KafkaError.INVALID_PRODUCER_EPOCH:  # as who was fenced is told in these versions of the requests
        code = KafkaError.PRODUCER_FENCED
    return classified(KafkaException(KafkaError(code)))
