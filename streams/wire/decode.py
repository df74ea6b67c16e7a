"""Bytes to events and labels. Decoders are built once; whatever cannot be used raises RefusedError."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from streams.wire import segment_spec
from streams.wire.events import KINDS, Event, Label, WireEvent
from streams.wire.refused import Code, RefusedError
from streams.wire.times import MILLISECONDS_FROM, check_time, wire_seconds

_decode_event = msgspec.json.Decoder(Event).decode
_decode_wire = msgspec.json.Decoder(WireEvent).decode
_decode_label = msgspec.json.Decoder(Label).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

MAX_ID_CHARS = 512
MAX_AMOUNT = 1e9
MAX_DWELL = 7 * 86_400.0
#: kind → field that must not be empty
_NEEDS = {
    "comment": "text",
    "follow": "target",
    "unfollow": "target",
    "join": "group",
    "leave": "group",
    "identify": "target",
    "alias": "target",
}
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r"`\$\.?([^`]*)`")


@dataclass(frozen=True)
class Limits:
    """What is taken: times in seconds since the epoch or seconds, sizes in bytes and characters."""

    max_record_bytes: int = 1_048_576
    max_text_chars: int = 20_000
    min_event_time: float = 946_684_800.0
    max_ahead_seconds: float = 86_400.0


def decode_event(raw: bytes | None, arrived: float, limits: Limits) -> Event:
    """One record of the event topic, in our own form or the Segment Spec's.

    ``arrived`` is the record's append time in seconds: what lies further ahead of it than the limit is refused.
    Raises RefusedError.
    """
    if not raw:
        raise RefusedError(Code.EMPTY, "the record has no value")
    if len(raw) > limits.max_record_bytes:
        raise RefusedError(
            Code.TOO_LARGE, f"the record has {len(raw):,} bytes; at most {limits.max_record_bytes:,} are taken"
        )
    try:
        event = _decode_event(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        event = _second_look(raw, error)
    if event.time >= MILLISECONDS_FROM:
        event = msgspec.structs.replace(event, time=wire_seconds(event.time))
    check(event, arrived, limits)
    return event


def check(event: Event, arrived: float, limits: Limits) -> None:
    """Refuse what decodes but cannot be meant."""
    if not limits.min_event_time <= event.time <= arrived + limits.max_ahead_seconds:
        check_time(event.time, limits.min_event_time, arrived + limits.max_ahead_seconds)
    user = event.user
    if not user:
        raise RefusedError(Code.MISSING_FIELD, "the event's `user` is empty")
    if len(user) > MAX_ID_CHARS or len(event.id) > MAX_ID_CHARS or len(event.target) > MAX_ID_CHARS:
        raise RefusedError(Code.TOO_LARGE, f"a user id, target or event id is longer than {MAX_ID_CHARS} characters")
    needed = _NEEDS.get(event.kind)
    if needed is not None:
        if not getattr(event, needed):
            raise RefusedError(Code.MISSING_FIELD, f"a {event.kind} needs the field `{needed}`")
        if event.target == user:
            raise RefusedError(Code.SELF_FOLLOW, f"user {user!r} cannot {event.kind} themselves")
    if not 0.0 <= event.amount <= MAX_AMOUNT:
        raise RefusedError(Code.BAD_AMOUNT, f"amount {event.amount:g} is not between 0 and {MAX_AMOUNT:g}")
    if not 0.0 <= event.dwell <= MAX_DWELL:
        raise RefusedError(Code.BAD_AMOUNT, f"dwell {event.dwell:g} s is not between 0 and {MAX_DWELL:g} s")
    if event.text and len(event.text) > limits.max_text_chars:
        raise RefusedError(
            Code.TEXT_TOO_LONG,
            f"the text has {len(event.text):,} characters; at most {limits.max_text_chars:,} are taken",
        )


def decode_label(raw: bytes | None, arrived: float, limits: Limits) -> Label:
    """One record of the label topic. Raises RefusedError."""
    if not raw:
        raise RefusedError(Code.EMPTY, "the record has no value")
    if len(raw) > limits.max_record_bytes:
        raise RefusedError(Code.TOO_LARGE, f"the record has {len(raw):,} bytes")
    try:
        label = _decode_label(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(error, raw) from None
    if label.time >= MILLISECONDS_FROM:
        label = msgspec.structs.replace(label, time=wire_seconds(label.time))
    check_time(label.time, limits.min_event_time, arrived + limits.max_ahead_seconds)
    if not label.user or not label.segment:
        raise RefusedError(Code.MISSING_FIELD, "a label needs `user` and `segment`")
    if not 0.0 < label.weight <= 1_000.0:
        raise RefusedError(Code.BAD_AMOUNT, f"weight {label.weight:g} is not above 0 and at most 1000")
    return label


def _second_look(raw: bytes, first: Exception) -> Event:
    """The fast decoder failed: an ISO time, the Segment Spec, or really a bad record."""
    if not isinstance(first, msgspec.ValidationError):
        raise explain(first, raw) from None
    try:
        fields = _decode_object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(error, raw) from None
    if "kind" not in fields and "type" in fields:
        try:
            return segment_spec.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain(error, raw) from None
    try:
        wire = _decode_wire(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise explain(error, raw, fields) from None
    return Event(
        user=wire.user,
        kind=wire.kind,
        time=wire_seconds(wire.time),
        id=wire.id,
        item=wire.item,
        category=wire.category,
        amount=wire.amount,
        dwell=wire.dwell,
        text=wire.text,
        target=wire.target,
        group=wire.group,
    )


def explain(error: Exception, raw: bytes, fields: dict[str, msgspec.Raw] | None = None) -> RefusedError:
    """What a decoder's error means to the person who wrote the producer."""
    if isinstance(error, RecursionError):
        return RefusedError(Code.TOO_DEEP, "the JSON is nested too deeply")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        try:
            raw.decode()
        except UnicodeDecodeError as utf8:
            return RefusedError(Code.NOT_UTF8, f"the record is not UTF-8 text: byte {raw[utf8.start]:#x} at {utf8.start}")
        hint = " (JSON has no NaN or Infinity)" if b"NaN" in raw or b"Infinity" in raw else ""
        code = Code.BAD_AMOUNT if hint else Code.NOT_JSON
        return RefusedError(code, f"the record is not valid JSON: {text.removeprefix('JSON is malformed: ')}{hint}")
    if missing := _MISSING.search(text):
        return RefusedError(Code.MISSING_FIELD, f"the event has no field `{missing[1]}`")
    if "Invalid enum value" in text:
        value = bytes(fields["kind"]).decode(errors="replace")[:60] if fields and "kind" in fields else "?"
        return RefusedError(Code.UNKNOWN_KIND, f"the kind {value} is not known; known are {', '.join(KINDS)}")
    if "out of range" in text:
        return RefusedError(Code.BAD_AMOUNT, f"a number is out of range: {text}")
    where = _PATH.search(text)
    name = where[1] if where and where[1] else "the record"
    return RefusedError(Code.WRONG_TYPE, f"`{name}` has the wrong type: {text.split(' - at')[0]}")
