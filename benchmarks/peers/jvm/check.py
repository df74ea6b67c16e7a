"""Do the JVM peers make the changes and the states that ``benchmarks/peers/job.py`` makes, also after a crash?

python -m benchmarks.throughput --jvm --check

Three small loads of different length, with events late and ids sent again. On the last one each peer is killed in the
middle of a transaction as well, and started again. It takes some minutes, most of them for Flink's checkpoints.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.harness import BenchmarkError, produce
from benchmarks.load import load
from benchmarks.peers.job import User, decode_event, fold, seen_packed
from benchmarks.peers.jvm.contestants import JAVA_PEERS, JavaPeer, command
from streams.kafka.admin import create_topics, end_offsets
from streams.kafka.broker import EmbeddedBroker
from streams.wire.topics import TopicSpec

Record = tuple[bytes, bytes]
Json = dict[str, Any]
_EVENTS: Final = 30_000
_PARTITIONS: Final = 2
#: seconds for anything that is waited for: a killed member's session ends after 45
_PATIENCE: Final = 180.0
_LOOK: Final = 0.05
#: seconds for an answer of Kafka
_ANSWER: Final = 30.0
#: nobody answers for the group yet
_NO_COORDINATOR: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
#: Java's powers of two and Python's may differ in the last bit
_TOLERANCE: Final = 1e-9


def messy(records: Iterable[Record], seed: int = 7) -> Iterator[Record]:
    """With ids sent again and events out of order."""
    draw = random.Random(seed)
    old: list[Record] = []
    late: list[Record] = []
    for record in records:
        if draw.random() < 0.03 and old:
            yield draw.choice(old[-3_000:])
        if draw.random() < 0.03:
            late.append(record)
            continue
        yield record
        old.append(record)
        if len(late) > 40:
            yield late.pop(draw.randrange(len(late)))
    yield from late


#: windows never run out; most of them do; counters get new landmarks as well
LOADS: Final[Mapping[str, Callable[[], Iterator[Record]]]] = {
    "minutes": lambda: load(_EVENTS, 2_000),
    "years": lambda: messy(load(_EVENTS, 100, rate=0.0005, comments=0.05, follows=0.02)),
    "weeks": lambda: messy(load(_EVENTS, 300, rate=0.01, comments=0.05, follows=0.02)),
}
_CRASH: Final = "weeks"


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: change records, and users' states as plain JSON."""

    changes: list[Json]
    states: dict[str, Json]


def expected(records: Iterable[Record]) -> Outcome:
    """What the job makes of the records."""
    users: dict[str, User] = {}
    changes: list[Json] = []
    for _, value in records:
        event = decode_event(value)
        # all is given: the type's defaults are shared
        user = users.setdefault(event.user, User(kinds={}, categories={}, members={}))
        if not seen_packed(user, event.id):
            changes += map(json.loads, fold(user, event))
    return Outcome(changes, {name: _plain(user) for name, user in users.items()})


def _plain(user: User) -> Json:
    return {
        "first": user.first,
        "last": user.last,
        "zero": user.zero,
        "count": user.count,
        "sequence": user.sequence,
        "due": None if user.due == math.inf else user.due,
        "kinds": user.kinds,
        "categories": {str(bucket): amount for bucket, amount in user.categories.items()},
        "totals": user.totals,
        "buckets": [{str(bucket): amount for bucket, amount in held.items()} for held in user.buckets],
        "members": user.members,
    }


def differences(wanted: Outcome, found: Outcome, *, all_users: bool = True) -> list[str]:
    """One line for each thing that is not the same; nothing where all is. Of users, those that were found or all."""
    told = []
    if len(found.changes) != len(wanted.changes):
        told.append(f"{len(found.changes)} changes instead of {len(wanted.changes)}")
    pairs = zip(_ordered(wanted.changes), _ordered(found.changes), strict=False)
    if odd := next(((one, other) for one, other in pairs if not _close(one, other)), None):
        told.append(f"change {json.dumps(odd[1])} instead of {json.dumps(odd[0])}")
    if unknown := found.states.keys() - wanted.states.keys():
        told.append(f"{len(unknown)} users that there are not, {min(unknown)} among them")
    if all_users and (absent := wanted.states.keys() - found.states.keys()):
        told.append(f"{len(absent)} users are missing, {min(absent)} among them")
    for name in sorted(found.states.keys() & wanted.states.keys()):
        if not _close(wanted.states[name], found.states[name]):
            told.append(f"{name} is {json.dumps(found.states[name])} instead of {json.dumps(wanted.states[name])}")
            break
    return told


def _ordered(changes: Iterable[Json]) -> list[Json]:
    return sorted(changes, key=lambda change: (change["user"], change["sequence"]))


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return None not in (one, other) and math.isclose(one, other, rel_tol=_TOLERANCE)
    return bool(one == other)


