"""The fold lane: decode, clean, fold into states, evaluate rules. Never waits for a model."""

from __future__ import annotations

import msgspec
import xxhash

from state.user import DUPLICATE, EDGES, LATE, SAME, TEXT, UserState, fold
from state.windows import NEVER
from streams.steps import graph, learned, merge, reroute
from streams.steps.definitions import reconcile
from streams.steps.erasure import erase
from streams.steps.membership import Cause, check_rule, fire_timers, next_due
from streams.steps.turn import Record, Rerouted, Turn
from streams.wire.decode import decode_event
from streams.wire.events import Event
from streams.wire.refused import RefusedError

Item = tuple[Event, int, Record]
#: users scored again in one turn because a head was published; the rest follow with their next events
MAX_RESCORED = 2_000


def receive_events(turn: Turn, records: list[Record], topic: str) -> None:
    """Records of an event topic: each counts once, whatever the order."""
    by_user: dict[str, list[Item]] = {}
    limits = turn.place.limits
    watermark, epoch = turn.meta.watermark, turn.models.epoch
    digest = xxhash.xxh3_64_intdigest
    rerouted = bool(records) and isinstance(records[0], Rerouted)
    for record in records:
        value = record.value
        try:
            event = decode_event(value, record.timestamp / 1000.0, limits)
        except RefusedError as error:
            turn.reject(topic, record, error)
            continue
        if rerouted and isinstance(record, Rerouted) and record.user:
            event = msgspec.structs.replace(event, user=record.user)
        watermark = max(watermark, event.time)
        item = (event, digest(event.id.encode() if event.id else value or b""), record)
        items = by_user.get(event.user)
        if items is None:
            by_user[event.user] = [item]
        else:
            items.append(item)
    turn.load(by_user)
    strangers = {user for user in by_user if turn.known(user) is None}
    turn.load_aliases(strangers)
    stale: list[tuple[str, UserState, Cause]] = []
    for user, items in by_user.items():
        if user in strangers and not (items := _at_home(turn, user, items, topic)):
            continue
        last = _fold_user(turn, user, items)
        if last is not None and len(stale) < MAX_RESCORED:
            state = turn.user(user)
            if state.scored != epoch:
                stale.append((user, state, last))
    turn.meta.watermark = watermark
    if stale:
        learned.score_users(turn, stale)
        for _, state, _ in stale:
            state.due = next_due(turn.plan, state)  # a minimum stay may hold what the head would end


def _fold_user(turn: Turn, user: str, items: list[Item]) -> Cause | None:
    """All events of one user, in order of arrival; returns the cause to name for what follows from the last one."""
    state = turn.user(user)
    plan = turn.plan
    tallies = plan.tallies
    effects = turn.effects
    shortest = plan.shortest_window
    fingerprint = plan.fingerprint
    affected = plan.affected
    cause = None
    counted = 0
    encode = erased = False
    rerouted = isinstance(items[0][2], Rerouted)
    # what this turn's events add to the windows runs out no sooner than this
    horizon = NEVER
    for event, id_hash, record in items:
        if event.kind == "delete":
            erase(turn, user, turn.user(user), event.time, event.id, record.timestamp / 1000.0)
            cause, encode, erased = None, False, True
            continue
        if erased:
            state, erased = turn.user(user), False
        time = event.time
        arrived = record.timestamp / 1000.0
        if state.plan != fingerprint:
            reconcile(turn, user, state, state.time)
            horizon = -NEVER
        if time >= horizon:
            state.due = next_due(plan, state)
            horizon = NEVER
        if state.due <= time:
            fire_timers(turn, user, state, time, Cause("expiry", "timer"))
        did = fold(state, event, event.id, id_hash, tallies, arrived, rerouted and reroute.was_forwarded(record))
        if did & DUPLICATE:
            effects.duplicates += 1
            turn.meta.duplicates += 1
            continue
        counted += 1
        cause = Cause("event", "fold", event.id, arrived)
        if did:
            if did & LATE:
                effects.late += 1
            if did & TEXT:
                encode = True
                state.dirty = state.count
            elif did & EDGES:
                graph.edges_changed(turn, user, state, event.target)
                if plan.needs_vectors:
                    encode = True
                    state.dirty = state.count
            elif did & SAME:
                merge.identified(turn, user, event, arrived)
        horizon = min(horizon, time + shortest)
        members, now, sequence = state.members, state.time, state.sequence
        if state.count == 1:  # rules about what was not done hold from the first event on
            for segment in plan.rules:
                check_rule(turn, user, state, segment, now, cause)
        else:
            for segment, can_end in affected(event.kind, event.category):
                if can_end or segment.id not in members:
                    check_rule(turn, user, state, segment, now, cause)
                    if can_end and (member := members.get(segment.id)) is not None and member.leaving is not None:
                        horizon = -NEVER  # a minimum stay may end before any window does
        if state.sequence != sequence:
            state.due = next_due(plan, state)
    turn.meta.events += counted
    if cause is not None:
        if not state.queued and (encode or (plan.needs_vectors and state.count >= state.encode_at)):
            turn.want_encoding(user, state)
        state.due = next_due(plan, state)
    return cause


def _at_home(turn: Turn, user: str, items: list[Item], topic: str) -> list[Item]:
    """Of the events of somebody unknown, those that are to be counted here; the others are sent on."""
    for at, (_, id_hash, record) in enumerate(items):
        if reroute.for_this_partition(turn, user, record, topic, id_hash):
            return items[at:]  # nothing sends the later ones away
    return []
