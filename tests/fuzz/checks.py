"""What must be true of every decoded record: shared by the fuzzers."""

from __future__ import annotations

from typing import Final

import msgspec

from state.layout import user_key
from state.plain.record import PlainRecord
from state.tables import open_record
from state.user import fold
from state.windows import TallyPlan
from streams.steps.partitioner import partition_of
from streams.wire.decode import MAX_ID_CHARS, NAMES, Limits, decode_event, decode_label
from streams.wire.emit import Change, Reason, change_headers, change_value
from streams.wire.events import Event, Label, encode_event
from streams.wire.refused import Code, RefusedError, dead_letter_headers
from streams.wire.times import MILLISECONDS_FROM
from tests.bad_records import ARRIVED

LIMITS: Final = Limits()
NO_TALLIES: Final = TallyPlan(frozenset())


def check_event(value: bytes | None) -> Event | RefusedError:
    """Decode; an event must go through all that handles its texts, a refusal must fit the dead letter."""
    try:
        event = decode_event(value, ARRIVED, LIMITS)
    except RefusedError as error:
        check_refusal(error)
        return error
    assert decode_event(encode_event(event), ARRIVED, LIMITS) == event
    assert all(len(getattr(event, name)) <= MAX_ID_CHARS for name in NAMES)
    assert LIMITS.min_event_time <= event.time < MILLISECONDS_FROM
    user_key(event.user)
    partition_of(event.user, 7)
    state = PlainRecord(event.user)
    fold(state, event, 1, NO_TALLIES, ARRIVED)
    block = state.pack()
    assert open_record(event.user, block).pack() == block
    change = Change(
        event.user, "s", "entered", 1.0, 1, 1, None, None, "event", Reason("r", event.id), event.time, ARRIVED
    )
    assert msgspec.json.decode(change_value(change), type=Change) == change
    assert dict(change_headers(change, b"/"))["ce_subject"] == event.user.encode()
    return event


def check_label(value: bytes | None) -> Label | RefusedError:
    """Decode a label; the like."""
    try:
        label = decode_label(value, ARRIVED, LIMITS)
    except RefusedError as error:
        check_refusal(error)
        return error
    assert decode_label(encode_event(label), ARRIVED, LIMITS) == label
    user_key(label.user)
    label.segment.encode()
    return label


def check_refusal(error: RefusedError) -> None:
    """It has a code and a sentence that can be shown anywhere."""
    reason = str(error)
    assert error.code in Code
    assert 0 < len(reason) < 1_000
    assert reason.isprintable()  # it is shown in terminals
    headers = dict(dead_letter_headers(error, "t", 0, 0, 0))
    assert headers["reason"].decode() == reason  # no half of a surrogate pair in it
