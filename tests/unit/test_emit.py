"""What goes out: changes, audience calls, memberships, and their headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.windows import NEVER
from streams.wire.emit import (
    Change,
    MembershipNow,
    Reason,
    UserSegments,
    audience_value,
    change_headers,
    change_id,
    change_value,
    event_headers,
    membership_value,
)
from streams.wire.refused import Code, RefusedError, dead_letter_headers
from streams.wire.times import to_iso

CHANGE = Change(
    user="jürgen-1",
    segment="taste-food",
    change="entered",
    score=0.75,
    sequence=4,
    segment_version=2,
    encoder_version="3f2a",
    head_version=17,
    origin="neighbour",
    reason=Reason(summary="the head gives 0.75", event="e-9", shares={"text": 0.5, "neighbours": 0.5}),
    event_time=1_690_000_000.125,
    processed_at=1_690_000_000.5,
)
EXIT = msgspec.structs.replace(CHANGE, change="exited", sequence=5, encoder_version=None, head_version=None)


def test_a_change_is_read_back_as_it_was() -> None:
    for change in (CHANGE, EXIT):
        assert msgspec.json.decode(change_value(change), type=Change) == change


def test_a_change_names_all_fields_and_its_reason_only_those_it_has() -> None:
    value = json.loads(change_value(CHANGE))
    assert set(value) == set(CHANGE.__struct_fields__)
    assert set(value["reason"]) == {"summary", "event", "shares"}
    assert json.loads(change_value(EXIT))["head_version"] is None


def test_a_user_id_is_sent_as_utf8() -> None:
    assert "jürgen-1".encode() in change_value(CHANGE)


def test_the_same_change_has_the_same_id_whoever_processes_it() -> None:
    again = msgspec.structs.replace(CHANGE, processed_at=2e9, score=0.1)
    assert change_id(again) == change_id(CHANGE) == "jürgen-1/4"
    assert change_id(EXIT) != change_id(CHANGE)


def test_headers_are_the_cloudevents_attributes() -> None:
    assert change_headers(CHANGE, b"/live-segments/segments/3") == [
        ("ce_specversion", b"1.0"),
        ("ce_id", "jürgen-1/4".encode()),
        ("ce_source", b"/live-segments/segments/3"),
        ("ce_type", b"live-segments.segment.entered"),
        ("ce_subject", "jürgen-1".encode()),
        ("ce_time", b"2023-07-22T04:26:40.125Z"),
        ("content-type", b"application/json"),
    ]
    assert dict(change_headers(EXIT, b""))["ce_type"] == b"live-segments.segment.exited"


@pytest.mark.parametrize(
    ("change", "event", "inside"), [(CHANGE, "Audience Entered", True), (EXIT, "Audience Exited", False)]
)
def test_an_audience_call_says_the_same_as_the_change(change: Change, event: str, inside: bool) -> None:
    assert json.loads(audience_value(change)) == {
        "type": "track",
        "event": event,
        "userId": change.user,
        "messageId": change_id(change),
        "timestamp": "2023-07-22T04:26:40.125Z",
        "properties": {
            "audience_key": "taste-food",
            "audience_name": "taste-food",
            "taste-food": inside,
            "score": 0.75,
            "sequence": change.sequence,
            "origin": "neighbour",
            "reason": {
                "summary": "the head gives 0.75",
                "event": "e-9",
                "shares": {"text": 0.5, "neighbours": 0.5},
            },
        },
    }


def test_memberships_are_read_back_as_they_were() -> None:
    for segments in ({}, {"a": MembershipNow(1.5e9, 1.0, 3), "b": MembershipNow(1.6e9, 0.25, 1)}):
        snapshot = UserSegments(user="u", segments=segments, sequence=9, as_of=1.69e9)
        assert msgspec.json.decode(membership_value(snapshot), type=UserSegments) == snapshot


def test_times_are_written_in_utc_to_the_millisecond() -> None:
    assert to_iso(0.0) == "1970-01-01T00:00:00.000Z"
    assert to_iso(1_690_000_000.9996) == "2023-07-22T04:26:40.999Z"
    assert datetime.fromisoformat(to_iso(1_690_000_000.125)) == datetime(2023, 7, 22, 4, 26, 40, 125_000, UTC)


def test_a_dead_letter_says_why_and_where_it_came_from() -> None:
    error = RefusedError(Code.UNKNOWN_KIND, "the kind “klick” is not known")
    assert dead_letter_headers(error, "user-events", 3, 41, -1) == [
        ("reason-code", b"unknown-kind"),
        ("reason", "the kind “klick” is not known".encode()),
        ("origin-topic", b"user-events"),
        ("origin-partition", b"3"),
        ("origin-offset", b"41"),
        ("origin-timestamp", b"-1"),
    ]


@given(
    st.floats(-1e9, 2.0**36) | st.integers(0, 2**32).map(lambda at: at / 1024) | st.sampled_from([2e9 - 4e-7, 0.5e-6])
)
def test_times_are_written_as_the_date_of_the_whole_number_of_microseconds_that_is_nearest(seconds: float) -> None:
    date = datetime.fromtimestamp(seconds, UTC)
    assert to_iso(seconds) == date.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("seconds", [NEVER, -NEVER, float("nan"), 1e12])
def test_what_has_no_date_is_not_written(seconds: float) -> None:
    with pytest.raises((ValueError, OverflowError, OSError)):
        to_iso(seconds)


@pytest.mark.parametrize("change", ["entered", "exited"])
def test_the_headers_of_a_change_are_those_of_any_event(change: Literal["entered", "exited"]) -> None:
    told = msgspec.structs.replace(CHANGE, change=change, user="用户", event_time=1_690_000_000.125)
    assert change_headers(told, b"/here/1") == event_headers(
        change_id(told), b"/here/1", f"segment.{change}", "用户", 1_690_000_000.125
    )
