"""The topic of segment definitions: what is in force is what its log says, for all workers alike.

Whoever wants other definitions proposes the next version and reads back whether it counts (``publish``). Each worker
follows the topic (``DefinitionsFollower``); what its partitions decide by is one immutable object, replaced as a whole
(``Present``). Rules are compiled and descriptions encoded before that, in the follower's thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from encoders.heads import PublishedHead
from state.unknown import Terms
from streams.kafka.admin import AdminError, describe_topics, set_topic_config
from streams.kafka.errors import PermanentError
from streams.kafka.follower import TopicFollower
from streams.kafka.reading import take
from streams.ops.outage import CLIENTS
from streams.settings import Settings
from streams.steps.in_force import InForce
from streams.steps.models import Models
from streams.steps.segments import DefinitionError, Plan, load_plan
from streams.steps.text_precision import KEY as PRECISION_KEY
from streams.steps.versions import Ledger, Version, encode
from streams.wire.topics import KEPT_FOR_GOOD, MAX_RECORD_BYTES

log = logging.getLogger(__name__)

ConfValue = str | int | float | bool
_READING: Final[Mapping[str, ConfValue]] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 10,  # who reads up to the end waits for nothing behind it
}
_TIMEOUT = 20.0
#: the same where nobody may be held up for long
_GLANCE = 2.0
_PAUSE = 0.02
#: seconds until a version that could not be used is tried again: it may have been the models that failed
_AGAIN = 60.0
NONE_YET = "no segment definitions are in force yet: segments apply FILE"


class DefinitionsError(PermanentError):
    """The topic of definitions could not be read or written, or what a partition goes by is not in it."""


def read_log(conf: Mapping[str, ConfValue], topic: str, timeout: float = _TIMEOUT) -> list[Message]:
    """All records up to the present end of the topic. Raises DefinitionsError."""
    found: list[Message] = []
    deadline = time.monotonic() + timeout
    why = f"no answer within {timeout:.0f} s"
    consumer = Consumer({**conf, **_READING, "group.id": f"{topic}-reader"}, logger=CLIENTS)
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        while time.monotonic() < deadline:
            for message in take(consumer, 500, 0.5):
                if (error := message.error()) is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    return found
                else:  # a topic that was made just now may have no leader yet
                    why = error.str()
    except KafkaException as error:
        why = str(error)
    finally:
        consumer.close()
    raise DefinitionsError(f"the topic {topic} could not be read: {why} (`segments topics` creates it)")


def read_ledger(conf: Mapping[str, ConfValue], topic: str, timeout: float = _TIMEOUT) -> Ledger:
    """All versions up to the present end of the topic. Raises DefinitionsError."""
    ledger = Ledger()
    for message in read_log(conf, topic, timeout):
        if message.key() != PRECISION_KEY:
            ledger.take(message.value(), _recorded(message))
    return ledger


def not_kept(conf: Mapping[str, ConfValue], topic: str) -> dict[str, str]:
    """What of the topic's configuration lets versions go: an earlier release made it so. Raises DefinitionsError."""
    try:
        found = describe_topics(conf, [topic]).get(topic)
    except AdminError as error:
        raise DefinitionsError(str(error)) from error
    if found is None:
        raise DefinitionsError(f"no such topic: {topic} (create all with `segments topics`)")
    return {
        name: found.config.get(name, "") for name, value in KEPT_FOR_GOOD.items() if found.config.get(name) != value
    }


def keep_for_good(conf: Mapping[str, ConfValue], topic: str) -> bool:
    """Mend the configuration of a topic that is there; returns whether that was needed. Raises AdminError."""
    if topic not in describe_topics(conf, [topic]) or not not_kept(conf, topic):
        return False
    set_topic_config(conf, topic, KEPT_FOR_GOOD)
    return True


def publish(conf: Mapping[str, ConfValue], topic: str, plan: Plan, after: int, author: str, comment: str) -> Ledger:
    """Propose the plan's definitions as the version after ``after``; the ledger returned says whether they count.

    Raises DefinitionsError.
    """
    append(conf, topic, encode(plan, after + 1, time.time(), author, comment), "the definitions")
    return read_ledger(conf, topic)


