"""The one writer of a partition: its store, its transactional producer, its position; and the commit protocol.

The steps, with the numbers that docs and crash tests use:

1. decode and clean; skip every record at or below the stored position (``streams.steps``)
2. read the batch's users once; fold; evaluate; collect effects (``streams.steps``)
3. one Kafka transaction: changelog, changes, memberships, messages, dead letters, and last the position record
4. one RocksDB batch: timers, the same records but for users', which follow behind (``state.behind``), and the offset up
   to which the changelog need not be read again
5. ack to Faust, which commits the group's offset as a hint (``streams.kafka.partition``)

All methods block and are called by one thread at a time. Between two steps ``checkpoint`` is called with a name:
``2-3``, ``3.produced`` (all is handed to the producer), ``3-4``, ``4-5``; and once more for each lane that is in the
turn (see ``Work.lanes``), as in ``timers.3-4``. Besides: ``open.fenced``, ``open.restoring`` (after each chunk of the
changelog), ``open.restored`` and ``close``.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import islice
from operator import attrgetter
from pathlib import Path

from state import layout
from state.aliases import Alias, decode_alias
from state.behind import Behind
from state.record import Record as State
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreDamagedError, StoreError
from state.tables import Arena, new_arena, open_stored
from state.waiting import waiting_of
from streams.kafka.changelog import StaleStoreError, restore
from streams.kafka.clock import TimerClock
from streams.kafka.definitions import cannot_reach
from streams.kafka.due import Due
from streams.kafka.errors import in_bounds
from streams.kafka.installation import Identity
from streams.kafka.losses import Losses
from streams.kafka.output import Output
from streams.kafka.refreshes import Refreshes
from streams.kafka.work import Done, Work
from streams.settings import Settings
from streams.steps import definitions, encode, erasure, expiry, learned, sources
from streams.steps.effects import DamagedBatch, Effects, Place, Record
from streams.steps.in_force import InForce, differs, epoch_of
from streams.steps.training import Blocks
from streams.steps.turn import Turn

log = logging.getLogger(__name__)

_OFFSET = attrgetter("offset")


class PartitionWriter:
    """Owns one partition's state. ``checkpoint`` is called between the steps (crash tests stop the process there)."""

    def __init__(
        self,
        settings: Settings,
        definitions: Callable[[], InForce],
        place: Place,
        memory: SharedMemory,
        clock: Callable[[], float] = time.time,
        checkpoint: Callable[[str], None] = lambda _step: None,
        standby: Callable[[int], Store | None] = lambda _partition: None,
        reach: Callable[[int, Callable[[], bool]], None] = cannot_reach,
        identity: Identity | None = None,
        arena: Arena | None = None,
    ) -> None:
        """``definitions`` gives the present ones, which a turn reads once; ``standby`` hands over the open store of a
        partition that was followed so far; ``reach`` waits until a version of the definitions is the present one.
        ``identity``: of the installation; what the state says of itself is compared with it, and completed. ``arena``:
        the worker's; None: the partition is alone."""
        self._identity = identity
        self.incomplete = False
        """The position record is to be written although nothing else is."""
        self.losses = Losses(place.partition)
        self.place = place
        self._settings = settings
        self._definitions = definitions
        self._memory = memory
        self._clock = clock
        self._checkpoint = checkpoint
        self._standby = standby
        self._reach = reach
        self._path: Path = settings.state_dir / str(place.partition)
        self._table = (arena or new_arena(settings.cache_bytes)).table()
        self._heads: learned.Heads = {}
        self._blocks = Blocks(0)
        self._refreshes = Refreshes()
        self._store: Store | None = None
        self._behind: Behind | None = None
        self._output: Output | None = None
        self.meta = layout.Meta()
        self.due = Due()
        self.clock = TimerClock([place.topics.events], place.topics.reroute)
        """How far the wall clock may let timers go."""

    # opening and closing

    def open(self, progress: Callable[[int], None], stopping: Callable[[], bool]) -> int:
        """Fence other writers, open the store, restore; returns the number of changelog records read.

        A damaged or foreign local store is wiped and restored from the changelog alone.
        """
        self._output = Output(self._settings, self.place)
        self._checkpoint("open.fenced")
        try:
            return self._open_store(progress, stopping)
        except (StaleStoreError, StoreDamagedError, layout.FormatError) as error:
            log.warning("%s; restoring the partition from its changelog alone", error)
            self._close_store()
            wipe(self._path)
            return self._open_store(progress, stopping)

    def _open_store(self, progress: Callable[[int], None], stopping: Callable[[], bool]) -> int:
        self._store = self._standby(self.place.partition) or Store(self._path, self._memory)

        def restoring(records: int) -> None:
            progress(records)
            self._checkpoint("open.restoring")

        count = restore(
            self._settings.librdkafka(), self.place.topics.changelog, self.place.partition, self._store,
            self._clock(), restoring, stopping, self._identity.changelog if self._identity else "",
        )  # fmt: skip
        self._checkpoint("open.restored")
        self._begin(self._store)
        if self.meta.definitions > self._definitions().version:
            self._reach(self.meta.definitions, stopping)
        return count

    def _begin(self, store: Store) -> None:
        """Go on from what the store has."""
        self._store = store
        self.meta = store.meta
        if self.meta.queued < 0:
            self.meta.queued = store.count(b"q")
        if self._identity is not None:
            self._identity.admit(self.place.partition, self.meta)
            self.incomplete = self.meta != store.meta
        self._behind = Behind(store, self._table, self._clock)
        self.due.begin(store, self.meta)
        self._blocks = Blocks(self.meta.positions.get(self.place.topics.examples, 0))

    def close(self) -> None:
        """Close the store and leave the producer without a transaction."""
        self._checkpoint("close")
        self._close_store()
        self._output = None
        self._table.clear()
        self._heads.clear()

    def _close_store(self) -> None:
        if self._store is not None:
            if self._behind is not None:
                self._behind.end()
            self._store.close()
            self._store = self._behind = None

    # reading

    @property
    def cached(self) -> int:
        """Users in memory."""
        return self._table.users

    def tidy(self) -> None:
        """To be called now and then while there are no turns: what is only in memory goes to the store, and memory to
        other partitions, if they want it."""
        self.behind.tidy()
        self._table.tidy()

    @property
    def behind(self) -> Behind:
        """What the store lacks of what is in memory."""
        if self._behind is None:
            raise StoreError("the partition is not open")
        return self._behind

    @property
    def store(self) -> Store:
        if self._store is None:
            raise StoreError("the partition is not open")
        return self._store

    def waiting_refreshes(self, after: str, most: int) -> list[str]:
        """Followed users whose local followers wait for a refresh, in key order after ``after``, at most ``most``."""
        return self._names(b"r", after, most)

    def queued_users(self, after: str, most: int) -> list[str]:
        """Users that wait for the encode lane, in key order after ``after``, at most ``most``."""
        return self._names(b"q", after, most)

    def state_of(self, user: str) -> State | None:
        """The committed state of a user, without the ids that lie in records of their own."""
        value = self._table.get(user) or self.store.get(layout.user_key(user))
        return self._opened(user, value) if value else None

    def _opened(self, user: str, value: bytes) -> State:
        return open_stored(user, value, partial(epoch_of, self.meta))

    def alias_of(self, user: str) -> Alias | None:
        """Whose this id is, if it was merged into another user."""
        value = self.store.get(layout.alias_key(user)) if self.meta.aliases else None
        return decode_alias(value) if value else None

    def waiting_of(self, user: str) -> int:
        """How many events of the user are ahead of the clock."""
        return self.store.count(waiting_of(user)) if self.meta.waiting else 0

    def make_jobs(self, users: list[str], refresh: bool) -> list[encode.Job]:
        """Snapshots for the encode lane."""
        states = [(user, self.state_of(user)) for user in users]
        return encode.make_jobs(self.store, states, "neighbour" if refresh else "event")

    def followers(self, followee: str, after: str, most: int) -> tuple[list[str], str]:
        """(those who follow, of the next ``most`` records of edges after ``after``; where to go on, "" after the last).

        Who follows no more has a record for a while yet.
        """
        if not after:
            self._refreshes.begin(followee)
        prefix = layout.followers_prefix(followee)
        looked, found = after, []
        rows = self.store.items(prefix, prefix + after.encode() if after else None)
        for number, (key, value) in enumerate(islice(rows, most + 1)):
            looked = key[len(prefix) :].decode()
            if looked != after and value == layout.FOLLOWS:
                found.append(looked)
            if number == most:
                return found, looked
        return found, ""

    @property
    def training_due(self) -> bool:
        """Examples wait for long enough to be learned."""
        return self._blocks.due(self._clock())

    @property
    def definitions_changed(self) -> bool:
        """Not all users were checked against the present definitions."""
        present = self._definitions()
        return self.meta.swept != self.meta.epoch or differs(self.meta, present.plan, present.version)

    def some_users(self, after: str, most: int) -> list[str]:
        """Users in key order after ``after``, at most ``most``. Who has come since "" may be missing."""
        if not after:
            self.behind.put_new()
        return self._names(b"u", after, most)

    def _names(self, prefix: bytes, after: str, most: int) -> list[str]:
        """What follows ``prefix`` in its keys, in order after ``after``, at most ``most``."""
        keys = self._keys(prefix, prefix + after.encode() if after else b"", most)
        return [key[len(prefix) :].decode() for key in keys]

    def idle_users(self, after: str, most: int) -> tuple[list[str], str]:
        """Of the next ``most`` users after ``after``, those whose state may have expired; and the last one of them."""
        users, now = self.some_users(after, most), self.timer_clock()
        values = {user: self._table.get(user) for user in users}
        unread = [user for user, value in values.items() if value is None]
        values |= zip(unread, self.store.get_many([layout.user_key(user) for user in unread]), strict=True)
        found = [
            user
            for user, value in values.items()
            if value is not None and expiry.is_over(self._opened(user, value), self.place, now)
        ]
        return found, users[-1] if users else ""

    def guards(self, after: bytes, most: int) -> list[bytes]:
        """Keys of guards in order after ``after``, at most ``most``."""
        return self._keys(b"e", after, most)

    def _keys(self, prefix: bytes, after: bytes, most: int) -> list[bytes]:
        """Keys with a prefix in order after ``after``, at most ``most``."""
        found = islice(self.store.keys(prefix, after or None), most + 1)
        return [key for key in found if key != after][:most]

    # removing the bytes of the erased from the local files

    @property
    def scrub_due(self) -> bool:
        """Somebody was erased since the last time, and that is long enough ago."""
        return self.store.scrub_due(self._clock(), self._settings.scrub_seconds)

    def end_scrub(self, erasures: int) -> None:
        """The last step of a scrub that began after so many erasures."""
        self.store.end_scrub(erasures, self._clock())

    def is_in_turn(self, rerouted: Record) -> bool:
        """Whether all events are processed that had arrived here when this record arrived at its origin: before that,
        the time that it brings would overtake them, and end or begin what they forbid."""
        arrived = sources.arrived(self.place.topics, self.place.topics.reroute, rerouted)
        return arrived <= self.clock.direct_until()

    def timer_clock(self) -> float:
        """What drives timers: the wall clock, as far as all that had arrived by then is processed, or the watermark."""
        return self.clock.at(self._clock()) if self.place.wall_clock else self.meta.watermark

    # one turn

    def process(self, work: Work) -> Done:
        """Steps 1 to 4. Raises an error of ``streams.kafka.errors``; then nothing has changed."""
        meta = layout.decode_meta(layout.encode_meta(self.meta))
        lost = self.losses.found
        meta.lost += lost - self.losses.counted
        lanes = work.lanes(self.place.topics)

        def reached(step: str) -> None:
            for name in (step, *(f"{lane}.{step}" for lane in lanes)):
                self._checkpoint(name)

        with in_bounds():
            area = self._table.begin()
        try:
            turn = Turn(self.store, area, self._definitions(), self.place, meta)
            turn.processed_at, turn.clock = self._clock(), self.timer_clock()
            turn.waiting.since = self.due.waiting
            if turn.changed_over:
                lanes.append("definitions")
            with in_bounds():
                records, positions, again = self._steps(turn, work)
                effects = turn.finish(positions)
            reached("2-3")
            before = time.perf_counter()
            assert self._output is not None
            offset = self._output.commit(effects, lambda: reached("3.produced"))
            reached("3-4")
            self.behind.write(area, effects.puts, offset, effects.fired, effects.timed, effects.forgot)
            commit_seconds = time.perf_counter() - before
            reached("4-5")
        except BaseException:
            area.drop()
            self._heads.clear()  # they were trained in place
            raise
        self.meta = meta
        self.incomplete, self.losses.counted = False, lost
        for topic, fetched in work.sources:
            if not isinstance(fetched[-1], DamagedBatch):  # when that arrived is not known
                self.clock.processed(topic, sources.arrived(self.place.topics, topic, fetched[-1]), turn.processed_at)
        self._remember(turn, effects, work)
        return Done(effects, records, again, commit_seconds)

    def _steps(self, turn: Turn, work: Work) -> tuple[int, dict[str, int], list[str]]:
        topics = self.place.topics
        count = 0
        positions: dict[str, int] = {}
        self._blocks.begin()
        self.losses.begin()
        for topic, fetched in work.sources:
            examples = topic == topics.examples
            position = self._blocks.next if examples else positions.get(topic, self.meta.positions.get(topic, 0))
            records = fetched
            if fetched[0].offset < position:
                records = fetched[bisect_left(fetched, position, key=_OFFSET) :]
            if not records:
                continue
            count += len(records)
            if topic in self.meta.positions:
                first = records[0].first if isinstance(records[0], DamagedBatch) else records[0].offset
                self.losses.note(topic, position, first)
            if examples:
                self._blocks.add(records, turn.processed_at)
                continue
            positions[topic] = records[-1].offset + 1
            if work.refused is not None:
                sources.refuse(turn, topic, records, work.refused, work.cut)
            else:
                sources.receive(turn, topic, records, self._heads)
        if blocks := self._blocks.take(turn.processed_at, work.last_examples):
            learned.train(turn, blocks, self._heads)
            positions[topics.examples] = self._blocks.position
        again = encode.apply(turn, work.jobs) if work.jobs else []
        for followee in work.refreshed:
            done = self._refreshes.done(followee, turn.effects.refreshes)
            if done and turn.holds(layout.refresh_key(followee)):  # else the followee was erased meanwhile
                turn.put(layout.refresh_key(followee), None)
        if work.sweep is not None:
            definitions.sweep(turn, work.sweep)
            if not work.sweep:
                turn.meta.swept = work.epoch if turn.meta.users else turn.meta.epoch
        if work.guards:
            erasure.expire_guards(turn, work.guards)
        if work.idle:
            expiry.expire(turn, work.idle)
        if work.timers:
            self.due.fire(turn, self.store, turn.clock, work.most_timers)
        return count, positions, again

    def _remember(self, turn: Turn, effects: Effects, work: Work) -> None:
        self._refreshes.committed(work.refreshed, effects.refreshes)
        self._blocks.commit()
        self.losses.commit()
        self._table.tidy()
        self.due.remember(turn, self.store, work.timers)
