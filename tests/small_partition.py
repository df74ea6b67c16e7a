"""One partition in memory: real plan, real steps and models, a dictionary for the store, no Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import msgspec

from encoders.artifact import Encoders, load_encoders
from encoders.heads import PublishedHead
from state import layout
from state.record import Record as State
from state.tables import new_arena, open_stored
from state.unknown import Terms
from state.windows import NEVER
from streams.steps import definitions, encode, erasure, expiry, fold, graph, learned, sources, timers
from streams.steps.effects import Effects, Place, Record
from streams.steps.in_force import InForce, epoch_of
from streams.steps.models import Models, make_models
from streams.steps.segments import Plan, parse_plan
from streams.steps.turn import Turn
from streams.wire.decode import Limits
from streams.wire.emit import Change
from streams.wire.topics import Topics

#: a whole number of every bucket width, so that bucket ends are easy to name
T0 = 1_699_920_000.0
#: enough that nobody has to go
MEMORY_BYTES = 2**28
PLACE = Place(
    topics=Topics("test"),
    partition=0,
    partitions=1,
    limits=Limits(),
    wall_clock=False,
    followees=4,
    graph_epsilon=0.0,
    drift_events=16,
)


@dataclass
class Sent:
    """A record of a source topic."""

    offset: int
    value: bytes | None
    timestamp: int = int((T0 + 10 * 365 * 86_400) * 1_000)
    key: bytes | None = b"u"
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Memory:
    """What a turn reads; the order of keys is the store's."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.data.get(key)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.data.get(key) for key in keys]

    def keys(self, prefix: bytes, start: bytes | None = None) -> Iterator[bytes]:
        return (key for key in sorted(self.data) if key.startswith(prefix) and key >= (start or prefix))

    def items(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, self.data[key]) for key in self.keys(prefix, start)])


@cache
def encoders() -> Encoders:
    """The real ones, loaded once."""
    return load_encoders(device="cpu")


@cache
def models_of(written: str) -> Models:
    """The real encoders, with the descriptions of a plan encoded."""
    return make_models(encoders(), parse_plan(written))