def append(conf: Mapping[str, ConfValue], topic: str, record: tuple[bytes, bytes], what: str) -> None:
    """Write a record (key, value) to the log; whether it counts, is read back. ``what``: for the words of an error.

    Raises DefinitionsError.
    """
    failed: list[KafkaError] = []
    producer = Producer(
        {**conf, "acks": "all", "enable.idempotence": True, "linger.ms": 0, "message.max.bytes": MAX_RECORD_BYTES},
        logger=CLIENTS,
    )

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    key, value = record
    try:
        producer.produce(topic, value, key, partition=0, on_delivery=delivered)
    except KafkaException as error:
        raise DefinitionsError(f"{what} could not be published on {topic}: {error}") from error
    if producer.flush(_TIMEOUT) or failed:
        why = failed[0].str() if failed else f"no answer within {_TIMEOUT:.0f} s"
        raise DefinitionsError(f"{what} could not be published on {topic}: {why}")


def _recorded(message: Message) -> float:
    return message.timestamp()[1] / 1000.0


@dataclass(frozen=True)
class Proposal:
    """A worker's own file of definitions. It is in force only if it is the first."""

    plan: Plan
    file: str
    worker: str

    @staticmethod
    def of(settings: Settings) -> Proposal | None:
        """None where the worker has no file. Raises DefinitionError."""
        file = settings.segments_file
        return Proposal(load_plan(file), str(file), settings.worker_name) if file else None

    def differing(self, newest: Version) -> str:
        """What to say when it is not what is in force; nothing when it is."""
        try:
            if newest.plan().fingerprint == self.plan.fingerprint:
                return ""
        except DefinitionError:
            pass
        return (
            f"this worker's file {self.file} differs from {newest} of the segment definitions, which is in force: the "
            f"topic decides. `segments apply {self.file}` makes the file the next version"
        )


class Present:
    """What all partitions of this worker decide by. Followers put in what is new; turns read it once."""

    def __init__(self, now: InForce) -> None:
        self.now = now
        self.problem = ""
        """Why the worker is not ready: nothing is in force, or this release cannot use the newest version."""
        self.topic_problem = ""
        """As well why it is not ready: the topic went away or was made anew."""
        self.note = ""
        """What is worth telling: the worker's file is not what is in force."""
        self._lock = threading.Lock()

    @property
    def trouble(self) -> str:
        """Why the worker is not ready; nothing when it is."""
        return self.topic_problem or self.problem

    def take_heads(self, heads: Mapping[str, PublishedHead]) -> None:
        with self._lock:
            self.now = self.now.with_heads(heads)

    def take(self, version: int, plan: Plan, models: Models) -> None:
        with self._lock:
            self.now = InForce(version, plan, models).with_heads(self.now.models.heads)


