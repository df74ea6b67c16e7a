"""The job itself, the same code for every contestant: one event into one user's state, and the changes that follow.

Each engine brings what it is: reading, keeping the state so that a crash does not lose it, writing the changes. The
features are the service's own (state/, msgpack of about 600 bytes), because their speed is not what is compared.
"""

from __future__ import annotations

from pathlib import Path

import xxhash

from state import layout
from state.user import DUPLICATE, Membership, UserState, fold
from streams.steps.segments import load_plan
from streams.wire.decode import Limits, decode_event
from streams.wire.emit import Change, Reason, change_value

SEGMENTS = Path(__file__).with_name("segments.toml")


def encode_state(state: UserState) -> bytes:
    return layout.encode_user(state)


def decode_state(data: bytes) -> UserState:
    return layout.decode_user(data)


class Job:
    """Folds events and decides the rule segments, event by event."""

    def __init__(self) -> None:
        self._plan = load_plan(SEGMENTS)
        self._limits = Limits()

    def step(self, state: UserState, raw: bytes, arrived: float) -> list[tuple[bytes, bytes]]:
        """Fold the record into ``state``; returns (key, value) of the changes."""
        event = decode_event(raw, arrived, self._limits)
        id_hash = xxhash.xxh3_64_intdigest(event.id.encode())
        if fold(state, event, id_hash, self._plan.tallies, arrived) & DUPLICATE:
            return []
        changes: list[tuple[bytes, bytes]] = []
        members, now = state.members, state.time
        for segment, can_end in self._plan.affected(event.kind, event.category):
            member = members.get(segment.id)
            if member is not None and not can_end:
                continue
            assert segment.rule is not None
            score = segment.rule.evaluate(state, now)
            if (score >= segment.enter) == (member is not None):
                continue
            state.sequence += 1
            if member is None:
                members[segment.id] = Membership(now, score, segment.version, state.sequence)
            else:
                del members[segment.id]
            change = Change(
                user=event.user,
                segment=segment.id,
                change="entered" if member is None else "exited",
                score=score,
                sequence=state.sequence,
                segment_version=segment.version,
                encoder_version=None,
                head_version=None,
                origin="event",
                reason=Reason("the rule holds", event.id, segment.text, segment.rule.values(state, now)),
                event_time=now,
                processed_at=arrived,
            )
            changes.append((event.user.encode(), change_value(change)))
        return changes
