"""Bytes to events and labels. Decoders are built once; whatever cannot be used raises RefusedError."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from unicodedata import category

import msgspec

from streams.wire import segment_spec
from streams.wire.events import KINDS, Event, Label, WireEvent
from streams.wire.refused import SHOWN, UNREADABLE, Code, RefusedError
from streams.wire.times import LATEST_TIME, MILLISECONDS_FROM, check_time, wire_seconds


class WireLabel(msgspec.Struct, frozen=True, gc=False):
    """Feedback as it is sent, before its time is understood."""

    user: str
    segment: str
    member: bool
    time: float | str
    weight: float = 1.0
    id: str = ""


_decode_plain: Final = msgspec.json.Decoder(Event).decode
_decode_wire: Final = msgspec.json.Decoder(WireEvent).decode
_decode_label: Final = msgspec.json.Decoder(WireLabel).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

MAX_ID_CHARS: Final = 512
#: fields of an event that are names: kept in state or memory, so bounded
NAMES: Final = ("user", "id", "item", "category", "target", "group")
MAX_AMOUNT: Final = 1e9
MAX_DWELL: Final = 7 * 86_400.0
MAX_WEIGHT: Final = 1_000.0
#: kind → field that must not be empty or blank
NEEDS: Final = {
    "comment": "text",
    "follow": "target",
    "unfollow": "target",
    "join": "group",
    "leave": "group",
    "identify": "target",
    "alias": "target",
}
_MISSING: Final = re.compile(r"missing required field `([^`]+)`")
_UNKNOWN: Final = "Invalid enum value "
_PATH: Final = re.compile(r"`\$\.?([^`]*)`")
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_NOT_FINITE: Final = re.compile(rb"-?(?:nan|inf)", re.IGNORECASE)
#: of Unicode: control and format
_INVISIBLE: Final = frozenset({"Cc", "Cf"})
_TIMES: Final = frozenset({"time", "timestamp", "originalTimestamp", "sentAt", "receivedAt"})


@dataclass(frozen=True)
class Limits:
    """What is taken: times in seconds since the epoch or seconds, sizes in bytes and characters.

    Raises ValueError for a ``min_event_time`` at or before the epoch: the state keeps times as positive numbers.
    """

    max_record_bytes: int = 1_048_576
    max_text_chars: int = 20_000
    min_event_time: float = 946_684_800.0
    max_ahead_seconds: float = 600.0

    @property
    def usual(self) -> tuple[int, int, float, float, float, float]:
        """Bounds within which a record of one of the plain kinds needs no closer look; see ``QuietFold.read``."""
        # so many bytes are no more characters
        return (
            self.max_record_bytes,
            MAX_ID_CHARS,
            self.min_event_time,
            self.max_ahead_seconds,
            MAX_AMOUNT,
            MAX_DWELL,
        )

    def __post_init__(self) -> None:
        if not 0.0 < self.min_event_time < LATEST_TIME:
            raise ValueError(f"min_event_time must be above 0 and below 2^32, got {self.min_event_time}")

    def latest(self, arrived: float) -> float:
        """The latest time that is taken of what arrived then, in seconds."""
        return min(arrived + self.max_ahead_seconds, LATEST_TIME)


def decode_event(raw: bytes | None, arrived: float, limits: Limits) -> Event:
    """One record of the event topic, in our own form or the Segment Spec's.

    ``arrived`` is the record's append time in seconds: what lies further ahead of it than the limit is refused.
    Raises RefusedError.
    """
    if not raw:
        raise RefusedError(Code.EMPTY, "the record has no value")
    size = len(raw)
    if size > limits.max_record_bytes:
        raise _too_large(size, limits)
    event = decode_unchecked(raw)
    if size > MAX_ID_CHARS:  # a shorter record has no longer name
        for name in NAMES:
            _check_length(name, getattr(event, name))
    check(event, arrived, limits)
    return event


def decode_unchecked(raw: bytes) -> Event:
    """One record of the event topic, whose bounds are not looked at: for those that are known to be within.

    Raises RefusedError.
    """
    try:
        event = _decode_plain(raw)
    except UNREADABLE as error:
        return _second_look(raw, error)
    if event.time >= MILLISECONDS_FROM:
        event = msgspec.structs.replace(event, time=wire_seconds(event.time))
    return event


def check(event: Event, arrived: float, limits: Limits) -> None:
    """Refuse what decodes but cannot be meant."""
    if not limits.min_event_time <= event.time <= limits.latest(arrived):
        check_time(event.time, limits.min_event_time, limits.latest(arrived))
    user = event.user
    if is_blank(user):
        raise RefusedError(Code.MISSING_FIELD, f"the event's `user` is {'blank' if user else 'empty'}")
    needed = NEEDS.get(event.kind)
    if needed is not None:
        value = getattr(event, needed)
        if is_blank(value):
            raise RefusedError(Code.MISSING_FIELD, f"a {event.kind} needs the field `{needed}`")
        if needed == "target" and value == user:
            raise RefusedError(
                Code.SELF_FOLLOW, f"user {user!r} cannot {event.kind} themselves: `user` and `target` are the same"
            )
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
    """One record of the label topic; its time is understood as an event's is. Raises RefusedError."""
    if not raw:
        raise RefusedError(Code.EMPTY, "the record has no value")
    if len(raw) > limits.max_record_bytes:
        raise _too_large(len(raw), limits)
    try:
        wire = _decode_label(raw)
    except UNREADABLE as error:
        raise explain(error, raw, what="label") from None
    for name in ("user", "segment", "id"):
        _check_length(name, getattr(wire, name))
    if is_blank(wire.user) or is_blank(wire.segment):
        raise RefusedError(Code.MISSING_FIELD, "a label needs `user` and `segment`")
    if not 0.0 < wire.weight <= MAX_WEIGHT:
        raise RefusedError(Code.BAD_AMOUNT, f"weight {wire.weight:g} is not above 0 and at most {MAX_WEIGHT:g}")
    time = wire_seconds(wire.time)
    check_time(time, limits.min_event_time, limits.latest(arrived))
    return Label(user=wire.user, segment=wire.segment, member=wire.member, time=time, weight=wire.weight, id=wire.id)


