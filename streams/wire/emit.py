"""Changes and memberships to bytes: the public output."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from streams.wire.times import to_iso

Origin = Literal["event", "expiry", "neighbour", "feedback", "definition", "merge", "replay", "erasure"]
Headers = list[tuple[str, str | bytes | None]]
"""As confluent-kafka types them."""

_encode = msgspec.json.Encoder().encode
_VERSION = ("ce_specversion", b"1.0")
_CONTENT = ("content-type", b"application/json")
_TYPES = {change: ("ce_type", b"live-segments.segment." + change.encode()) for change in ("entered", "exited")}


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why: one sentence, and the numbers behind it."""

    summary: str
    event: str = ""
    """Id of the event that triggered the change."""
    rule: str = ""
    values: dict[str, float] = {}
    """The rule's terms and their values."""
    words: str = ""
    """The description that the texts were compared with."""
    shares: dict[str, float] = {}
    """Evidence of a learned head: behaviour, text, neighbours; they add up to one."""


class Change(msgspec.Struct, frozen=True):
    """One user entered or exited one segment (the value of ``segment-changes``)."""

    user: str
    segment: str
    change: Literal["entered", "exited"]
    score: float
    sequence: int
    """Per user, without holes, from 1."""
    segment_version: int
    encoder_version: str | None
    head_version: int | None
    origin: Origin
    reason: Reason
    event_time: float
    processed_at: float


class MembershipNow(msgspec.Struct, frozen=True):
    """One segment that a user is in."""

    since: float
    score: float
    version: int


class UserSegments(msgspec.Struct, frozen=True):
    """All segments of a user (the value of ``user-segments``)."""

    user: str
    segments: dict[str, MembershipNow]
    sequence: int
    as_of: float


def change_value(change: Change) -> bytes:
    return _encode(change)


def audience_value(change: Change) -> bytes:
    """The change as Segment's ``Audience Entered`` / ``Audience Exited`` track call."""
    call: dict[str, Any] = {
        "type": "track",
        "event": f"Audience {change.change.capitalize()}",
        "userId": change.user,
        "messageId": change_id(change),
        "timestamp": to_iso(change.event_time),
        "properties": {
            "audience_key": change.segment,
            "audience_name": change.segment,
            "score": change.score,
            "sequence": change.sequence,
            "origin": change.origin,
            "reason": msgspec.to_builtins(change.reason),
            change.segment: change.change == "entered",  # as Segment writes it; it wins over a name of ours
        },
    }
    return _encode(call)


def change_id(change: Change) -> str:
    """The same change has the same id, whoever processes it again."""
    return f"{change.user}/{change.sequence}"


def event_source(installation: str, partition: int) -> bytes:
    """Who says it: the CloudEvents source of a partition's records."""
    return f"/live-segments/{installation}/{partition}".encode()


def event_headers(identity: str, source: bytes, kind: str, subject: str, time: float) -> Headers:
    """CloudEvents 1.0 attributes in Kafka headers (binary content mode); ``time`` in seconds since the epoch."""
    return [
        _VERSION,
        ("ce_id", identity.encode()),
        ("ce_source", source),
        ("ce_type", b"live-segments." + kind.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", to_iso(time).encode()),
        _CONTENT,
    ]


def change_headers(change: Change, source: bytes) -> Headers:
    """The change as a CloudEvent: ``event_headers``, for which there are many of these to be made at once."""
    return [
        _VERSION,
        ("ce_id", change_id(change).encode()),
        ("ce_source", source),
        _TYPES[change.change],
        ("ce_subject", change.user.encode()),
        ("ce_time", to_iso(change.event_time).encode()),
        _CONTENT,
    ]


def membership_value(snapshot: UserSegments) -> bytes:
    return _encode(snapshot)
