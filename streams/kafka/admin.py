"""Topics of an installation: create what is missing, compare what exists, ask for end offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import IsolationLevel as _IsolationLevel
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, but the package has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from streams.kafka.errors import may_pass
from streams.kafka.reading import learn_leaders
from streams.ops.outage import CLIENTS
from streams.wire.topics import TopicSpec

ConfValue = str | int | float | bool
#: librdkafka settings, or a client made from them (asked often, as for lag, one client saves a connection each time)
Connection = Mapping[str, ConfValue] | AdminClient
IsolationLevel = Literal["read_committed", "read_uncommitted"]

_ISOLATION = {
    "read_committed": _IsolationLevel.READ_COMMITTED,
    "read_uncommitted": _IsolationLevel.READ_UNCOMMITTED,
}
_POLL_SECONDS = 0.05
MIN_IN_SYNC = "min.insync.replicas"
WHY_IN_SYNC = "what was acknowledged is lost with one broker"
#: the client knows the topic, but asked a broker that does not lead the partition (yet), or leads it once more; or it
#: remembers that nobody did, and asks no more by itself
_BETWEEN_LEADERS = (
    KafkaError._NOENT,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError._TIMED_OUT,  # it waited for a leader to be found
)
#: seconds for which a question waits before it is asked again
_ATTEMPT_SECONDS = 5.0


class AdminError(RuntimeError):
    """The cluster could not do what was asked; the message names the topic and Kafka's reason."""

    @property
    def may_pass(self) -> bool:
        """It may be answered later."""
        return may_pass(self.__cause__) if isinstance(self.__cause__, KafkaException) else True


class TopicMismatchError(AdminError):
    """A topic exists with another number of partitions: a user's partition would change, so nothing may go on."""


@dataclass(frozen=True)
class TopicDescription:
    """How a topic is on the cluster. ``config`` holds every effective value, defaults too."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]

    @property
    def in_sync(self) -> int:
        """So many replicas must have a record before it is acknowledged."""
        return int(self.config.get(MIN_IN_SYNC, "1"))


@dataclass(frozen=True)
class CreatedTopics:
    """What :func:`create_topics` found and did: names in the order of the specs, and differences in words."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    warnings: tuple[str, ...]


def create_topics(
    conf: Connection, specs: Sequence[TopicSpec], replication: int, timeout: float = 30.0
) -> CreatedTopics:
    """Create the topics of ``specs`` that are missing and wait until every one can be used.

    An existing topic is never changed: another configuration is reported in ``warnings``; another partition count
    raises :class:`TopicMismatchError` before anything is created. Other refusals raise :class:`AdminError`.
    ``timeout`` is seconds for the whole.
    """
    deadline = time.monotonic() + timeout
    admin = client(conf)
    existing = _metadata(admin, deadline)
    _check_partitions(specs, existing)
    missing = [spec for spec in specs if spec.name not in existing]
    created = _create(admin, missing, replication, deadline)
    wait_for_topics(admin, [spec.name for spec in specs], _left(deadline))
    found = describe_topics(admin, [spec.name for spec in specs if spec.name not in created], _left(deadline))
    _check_partitions(specs, {name: topic.partitions for name, topic in found.items()})  # others may create as well
    return CreatedTopics(
        created=tuple(spec.name for spec in specs if spec.name in created),
        existing=tuple(spec.name for spec in specs if spec.name not in created),
        warnings=tuple(
            warning
            for spec in specs
            if spec.name in found
            for warning in _differences(spec, found[spec.name], replication)
        ),
    )


def describe_topics(conf: Connection, names: Iterable[str], timeout: float = 10.0) -> dict[str, TopicDescription]:
    """The topics of ``names`` that exist, with every effective configuration value; missing ones are left out."""
    deadline = time.monotonic() + timeout
    admin = client(conf)
    wanted = set(names)
    topics = {name: topic for name, topic in _list(admin, deadline).items() if name in wanted}
    if not topics:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    answers = admin.describe_configs(resources, request_timeout=_left(deadline))
    described = {}
    for resource, future in answers.items():
        topic = topics[resource.name]
        entries = _result(future, deadline, f"the configuration of topic {resource.name} could not be read")
        described[resource.name] = TopicDescription(
            name=resource.name,
            partitions=len(topic.partitions),
            replication=min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
            config={key: entry.value for key, entry in entries.items() if entry.value is not None},
        )
    return described


