"""From a score to a membership: enter and exit thresholds and a minimum stay, so that nobody flaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from state.native import Began
from state.record import Record as State
from state.user import Membership
from state.windows import NEVER
from streams.steps.ahead import Gathered
from streams.steps.segments import Plan, Segment
from streams.steps.turn import Turn
from streams.wire.emit import Change, Origin, Reason

HOLDS: Final = "holds"
HOLDS_NO_LONGER: Final = "holds no longer"


class Cause(msgspec.Struct, frozen=True, gc=False):
    """What led to a decision: for the change record and the latency histogram."""

    origin: Origin
    lane: str
    event: str = ""
    arrived: float = 0.0
    encoder: str | None = None
    head: int | None = None


def decide(
    turn: Turn,
    user: str,
    state: State,
    segment: Segment,
    score: float,
    now: float,
    cause: Cause,
    why: Callable[[], Reason],
) -> None:
    """Compare ``score`` with the segment's thresholds at ``now`` and emit a change if there is one."""
    members = state.members
    member = members.get(segment.id)
    if member is None:
        if score >= segment.enter:
            enter(turn, user, state, segment, score, now, cause, why())
        return
    if score >= segment.exit:
        members.set_leaving(segment.id, None)
    elif now >= member.since + segment.min_stay:
        leave(turn, user, state, segment.id, segment.version, score, now, cause, why())
    else:
        members.set_leaving(segment.id, score)
        state.due = min(state.due, member.since + segment.min_stay)


def enter(
    turn: Turn, user: str, state: State, segment: Segment, score: float, now: float, cause: Cause, reason: Reason
) -> None:
    """Begin a membership."""
    state.sequence += 1
    state.members.put(segment.id, Membership(now, score, segment.version, state.sequence))
    _emit(turn, user, state, segment.id, segment.version, True, score, now, cause, reason)


def leave(
    turn: Turn,
    user: str,
    state: State,
    segment_id: str,
    version: int,
    score: float,
    now: float,
    cause: Cause,
    reason: Reason,
) -> None:
    """End a membership."""
    state.sequence += 1
    state.members.remove(segment_id)
    _emit(turn, user, state, segment_id, version, False, score, now, cause, reason)


def _emit(
    turn: Turn, user: str, state: State, segment_id: str, version: int, entered: bool, score: float, now: float,
    cause: Cause, reason: Reason,
) -> None:  # fmt: skip
    change = Change(
        user=user,
        segment=segment_id,
        change="entered" if entered else "exited",
        score=round(score, 6),
        sequence=state.sequence,
        segment_version=version,
        encoder_version=cause.encoder,
        head_version=cause.head,
        origin=cause.origin,
        reason=reason,
        event_time=now,
        processed_at=turn.processed_at,
    )
    turn.emit(change, cause.lane, cause.arrived)


def check_rule(turn: Turn, user: str, state: State, segment: Segment, now: float, cause: Cause) -> None:
    """Evaluate one rule segment at ``now``."""
    rule = segment.rule
    assert rule is not None
    member, cells = state.members.get(segment.id), state.cells
    # where not all is known, who is in stays while the rule may hold, and who is not enters when it surely does
    score = rule.evaluate(cells, now) if state.known_at == NEVER else rule.bounds(cells, now)[member is not None]
    if member is None:
        if score < segment.enter:
            return
    elif score >= segment.exit:
        if member.leaving is not None:
            state.members.set_leaving(segment.id, None)
        return
    decide(turn, user, state, segment, score, now, cause, lambda: _rule_reason(segment, state, now, score, cause))


def _rule_reason(segment: Segment, state: State, now: float, score: float, cause: Cause) -> Reason:
    assert segment.rule is not None
    values = segment.rule.values(state.cells, now)
    verb = HOLDS if score > 0 else HOLDS_NO_LONGER
    summary = f"the rule {verb}: {segment.rule.told(state.cells, now)}"
    return Reason(summary=summary, event=cause.event, rule=segment.text, values=values)


def tell_entered(turn: Turn, user: str, items: Gathered, began: Sequence[Began]) -> None:
    """Emit the changes of memberships that the compiled part began, as ``enter`` would with ``check_rule``'s words."""
    told, processed_at = turn.plan.told, turn.processed_at
    for number, rule, sequence, score, now, by_number in began:
        segment, version, text, written, pattern, places = told[rule]
        values = by_number if places is None else tuple([by_number[place] for place in places])
        event, _, _, arrived = items[number]
        verb = HOLDS if score > 0 else HOLDS_NO_LONGER
        reason = Reason(f"the rule {verb}: {pattern % values}", event.id, text, dict(zip(written, values, strict=True)))
        change = Change(
            user, segment, "entered", round(score, 6), sequence, version, None, None, "event", reason, now, processed_at
        )
        turn.emit(change, "fold", arrived)


def next_due(plan: Plan, state: State) -> float:
    """When a membership of this user may next change without an event; NEVER when it cannot."""
    return plan.quiet.next_due(state) if plan.quiet is not None else plain_next_due(plan, state)


def plain_next_due(plan: Plan, state: State) -> float:
    """``next_due`` without the compiled part."""
    cells, members, now = state.cells, state.members, state.time
    if not members and not plan.may_rise:
        return NEVER
    due = state.known_at
    for segment in plan.rules:
        rule = segment.rule
        assert rule is not None
        for term in rule.terms if segment.id in members else rule.begins_by:
            due = min(due, term.next_change(cells, now))
    for segment_id, member in members.items():
        if member.leaving is not None and segment_id in plan.segments:
            due = min(due, member.since + plan.segments[segment_id].min_stay)
    return due