class SmallPartition:
    """Takes turns and commits each at once; ``changes`` are all changes so far."""

    def __init__(self, written: str, place: Place = PLACE) -> None:
        self.place = place
        self.memory = Memory()
        self.meta = layout.Meta(queued=0)
        self.heads: learned.Heads = {}
        self.changes: list[Change] = []
        self.now = T0
        """What turns say of when they happen."""
        self.clock: float | None = None
        """What the wall clock says; None: there is none, time is that of events."""
        self._sent = 0
        self.version = 0
        self.table = new_arena(MEMORY_BYTES).table()
        """Who is in memory."""
        self._area = self.table.begin()
        self._area.drop()
        self.redefine(written)

    def redefine(self, written: str, kept: bool = False) -> None:
        """Other definitions are in force; ``kept``: what the present ones count besides is still counted.

        Nobody is in memory any more, as if the worker was started again.
        """
        before = self.plan.asks if kept else Terms()
        self.plan: Plan = parse_plan(written, kept=before)
        self.models = models_of(written)
        self.version += 1
        self.restart()

    def restart(self) -> None:
        """Nobody is in memory any more: all are read from what was written."""
        self.table.clear()

    # turns

    def events(self, *events: dict[str, Any]) -> Effects:
        """One batch of events. Each is of user ``u`` and has an id of its own, unless it says otherwise."""
        return self.batch(events=events)

    def batch(
        self,
        events: tuple[dict[str, Any], ...] = (),
        labels: tuple[dict[str, Any], ...] = (),
        jobs: list[encode.Job] | None = None,
        fire_at: float | None = None,
        timer_keys: list[bytes] | None = None,
    ) -> Effects:
        """One turn of all that is given, in the writer's order; committed."""
        turn = self._turn()
        turn.clock = max(turn.clock, fire_at or 0.0)
        topics = self.place.topics
        if events:
            fold.receive_events(turn, [self.sent({"user": "u", **event}) for event in events], topics.events)
        if labels:
            learned.receive_labels(turn, [self.sent({"user": "u", **label}) for label in labels])
        if jobs:
            encode.apply(turn, jobs)
        if fire_at is not None:
            timers.receive_timers(turn, self.due_keys(fire_at) if timer_keys is None else timer_keys, fire_at)
        return self._commit(turn)

    def sweep(self) -> Effects:
        """Check all users against the present definitions, as the partition does when it has nothing else to do."""
        turn = self._turn()
        definitions.sweep(turn, [key[1:].decode() for key in self.memory.keys(b"u")])
        return self._commit(turn)

    def expire(self, *users: str) -> Effects:
        """Look at users whose state may have expired by the clock."""
        turn = self._turn()
        expiry.expire(turn, list(users))
        return self._commit(turn)

    def expire_guards(self) -> Effects:
        """Look at all guards of erased users."""
        turn = self._turn()
        erasure.expire_guards(turn, list(self.memory.keys(b"e")))
        return self._commit(turn)

    def fire(self, now: float, keys: list[bytes] | None = None) -> Effects:
        """Let the timers fire that are due at ``now``; ``keys``: these instead, which may be stale."""
        return self.batch(fire_at=now, timer_keys=keys)

    def raw(self, *values: bytes) -> Effects:
        """One batch of event records as bytes."""
        turn = self._turn()
        fold.receive_events(turn, [self._record(value) for value in values], self.place.topics.events)
        return self._commit(turn)

    def take(self, topic: str, records: list[Record]) -> Effects:
        """One batch of records of any source topic."""
        turn = self._turn()
        sources.receive(turn, topic, records, self.heads)
        return self._commit(turn)

    def encode_waiting(self, origin: Any = "event") -> Effects:
        """Run the encode lane over everybody who waits."""
        return self.batch(jobs=self.jobs(origin))

    def jobs(self, origin: Any = "event") -> list[encode.Job]:
        """What the encode lane would bring back now."""
        users = [key[1:].decode() for key in self.memory.keys(b"q")]
        made = encode.make_jobs(self.memory, [(user, self.state(user)) for user in users], origin)
        encode.compute(self.models, made, self.plan.needs_vectors)
        return made

    def train(self, effects: Effects) -> None:
        """Deliver the examples of ``effects`` to the trainer, and follow the heads that it publishes."""
        examples = [m for m in effects.messages if m.topic == self.place.topics.examples]
        turn = self._turn()
        learned.train(turn, [[self._record(message.value) for message in examples]], self.heads)
        trained = self._commit(turn)
        for message in trained.messages:
            assert message.value is not None
            assert message.key is not None
            head = PublishedHead.from_bytes(message.value)
            self.models = self.models.with_heads({message.key.decode(): head})

    def deliver_graph(self, effects: Effects) -> Effects:
        """Deliver the graph messages of ``effects`` to this partition."""
        return self.graph([m.value for m in effects.messages if m.topic == self.place.topics.graph])

    def graph(self, values: list[bytes | None]) -> Effects:
        """One batch of records of the graph topic."""
        turn = self._turn()
        graph.receive(turn, [self._record(value) for value in values])
        return self._commit(turn)

    # looking

    def state(self, user: str = "u") -> State | None:
        """The committed state: a record of its own, without the ids that lie in records of their own."""
        value = self.memory.get(layout.user_key(user))
        return open_stored(user, value, partial(epoch_of, self.meta)) if value is not None else None

    def members(self, user: str = "u") -> set[str]:
        state = self.state(user)
        return set(state.members.segments()) if state else set()

    def due(self, user: str = "u") -> float:
        state = self.state(user)
        assert state is not None
        return state.due

    def due_keys(self, now: float) -> list[bytes]:
        """Timer keys of all users that are due at ``now``, as the store derives and sorts them."""
        keys = []
        for key in self.memory.keys(b"u"):
            due = layout.due_of(self.memory.data[key])
            timer = layout.timer_key(due, key[1:])
            if layout.has_timer(self.memory.data[key]) and layout.timer_parts(timer)[0] <= now:
                keys.append(timer)
        return sorted(keys)

    def told(self) -> list[tuple[str, str, str, float]]:
        """All changes so far: (segment, change, origin, seconds since T0)."""
        return [(each.segment, each.change, each.origin, each.event_time - T0) for each in self.changes]

    @property
    def definitions(self) -> InForce:
        return InForce(self.version, self.plan, self.models)

    # insides

    def sent(self, content: dict[str, Any]) -> Sent:
        return self._record(msgspec.json.encode({"id": f"e{self._sent}"} | content))

    def _record(self, value: bytes | None) -> Sent:
        self._sent += 1
        return Sent(self._sent, value)

    def _turn(self) -> Turn:
        meta = layout.decode_meta(layout.encode_meta(self.meta))
        self._area.drop()  # the turn before, if it was not committed
        self._area = self.table.begin()
        turn = Turn(self.memory, self._area, self.definitions, self.place, meta)
        if self.clock is not None:
            turn.clock = self.clock
        turn.processed_at = self.now
        return turn

    def _commit(self, turn: Turn) -> Effects:
        effects = turn.finish({})
        for key in effects.timed:  # the store has such a timer: else nobody would write it
            before = self.memory.data.get(key)
            assert layout.due_of(effects.puts[key] or b"") == (NEVER if before is None else layout.due_of(before))
        for key, value in effects.puts.items():
            if value is None:
                self.memory.data.pop(key, None)
            else:
                self.memory.data[key] = value
        self._area.commit()
        for key in effects.puts:
            if key[:1] == b"u":  # what is in memory is what was written
                assert self.table.get(key[1:].decode()) == effects.puts[key]
        self.meta = turn.meta
        assert self.meta.queued == sum(key.startswith(b"q") for key in self.memory.data)
        self.changes += [emitted.change for emitted in effects.changes]
        return effects
