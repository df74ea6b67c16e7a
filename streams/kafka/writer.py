"""The one writer of a partition: its store, its position; and the commit protocol.

The steps, with the numbers that docs and crash tests use:

1. decode and clean; skip every record at or below the stored position (``streams.steps``)
2. read the batch's users once; fold; evaluate; collect effects (``streams.steps``)
3. one Kafka transaction: changelog, changes, memberships, messages, dead letters, and last the position record
4. one RocksDB batch: timers, the same records but for users', which follow behind (``state.behind``), and the offset up
   to which the changelog need not be read again
5. ack to Faust, which commits the group's offset as a hint (``streams.kafka.partition``)

All methods block and are called by one thread at a time; the steps of a turn by several one after another, so that
what waits for Kafka keeps no thread from what folds (``streams.kafka.turns``). Between two steps ``checkpoint`` is
called with a name: ``2-3``, ``3.produced`` (all is handed to the producer), ``3-4``, ``4-5``; and once more for each
lane that is in the turn (see ``Work.lanes``; ``round``: others share its transaction), as in ``timers.3-4``. Besides:
those of ``streams.kafka.opening``, and ``close``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from operator import attrgetter

from state import layout
from state.behind import Behind
from state.store import SharedMemory, Store
from state.tables import Area, Arena, new_arena
from streams.kafka.claiming import Claiming, Claims, claiming
from streams.kafka.clock import TimerClock
from streams.kafka.definitions import cannot_reach
from streams.kafka.due import Due
from streams.kafka.errors import in_bounds
from streams.kafka.installation import Identity
from streams.kafka.losses import Losses
from streams.kafka.opening import Opening
from streams.kafka.output import Output
from streams.kafka.reader import PartitionReader
from streams.kafka.refreshes import Refreshes
from streams.kafka.transactions import Transactions, new_writer_id
from streams.kafka.work import Done, Folded, Work
from streams.settings import Settings
from streams.steps import definitions, encode, erasure, expiry, learned, sources
from streams.steps.effects import DamagedBatch, Effects, Place, Record
from streams.steps.in_force import InForce, differs
from streams.steps.training import Blocks
from streams.steps.turn import Turn

log = logging.getLogger(__name__)

_OFFSET = attrgetter("offset")


class PartitionWriter(PartitionReader):
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
        claim: Callable[[Callable[[], bool]], Claiming | None] | None = None,
    ) -> None:
        """``definitions`` gives the present ones, which a turn reads once; ``standby`` hands over the open store of a
        partition that was followed so far; ``reach`` waits until a version of the definitions is the present one.
        ``identity``: of the installation; what the state says of itself is compared with it, and completed. ``arena``:
        the worker's; None: the partition is alone. ``claim`` begins to claim it for who commits its turns; None: it has
        a producer of its own, and ``process`` takes whole turns."""
        super().__init__((arena or new_arena(settings.cache_bytes)).table())
        self._identity = identity
        self.incomplete = False
        """The position record is to be written although nothing else is."""
        self.losses = Losses(place.partition)
        self.place = place
        self._settings = settings
        self._definitions = definitions
        self._clock = clock
        self._checkpoint = checkpoint
        changelog = identity.changelog if identity else ""
        self._opening = Opening(settings, place, memory, clock, checkpoint, standby, changelog)
        self._reach = reach
        self._heads: learned.Heads = {}
        self._blocks = Blocks(0)
        self._refreshes = Refreshes()
        self.output = Output(settings, place)
        self._claim = claim or self._claim_alone
        self._transactions: Transactions | None = None
        self.due = Due()
        self.clock = TimerClock([place.topics.events], place.topics.reroute)
        """How far the wall clock may let timers go."""

    # opening and closing

    def open(self, progress: Callable[[int], None], stopping: Callable[[], bool]) -> int:
        """Claim the partition, open the store, restore; returns the number of changelog records read.

        After AbortedError and UnansweredError it may be opened again, when it is closed.
        """
        count = self._opening.open(self._claim, progress, stopping, self._begin)
        if self.meta.definitions > self._definitions().version:
            self._reach(self.meta.definitions, stopping)
        self.incomplete &= not self._opening.claim(self.meta, self.store)
        return count

    def _claim_alone(self, _stopping: Callable[[], bool]) -> Claiming | None:
        self._transactions = Transactions(self._settings, new_writer_id(self.place.topics.installation))
        return claiming(Claims(self._settings), self.place, self._transactions.identity)

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
        if self._store is not None:
            if self._behind is not None:
                self._behind.end()
            self._store.close()
            self._store = self._behind = None
        self._transactions = None
        self._table.clear()
        self._heads.clear()

    # reading

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
        """Steps 1 to 4, by a producer of its own. Raises an error of ``streams.kafka.errors``; then nothing has
        changed."""
        folded = self.fold(work)
        with self._dropping(folded.turn.area):
            assert self._transactions is not None
            produced = partial(self.reached, folded, "3.produced")
            offset = self._transactions.write(self.output, folded.effects, produced)
        return self.finish(folded, offset)

    def fold(self, work: Work) -> Folded:
        """Steps 1 and 2: what a turn comes to. Nothing is written yet, and until ``finish`` or ``drop`` there is no
        other turn.

        Raises as ``process`` does; then nothing has changed.
        """
        meta = layout.decode_meta(layout.encode_meta(self.meta))
        lost = self.losses.found
        meta.lost += lost - self.losses.counted
        lanes = work.lanes(self.place.topics)
        with in_bounds():
            area = self._table.begin()
        with self._dropping(area):
            turn = Turn(self.store, area, self._definitions(), self.place, meta)
            turn.processed_at, turn.clock = self._clock(), self.timer_clock()
            turn.waiting.since = self.due.waiting
            if turn.changed_over:
                lanes.append("definitions")
            with in_bounds():
                records, positions, again = self._steps(turn, work)
                effects = turn.finish(positions)
            folded = Folded(work, turn, effects, records, again, lost, lanes, time.perf_counter())
            self.reached(folded, "2-3")
        return folded

    def finish(self, folded: Folded, offset: int) -> Done:
        """Step 4, and what is known from now on. ``offset``: in the changelog, from which to continue.

        Raises StoreError; then the partition must be opened anew, for the changelog is ahead of it.
        """
        effects, work, turn = folded.effects, folded.work, folded.turn
        with self._dropping(turn.area):
            self.reached(folded, "3-4")
            self.behind.write(turn.area, effects.puts, offset, effects.fired, effects.timed, effects.forgot)
            commit_seconds = time.perf_counter() - folded.at
            self.reached(folded, "4-5")
        self.meta = turn.meta
        self.incomplete, self.losses.counted = False, folded.lost
        for topic, fetched in work.sources:
            if not isinstance(fetched[-1], DamagedBatch):  # when that arrived is not known
                self.clock.processed(topic, sources.arrived(self.place.topics, topic, fetched[-1]), turn.processed_at)
        self._remember(turn, effects, work)
        return Done(effects, folded.records, folded.again, commit_seconds)

    def drop(self, area: Area) -> None:
        """The turn on this area is not committed, and nothing of it has happened."""
        area.drop()
        self._heads.clear()  # they were trained in place

    @contextlib.contextmanager
    def _dropping(self, area: Area) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.drop(area)
            raise

    def reached(self, folded: Folded, step: str) -> None:
        """Tell tests where a turn is."""
        for name in (step, *(f"{lane}.{step}" for lane in folded.lanes)):
            self._checkpoint(name)

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