def set_topic_config(conf: Connection, topic: str, config: Mapping[str, str], timeout: float = 10.0) -> None:
    """Change these values of a topic's configuration and no others. Raises :class:`AdminError`."""
    deadline = time.monotonic() + timeout
    admin = client(conf)
    wanted = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=wanted)
    answers = admin.incremental_alter_configs([resource], request_timeout=_left(deadline))
    for future in answers.values():
        _result(future, deadline, f"the configuration of topic {topic} could not be changed")


def end_offsets(
    conf: Connection,
    topics: Iterable[str],
    isolation_level: IsolationLevel = "read_committed",
    timeout: float = 10.0,
) -> dict[tuple[str, int], int]:
    """Of each (topic, partition) the offset that the next record will get, as the brokers say now.

    With ``read_committed`` it is the last stable offset: where a reader of committed records would stop.
    Raises :class:`AdminError` for a topic that does not exist or a partition that cannot be asked.
    """
    deadline = time.monotonic() + timeout
    admin = client(conf)
    counts = _metadata(admin, deadline)
    wanted = list(dict.fromkeys(topics))
    if absent := [name for name in wanted if name not in counts]:
        raise AdminError(f"no such topic: {', '.join(absent)}")
    keys = [(name, partition) for name in wanted for partition in range(counts[name])]
    return offsets(admin, keys, "end", isolation_level, _left(deadline))


def offsets(
    conf: Connection,
    keys: Iterable[tuple[str, int]],
    end: Literal["start", "end"],
    isolation_level: IsolationLevel = "read_uncommitted",
    timeout: float = 10.0,
) -> dict[tuple[str, int], int]:
    """Of each (topic, partition) the first offset that is kept, or the next that will be given.

    Raises :class:`AdminError` for a partition that cannot be asked.
    """
    deadline = time.monotonic() + timeout
    admin = client(conf)
    # confluent-kafka left both untyped
    spec = OffsetSpec.earliest() if end == "start" else OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(name, partition): spec for name, partition in keys}
    if not asked:
        return {}
    while True:
        patience = min(_left(deadline), _ATTEMPT_SECONDS)
        answers = admin.list_offsets(asked, isolation_level=_ISOLATION[isolation_level], request_timeout=patience)
        try:
            found = {
                (part.topic, part.partition): int(
                    _result(future, deadline, f"no {end} offset of {part.topic}[{part.partition}]").offset
                )
                for part, future in answers.items()
            }
        except AdminError as error:
            # leaders may still be moving just after a topic was made
            if _code(error.__cause__ or error) not in _BETWEEN_LEADERS or time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
            for name in {part.topic for part in asked}:
                learn_leaders(admin, name, _left(deadline))
            continue
        # librdkafka gives -1001, and no error, of a partition that its broker has just been given
        unknown = [f"{topic}[{partition}]" for (topic, partition), offset in found.items() if offset < 0]
        if not unknown:
            return found
        if time.monotonic() >= deadline:
            raise AdminError(f"no {end} offset of {', '.join(unknown)}")
        time.sleep(_POLL_SECONDS)


