"""Faust: group membership, assignment and delivery. One agent routes batches to the partitions' writers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.tables import TableManager
from faust.types import TP, StreamT

from streams.kafka.clock import Told
from streams.kafka.partition import Partition
from streams.kafka.transport import Consumer, RecordBatch
from streams.ops.metrics import Metrics
from streams.settings import Settings
from streams.steps.installation import more_partitions
from streams.wire.topics import Topics

log = logging.getLogger(__name__)

#: of one partition in one fetch: under backlog the batch is what amortises the work for each user in it
FETCH_BYTES = 8 * 1024 * 1024
#: between two looks at which topics and partitions there are (aiokafka's own: five minutes)
METADATA_MS = 5_000


class _NoTables(TableManager):
    """There are none to wait for, as Faust's own does for a second."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def make_faust(settings: Settings) -> faust.App:
    """The Faust app: no tables, no web of its own, no topics made by it."""
    servers = [server.strip() for server in settings.bootstrap.split(",")]
    credentials = _credentials(settings)
    directory = settings.state_dir / "faust"
    directory.mkdir(parents=True, exist_ok=True)
    return faust.App(
        settings.installation,
        broker=[f"segments-batch://{server}" for server in servers],
        broker_credentials=credentials,
        broker_client_id=settings.worker_name,  # so workers know each other in the group
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        TableManager=_NoTables,
        datadir=str(directory),
        stream_wait_empty=False,
        # a worker that waits for its first batch or restores for long is not stuck
        stream_processing_timeout=3_600.0,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.session_timeout,
        # also how long it takes until this worker hears that another one left
        broker_heartbeat_interval=max(0.1, settings.session_timeout / 20.0),
        # known by name: a restart within the session moves no partition
        consumer_group_instance_id=settings.worker_name if settings.static_membership else None,
        broker_request_timeout=max(90.0, settings.session_timeout),
        broker_max_poll_interval=600.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        # a broker that starts may not know its topics yet: who joins the group then is given no partitions, and all
        # stand still until the next look
        consumer_metadata_max_age_ms=METADATA_MS,
    )


class ConsumerLostError(RuntimeError):
    """The consumer could not start, or ended by itself; the message says so."""


async def start_faust(app: faust.App, stop: asyncio.Event) -> None:
    """Start the consumer, or leave it when ``stop`` is set meanwhile. Raises ConsumerLostError."""
    starting = asyncio.ensure_future(app.start())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not starting.done():
        starting.cancel()
        return
    try:
        await starting
    except (KafkaError, OSError) as error:
        raise ConsumerLostError(
            f"Kafka was lost while the worker started ({error}); start it again when Kafka answers"
        ) from error


async def until_stopped(app: faust.App, stop: asyncio.Event) -> None:
    """Until ``stop`` is set. Raises ConsumerLostError when the consumer ended by itself: nothing would be read."""
    if (await app.wait(stop.wait())).stopped:
        raise ConsumerLostError(f"the consumer ended by itself: {app.crash_reason or 'Faust does not say why'}")


def _credentials(settings: Settings) -> Any:
    import ssl  # noqa: PLC0415 - only where TLS or SASL is asked for

    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None) if "SSL" in protocol else None
    if protocol == "SSL":
        return faust.SSLCredentials(context=context)
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )


class Host:
    """The partitions of this worker: made on assignment, stopped on revocation."""

    def __init__(
        self,
        app: faust.App,
        topics: Topics,
        metrics: Metrics,
        make: Callable[[int, Host], Partition],
        on_assigned: Callable[[frozenset[int]], None],
        count: int,
        on_grown: Callable[[str], None],
    ) -> None:
        """``on_assigned`` is called with the new partitions before they are opened, and after all old ones closed.

        ``count``: how many partitions the state has. When there are more of the events, users would have two homes:
        none is opened, and ``on_grown`` is told why."""
        self.partitions: dict[int, Partition] = {}
        self.expected = 0
        """Partitions of the present assignment, those that are still to be made included."""
        self._app = app
        self._topics = topics
        self._metrics = metrics
        self._make = make
        self._on_assigned = on_assigned
        self._count = count
        self._on_grown = on_grown
        self._ended = False
        app.on_partitions_assigned.connect(self._assigned)
        app.on_partitions_revoked.connect(self._revoked)
        channel = app.topic(
            *topics.sources, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        app.agent(channel, name="sources")(self._route)

    @property
    def consumer(self) -> Consumer:
        return cast(Consumer, self._app.consumer)

    @property
    def generation(self) -> int:
        """Of the group, when it was given its partitions; it only grows."""
        return int(self._app.consumer_generation_id or 0)

    async def _route(self, stream: StreamT[Any]) -> None:
        # noack: a batch is acked when its partition has committed it (step 5)
        async for event in cast(Any, stream).noack().events():
            batch = cast(RecordBatch, event.value)
            partition = self.partitions.get(batch.partition)
            if partition is None or batch.generation != self._app.consumer_generation_id:
                continue  # of an assignment before; its owner now reads these records from the stored position
            self._metrics.events.labels(topic=batch.topic).inc(len(batch))
            partition.arrive(batch.topic, batch.records, event.ack)

    async def _assigned(self, *arguments: Any, **_: Any) -> None:
        assigned: Iterable[TP] = arguments[1]  # (the app, the partitions)
        numbers = sorted({tp.partition for tp in assigned if tp.topic == self._topics.events})
        await self._stop_all()
        if self._ended:  # meanwhile: what was opened now would be claimed from who has it next
            return
        if numbers and numbers[-1] >= self._count:
            self._on_grown(more_partitions(self._topics.events, numbers[-1] + 1, self._count))
            return
        self._on_assigned(frozenset(numbers))
        self.expected = len(numbers)
        for number in numbers:
            self.partitions[number] = self._make(number, self)
            self.partitions[number].start()
        self._metrics.assigned_partitions.set(len(numbers))
        log.info("assigned partitions: %s", ", ".join(map(str, numbers)) or "none")

    async def _revoked(self, *_arguments: Any, **_: Any) -> None:
        # an eager rebalance revokes all
        await self._stop_all()

    async def _stop_all(self) -> None:
        partitions, self.partitions = self.partitions, {}
        await asyncio.gather(*(partition.stop() for partition in partitions.values()))

    async def stop(self) -> None:
        """Close all partitions. None is opened any more: the group may still give some to a worker that ends."""
        self._ended = True
        await self._stop_all()

    # callbacks of partitions

    async def restored(self, partition: Partition) -> None:
        """Continue at the stored positions, whatever the group's committed offsets say.

        A topic of which nothing is stored begins at its start, not where the consumer may have got to by itself.
        """

        def still() -> bool:
            return self.partitions.get(partition.number) is partition

        while not self.consumer.flow_active:
            # Faust still seeks to the committed offsets; ours come after that
            await asyncio.sleep(0.02)
            if not still():
                return
        stored = partition.writer.meta.positions
        positions = {tp: stored.get(tp.topic, 0) for tp in self._tps([partition.number])}
        await self.consumer.seek_and_fetch(positions, still)

    def pressure(self, partition: Partition, topics: tuple[str, ...], high: bool) -> None:
        """The partition has more of these topics than it can process at once: fetch nothing more of them for it until
        it has less."""
        if self.partitions.get(partition.number) is not partition:
            return
        tps = [TP(topic, partition.number) for topic in topics]
        if high:
            self.consumer.hold(tps)
        else:
            self.consumer.release(tps)

    def told(self, partition: Partition) -> dict[str, Told | None]:
        """Of each topic, what the last complete fetch says."""
        return {tp.topic: self.consumer.told(tp) for tp in self._tps([partition.number])}

    def _tps(self, numbers: Iterable[int]) -> list[TP]:
        return [TP(topic, number) for number in numbers for topic in self._topics.sources]