class Run:
    """A peer at work on a topic, and what can be seen of it from outside."""

    def __init__(self, peer: JavaPeer, bootstrap: str, topic: str, out: str, directory: Path) -> None:
        self._bootstrap, self._topic, self._out = bootstrap, topic, out
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._offsets = _consumer(bootstrap, f"{peer.module}-{out}")
        directory.mkdir(parents=True, exist_ok=True)
        self._states, self._log = directory / "states", directory / "log"
        called = command(peer, bootstrap, topic, out, 0, directory, f"-Dpeers.states={self._states}")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(called, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def wait(self, reached: Callable[[], bool], what: str) -> None:
        """Raises BenchmarkError when the peer ends before, or takes too long."""
        until = time.monotonic() + _PATIENCE
        while not reached():
            if self.process.poll() is not None:
                raise BenchmarkError(f"it ended before {what}: {self._log.read_text()[-2000:]}")
            if time.monotonic() > until:
                raise BenchmarkError(f"not within {_PATIENCE:.0f} s: {what}. {self._log.read_text()[-2000:]}")
            time.sleep(_LOOK)

    def worked_off(self, count: int) -> bool:
        """Whether the group has committed ``count`` records."""
        try:
            committed = self._offsets.committed(_partitions(self._topic), timeout=_ANSWER)
        except KafkaException as error:
            if error.args[0].code() in _NO_COORDINATOR:
                return False
            raise
        return sum(max(0, each.offset) for each in committed) >= count

    def in_transaction(self) -> bool:
        """Whether changes lie in the topic that are not committed."""
        written = end_offsets(self._admin, [self._out], "read_uncommitted")
        stable = end_offsets(self._admin, [self._out], "read_committed")  # later: what was committed meanwhile counts
        return sum(written.values()) > sum(stable.values())

    def changes(self) -> list[Json]:
        """What is committed."""
        found, through = [], 0
        with closing(_consumer(self._bootstrap, "check")) as consumer:
            consumer.assign(_partitions(self._out))
            while through < _PARTITIONS:
                message = consumer.poll(_ANSWER)
                if message is None:
                    raise BenchmarkError(f"{self._out} cannot be read to its end")
                if message.error():
                    through += 1
                    continue
                change = json.loads(message.value() or b"{}")
                if message.key() != change["user"].encode():
                    raise BenchmarkError(f"the key of {change} is {message.key()!r}")
                found.append(change)
        return found

    def finish(self) -> Outcome:
        """Let the peer write its states and end."""
        self.process.communicate(timeout=_PATIENCE)
        if self.process.returncode:
            raise BenchmarkError(f"it ended with {self.process.returncode}: {self._log.read_text()[-2000:]}")
        states: dict[str, Json] = {}
        for line in self._states.read_text("utf-8").splitlines():
            state = json.loads(line)
            states[state.pop("user")] = state
        return Outcome(self.changes(), states)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._offsets.close()

    def kill(self) -> None:
        """As a machine's end would."""
        self.process.kill()
        self.process.communicate()


def _consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number, 0) for number in range(_PARTITIONS)]


def whole(run: Run, records: int) -> Outcome:
    """What there is once all is worked off and committed."""
    run.wait(lambda: run.worked_off(records) and not run.in_transaction(), f"{records} records were committed")
    return run.finish()


def _topic(bootstrap: str, name: str) -> str:
    create_topics({"bootstrap.servers": bootstrap}, [TopicSpec(name, "of the check", _PARTITIONS)], 1)
    return name


def _undisturbed(peer: JavaPeer, bootstrap: str, name: str, records: Sequence[Record], directory: Path) -> list[str]:
    wanted = expected(records)
    topic = _topic(bootstrap, f"{name}-in")
    produce(bootstrap, topic, records)
    with Run(peer, bootstrap, topic, _topic(bootstrap, f"{name}-out"), directory) as run:
        return differences(wanted, whole(run, len(records)))


def _killed(peer: JavaPeer, bootstrap: str, name: str, records: Sequence[Record], directory: Path) -> list[str]:
    wanted, half = expected(records), len(records) // 2
    topic, out = _topic(bootstrap, f"{name}-in"), _topic(bootstrap, f"{name}-out")
    produce(bootstrap, topic, records[:half])
    with Run(peer, bootstrap, topic, out, directory) as run:
        run.wait(lambda: run.worked_off(half), f"{half} records were committed")
        produce(bootstrap, topic, records[half:])
        run.wait(run.in_transaction, "there was a change in an open transaction")
        run.kill()
        if run.worked_off(len(records)):
            return ["it had committed everything before it was killed"]
    with Run(peer, bootstrap, topic, out, directory) as again:
        # states are kept from the start of a process on
        return differences(wanted, whole(again, len(records)), all_users=False)


def check(names: Collection[str]) -> int:
    """Hold the peers of these names against the job, and say what came out; how many trials differ.

    The peers must be built.
    """
    bad = 0
    with tempfile.TemporaryDirectory(prefix="peers-check-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        for kind, make in LOADS.items():
            records = list(make())
            for peer in [each for each in JAVA_PEERS if each.name in names]:
                trials = {kind: _undisturbed} | ({f"{kind}, killed": _killed} if kind == _CRASH else {})
                for what, trial in trials.items():
                    title = f"{peer.name}-{what.replace(', ', '-')}"
                    try:
                        told = trial(peer, broker.bootstrap, title, records, Path(name) / title)
                    except BenchmarkError as error:
                        told = [str(error)]
                    bad += bool(told)
                    print(f"{what}: {peer.name}: {'; '.join(told) or 'equal'}", flush=True)
    print(f"{bad} differ" if bad else "all equal", flush=True)
    return bad