class DefinitionsFollower(TopicFollower):
    """Keeps ``present`` at the newest version that this release can use, with the terms that are kept besides."""

    def __init__(
        self,
        conf: Mapping[str, ConfValue],
        topic: str,
        present: Present,
        models: Callable[[Plan], Models],
        keep_seconds: float,
        file: Proposal | None = None,
        clock: Callable[[], float] = time.time,
        reached: int = 0,
        doubt: Callable[[Plan], str] = lambda _plan: "",
        precisions: Callable[[bytes | None], None] = lambda _value: None,
    ) -> None:
        """``models`` encodes descriptions; ``keep_seconds``: how long unused terms are still counted; ``file``: the
        worker's own. ``reached``: the highest version that a partition goes by. ``doubt``: what is to be warned of when
        such a set comes into force. ``precisions`` is told each record of what texts are encoded in: the log has both.
        """
        super().__init__(conf, topic, "definitions", self.receive)
        self.ledger = Ledger()
        self._present = present
        self._models = models
        self._keep = keep_seconds
        self._file = file
        self._clock = clock
        self._reached = reached
        self._doubt = doubt
        self._precisions = precisions
        self._seen: int | None = None
        self._again_at = 0.0

    def receive(self, records: list[Message]) -> None:
        """The next records of the topic."""
        for message in records:
            if message.key() == PRECISION_KEY:
                self._precisions(message.value())
            elif why := self.ledger.take(message.value(), _recorded(message)):
                log.warning("%s: offset %s is passed over: %s", self._topic, message.offset(), why)

    def look(self) -> None:
        newest, now = self.ledger.newest, self._clock()
        if newest is None:
            self._present.problem = NONE_YET
            return
        if newest.number == self._seen and now < self._again_at:
            return
        kept, self._again_at = self.ledger.kept(now, self._keep)
        if newest.number != self._seen:
            self._present.topic_problem = ""  # the topic goes on where it was
            log.info("%s of the segment definitions%s", newest, f": {newest.comment}" if newest.comment else "")
            self._present.note = self._file.differing(newest) if self._file is not None else ""
            if self._present.note:
                log.warning("%s", self._present.note)
        self._seen = newest.number
        try:
            self._go_by(newest, kept)
        except Exception as error:  # whatever a release cannot do with what a later one publishes
            self._again_at = min(self._again_at, now + _AGAIN)
            if not self._present.now.version:
                self._go_by_an_earlier_one(kept)
            self._present.problem = (
                f"this release cannot use {newest}: {' '.join(str(error).split())}; "
                f"the worker stays at version {self._present.now.version}"
            )
            log.error("%s", self._present.problem)  # noqa: TRY400 - the sentence says it
        else:
            self._present.problem = ""

    def _go_by(self, version: Version, kept: Terms) -> None:
        plan, before = version.plan(kept), self._present.now.version
        self._present.take(version.number, plan, self._models(plan))
        if version.number != before and (doubt := self._doubt(plan)):
            log.warning("%s: %s", version, doubt)

    def _go_by_an_earlier_one(self, kept: Terms) -> None:
        """A worker that starts stays where the partitions are, as one that runs does."""
        for version in reversed(self.ledger.versions[:-1]):
            if version.number < self._reached:
                return
            with contextlib.suppress(Exception):  # it is told of the newest why that cannot be used
                self._go_by(version, kept)
                return

    def without_topic(self) -> str:
        """What it means when the topic is not what it was, and what to do."""
        version = self._present.now.version
        return (
            f"this worker goes on by version {version} of the segment definitions, but none that starts can: make the "
            f"topic with `segments topics` if need be, and apply definitions until version {version + 1} is reached"
        )

    def note_topic(self, problem: str) -> None:
        """The topic is not what it was, or is there again. Asks Kafka: call it from a thread."""
        self._present.topic_problem = problem
        with contextlib.suppress(DefinitionsError):
            # made anew and filled again already: what comes next may come in weeks
            newest = read_ledger(self._conf, self._topic, _GLANCE).newest if problem else None
            if newest is not None and newest.number >= self._present.now.version:
                self._present.topic_problem = ""

    def begin(self, stopping: Callable[[], bool]) -> None:
        """Wait until definitions are in force. Where none ever were, the worker's file becomes the first version.

        Raises DefinitionsError.
        """
        if wrong := not_kept(self._conf, self._topic):
            said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
            log.warning("Kafka may remove definitions from %s (%s): `segments topics` mends it", self._topic, said)
        while not (self.ready or stopping()):
            time.sleep(_PAUSE)
        if self.ledger.newest is None and not stopping():
            if (mine := self._file) is None:
                log.warning("%s; until then nothing is consumed", NONE_YET)
            else:
                about = f"the first definitions: {mine.file}"
                publish(self._conf, self._topic, mine.plan, 0, f"worker {mine.worker}", about)
        while not (self._present.now.version or stopping()):
            time.sleep(_PAUSE)

    def reach(self, version: int, stopping: Callable[[], bool]) -> None:
        """Wait until ``version`` is in force here: a partition that goes by it never goes back.

        Raises DefinitionsError when the topic does not have it, or this release cannot use it.
        """
        if self._present.now.version >= version:
            return
        found = read_ledger(self._conf, self._topic).newest
        if found is None or found.number < version:
            raise DefinitionsError(missing(version, found))
        while self._present.now.version < version and not stopping():
            if self._present.problem and (self._seen or 0) >= version:
                raise DefinitionsError(f"a partition goes by version {version}: {self._present.problem}")
            time.sleep(_PAUSE)


def missing(version: int, newest: Version | None) -> str:
    """What is wrong when a partition goes by a version that is not there."""
    there = f"the topic ends with {newest}" if newest is not None else "there is none in the topic"
    return (
        f"the partition goes by version {version} of the segment definitions, but {there}: it was emptied or made "
        "anew. Restore the topic, or apply definitions until the number is reached again"
    )


def cannot_reach(version: int, _stopping: Callable[[], bool]) -> None:
    """Of who follows nothing: what a partition goes by is not there."""
    raise DefinitionsError(missing(version, None))


def plan_to_audit(conf: Mapping[str, ConfValue], topic: str, settings: Settings) -> tuple[int, Plan]:
    """The newest version and its definitions, or those of the file where there are none; nothing is published.

    Raises DefinitionsError, DefinitionError.
    """
    ledger = read_ledger(conf, topic)
    if (newest := ledger.newest) is not None:
        kept, _ = ledger.kept(time.time(), settings.keep_unused_days * 86_400.0)
        return newest.number, newest.plan(kept)
    if settings.segments_file is None:
        raise DefinitionsError(f"{NONE_YET}, or name a file with --segments-file")
    return 0, load_plan(settings.segments_file)