def is_blank(value: str) -> bool:
    """Nothing of it can be seen: it is empty, or all of it is white space, control or format characters."""
    return not value or (
        not value[0].isalnum() and all(char.isspace() or category(char) in _INVISIBLE for char in value)
    )


def _too_large(size: int, limits: Limits) -> RefusedError:
    return RefusedError(Code.TOO_LARGE, f"the record has {size:,} bytes; at most {limits.max_record_bytes:,} are taken")


def _check_length(name: str, value: str) -> None:
    if len(value) > MAX_ID_CHARS:
        raise RefusedError(Code.TOO_LARGE, f"`{name}` has {len(value):,} characters; at most {MAX_ID_CHARS} are taken")


def _second_look(raw: bytes, first: Exception) -> Event:
    """The fast decoder failed: an ISO time, the Segment Spec, or really a bad record. Times come out in seconds."""
    if not isinstance(first, msgspec.ValidationError):
        raise explain(first, raw) from None
    try:
        fields = _decode_object(raw)
    except UNREADABLE as error:
        raise explain(error, raw) from None
    if "kind" not in fields and "type" in fields:
        try:
            return segment_spec.decode(raw)
        except UNREADABLE as error:
            raise explain(error, raw) from None
    try:
        wire = _decode_wire(raw)
    except UNREADABLE as error:
        raise explain(error, raw) from None
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
        anonymous=wire.anonymous,
    )


def explain(error: Exception, raw: bytes, what: str = "event") -> RefusedError:
    """What a decoder's error means to the person who wrote the producer."""
    if isinstance(error, RecursionError):
        return RefusedError(Code.TOO_DEEP, "the JSON is nested too deeply")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return _not_json(text, raw)
    where = _PATH.search(text)
    name = where[1] if where and where[1] else "the record"
    if text.startswith(_UNKNOWN):  # before all else: the rest of it is the producer's
        # quoted already, and of a kind that is there twice the one that is wrong
        kind = text.removeprefix(_UNKNOWN).rpartition(" - at ")[0]
        shown = kind if len(kind) <= SHOWN else f"{kind[:SHOWN]}…"
        return RefusedError(Code.UNKNOWN_KIND, f"the kind {shown} is not known; known are {', '.join(KINDS)}")
    if missing := _MISSING.search(text):
        return RefusedError(Code.MISSING_FIELD, f"the {what} has no field `{missing[1]}`")
    if "out of range" in text:
        code = Code.ABSURD_TIME if name in _TIMES else Code.BAD_AMOUNT
        return RefusedError(code, f"`{name}` is a number out of range: too large or too many digits")
    return RefusedError(Code.WRONG_TYPE, f"`{name}` has the wrong type: {text.split(' - at', maxsplit=1)[0]}")


def _not_json(text: str, raw: bytes) -> RefusedError:
    """What is wrong with bytes that are no JSON at all; ``text`` is the decoder's message."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        hint = " (it looks like UTF-16)" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return RefusedError(
            Code.NOT_UTF8, f"the record is not UTF-8 text: byte {raw[error.start]:#x} at {error.start}{hint}"
        )
    at = _AT_BYTE.search(text)
    start = int(at[1]) if at else len(raw)
    code, hint = Code.NOT_JSON, ""
    if _NOT_FINITE.match(raw, max(0, start - 1)) or _NOT_FINITE.match(raw, start):
        code, hint = Code.BAD_AMOUNT, " (JSON has no NaN or Infinity)"
    elif raw.startswith(b"\xef\xbb\xbf"):
        hint = " (it starts with a byte order mark)"
    elif b"\0" in raw[:4]:
        hint = " (it looks like UTF-16 or binary data)"
    return RefusedError(code, f"the record is not valid JSON: {text.removeprefix('JSON is malformed: ')}{hint}")
