"""Batches that no client library would make, sent as they are."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cramjam
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.kafka.fetched import Batches, FetchedPartition

_NOT_LEADER = 6
Header = tuple[bytes, bytes | None]


def raw_batch(records: Sequence[tuple[bytes, bytes | None, Sequence[Header]]], codec: int = 0) -> bytes:
    """Records as (key, value, headers); names of headers are bytes. ``codec`` as Kafka numbers them."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, 0, 0, 1 << 27)
    names: dict[bytes, bytes] = {}
    for at, (key, value, headers) in enumerate(records):
        placed = []
        for name, content in headers:
            place = b"%0*d" % (len(name), len(names)) if not name.isascii() else name
            assert len(place) == len(name), "give a name that is no text more bytes"
            names[place] = name
            placed.append((place.decode(), content))
        builder.append(at, 1, key, value, placed)
    data = bytes(builder.build())
    body = data[61:]
    for place, name in names.items():
        body = body.replace(place, name)
    if codec:
        pack = {1: cramjam.gzip.compress, 3: cramjam.lz4.compress, 4: cramjam.zstd.compress}[codec]
        body = bytes(pack(body))
    sealed = bytearray(data[:61] + body)
    sealed[22] |= codec
    struct.pack_into(">i", sealed, 8, len(sealed) - 12)
    struct.pack_into(">I", sealed, 17, calc_crc32c(bytes(sealed[21:])))
    return bytes(sealed)


def as_fetched(said: Mapping[bytes, bytes | None]) -> Sequence[Any]:
    """What a fetch brings of a topic that says this; None is a tombstone."""
    data = raw_batch([(key, value, ()) for key, value in said.items()])
    return FetchedPartition(TopicPartition("t", 0), Batches(data), [], 0, None, None, True, READ_COMMITTED).drain()


def send_batches(bootstrap: str, topic: str, partition: int, batches: Sequence[bytes]) -> None:
    """Raises AssertionError when the broker does not take one."""

    async def send() -> None:
        client = AIOKafkaClient(bootstrap_servers=bootstrap)
        await client.bootstrap()
        try:
            await client.set_topics([topic])
            for batch in batches:
                request = ProduceRequest(
                    transactional_id=None, required_acks=-1, timeout=30_000, topics=[(topic, [(partition, batch)])]
                )
                until = time.monotonic() + 30.0
                error = _NOT_LEADER
                while error == _NOT_LEADER and time.monotonic() < until:  # the topic was only just made
                    await client.force_metadata_update()
                    node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
                    if node is not None and node >= 0:
                        ((_, ((_, error, *_),)),) = (await client.send(node, request)).topics
                assert error == 0, f"Kafka refuses the batch with error {error}"
        finally:
            await client.close()

    asyncio.run(send())
