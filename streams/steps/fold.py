"""The fold lane: decode, clean, fold into states, evaluate rules. Never waits for a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import xxhash

from state.native import Entered, Folded, Items
from state.record import Record as State
from state.user import DUPLICATE, EDGES, LATE, REMOVED, SAME, TEXT, PendingText, fold, texts_waiting
from state.windows import NEVER
from streams.steps import ahead, graph, learned, merge, reroute
from streams.steps.ahead import Gathered, Item
from streams.steps.definitions import adopt, decide_anew, refresh
from streams.steps.effects import Record, Rerouted
from streams.steps.erasure import erase
from streams.steps.membership import Cause, check_rule, next_due, tell_entered
from streams.steps.newcomers import expect
from streams.steps.timers import fire_timers
from streams.steps.turn import Turn
from streams.steps.waiting import MOST_AT_ONCE
from streams.wire.decode import decode_event, decode_unchecked
from streams.wire.events import SOCIAL_KINDS
from streams.wire.refused import RefusedError

#: users scored again in one turn because a head was published; the rest follow with their next events
MAX_RESCORED = 2_000


def receive_events(turn: Turn, records: Sequence[Record], topic: str) -> None:
    """Records of an event topic: each counts once, whatever the order."""
    place, limits = turn.place, turn.place.limits
    watermark, heads = turn.meta.watermark, turn.models.epoch
    digest = xxhash.xxh3_64_intdigest
    rerouted = bool(records) and isinstance(records[0], Rerouted)
    targets: list[str] = []
    early: list[Item] = []

    def take(record: Record) -> Item | None:
        nonlocal watermark
        value = record.value
        arrived = record.timestamp / 1000.0
        try:
            event = decode_event(value, arrived, limits)
        except RefusedError as error:
            turn.reject(topic, record, error)
            return None
        if rerouted and isinstance(record, Rerouted) and record.user:
            event = msgspec.structs.replace(event, user=record.user)
        item = event, digest(event.id.encode() if event.id else value or b""), record, arrived
        if ahead.is_ahead(place, event, record, arrived):
            early.append(item)
            return None
        watermark = max(watermark, event.time)
        if event.kind in SOCIAL_KINDS:
            targets.append(event.target)
        return item

    quiet = None if rerouted else turn.plan.quiet
    by_user: Mapping[str, Gathered]
    read: Mapping[str, Items[Item]] = {}
    if quiet is None:
        by_user = _by_user(filter(None, map(take, records)))
    else:
        read, latest = quiet.read(records, decode_unchecked, take, ahead.usual(place))
        by_user = read
        watermark = max(watermark, latest)
    joined: dict[str, list[Item]] = {}
    if early or (turn.meta.waiting and place.wall_clock):
        # what comes by the reroute topic may be behind the other events, so that it says nothing of the time
        until = 0.0 if rerouted or not records else records[-1].timestamp / 1000.0
        joined = ahead.join(turn, topic, by_user, early, until, take)
        by_user = {**by_user, **joined}
    missing = turn.load(by_user)
    turn.load_aliases(missing)
    if turn.meta.guards:  # somebody was erased: of strangers, and of those who are followed, it must be known
        turn.load_guards((*missing, *targets))
    newcomers, strangers = expect(turn, missing), set(missing)
    stale: list[tuple[str, State, Cause]] = []
    left: Mapping[str, Folded]
    entered: Entered = {}
    if quiet is None:
        left = dict.fromkeys(by_user, (0, False))
    else:
        needs_vectors = turn.plan.needs_vectors
        counted, begun, left = quiet.fold(
            turn.area, read, joined, turn.meta.epoch, heads, needs_vectors, newcomers, entered
        )
        if joined:
            left = {**left, **dict.fromkeys(joined, (0, False))}
        turn.meta.events += counted
        turn.meta.users += begun
    for user, folded in left.items():
        items = by_user[user]
        if user in entered:
            is_all, began = entered[user]
            tell_entered(turn, user, items, began)
            if is_all:
                continue
        if user in strangers and not folded[0] and not (items := _at_home(turn, user, items, topic)):
            continue
        last = _fold_user(turn, user, items, rerouted, folded)
        if last is not None and len(stale) < MAX_RESCORED:
            state = turn.user(user)
            if state.scored != heads:
                stale.append((user, state, _cause_of(items[last])))
    turn.meta.watermark = watermark
    if stale:
        learned.score_users(turn, stale)
        for _, state, _ in stale:
            state.due = next_due(turn.plan, state)  # a minimum stay may hold what the head would end


def receive_waiting(turn: Turn, now: float, most: int = MOST_AT_ONCE) -> float:
    """Fold the events that waited for ``now``, at most so many; returns up to when none is left."""
    most = min(most, MOST_AT_ONCE)
    keys = turn.waiting.due(now, most)
    records = ahead.taken(turn, keys)
    if not records:
        return now
    receive_events(turn, records, turn.place.topics.events)
    return now if len(records) < most and len(records) == len(keys) else records[-1].timestamp / 1000.0


def _by_user(items: Iterable[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item[0].user, []).append(item)
    return found


def _fold_user(turn: Turn, user: str, items: Gathered, rerouted: bool, folded: Folded) -> int | None:
    """All events of one user, in order of arrival; returns the number of the last one that counted."""
    state = turn.known(user)
    erased = turn.erased_until(user, state)
    plan = turn.plan
    tallies, watch = plan.tallies, plan.watch or None
    effects = turn.effects
    shortest = plan.shortest_window
    epoch = turn.meta.epoch
    counted = 0
    encode = False
    quiet = plan.quiet
    read = None if isinstance(items, list) else items
    last: int | None = None
    # what this turn's events add runs out, and what they begin to wait for is over, no sooner than this
    horizon = NEVER
    at, size = 0, len(items)
    while at < size:
        if state is None and read is not None and quiet is not None:
            state = _begun(turn, user, read, at, erased)
        if read is not None and quiet is not None and state is not None and state.epoch == epoch:
            limit = min(horizon, state.due)
            ended, opened = folded if folded[0] else quiet.fold_on(state, read, at, limit, erased)
            folded = (0, False)
            if ended > at:
                counted += ended - at
                horizon = min(horizon, read.time(at) + shortest)
                last = ended - 1
                at = ended
                if opened and _check_rules(turn, user, state, items[last]):
                    horizon = -NEVER
                continue
        item = items[at]
        this, at = at, at + 1
        event, id_hash, record, arrived = item
        time = event.time
        if time <= erased:
            effects.outlived += 1
            continue
        if event.kind == "delete":
            erase(turn, user, state, time, event.id, arrived)
            state, last, encode = None, None, False
            erased = turn.erased_until(user, None)
            continue
        if state is None:
            state = turn.user(user)
        if stale := state.epoch != epoch:
            adopt(turn, state)
            horizon = NEVER
        if time >= horizon:
            state.due = next_due(plan, state)
            horizon = NEVER
        if state.due <= time:
            fire_timers(turn, user, state, time, Cause("expiry", "timer"))
        did = fold(state, event, id_hash, tallies, arrived, watch, rerouted and reroute.was_forwarded(record))
        if stale:  # with this event, or what is over with it would be entered
            decide_anew(turn, user, state)
        if did & DUPLICATE:
            effects.duplicates += 1
            turn.meta.duplicates += 1
            continue
        counted += 1
        last = this
        if did:
            if did & LATE:
                effects.late += 1
                if state.known_at != NEVER:  # what is waited after may be of the time of which not all is known
                    refresh(turn, state)
            if did & TEXT:
                turn.add_text(user, state, PendingText(event.id, time, event.text, arrived))
            if did & TEXT or (
                did & (EDGES | REMOVED) and graph.edges_changed(turn, user, state, event.target) and plan.needs_vectors
            ):
                encode = True
                state.dirty = state.count
            if did & SAME:
                merge.identified(turn, user, event, arrived)
        horizon = min(horizon, time + shortest)
        if _check_rules(turn, user, state, item):
            horizon = -NEVER
    turn.meta.events += counted
    if last is None or state is None:
        return None
    drifted = plan.needs_vectors and state.count >= state.encode_at
    # who waits already is offered once more with the first text: it comes before those who have none
    if (not state.queued and (encode or drifted)) or (encode and texts_waiting(state) == 1):
        turn.want_encoding(user, state)
    state.due = next_due(plan, state)
    return last


def _begun(turn: Turn, user: str, items: Items[Item], at: int, erased: float) -> State | None:
    """A new state, for an event that the compiled part can begin with; else it begins with ``fold``."""
    plain = items.plain(at)
    return turn.user(user) if plain is not None and plain[2] > erased else None


def _cause_of(item: Item) -> Cause:
    return Cause("event", "fold", item[0].id, item[3])


def _check_rules(turn: Turn, user: str, state: State, item: Item) -> bool:
    """Evaluate the rules that an event just folded concerns; returns whether a minimum stay may end before any window
    does."""
    event, plan = item[0], turn.plan
    members, now, sequence = state.members, state.time, state.sequence
    cause = _cause_of(item)
    staying = False
    if state.count == 1:  # rules about what was not done hold from the first event on
        for segment in plan.rules:
            check_rule(turn, user, state, segment, now, cause)
    else:
        for segment, can_end in plan.affected(event.kind, event.category):
            if can_end or segment.id not in members:
                check_rule(turn, user, state, segment, now, cause)
                if can_end and (member := members.get(segment.id)) is not None and member.leaving is not None:
                    staying = True
    if state.sequence != sequence:
        state.due = next_due(plan, state)
    return staying


def _at_home(turn: Turn, user: str, items: Gathered, topic: str) -> Gathered:
    """Of the events of somebody unknown, those that are to be counted here; the others are sent on."""
    erased = turn.erased_until(user, None)
    for at, (event, id_hash, record, _) in enumerate(items):
        if event.time <= erased:
            turn.effects.outlived += 1
        elif reroute.for_this_partition(turn, user, record, topic, id_hash):
            return items[at:]  # nothing sends the later ones away
    return []