def wait_for_topics(conf: Connection, names: Iterable[str], timeout: float = 30.0) -> None:
    """Wait until every topic is known and each of its partitions has a leader.

    Raises :class:`AdminError` that names those still missing after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    admin = client(conf)
    wanted = set(names)
    while True:
        ready = {name for name, topic in _list(admin, deadline).items() if _usable(topic)}
        if wanted <= ready:
            return
        if time.monotonic() >= deadline:
            raise AdminError(f"not ready after {timeout:g} s: {', '.join(sorted(wanted - ready))}")
        time.sleep(_POLL_SECONDS)


def topic_partitions(
    conf: Connection, names: Iterable[str], usable: bool = False, timeout: float = 10.0
) -> dict[str, int]:
    """Topic → partitions, of those of ``names`` that exist; ``usable``: only those that have a leader are counted."""
    topics = _list(client(conf), time.monotonic() + timeout)
    return {
        name: sum(not usable or part.leader >= 0 for part in topics[name].partitions.values())
        for name in names
        if name in topics
    }


def client(conf: Connection) -> AdminClient:
    """One of its own, unless it is one."""
    return conf if isinstance(conf, AdminClient) else AdminClient(dict(conf), logger=CLIENTS)


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _list(admin: AdminClient, deadline: float) -> dict[str, TopicMetadata]:
    try:
        return dict(admin.list_topics(timeout=_left(deadline)).topics)
    except KafkaException as error:
        raise AdminError(f"the cluster does not answer: {_reason(error)}") from error


def _metadata(admin: AdminClient, deadline: float) -> dict[str, int]:
    """Topic -> number of partitions."""
    return {name: len(topic.partitions) for name, topic in _list(admin, deadline).items()}


def _usable(topic: TopicMetadata) -> bool:
    return (
        topic.error is None and all(part.leader >= 0 for part in topic.partitions.values()) and bool(topic.partitions)
    )


def _create(admin: AdminClient, specs: Sequence[TopicSpec], replication: int, deadline: float) -> set[str]:
    """Ask for all topics at once; those that somebody else created in the meantime are not in the answer."""
    if not specs:
        return set()
    in_sync = {MIN_IN_SYNC: str(least_in_sync(replication))}
    topics = [NewTopic(spec.name, spec.partitions, replication, config=spec.config | in_sync) for spec in specs]
    created = set()
    for name, future in admin.create_topics(topics, request_timeout=_left(deadline)).items():
        try:
            future.result(_left(deadline))
        except (KafkaException, TimeoutError) as error:
            if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise AdminError(f"topic {name} could not be created: {_reason(error)}") from error
        else:
            created.add(name)
    return created


def _check_partitions(specs: Iterable[TopicSpec], found: Mapping[str, int]) -> None:
    wrong = [
        f"{spec.name} has {found[spec.name]} partitions, not {spec.partitions}"
        for spec in specs
        if found.get(spec.name, spec.partitions) != spec.partitions
    ]
    if wrong:
        raise TopicMismatchError(
            f"{'; '.join(wrong)}. State is kept by partition, so the number cannot change: use the number that is "
            "there, or another topic prefix."
        )


def _differences(spec: TopicSpec, found: TopicDescription, replication: int) -> list[str]:
    differences = [
        f"{spec.name}: {key} is {found.config.get(key, 'unset')}, not {value}"
        for key, value in spec.config.items()
        if _terms(found.config.get(key, "")) != _terms(value)
    ]
    if found.replication != replication:
        differences.append(f"{spec.name}: replication is {found.replication}, not {replication}")
    if found.in_sync < least_in_sync(replication):
        differences.append(
            f"{spec.name}: {MIN_IN_SYNC} is {found.in_sync}, not {least_in_sync(replication)}: {WHY_IN_SYNC}"
        )
    return differences


def least_in_sync(replication: int) -> int:
    """How many replicas must have a record before it counts as written. Of two copies, asking for both would stop all
    writing when one broker is away."""
    return 2 if replication >= 3 else 1


def unsafe_topics(conf: Connection, names: Iterable[str], timeout: float = 10.0) -> list[str]:
    """Topics with several replicas, of which one alone may acknowledge a record and be lost with it."""
    found = describe_topics(conf, names, timeout)
    return sorted(name for name, topic in found.items() if topic.replication > 1 and topic.in_sync < 2)


def _terms(value: str) -> list[str]:
    """Lists such as ``compact,delete`` come back in any order."""
    return sorted(term.strip() for term in value.split(","))


def _result(future: Future[Any], deadline: float, what: str) -> Any:
    try:
        return future.result(_left(deadline))
    except (KafkaException, TimeoutError) as error:
        raise AdminError(f"{what}: {_reason(error)}") from error


def _code(error: BaseException) -> int | None:
    cause = error.args[0] if error.args else None
    return cause.code() if isinstance(cause, KafkaError) else None


def _reason(error: BaseException) -> str:
    cause = error.args[0] if error.args else None
    return cause.str() if isinstance(cause, KafkaError) else str(error) or "no answer in time"
