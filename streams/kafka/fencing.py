"""Ends what another producer has open, without the client library's pauses.

A worker that was killed leaves a transaction. Who takes over aborts it by ``init_transactions``, and while the
coordinator does that it answers that it is busy. librdkafka asks again after half a second, whatever it was told, so
that a failover waited for half a second or a whole one; the coordinator needs some milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import uvloop
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import BrokerResponseError, NodeNotReadyError
from aiokafka.errors import KafkaError as ClientError
from aiokafka.protocol.transaction import InitProducerIdRequest
from confluent_kafka import KafkaError

from streams.kafka.log_source import connection

log = logging.getLogger(__name__)

#: seconds between two questions, and for all of it
_AGAIN: Final = 0.01
_PATIENCE: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
#: the coordinator moves, or completes the transaction before
COORDINATOR_BUSY: Final = frozenset(
    {
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.CONCURRENT_TRANSACTIONS,
    }
)


def end_transaction(
    conf: Mapping[str, str | int | float | bool], transactional_id: str, timeout_ms: int, patience: float = _PATIENCE
) -> bool:
    """Fence whoever has this transactional id, and return when what it had open is committed or aborted:
    ``init_transactions`` then need not wait for that.

    ``conf`` as librdkafka has it; ``timeout_ms`` of a transaction. False: it could not be done within ``patience``
    seconds; ``init_transactions`` does it as well, and says best what is wrong. For a thread without an event loop.
    """
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(_end(conf, transactional_id, timeout_ms, patience))
    finally:
        loop.close()


async def bootstrap(client: AIOKafkaClient) -> None:
    """Connect. Raises ClientError also when the broker that answers knows of no broker yet, not even itself: aiokafka
    would take that for a fault of ours as soon as it looks for a coordinator."""
    await client.bootstrap()
    if client.get_random_node() is None:
        raise NodeNotReadyError("the broker has only just started")


async def of_coordinator(client: AIOKafkaClient, transactional_id: str, asked: Any) -> Any:
    """What the coordinator of this transactional id answers. Raises ClientError: BrokerResponseError with Kafka's code
    when it is not to be found."""
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
    return await client.send(node, asked)


async def _end(
    conf: Mapping[str, str | int | float | bool], transactional_id: str, timeout_ms: int, patience: float
) -> bool:
    client = AIOKafkaClient(**connection(conf), client_id="segments-fencing")
    try:
        async with asyncio.timeout(patience):
            await bootstrap(client)
            code = await _ask(client, transactional_id, timeout_ms)
            while code in COORDINATOR_BUSY:
                await asyncio.sleep(_AGAIN)
                code = await _ask(client, transactional_id, timeout_ms)
    except (ClientError, OSError, TimeoutError) as error:
        log.debug("%s: what is open cannot be ended beforehand: %s", transactional_id, error)
        return False
    finally:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    return not code


async def _ask(client: AIOKafkaClient, transactional_id: str, timeout_ms: int) -> int:
    """Kafka's code for the answer."""
    try:
        response = await of_coordinator(client, transactional_id, InitProducerIdRequest(transactional_id, timeout_ms))
    except BrokerResponseError as error:
        return int(error.errno)
    return int(response.error_code)
