"""What ``user-segments`` says of a user."""

from __future__ import annotations

from state.record import Record as State
from streams.wire.emit import MembershipNow, UserSegments


def snapshot(user: str, state: State) -> UserSegments:
    """The user's memberships, as ``user-segments`` has them."""
    return UserSegments(
        user=user,
        segments={
            segment: MembershipNow(member.since, member.score, member.version)
            for segment, member in state.members.items()
        },
        sequence=state.sequence,
        as_of=state.time,
    )
