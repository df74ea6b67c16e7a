"""Exclusive groups: a user is in one of their segments at most, whatever the scores and the minimum stays are.

Who is in a segment leaves it below its exit threshold, or below its enter threshold when another of the group is at or
above its own and scores higher. While a minimum stay holds that back, no other segment of the group is entered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from state.record import Record as State
from state.user import Membership
from streams.steps.membership import Cause, enter, leave
from streams.steps.segments import Segment
from streams.steps.turn import Turn
from streams.wire.emit import Reason


class Why(Protocol):
    """The reason of a change; ``rival``: what the user enters instead, with its score."""

    def __call__(self, segment: Segment, score: float, rival: tuple[Segment, float] | None = None, /) -> Reason: ...


def decide_group(
    turn: Turn, user: str, state: State, group: str, scores: Mapping[str, float], now: float, cause: Cause, why: Why
) -> None:
    """Compare ``scores`` (of the segments that have one) with the thresholds of an exclusive group at ``now``."""
    segments = turn.plan.learned[group]
    keep_one(turn, user, state, group, now, cause)
    members = state.members
    held = next((segment for segment in segments if segment.id in members), None)
    rivals = [
        (segment, scores[segment.id])
        for segment in segments
        if segment is not held and segment.id in scores and scores[segment.id] >= segment.enter
    ]
    best = max(rivals, key=lambda rival: rival[1], default=None)  # of equals, the one that is defined first
    if held is not None:
        member, score = members.get(held.id), scores.get(held.id)
        if member is None or score is None:
            return
        beaten = best is not None and score < held.enter and best[1] > score
        if score >= held.exit and not beaten:
            members.set_leaving(held.id, None)
            return
        if now < member.since + held.min_stay:
            members.set_leaving(held.id, score)
            state.due = min(state.due, member.since + held.min_stay)
            return
        reason = why(held, score, best if score >= held.exit else None)
        leave(turn, user, state, held.id, held.version, score, now, cause, reason)
    if best is not None:
        enter(turn, user, state, *best, now, cause, why(*best))


def keep_one(turn: Turn, user: str, state: State, group: str, now: float, cause: Cause) -> None:
    """End all memberships of an exclusive group but the one with the best claim: the definitions of before allowed
    more, or an earlier release did."""
    members = state.members
    learned = turn.plan.learned[group]
    held = [(segment, member) for segment in learned if (member := members.get(segment.id)) is not None]
    if len(held) < 2:
        return
    best, _ = max(held, key=lambda each: _claim(each[1], each[0], now))
    reason = Reason(summary=f"of the group {group!r} a user is in one segment at most, and {best.id!r} says more")
    for segment, member in held:
        if segment is not best:
            leave(turn, user, state, segment.id, segment.version, member.score, now, cause, reason)


def _claim(member: Membership, segment: Segment, now: float) -> tuple[bool, bool, float, float]:
    """A minimum stay that runs, then nothing that speaks against it, then the score, then who was first."""
    return now < member.since + segment.min_stay, member.leaving is None, member.score, -member.since


def keep_one_of_each(turn: Turn, user: str, state: State, now: float, cause: Cause) -> None:
    """As ``keep_one``, for all exclusive groups of the plan."""
    for group, definition in turn.plan.groups.items():
        if definition.exclusive:
            keep_one(turn, user, state, group, now, cause)
