"""The one place where the worker is wired together."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from encoders.heads import PublishedHead
from encoders.process import EncodingProcess
from state.store import SharedMemory
from state.tables import new_arena
from streams.kafka.agents import Host, make_faust, start_faust, until_stopped
from streams.kafka.arrivals import Room
from streams.kafka.checkpoints import checkpoint_of_tests
from streams.kafka.claiming import Claims, claiming
from streams.kafka.clock import Told
from streams.kafka.definitions import DefinitionsFollower, Present, Proposal
from streams.kafka.directory import take_over
from streams.kafka.errors import FencedError
from streams.kafka.followed import FollowedTopics
from streams.kafka.heads import HeadsFollower
from streams.kafka.installation import Identity, warn_of_unsafe_topics, watch
from streams.kafka.lane import EncodeLane
from streams.kafka.partition import Partition
from streams.kafka.replicas import Group, Replicas
from streams.kafka.skew import Skew
from streams.kafka.standby import Standby
from streams.kafka.text_precision import Log, Watch, in_force, settle
from streams.kafka.turns import Turns, make_slot
from streams.kafka.workers import Workers
from streams.kafka.writer import PartitionWriter
from streams.loading import WorkerError, load_models, measured
from streams.ops.directory import advertised
from streams.ops.lag import LagMonitor, PartitionLag
from streams.ops.lifetime import Lifetime, end_tasks
from streams.ops.metrics import Metrics
from streams.ops.outage import Outage
from streams.ops.server import WebServer, build_web
from streams.ops.watchdog import Watchdog
from streams.service import Service, watch_lag
from streams.settings import Settings
from streams.steps.effects import Place
from streams.steps.expiry import too_long
from streams.steps.in_force import InForce
from streams.steps.models import Models, make_models
from streams.steps.segments import Plan, make_plan
from streams.wire.decode import Limits
from streams.wire.receipts import erasure_key
from streams.wire.topics import Topics

log = logging.getLogger(__name__)


#: seconds for an orderly end, and for that of a worker that is stuck
STOP_SECONDS = 15.0
STUCK_STOP_SECONDS = 2.0
#: how long a thread that computes keeps the interpreter from one that has a batch to hand on (Python's own: 5 ms)
SWITCH_SECONDS = 0.001


def make_place(settings: Settings, partition: int, partitions: int, topics: Topics | None = None) -> Place:
    """Where a partition's turns happen, from the settings. ``topics``: an audit's own."""
    state_ttl, anonymous_ttl = settings.ttls
    return Place(
        topics=topics or Topics(settings.app, settings.topic_prefix),
        partition=partition,
        partitions=partitions,
        limits=Limits(
            max_record_bytes=settings.max_record_bytes,
            max_text_chars=settings.max_text_chars,
            min_event_time=settings.min_event_time,
            max_ahead_seconds=settings.max_ahead_seconds,
        ),
        wall_clock=settings.clock == "wall",
        followees=settings.followees,
        graph_epsilon=settings.graph_epsilon,
        drift_events=settings.encode_drift_events,
        erasure_key=erasure_key(settings.erasure_secret.get_secret_value(), settings.app),
        guard_seconds=settings.erasure_guard_days * 86_400.0,
        state_ttl=state_ttl,
        anonymous_ttl=anonymous_ttl,
    )


class Worker:
    """One process of the service. Built whole, then run; nothing is wired anywhere else."""

    def __init__(
        self,
        settings: Settings,
        life: Lifetime,
        models: EncodingProcess | None,
        checkpoint: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """Loads the models (in the process ``models``, if any) and asks the broker for the topics' partitions. Raises
        DefinitionError, WorkerError.

        What it opens is closed by ``life``.
        """
        self.settings = settings
        self._life = life
        file = Proposal.of(settings)
        nothing = make_plan([], [], "no definitions")
        if nothing.quiet is None:
            log.warning(
                "the compiled part of the fold is not there (no C compiler when installed): a tenth of the speed"
            )
        self.topics = Topics(settings.app, settings.topic_prefix)
        conf = settings.librdkafka()
        self.metrics = Metrics()
        self._identity = Identity(conf, self.topics, lambda topic, count: self.metrics.lost.labels(topic).inc(count))
        self._partitions = self._identity.check()
        warn_of_unsafe_topics(conf, self.topics)
        for name in settings.without_effect:
            log.warning("%s is without effect: SEGMENTS_CACHE_MB says how much memory users' states may take", name)
        if not settings.erasure_secret.get_secret_value():
            log.warning("SEGMENTS_ERASURE_SECRET is not set: whoever guesses the id of an erased user can check it")
        text = settle(
            Log.of(settings, self.topics), settings.text_precision, begun=self._identity.begun,
            author=f"worker {settings.worker_name}", measure=partial(measured, settings, life),
        )  # fmt: skip
        self._text = Watch(text)
        loaded = load_models(settings, nothing, in_force(text), models)
        log.info("the models are loaded (encoders %s)", loaded.encoders.version)
        self._present = Present(InForce(0, nothing, loaded))
        self._memory = SharedMemory(settings.rocksdb_cache_mb)
        self._arena = new_arena(settings.cache_bytes)
        self.metrics.cache_bytes.set_function(lambda: self._arena.bytes_held)
        take_over(settings, self.topics, self._memory)
        self._checkpoint = checkpoint
        slots = partial(make_slot, settings, self.metrics.transaction_turns.observe)
        self._turns = Turns(settings.turn_threads, slots, settings.slots)
        self._claims = Claims(settings)
        self._opening = ThreadPoolExecutor(settings.restore_threads, thread_name_prefix="restore")
        self._encoding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        life.opened("thread of the encoders", self._encoding.shutdown)
        life.opened("threads of the turns", self._turns.shutdown)
        life.opened("threads of the restores", self._opening.shutdown)
        self.faust = make_faust(settings)
        self.lane = EncodeLane(lambda: self._present.now, settings.encode_batch, self.metrics, self._encoding)
        self._follower = HeadsFollower(conf, self.topics.heads, self._take_heads)
        self._definitions = DefinitionsFollower(
            conf, self.topics.definitions, self._present, self._models_of, settings.keep_unused_days * 86_400.0, file,
            reached=self._identity.definitions, doubt=lambda plan: too_long(plan, *settings.ttls),
            precisions=self._text.note,
        )  # fmt: skip
        self._standby = (
            Standby(
                conf, self.topics.changelog, settings.state_dir, self._memory, self.metrics, settings.scrub_seconds,
                identity=self._identity.changelog,
            )
            if settings.standby or settings.standby_replicas
            else None
        )  # fmt: skip
        self._outage = Outage(settings.bootstrap, time.time())
        self._skew = Skew()
        self._replicas = self._make_replicas(conf)
        self.host = Host(
            self.faust, self.topics, self.metrics, self._make_partition, self._assigned, self._partitions, self._end
        )
        self.service = Service(
            settings.worker_name, self._present, self._partitions, self.host, self.lane, self.metrics,
            self._follower, self._definitions, self._standby, self._outage,
        )  # fmt: skip
        self._watchdog = Watchdog(settings.stuck_seconds)
        self._lag = LagMonitor(conf, settings.installation, self.metrics, beacon=(self.topics.events, 0))
        self.web = WebServer(build_web(self.service, self.metrics))
        self._workers = Workers(conf, self.topics.workers, self.service.directory, self.service.report, self._skew)
        self._followed = self._follow_topics()
        self._stop = asyncio.Event()
        self._hangs = False

    def _make_partition(self, number: int, host: Host) -> Partition:
        place, slot = make_place(self.settings, number, self._partitions), self._turns.slot(number)
        writer = PartitionWriter(
            self.settings,
            lambda: self._present.now,
            place,
            self._memory,
            clock=self._skew.now,
            checkpoint=self._checkpoint,
            reach=self._definitions.reach,
            standby=self._standby.take if self._standby else lambda _partition: None,
            identity=self._identity,
            arena=self._arena,
            claim=lambda stopping: claiming(self._claims, place, slot.writer(stopping)),
        )
        return Partition(
            writer=writer,
            lane=self.lane,
            metrics=self.metrics,
            turns=self._turns,
            opening=self._opening,
            room=Room.of(self.settings, host.expected),
            on_restored=host.restored,
            on_pressure=host.pressure,
            on_changes=self.service.note_changes,
            on_failed=self._failed,
            told=lambda partition: self._by_kafkas_clock(host.told(partition)),
            turn_interval=self.settings.turn_interval_ms / 1e3,
            give_up_seconds=self.settings.give_up_seconds,
        )

    def _by_kafkas_clock(self, told: dict[str, Told | None]) -> dict[str, Told | None]:
        """A fetch is noted with the moment at which it was sent by this machine's clock."""
        return {
            topic: each._replace(until=each.until + self._skew.difference) if each else None
            for topic, each in told.items()
        }

    def _follow_topics(self) -> FollowedTopics:
        followed = FollowedTopics(self._identity.ids_of)
        followed.add(self.topics.definitions, self._definitions.without_topic, self._definitions.note_topic)
        make = "`segments topics` makes it"
        followed.add(self.topics.workers, lambda: f"lookups and sizes are those of each worker alone; {make}")
        followed.add(self.topics.heads, lambda: f"workers do not hear what others learn; {make}")
        return followed

    def _make_replicas(self, conf: dict[str, str | int | float | bool]) -> Replicas | None:
        if self._standby is None:
            return None
        group = Group(conf, self.settings.installation, self.topics.events)
        count = None if self.settings.standby else self.settings.standby_replicas
        return Replicas(self._standby, self.settings.worker_name, self._partitions, count, group.members)

    def _assigned(self, owned: frozenset[int]) -> None:
        self._turns.assign(owned)
        if self._replicas is not None:
            self._replicas.assigned(owned)

    def _take_heads(self, heads: dict[str, PublishedHead]) -> None:
        """Called by the follower's thread: the snapshot is replaced as a whole."""
        self._present.take_heads(heads)
        for group, head in heads.items():
            self.metrics.head_version.labels(group=group).set(head.version)
            if (accuracy := head.metrics().get("accuracy")) is not None:
                self.metrics.head_accuracy.labels(group=group).set(accuracy)

    def _failed(self, partition: Partition, error: BaseException) -> None:
        """A partition without its writer means that its users stand still: end, so that another worker takes over."""
        kind = "was fenced" if isinstance(error, FencedError) else "failed"
        self.service.failure = f"partition {partition.number} {kind}: {error}"
        self._stop.set()

    def stop(self) -> None:
        """Ask the worker to end; finishes the turns under way."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until stopped. Raises WorkerError when a partition failed, or when the start does."""
        life, loop = self._life, asyncio.get_running_loop()
        life.on_signal(lambda: loop.call_soon_threadsafe(self.stop))
        life.opened("lag monitor", self._lag.close)
        life.opened("follower of the heads", self._follower.stop)
        self._follower.start()
        life.opened("follower of the definitions", self._definitions.stop)
        self._definitions.start()
        if self._standby is not None:
            life.opened("standby", self._standby.stop)
            self._standby.start()
        life.opened("page", self.web.stop)
        await self._listen()
        life.opened("workers' directory", self._workers.stop)
        self._workers.start()
        tasks = [
            asyncio.create_task(self.lane.run(), name="encode-lane"),
            asyncio.create_task(self._workers.run(), name="workers"),
            asyncio.create_task(
                watch_lag(self.service, self._look, self.settings.lag_interval, self._watchdog, self._stuck), name="lag"
            ),
            asyncio.create_task(watch(self._identity.changed, self.settings.lag_interval, self._end), name="identity"),
            asyncio.create_task(watch(self._text.changed, self.settings.lag_interval, self._end), name="precision"),
        ]
        if self._replicas is not None:
            tasks.append(asyncio.create_task(self._replicas.run(), name="replicas"))
        for task in tasks:
            task.add_done_callback(self._task_ended)
        life.opened("tasks of the worker", partial(end_tasks, tasks))
        life.opened("consumer", self.faust.stop)
        life.opened("partitions", self.host.stop)
        await loop.run_in_executor(None, self._definitions.begin, self._stop.is_set)
        await start_faust(self.faust, self._stop)
        life.patience = self._patience
        await until_stopped(self.faust, self._stop)
        log.info("stopping")
        if self.service.failure:
            raise WorkerError(self.service.failure)

    def _patience(self) -> float:
        # what is not committed is read again by the next owner
        return STUCK_STOP_SECONDS if self._hangs or self._outage.since else STOP_SECONDS

    def _models_of(self, plan: Plan) -> Models:
        """Called by the follower's thread; the encoders belong to their own."""
        return self._encoding.submit(make_models, self._present.now.models.encoders, plan).result()

    async def _listen(self) -> None:
        host = self.settings.web_host
        await self.web.start(host, self.settings.web_port)
        log.info("page, metrics and health at http://%s:%d", host, self.web.port)
        self.service.url = advertised(self.settings.advertised_url, host, self.web.port, socket.gethostname())

    def _end(self, why: str) -> None:
        """In order: what it stands on is no longer as it was."""
        if not self._stop.is_set():
            log.error("%s", why)
            self.service.failure = why
            self._stop.set()

    def _look(self) -> list[PartitionLag]:
        self._identity.judge([each.writer.losses for each in list(self.host.partitions.values())])
        lags = self._lag.observe(self.service.positions(), time.time())
        self._outage.note(self._lag.answered, time.time())
        if self._lag.answered:
            self._followed.look(time.time())
        return lags

    def _stuck(self, what: str) -> None:
        if not self._stop.is_set():
            log.error("%s; ending, so that another worker takes over", what)
            self.service.failure = what
            self._hangs = True
            self._stop.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the task %s ended", task.get_name(), exc_info=error)
            self.service.failure = f"the task {task.get_name()} ended: {error}"
            self._stop.set()


def calm_collector() -> None:
    """What is there now stays; states live long, so that looking through them all again and again is wasted."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 10, 100)


def run_worker(settings: Settings, life: Lifetime, models: EncodingProcess | None) -> None:
    """Run one worker until SIGTERM or SIGINT. ``models``: the process that has them, if they have one. Raises
    WorkerError, DefinitionError, when all is closed."""
    import uvloop  # noqa: PLC0415 - only a worker needs it

    async def main() -> None:
        async with life:
            worker = Worker(settings, life, models, checkpoint=checkpoint_of_tests())
            calm_collector()
            await worker.run()

    faulthandler.enable()  # what a crash in compiled code leaves in the log
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
