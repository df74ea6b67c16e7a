"""The identity of an installation: what its state was made from is compared with the cluster before anything is
written, and again while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from state.layout import Meta
from streams.kafka.admin import MIN_IN_SYNC, WHY_IN_SYNC, AdminError, Connection, client, offsets, unsafe_topics
from streams.kafka.errors import AbortedError
from streams.kafka.losses import Losses, lost_in
from streams.kafka.positions import read_positions
from streams.steps import installation as steps
from streams.steps.installation import Present
from streams.wire.topics import Topics

log = logging.getLogger(__name__)

#: the group's coordinator is being elected or reads what it has to know
_COORDINATOR_MOVES = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_POLL_SECONDS = 0.1
#: how long a partition that is opened waits for topics that are not there
_PATIENCE = 10.0
_AGAIN_SECONDS = 0.25
#: how long a worker that runs goes on without a topic: one that is made anew is away for a moment
_AWAY_SECONDS = 30.0
#: Kafka's id of a topic of a broker that gives none
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class InstallationError(RuntimeError):
    """The state does not go with what is on the cluster; the message says what to do."""


class MissingTopicError(AdminError):
    """A topic is not there."""


def describe(conf: Connection, topics: Topics, timeout: float = 10.0) -> Present:
    """Ask the brokers. Raises AdminError when a topic is missing or they do not answer."""
    admin = client(conf)
    found = _described(admin, list(topics.by_partition), timeout)
    if missing := [name for name, each in found.items() if each is None]:
        raise MissingTopicError(f"no such topic: {', '.join(missing)} (create all with `segments topics`)")
    there = {name: each for name, each in found.items() if each is not None}
    return Present(
        topics, {name: count for name, (count, _) in there.items()}, {name: id_ for name, (_, id_) in there.items()}
    )


def _described(admin: AdminClient, names: list[str], timeout: float) -> dict[str, tuple[int, str] | None]:
    """Partitions and id of each topic; None: it is not there. Raises AdminError."""
    described: dict[str, tuple[int, str] | None] = {}
    for name, future in admin.describe_topics(TopicCollection(names), request_timeout=timeout).items():
        try:
            found = future.result(timeout)
        except (KafkaException, TimeoutError) as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, KafkaError) and reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                described[name] = None
                continue
            raise AdminError(f"the cluster does not describe the topic {name}: {reason}") from error
        identity = str(found.topic_id)
        described[name] = len(found.partitions), "" if identity == _NO_ID else identity
    return described


def members(conf: Connection, group: str, topic: str = "", timeout: float = 10.0) -> list[str]:
    """Who is in a consumer group (names of clients and their hosts); with ``topic``: only who was given partitions
    of it. Raises AdminError."""
    admin = client(conf)
    deadline = time.monotonic() + timeout
    while True:
        try:
            found = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result(timeout)
        except (KafkaException, TimeoutError) as error:
            reason = error.args[0] if error.args else error
            code = reason.code() if isinstance(reason, KafkaError) else None
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            if code not in _COORDINATOR_MOVES or time.monotonic() > deadline:
                raise AdminError(f"the cluster does not describe the group {group}: {reason}") from error
            time.sleep(_POLL_SECONDS)
        else:
            break
    return [
        f"{member.client_id} at {member.host}"
        for member in found.members
        if not topic or any(part.topic == topic for part in member.assignment.topic_partitions)
    ]


def refuse_running(conf: Connection, installation: str) -> None:
    """What is about to be done is for when no worker runs. Raises InstallationError, AdminError."""
    if found := members(conf, installation):
        raise InstallationError(f"workers of this installation run ({', '.join(found)}): stop them first")


class Identity:
    """One installation's, for a worker, an audit or a tool. ``on_lost`` is told topic and number of lost records.

    Blocks on the network: call it from a thread.
    """

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        topics: Topics,
        on_lost: Callable[[str, int], None] = lambda _topic, _count: None,
    ) -> None:
        self._conf = dict(conf)
        self._admin = client(self._conf)
        self._topics = topics
        self._on_lost = on_lost
        self.present = Present(topics, {}, {})
        self._away_since: float | None = None
        self.definitions = 0
        """The highest version of the definitions that a partition went by at the time of ``check``."""
        self.begun = False
        """Whether there was a state at that time."""

    @property
    def partitions(self) -> int:
        """How many the installation has."""
        return self.present.counts[self._topics.changelog]

    @property
    def changelog(self) -> str:
        """The id of the changelog's topic."""
        return self.present.ids.get(self._topics.changelog, "")

    def check(self) -> int:
        """Compare the cluster with what all partitions recorded of themselves; returns the number of partitions.

        Reads only: nobody is fenced. Raises InstallationError, AdminError, RestoreError.
        """
        self.present = present = describe(self._admin, self._topics)
        metas = read_positions(self._conf, self._topics.changelog, self.partitions)
        self.begun = bool(metas)
        self.definitions = max((meta.definitions for meta in metas.values()), default=0)
        recorded = [meta.installation for meta in metas.values() if meta.installation is not None]
        for each in recorded:
            _refuse(steps.mismatch(each, present))
        # an earlier release recorded nothing, but its state lies in as many partitions as the changelog has
        _refuse(steps.grown(self.partitions, present) if metas else steps.uneven(present))
        self._refuse_the_earlier_release()
        return self.partitions

    def _refuse_the_earlier_release(self) -> None:
        """It left the prefix out of group and transactional ids: this one would not fence it, and both would write."""
        topics = self._topics
        if topics.prefix and topics.inputs is None and (found := members(self._admin, topics.app, topics.events)):
            raise InstallationError(
                f"workers of an earlier release work on {topics.events} in the group {topics.app} "
                f"({', '.join(found)}): stop them, then start this one"
            )

    def admit(self, partition: int, meta: Meta) -> None:
        """Compare a partition's restored position record, complete it, and count what retention took before it was
        read. Raises InstallationError; AbortedError when Kafka does not say for now."""
        if meta.installation is not None:
            _refuse(steps.mismatch(meta.installation, self.present))
        keys = [(topic, partition) for topic in self._topics.sources]
        low, high = self._bounds(keys)
        for topic, _ in keys:
            _refuse(steps.rewound(topic, partition, meta.positions.get(topic, 0), high[topic, partition]))
        first = {topic: low[topic, partition] for topic, _ in keys}
        for topic, count in steps.admit(meta, self.present, self.partitions, first).items():
            self._tell(topic, partition, count)

    def _bounds(self, keys: list[tuple[str, int]]) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        """The first offset that is kept and the next that will be given. A broker that starts may not know its topics
        yet, and a topic that is made anew is away for a moment."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                low = offsets(self._admin, keys, "start", timeout=_PATIENCE / 2)
                return low, offsets(self._admin, keys, "end", timeout=_PATIENCE / 2)
            except AdminError as error:
                # of a broker that was away it may remember that nobody leads a partition, whatever it hears since
                self._admin = client(self._conf)
                _refuse(self.changed())
                if time.monotonic() > deadline:
                    if found := self._deleted():
                        raise InstallationError(f"{error}{found}") from error
                    raise (AbortedError if error.may_pass else InstallationError)(str(error)) from error
            time.sleep(_AGAIN_SECONDS)

    def _deleted(self) -> str:
        """What to do about a topic that is not there; nothing where the brokers do not say so."""
        try:
            describe(self._admin, self._topics, 5.0)
        except MissingTopicError:
            return ". A topic that was deleted is made anew by `segments topics`, and `segments accept-topic` goes on"
        except AdminError:
            pass
        return ""

    def judge(self, losses: Iterable[Losses]) -> None:
        """Which of the gaps that turns met retention made. Those stay where they are when the brokers do not answer."""
        of = [(each, gap) for each in losses for gap in each.gaps()]
        try:
            low = offsets(self._admin, {(gap.topic, gap.partition) for _, gap in of}, "start", timeout=5.0)
        except AdminError as error:
            log.debug("gaps were not judged: %s", error)
            for each, gap in of:
                each.again(gap)
            return
        for each, gap in of:
            if count := lost_in(gap, low[gap.topic, gap.partition]):
                each.found += count
                self._tell(gap.topic, gap.partition, count)

    def _tell(self, topic: str, partition: int, count: int) -> None:
        log.warning(
            "%s-%d: retention removed %d records before they were read; it goes on after them (retention_days is too "
            "short for the time that no worker ran, or the workers are too slow)", topic, partition, count,
        )  # fmt: skip
        self._on_lost(topic, count)

    def ids_of(self, names: list[str]) -> dict[str, str | None]:
        """Kafka's ids of topics, None of one that is not there; nothing when the brokers do not say."""
        try:
            found = _described(self._admin, names, 5.0)
        except AdminError as error:
            log.debug("the topics were not looked at: %s", error)
            return {}
        return {name: None if each is None else each[1] for name, each in found.items()}

    def changed(self) -> str | None:
        """What is no longer as it was at the start, in a sentence; None also when the brokers do not say."""
        try:
            now = describe(self._admin, self._topics, 5.0)
        except MissingTopicError as error:
            since = self._away_since = self._away_since or time.monotonic()
            return f"{error}; it went away while this worker ran" if time.monotonic() - since > _AWAY_SECONDS else None
        except AdminError as error:
            log.debug("the topics were not compared: %s", error)
            return None
        self._away_since = None
        before = self.present.installation(self.partitions)
        if found := steps.mismatch(before, now):
            return found
        if self.changelog and now.ids[self._topics.changelog] not in ("", self.changelog):
            return (
                f"the topic {self._topics.changelog} was made anew while this worker ran: what it has written is gone; "
                "at the next start the state begins anew"
            )
        return None


def warn_of_unsafe_topics(conf: Connection, topics: Topics) -> None:
    """In one line of the log, where a broker that is lost takes acknowledged records with it. Raises AdminError."""
    if unsafe := unsafe_topics(conf, topics.by_partition):
        log.warning(
            "%s is 1 although there are several replicas, so that %s: %s", MIN_IN_SYNC, WHY_IN_SYNC, ", ".join(unsafe)
        )


def _refuse(sentence: str | None) -> None:
    if sentence:
        raise InstallationError(sentence)


async def watch(changed: Callable[[], str | None], interval: float, ended: Callable[[str], None]) -> None:
    """Ask again and again, in a thread, what is no longer as it was; ``ended`` is told the first difference."""
    loop = asyncio.get_running_loop()
    while True:
        if (sentence := await loop.run_in_executor(None, changed)) is not None:
            ended(sentence)
            return
        await asyncio.sleep(interval)
