"""Moving an installation to more partitions, while no worker runs. Killed anywhere, it is run again and goes on.

What makes that so, in this order:

1. nobody is in the group, and all claims and writers of partitions are fenced (ADR 0043): nobody else writes, or will
   without being noticed
2. everything is read; what no worker has processed is worked off with the old number, by ordinary turns
3. every old partition's position record is marked: from here on a worker that starts ends with a sentence
4. topics grow, the changelog first, so that new partitions are marked before anybody can be given one
5. everything goes where it belongs, in bounded transactions; the old is deleted when all of the new is there
6. the new position records, all in one transaction: with it the number is another one
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # no __all__ there

from state import layout
from state.store import SharedMemory
from streams.kafka.admin import AdminError, topic_partitions
from streams.kafka.claiming import fence_all
from streams.kafka.errors import PermanentError
from streams.kafka.installation import members
from streams.kafka.reading import is_unread
from streams.kafka.shelves import Shelves, commit, transactional_producer
from streams.settings import Settings
from streams.steps.moving import Move, MovingError, Put, snapshot_leftovers, snapshot_moves
from streams.steps.partitioner import PARTITIONER, partition_of
from streams.wire.emit import Headers
from streams.wire.topics import Topics

log = logging.getLogger(__name__)

_TIMEOUT = 30.0
_TAKEN_OVER = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
_POLL_SECONDS = 0.1


class RepartitionError(RuntimeError):
    """The installation cannot be moved, or not now; the message says why and what to do."""


@dataclass
class Report:
    """What was done, or would be."""

    before: int
    after: int
    resumed: bool = False
    users: int = 0
    moved: int = 0
    """Users who live in another partition than before."""
    written: int = 0
    deleted: int = 0
    """Records of the changelog."""
    snapshots: int = 0
    """Records of ``user-segments`` that moved."""
    unread: bool = False
    """Not all was processed, so that it was worked off first."""
    grown: list[str] = field(default_factory=list)
    late: bool = False
    """Producers have sent to the old partitions meanwhile."""


class Repartition:
    """One attempt. ``note`` is told what is being done; ``checkpoint`` is called between the steps, by name."""

    def __init__(
        self,
        settings: Settings,
        after: int,
        directory: Path,
        work_off: Callable[[int], None],
        note: Callable[[str], None] = lambda _what: None,
        checkpoint: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """``directory`` is for copies of all partitions: it is emptied before and after. ``work_off`` is called with
        the old number when not all is processed; see ``draining``."""
        self._settings = settings
        self._after = after
        self._directory = directory
        self._work_off = work_off
        self._note = note
        self._checkpoint = checkpoint
        self._topics = Topics(settings.app, settings.topic_prefix)
        self._conf = settings.librdkafka() | {"log_level": 2}
        self._admin = AdminClient(dict(self._conf))
        self._metas: list[layout.Meta] = []
        self._mover: Producer | None = None

    def run(self, dry: bool = False) -> Report:
        """Move, or (``dry``) find out what that would do and write nothing. Raises RepartitionError, AdminError,
        RestoreError."""
        shutil.rmtree(self._directory, ignore_errors=True)
        memory = SharedMemory(self._settings.rocksdb_cache_mb)
        states = Shelves(self._conf, self._topics.changelog, self._directory / "states", memory)
        snapshots = Shelves(self._conf, self._topics.memberships, self._directory / "memberships", memory, b"m")
        try:
            return self._run(states, snapshots, dry)
        except (MovingError, PermanentError) as error:
            raise RepartitionError(str(error)) from error
        except KafkaException as error:
            if error.args[0].code() in _TAKEN_OVER:
                raise RepartitionError(
                    "somebody else has begun to write, a worker or another `segments repartition`: stop it, and run "
                    "this command again"
                ) from error
            raise RepartitionError(
                f"Kafka says: {error.args[0].str()}; run this command again, it goes on from there"
            ) from error
        finally:
            states.close()
            snapshots.close()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self, states: Shelves, snapshots: Shelves, dry: bool) -> Report:
        counts = self._counts()
        if not dry:
            self._nobody_works()
            self._mover = self._fence("repartition")
            for number in range(max(self._after, counts[states.topic])):
                self._fence(number)
            patience = self._settings.transaction_timeout_ms / 1e3
            fence_all(self._conf, states.topic, counts[states.topic], patience, self._fence_writer)
            self._checkpoint("repartition.fenced")
        self._note("reading the state of all partitions")
        for shelves in (states, snapshots):
            shelves.extend(self._after)
            shelves.read_all(counts[shelves.topic])
        before, begun = self._look(states, counts)
        report = Report(before, self._after, begun)
        if before == self._after:
            return report
        Move(states.stores, self._metas, self._after).check(begun)
        if not begun and self._is_unread(self._topics.sources):
            report.unread = True
            if not dry:
                self._note("working off what no worker has processed")
                self._work_off(before)
                for shelves in (states, snapshots):
                    shelves.read_all(counts[shelves.topic])
                self._look(states, counts)
                if self._is_unread(self._topics.sources):
                    raise RepartitionError(
                        f"somebody still sends to {self._topics.events} or {self._topics.labels}: stop the producers, "
                        "and run this command again"
                    )
        move = Move(states.stores, self._metas, self._after)
        if not dry:
            self._mark(states, before)
            report.grown = self._grow(states, before)
        self._move(states, snapshots, move, report, dry)
        return report

    # what there is

    def _counts(self) -> dict[str, int]:
        """Topic → partitions, of all whose number changes."""
        names = self._topics.by_partition
        counts = topic_partitions(self._admin, names)
        if absent := [name for name in names if name not in counts]:
            raise RepartitionError(
                f"there is no topic {', '.join(absent)}: create what is missing with the present number of partitions "
                f"(`segments topics --partitions {min(counts.values(), default=1)}`), or look at prefix and app"
            )
        if larger := [f"{name} has {count}" for name, count in sorted(counts.items()) if count > self._after]:
            raise RepartitionError(
                f"{', '.join(larger)} partitions already, and Kafka cannot take any away: "
                f"move to {max(counts.values())} or more"
            )
        return counts

    def _nobody_works(self) -> None:
        if found := members(self._admin, self._topics.installation):
            raise RepartitionError(
                f"workers of this installation run ({', '.join(found)}): stop all of them first; one that was killed "
                "is gone after its session timeout"
            )

    def _fence(self, number: int | str) -> Producer:
        """The producer of a partition, or of this command. What an earlier one has begun is ended by that: committed if
        it was to be, else aborted."""
        return transactional_producer(self._conf, f"{self._topics.installation}-{number}")

    def _fence_writer(self, writer: str) -> None:
        transactional_producer(self._conf, writer)

    def _look(self, states: Shelves, counts: dict[str, int]) -> tuple[int, bool]:
        """(the present number of partitions, whether this move had begun); takes note of the position records."""
        metas = [store.meta for store in states.stores[: counts[states.topic]]]
        known = [meta.installation for meta in metas if meta.installation is not None]
        moving = {each.moving_to for each in known} - {0}
        if moving - {self._after}:
            raise RepartitionError(
                f"the installation is being moved to {min(moving)} partitions: "
                f"let `segments repartition {min(moving)}` end first"
            )
        recorded = {each.partitions for each in known} - {0}
        if len(recorded) > 1:
            raise RepartitionError(f"the partitions do not agree on how many they are: {sorted(recorded)}")
        if recorded:
            (before,) = recorded
        elif counts[states.topic] < self._after:
            before = counts[states.topic]
        else:  # of an earlier release, and the changelog has grown already
            before = max((number + 1 for number, store in enumerate(states.stores) if store.get(b"p")), default=1)
        if before > self._after:
            raise RepartitionError(
                f"the installation has {before} partitions, and state cannot be moved to fewer: Kafka cannot take "
                "partitions away; replay into fresh topics for that"
            )
        metas += [layout.Meta() for _ in range(before - len(metas))]
        self._metas = metas[:before]
        return before, all(_moving_to(meta) == self._after for meta in self._metas)

    def _is_unread(self, topics: Iterable[str]) -> bool:
        """Something lies behind the positions of the old partitions."""
        return any(
            is_unread(
                self._conf, topic, {number: meta.positions.get(topic, 0) for number, meta in enumerate(self._metas)}
            )
            for topic in topics
        )

    # the marks

    def _mark(self, states: Shelves, before: int) -> None:
        self._note(f"marking {before} partitions: workers do not start from now on")
        for number in range(before):
            self._mark_one(states, number, self._metas[number])
        self._checkpoint("repartition.marked")

    def _mark_one(self, states: Shelves, number: int, meta: layout.Meta) -> None:
        """Fences whoever started since everything was read, and sees whether they have written something."""
        producer = self._fence(number)
        if states.read(number):
            raise RepartitionError(
                f"a worker has written to partition {number} meanwhile: stop all workers, and run this command again"
            )
        if _moving_to(meta) != self._after:
            meta.installation = msgspec.structs.replace(self._installation(meta), moving_to=self._after)
            self._put_meta(producer, number, meta)
        self._checkpoint("repartition.marking")

    def _mark_new(self, states: Shelves, number: int) -> None:
        known = states.stores[number].meta
        if known != layout.Meta() and not _moving_to(known):
            raise RepartitionError(
                f"partition {number} has a state of its own, though the installation has {len(self._metas)} "
                "partitions: workers have run with another number; replay into fresh topics"
            )
        if not _moving_to(known):
            known = layout.Meta(installation=msgspec.structs.replace(self._installation(self._metas[0]), moving_to=0))
        self._mark_one(states, number, known)

    def _installation(self, meta: layout.Meta) -> layout.Installation:
        topics = self._topics
        return meta.installation or layout.Installation(topics.prefix, topics.app, len(self._metas), PARTITIONER)

    def _put_meta(self, producer: Producer, *placed: Any) -> None:
        """Position records: number, record, number, record …"""
        records = list(zip(placed[::2], placed[1::2], strict=True))

        def produce() -> None:
            for number, meta in records:
                producer.produce(self._topics.changelog, layout.encode_meta(meta), layout.POSITION_KEY, number)

        commit(producer, produce)

    # growing

    def _grow(self, states: Shelves, before: int) -> list[str]:
        counts = self._counts()
        changelog = self._topics.changelog
        grown = []
        # sources last: whoever is given one of their new partitions finds it marked
        order = sorted(counts, key=lambda name: (name != changelog, name in self._topics.sources, name))
        for name in order:
            if counts[name] < self._after:
                self._note(f"{name}: {counts[name]} to {self._after} partitions")
                self._grow_one(name)
                grown.append(name)
            if name == changelog:
                for number in range(before, self._after):
                    self._mark_new(states, number)
            self._checkpoint("repartition.grown")
        return grown

    def _grow_one(self, name: str) -> None:
        try:
            asked = self._admin.create_partitions([NewPartitions(name, self._after)], request_timeout=_TIMEOUT)
            asked[name].result(_TIMEOUT)
        except KafkaException as error:
            raise AdminError(f"{name} could not be grown to {self._after} partitions: {error.args[0].str()}") from error
        deadline = time.monotonic() + _TIMEOUT
        while topic_partitions(self._admin, [name], usable=True).get(name) != self._after:
            if time.monotonic() > deadline:
                raise AdminError(f"{name} has not got leaders for {self._after} partitions within {_TIMEOUT:.0f} s")
            time.sleep(_POLL_SECONDS)

    # moving

    def _move(self, states: Shelves, snapshots: Shelves, move: Move, report: Report, dry: bool) -> None:
        producer = self._mover

        def committed() -> None:
            self._checkpoint("repartition.moving")

        moves = snapshot_moves(snapshots.stores, self._after)
        report.snapshots, _ = snapshots.apply(moves, producer, committed)
        for name, puts in move.steps:
            self._note(f"moving: {name}")
            written, deleted = states.apply(puts(), producer, committed)
            report.written += written
            report.deleted += deleted
            self._checkpoint(f"repartition.{name}")
        snapshots.apply(snapshot_leftovers(snapshots.stores, self._after), producer, committed, _moved_to(self._after))
        metas = move.positions()
        report.users, report.moved = sum(meta.users for meta in metas), move.users
        if producer is not None:
            placed = [part for number, meta in enumerate(metas) for part in (number, meta)]
            self._checkpoint("repartition.last")
            self._put_meta(producer, *placed)
            self._checkpoint("repartition.done")
            self._wait_until_readable(states, metas)
            report.late = self._is_unread((self._topics.events, self._topics.labels))

    def _wait_until_readable(self, states: Shelves, metas: list[layout.Meta]) -> None:
        """A commit is answered before its markers are in all partitions; whoever starts a worker now must see it."""
        deadline = time.monotonic() + _TIMEOUT
        for number, meta in enumerate(metas):
            while states.stores[number].meta != meta:
                if time.monotonic() > deadline:
                    raise RepartitionError("the last transaction cannot be read yet: run this command again")
                states.read(number)


def _moving_to(meta: layout.Meta) -> int:
    return meta.installation.moving_to if meta.installation is not None else 0


def _moved_to(after: int) -> Callable[[Put], Headers]:
    """Of a tombstone of ``user-segments``: the user is not gone, the record is in that partition now."""
    return lambda put: [("moved-to", b"%d" % partition_of(put.key[1:].decode(), after))]
