"""One turn of a partition: what a batch of work reads and what it wants done. No Kafka, no clock, no randomness.

A turn collects effects; the partition's writer performs them in one transaction and one local batch. Until then
nothing is visible to anyone, and when that fails the turn is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import islice

from state import format1, layout
from state.aliases import Alias, alias_numbers, decode_alias, put_alias
from state.plain.record import PlainRecord
from state.record import Ids
from state.record import Record as State
from state.tables import Area, ids_numbers
from state.user import PendingText, texts_waiting
from state.vectors import Neighbour, Vectors
from state.windows import NEVER
from streams.steps.effects import Effects, Emitted, Place, Reader, Record, Reject, Rerouted, TooMuchError, size_of
from streams.steps.in_force import InForce, change_over, epoch_of
from streams.steps.newcomers import Lives
from streams.steps.snapshots import snapshot
from streams.steps.waiting import Waiting
from streams.wire.emit import Change
from streams.wire.receipts import erasure_digest
from streams.wire.refused import RefusedError
from streams.wire.times import LATEST_TIME


class Turn:
    """Works on copies of what is in memory and in the store, and ends in ``Effects``."""

    def __init__(self, reader: Reader, area: Area, definitions: InForce, place: Place, meta: layout.Meta) -> None:
        """``meta`` is this turn's own copy of the partition's counts and is changed by it. Whoever makes the turn ends
        ``area``."""
        self.reader = reader
        self.area = area
        self.plan = definitions.plan
        self.models = definitions.models
        self.place = place
        self.meta = meta
        self.changed_over = change_over(meta, definitions.plan, definitions.version)
        """The partition goes by other definitions from this turn on."""
        self.clock = meta.watermark
        """The time by which all that is over is over (seconds): event time, or where the wall clock counts, that."""
        self.effects = Effects(place.most_messages, place.most_bytes)
        self.waiting = Waiting(reader, meta, self.effects.puts)
        self._absent: set[str] = set()  # looked for and not there
        self.lives = Lives(meta)
        self._vectors: dict[str, Vectors] = {}
        self._neighbours: dict[str, Neighbour] = {}
        self._aliases: dict[str, Alias | None] = {}
        self._renewed: set[str] = set()
        self._guards: dict[str, layout.Guard | None] = {}
        self._followers: dict[str, dict[str, bytes | None]] = {}
        self.merged: dict[str, dict[str, bytes | None]] = {}
        """What this turn wrote of merged ids; see ``streams.steps.person``."""
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self.processed_at = 0.0
        self.edges_taken = 0
        """Edges to erased users that were looked at in this turn: that is bounded."""

    # reading

    def load(self, users: Iterable[str]) -> list[str]:
        """Read these users at once, before ``user`` is called for them; returns of whom nothing is known."""
        missing = self.area.find(users)
        # what the store still has of somebody erased in this turn is no longer true
        unread = [user for user in missing if user not in self._absent and user not in self._gone]
        if not unread:
            return missing
        values = self.reader.get_many([layout.user_key(user) for user in unread])
        found = {user: value for user, value in zip(unread, values, strict=True) if value}
        self._read(found)
        self._absent.update(unread if not found else [user for user in unread if user not in found])
        return missing if not found else [user for user in missing if user not in found]

    def load_due(self, users: Iterable[str], now: float) -> list[str]:
        """Read those of ``users`` whose timer is due at ``now``, and return them in order, each once.

        The others had their timer put off. They are left alone: whoever is read is also written.
        """
        order = list(dict.fromkeys(users))
        dues = {user: self.area.due(user) for user in order}
        # to find one may have let another go
        missing = set(self.area.find([user for user, due in dues.items() if due is not None and due <= now]))
        unread = [user for user, due in dues.items() if user in missing or (due is None and user not in self._gone)]
        values = self.reader.get_many([layout.user_key(user) for user in unread])
        found = {
            user: value
            for user, value in zip(unread, values, strict=True)
            if value is not None and layout.due_of(value) <= now
        }
        self._read(found)
        return [user for user in order if user in self.area and ((due := dues[user]) is None or due <= now)]

    def _read(self, values: dict[str, bytes]) -> None:
        """Take these records into the turn, with all ids that they have seen."""
        left = self.area.admit_whole(values)
        chunks = self._read_ids({user: ids_numbers(values[user]) for user in left})
        for user in left:
            if format1.is_format_1(value := values[user]):
                record, texts = format1.read(user, value, chunks[user], partial(epoch_of, self.meta))
                state = self.area.take(record, record.due)
                for text in texts:
                    self.add_text(user, state, text)
            else:
                self.area.admit(user, value, chunks[user])

    def _read_ids(self, numbers: dict[str, range]) -> dict[str, list[bytes | None]]:
        """Of each user the ids that lie in records of their own, with these numbers."""
        keys = [key for user, each in numbers.items() for key in layout.seen_keys(user, each)]
        stored = iter(self.reader.get_many(keys) if keys else ())
        return {user: list(islice(stored, len(each))) for user, each in numbers.items()}

    def known(self, user: str) -> State | None:
        """The user's state, or None for somebody never seen."""
        state = self.area.get(user)
        if state is None and user not in self._absent:
            self.load((user,))
            state = self.area.get(user)
        return state

    def user(self, user: str) -> State:
        """The user's state, to be changed; a new one for somebody never seen."""
        state = self.known(user)
        if state is None:
            state = self.area.begin(user, self.meta.epoch, self.lives.begin(user))
            self._begin(user, state)
        return state

    def begin_with(self, user: str, alias: Alias) -> None:
        """Somebody of whom nothing is known here, but for the ids of the events that were forwarded."""
        record = PlainRecord(user, self.meta.epoch, self.lives.next())
        record.ids = alias.seen
        state = self.area.take(record, NEVER)
        self._begin(user, state)
        state.sequence = max(state.sequence, alias.sequence)

    def _begin(self, user: str, state: State) -> None:
        state.sequence = self.meta.sequence_floor
        if (guard := self.guard(user)) is not None:
            state.erased, state.sequence = min(guard.time, LATEST_TIME), max(guard.sequence, state.sequence)
        self.meta.users += 1

    def raise_floor(self, sequence: int) -> None:
        """Somebody is forgotten who had this sequence: who comes back must not have it again."""
        self.meta.sequence_floor = max(self.meta.sequence_floor, sequence)

    def load_vectors(self, users: Iterable[str]) -> None:
        missing = [user for user in users if user not in self._vectors]
        for user, value in zip(
            missing, self.reader.get_many([layout.vectors_key(user) for user in missing]), strict=True
        ):
            self._vectors[user] = layout.decode_vectors(value) if value else Vectors()

    def vectors(self, user: str) -> Vectors:
        if user not in self._vectors:
            self.load_vectors((user,))
        return self._vectors[user]

    def neighbour(self, followee: str) -> Neighbour:
        found = self._neighbours.get(followee)
        if found is None:
            value = self.reader.get(layout.neighbour_key(followee))
            found = layout.decode_neighbour(value) if value else Neighbour()
            self._neighbours[followee] = found
        return found

    def load_guards(self, users: Iterable[str]) -> None:
        """Read the guards of these users at once; nothing is read where nobody was erased."""
        if not self.meta.guards:
            return
        missing = [user for user in users if user not in self._guards]
        values = self.reader.get_many([self._guard_key(user) for user in missing])
        for user, value in zip(missing, values, strict=True):
            self._guards[user] = layout.decode_guard(value) if value else None

    def guard(self, user: str) -> layout.Guard | None:
        """Set when the user was erased and that is still remembered."""
        if not self.meta.guards:
            return None
        if user not in self._guards:
            self.load_guards((user,))
        return self._guards[user]

    def erased_until(self, user: str, state: State | None) -> float:
        """Event time up to which nothing of the user counts; 0 when the user was never erased."""
        if state is not None:
            return state.erased
        guard = self.guard(user)
        return guard.time if guard is not None else 0.0

    def load_aliases(self, users: Iterable[str]) -> None:
        """Read the forwarding records of these users at once, if the partition has any."""
        if not self.meta.aliases:
            return
        missing = [user for user in users if user not in self._aliases]
        values = self.reader.get_many([layout.alias_key(user) for user in missing])
        found = {user: value for user, value in zip(missing, values, strict=True) if value}
        self._aliases.update(dict.fromkeys(missing))
        chunks = self._read_ids({user: alias_numbers(value) for user, value in found.items()})
        for user, value in found.items():
            self._aliases[user] = decode_alias(value, chunks[user])

    def alias(self, user: str) -> Alias | None:
        """Whose this id is now; None for an id that was not merged into another."""
        if user not in self._aliases and self.meta.aliases:
            self.load_aliases((user,))
        return self._aliases.get(user)

    def follower(self, followee: str, follower: str) -> bytes | None:
        """What the index says: ``layout.FOLLOWS``, ``UNFOLLOWED``, or None when it does not know of an edge."""
        mine = self._followers.get(followee)
        if mine is not None and follower in mine:
            return mine[follower]
        return self.reader.get(layout.follower_key(followee, follower))

    def followers(self, followee: str, after: str, most: int) -> list[str]:
        """Local users with an edge to ``followee``, present or remembered as removed, in order, after ``after``."""
        mine = self._followers.get(followee, {})
        found = [name for name, value in mine.items() if value is not None and name > after]
        prefix = layout.followers_prefix(followee)
        read = 0
        for key in self.reader.keys(prefix, prefix + after.encode()):
            name = key[len(prefix) :].decode()
            if name == after or name in mine:
                continue
            found.append(name)
            read += 1
            if read == most:
                break
        return sorted(found)[:most]

    def holds(self, key: bytes) -> bool:
        """There is such a record."""
        puts = self.effects.puts
        return puts[key] is not None if key in puts else self.reader.get(key) is not None

    def _guard_key(self, user: str) -> bytes:
        return layout.guard_key(erasure_digest(user, self.place.erasure_key))

    # writing

    def put(self, key: bytes, value: bytes | None) -> None:
        self.effects.puts[key] = value

    def put_vectors(self, user: str) -> None:
        self.put(layout.vectors_key(user), layout.encode_vectors(self._vectors[user]))

    def put_neighbour(self, followee: str) -> None:
        neighbour = self._neighbours[followee]
        gone = neighbour.followers <= 0
        self.put(layout.neighbour_key(followee), None if gone else layout.encode_neighbour(neighbour))

    def keep_vectors(self, user: str, vectors: Vectors) -> None:
        self._vectors[user] = vectors
        self.put_vectors(user)

    def drop_vectors(self, user: str) -> None:
        self._vectors[user] = Vectors()
        self.put(layout.vectors_key(user), None)

    def set_follower(self, followee: str, follower: str, value: bytes | None) -> None:
        self._followers.setdefault(followee, {})[follower] = value
        self.put(layout.follower_key(followee, follower), value)

    def set_alias(self, user: str, alias: Alias | None, ids_stay: bool = False) -> None:
        """``ids_stay``: what lies in the ids' own records is somebody else's from now on, if not the alias's."""
        before = self.alias(user)
        self.meta.aliases += (alias is not None) - (before is not None)
        if before is not None and alias is None and not ids_stay:
            self._drop_ids(user, before.seen)
        self._aliases[user] = alias
        self.renew_alias(user)

    def renew_alias(self, user: str) -> None:
        """The forwarding record of ``user`` was changed."""
        self._renewed.add(user)

    def put_guard(self, user: str, time: float, sequence: int = 0) -> None:
        """Remember that the user is erased, up to this event time; an earlier guard is moved, never back."""
        self.waiting.forget(user, time)
        known = self.guard(user)
        if known is None:
            self.meta.guards += 1
            known = layout.Guard(time, 0.0)
        guard = layout.Guard(max(time, known.time), self.processed_at, max(sequence, known.sequence))
        self._guards[user] = guard
        self.put(self._guard_key(user), layout.encode_guard(guard))

    def emit(self, change: Change, lane: str, arrived: float) -> None:
        self.effects.changes.append(Emitted(change, lane, arrived))
        self._changed.add(change.user)
        members = self.meta.members
        delta = 1 if change.change == "entered" else -1
        members[change.segment] = members.get(change.segment, 0) + delta
        self.meta.changes += 1

    def want_encoding(self, user: str, state: State) -> None:
        """Put the user into the encode queue; the queue record makes that survive a crash."""
        if not state.queued:
            state.queued = True
            self.put(layout.queue_key(user), b"")
            self.meta.queued += 1
        (self.effects.offers if texts_waiting(state) or state.labels else self.effects.later).append(user)

    def leave_queue(self, user: str, state: State) -> None:
        """Nothing of the user waits for the encode lane any more."""
        if state.queued:
            state.queued = False
            self.put(layout.queue_key(user), None)
            self.meta.queued -= 1

    def add_text(self, user: str, state: State, text: PendingText) -> None:
        """Keep a text until it is encoded; it comes after those that wait already."""
        (key,) = layout.text_keys(user, state.texts_put, state.texts_put + 1)
        state.texts_put += 1
        self.put(key, layout.encode_text(text))

    def drop_texts(self, user: str, state: State, count: int) -> None:
        """Remove the ``count`` oldest texts that wait."""
        first, state.texts_taken = state.texts_taken, min(state.texts_taken + count, state.texts_put)
        for key in layout.text_keys(user, first, state.texts_taken):
            self.put(key, None)

    def pending_texts(self, user: str) -> list[PendingText]:
        """All texts of the user that wait, oldest first, those of this turn included."""
        state = self.known(user)
        if state is None:
            return []
        keys = layout.text_keys(user, state.texts_taken, state.texts_put)
        mine = self.effects.puts
        unread = [key for key in keys if key not in mine]
        stored = dict(zip(unread, self.reader.get_many(unread), strict=True))
        values = [mine[key] if key in mine else stored[key] for key in keys]
        return [layout.decode_text(value) for value in values if value is not None]

    def _drop_ids(self, user: str, seen: Ids) -> None:
        for key in layout.seen_keys(user, seen.saved):
            self.put(key, None)

    def forget(self, user: str, ids_stay: bool = False, erased: bool = False) -> None:
        """Drop everything that the partition holds under the user's own keys; ``ids_stay``: but the ids' records;
        ``erased``: the user asked for it, so memory must not have it either. The state is not looked at any more."""
        if (state := self.known(user)) is not None:
            self.leave_queue(user, state)
            self.drop_texts(user, state, texts_waiting(state))
            if not ids_stay:
                self._drop_ids(user, state.ids)
            self.meta.users -= 1
        if (timer := self.area.forget(user, erased)) != NEVER:
            self.effects.fired.append(layout.timer_key(timer, user.encode()))
        self.effects.forgot = True
        self._gone.add(user)
        self.lives.end(user)
        self._changed.discard(user)
        self.drop_vectors(user)
        self.put(layout.user_key(user), None)
        self.effects.erased.append(user)

    def reject(self, topic: str, record: Record, error: RefusedError, cut: int = 0) -> None:
        """A dead letter. Raises TooMuchError."""
        partition = self.place.partition
        if isinstance(record, Rerouted):
            topic, partition = record.topic, record.partition
        self.effects.reject(Reject(topic, partition, record, error, cut))

    def finish(self, positions: dict[str, int]) -> Effects:
        """Encode what was touched; ``positions`` are the next offsets by topic. The position record comes last."""
        effects = self.effects
        puts = effects.puts
        size = size_of(puts.values())
        for user in self._changed:
            effects.snapshots.append(snapshot(user, self.user(user)))
        try:
            effects.earliest, effects.forgotten_ids, more = self.area.settle(self.plan.specs, puts, effects.timed)
        except ValueError as error:
            raise TooMuchError(str(error)) from error
        size += more
        if effects.fired:
            effects.timed.clear()  # some of them are removed
        for user in sorted(self._renewed):
            if (alias := self._aliases[user]) is None:
                puts[layout.alias_key(user)] = None
            else:
                forgotten, more = put_alias(user, alias, puts)
                effects.forgotten_ids += forgotten
                size += more
        self.meta.positions.update(positions)
        for reject in effects.rejects:
            code = str(reject.error.code)
            self.meta.refused[code] = self.meta.refused.get(code, 0) + 1
        puts[layout.POSITION_KEY] = meta = layout.encode_meta(self.meta)
        effects.check(size + len(meta))
        return effects
