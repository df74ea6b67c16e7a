"""Nested fields, ISO times and calls of the Segment Spec: the compiled part reads them as Python does, and itself."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state.compiled import CompiledError
from state.native import Items, quiet_fold
from state.user import PLAIN_KINDS
from streams.steps.segments import CALLS
from streams.wire.decode import MAX_ID_CHARS, decode_event
from streams.wire.events import Event
from streams.wire.refused import RefusedError
from streams.wire.segment_spec import AMOUNT, CATEGORY, DWELL, ITEM, TRACK
from tests.properties.mutation import mutated
from tests.properties.test_native_read import (
    ARRIVED,
    LIMITS,
    NOTHING,
    ODD_NUMBERS,
    STRINGS,
    Item,
    check,
    quiet,
    read,
    written,
)
from tests.small_partition import T0, Sent
from tests.unit.test_segment_spec import PAIRS

pytestmark = pytest.mark.compiled

#: ISO 8601 as producers write it, all within the bounds
WELL_KNOWN = (
    "2023-11-14", "2023-11-14T00:00", "2023-11-14T00:00Z", "2023-11-14T00:00:00", "2023-11-14 00:00:00",
    "2023-11-14T00:00:00Z", "2023-11-14T00:00:00.1Z", "2023-11-14T00:00:00.123Z", "2023-11-14T00:00:00.123456Z",
    "2023-11-14T00:00:00.123456789Z", "2023-11-14T00:00:00.999999999+00:00", "2023-11-14T01:30:00+01:30",
    "2023-11-13T19:00:00-0500", "2023-11-13T19:00:00.5-05", "2020-02-29T23:59:59.000001Z", "2000-03-01T00:00:00+23:59",
)  # fmt: skip
ODD_TIMES = (
    "2023-02-29", "2100-02-29", "2023-11-31T00:00:00Z", "2023-00-01", "2023-13-01", "0000-01-01", "2023-11-14T24:00:00",
    "2023-11-14T00:60:00", "2023-11-14T00:00:60Z", "2023-11-14T00:00:00z", "2023-11-14T00:00:00.Z", "20231114T000000Z",
    "2023-W46-2", "2023-11-14T00", "2023-11-14T00Z", "2023-11-14T00:00:00,5Z", "2023-11-14T00:00:00+24:00",
    "2023-11-14T00:00:00+01:60", "2023-11-14T00:00:00+01:00:30", "2023-11-14T00:00:00+1:00", "2023-11-14T", "",
    "2023-11-14T00:00:00 Z", "2023-11-14T00:00.5Z", "2023-11-14T000000Z", "2023-11-14x00:00:00Z",
    "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59", "2023-11-14é00:00:00Z",
    "2023-11-14T00:00:00Z\0",
    "+023-11-14", "2023-1-1", "2023-11-14T00:00:00-00:00", "2023-11-14T00:00:00+", "2023-11-14T00:00:00ZZ",
)  # fmt: skip


@st.composite
def times(draw: st.DrawFn) -> str:
    """Mostly ISO 8601, of the last years, with one part now and then that is not in order."""
    when = draw(st.datetimes(datetime(2000, 1, 1), datetime(2023, 11, 14)))  # noqa: DTZ001 # the zone is written below
    parts = [when.strftime("%Y-%m-%d"), draw(st.sampled_from("TTTTTT ")), when.strftime("%H:%M:%S")]
    parts.append(draw(st.sampled_from(["", ".", "."])))
    if parts[-1]:
        parts[-1] += draw(st.text(string.digits, min_size=1, max_size=10))
    zone = timedelta(minutes=draw(st.integers(-1439, 1439)))
    parts.append(draw(st.sampled_from(["", "Z", "Z", timezone(zone).tzname(None).removeprefix("UTC")])))
    if not draw(st.integers(0, 4)):
        parts[draw(st.integers(0, 4))] = draw(
            st.sampled_from(["", "T", "24:00", "12:30", "0", "+0100", "-03", "99", "٣"])
        )
    return "".join(parts)


TIMES = (
    times()
    | st.sampled_from(WELL_KNOWN + ODD_TIMES)
    | st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat)
    | st.text("0123456789-:.TZ+ ", max_size=30)
)
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", "a", "u-1", "é", "👟", "\\", '"', "/", "\n", " x ", "_1", "12", "1e3", "1.5"]
)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats() | st.integers(0, 10**6) | st.floats(0, 1e6)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
#: what may stand in JSON, and what may not
PIECES = (
    *(each.encode() for each in ODD_NUMBERS), b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\ude00\\ud83d"', b'"\\u12"',
    b'"\\x"', b'"\\/\\b\\f\\n\\r\\t\\\\\\""', b'"\\u0000"', b'"\xff"', b'"\xed\xa0\x80"', b'"\x1f"', b"[1,]", b"[,1]",
    b"{,}", b'{"a"}', b'{"a":1,}', b"{1:2}", b"[[]", b"[]]", b'[{"a":[{"b":[]}]}]', b"{ }", b"[ ]", b"-", b"--1",
    b"-0.0", b"-1e-5", b"1e99", b"-1e308", b"1e308", b"1e309", b"1" * 59, b"1" * 61, b"0." + b"3" * 70,
    b"[" * 63 + b"]" * 63, b"[" * 70 + b"]" * 70, b'{"a":' * 30 + b"1" + b"}" * 30, b"tru", b"nul", b"truefalse",
    b"1 2", b'"a""b"',
)  # fmt: skip


def dumped(value: Any, escaped: bool = False) -> bytes:
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


JSON = st.sampled_from(PIECES) | STRINGS | st.builds(dumped, ANYTHING, st.booleans())
#: keys of calls, of their properties, and of products, and some more
OF_PROPERTIES = ["text", "a", *sorted({str(path[0]) for path in (*ITEM, *CATEGORY, *AMOUNT, *DWELL)})]
IDS = (
    TEXTS
    | st.integers(-5, 10**20)
    | st.sampled_from(["u-1", "u-2", "x" * MAX_ID_CHARS, "é" * 300, "x" * 513, None, 7, 1.5])
)


def rarely(odd: st.SearchStrategy[Any], good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda dice: good if dice else odd)


PRODUCTS = st.lists(
    rarely(ANYTHING, st.fixed_dictionaries({}, optional={"product_id": IDS, "category": IDS, "price": NUMBERS})),
    max_size=2,
)
PROPERTIES = st.dictionaries(st.sampled_from(OF_PROPERTIES), IDS | NUMBERS | PRODUCTS, max_size=4)
NAMES = st.sampled_from(sorted(TRACK)) | st.sampled_from(
    ["Product Viewed", " ORDER COMPLETED", "Purchase ", "\u2003view", "no"]
)
SEGMENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["track"] * 5 + ["page", "screen", "identify", "alias", "group", "delete", "Track", "x"]
        ),
        "event": rarely(ANYTHING, NAMES),
        "timestamp": rarely(ANYTHING, times() | st.sampled_from(WELL_KNOWN) | st.floats(T0 - 1e7, T0)),
    },
    optional={
        **dict.fromkeys(("userId", "anonymousId", "messageId", "previousId", "groupId"), rarely(ANYTHING, IDS)),
        **dict.fromkeys(
            ("originalTimestamp", "sentAt", "receivedAt"), rarely(ANYTHING, TIMES | st.just(1_699_920_000_123))
        ),
        "properties": rarely(ANYTHING, PROPERTIES),
        "traits": rarely(ANYTHING, st.dictionaries(TEXTS, ANYTHING, max_size=2)),
        "context": ANYTHING,
        "name": rarely(ANYTHING, TEXTS),
        "text": ANYTHING,
        "kind": rarely(st.just("view"), st.just("click")),
    },
)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """A call, whose keys come in any order; now and then one of them twice, or with a piece of bytes for its value."""
    fields: Mapping[str, Any] = draw(SEGMENT)
    names = draw(st.permutations(sorted(fields.keys() - {"kind"} if draw(st.integers(0, 9)) else fields)))
    escaped = draw(st.booleans())
    parts = [(written(name, not draw(st.integers(0, 60))), dumped(fields[name], escaped)) for name in names]
    if not draw(st.integers(0, 6)):
        at = draw(st.integers(0, len(parts) - 1))
        parts[at : at + draw(st.integers(0, 1))] = [(parts[at][0], draw(JSON))]
    return b"{" + b",".join(b":".join(part) for part in parts) + b"}"


def damaged(good: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    nasty = [*PIECES, b'"', b"\\", b",", b":", b"{", b"}", b"[", b"]", b"0"]
    return mutated(good, nasty, st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128, 255]), 3)


def own(time: bytes = b"1.69e9", more: bytes = b"") -> bytes:
    return b'{"user":"u","kind":"view","time":%b%b}' % (time, more)


def taken_alone(*values: bytes) -> list[Event]:
    """As the compiled part reads them, which must not ask Python for any."""
    found, _, asked = read([Sent(number, value, ARRIVED) for number, value in enumerate(values)])
    assert [record.value for record in asked] == []
    return [item[0] for items in found.values() for item in items]


@given(st.lists(JSON, min_size=1, max_size=12))
@example([*PIECES])
def test_whatever_lies_in_fields_that_nobody_asks_for_is_read_as_python_reads_it(values: list[bytes]) -> None:
    check([own(more=b',"source":' + value) for value in values])
    check([b'{"properties":%b,"type":"page","userId":"u","timestamp":1.69e9}' % value for value in values])
    check([b'{"context":[%b],"type":"page","userId":"u","timestamp":1.69e9}' % value for value in values])


@given(st.lists(TIMES, min_size=1, max_size=20))
@example([*WELL_KNOWN])
@example([*ODD_TIMES])
def test_every_time_as_text_is_the_same_to_the_bit(texts: list[str]) -> None:
    check([own(dumped(text)) for text in texts])
    check([b'{"type":"page","anonymousId":"u","timestamp":"","sentAt":%b}' % dumped(text) for text in texts])


def test_the_usual_forms_of_iso_times_are_read_without_python() -> None:
    for text in WELL_KNOWN:
        wanted = datetime.fromisoformat(text)
        wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
        assert [event.time for event in taken_alone(own(dumped(text)))] == [wanted.timestamp()]


def test_every_day_of_the_calendar_has_its_number() -> None:
    days = [datetime(2000, 1, 2, tzinfo=UTC) + timedelta(days=number) for number in range(8_700)]
    values = [own(b'"%b"' % day.strftime("%Y-%m-%d").encode()) for day in days]
    assert [event.time for event in taken_alone(*values)] == [day.timestamp() for day in days]


def test_milliseconds_are_read_without_python() -> None:
    assert [event.time for event in taken_alone(own(b"1699920000123"))] == [1_699_920_000.123]


@given(st.lists(calls(), min_size=1, max_size=8))
def test_any_call_is_read_as_python_reads_it(values: list[bytes]) -> None:
    check([*values])


@given(
    st.lists(
        damaged(calls() | st.sampled_from([dumped(theirs) for theirs, _ in PAIRS.values()])), min_size=1, max_size=6
    )
)
def test_a_damaged_call_is_read_as_python_reads_it(values: list[bytes]) -> None:
    check([*values])


@given(st.lists(damaged(st.builds(own, times().map(dumped), JSON.map(b',"context":'.__add__))), min_size=1, max_size=6))
def test_a_damaged_record_with_nested_fields_is_read_as_python_reads_it(values: list[bytes]) -> None:
    check([*values])


def test_calls_that_become_the_plain_kinds_are_read_without_python() -> None:
    plain = {name: (theirs, ours) for name, (theirs, ours) in PAIRS.items() if ours["kind"] in PLAIN_KINDS}
    assert len(plain) > 12
    for theirs, ours in plain.values():
        assert taken_alone(dumped(theirs)) == taken_alone(dumped(ours))


def test_the_event_of_a_call_is_made_without_python() -> None:
    def decode(_value: bytes) -> Event:
        raise AssertionError("Python decodes it")

    call = {"type": "track", "event": "Product Viewed", "messageId": 7, "userId": "u", "timestamp": T0}
    value = dumped(call | {"properties": {"product_id": 12, "category": "shoes", "dwell": "1.5"}})
    found: Mapping[str, Items[Item]]
    found, _ = quiet().read([Sent(0, value, ARRIVED)], decode, lambda _record: None, LIMITS.usual)
    assert found["u"][0][0] == decode_event(value, ARRIVED / 1000.0, LIMITS)


@pytest.mark.parametrize("name", sorted(TRACK))
def test_track_events_have_the_same_kind_whatever_their_case(name: str) -> None:
    for event in (name, name.upper(), f" {name.title()}  "):
        value = dumped({"type": "track", "event": event, "userId": "u", "timestamp": T0})
        check([value])
        if TRACK[name] in PLAIN_KINDS:
            assert [found.kind for found in taken_alone(value)] == [TRACK[name]]


def test_a_name_is_bounded_however_long_the_record_is() -> None:
    long = {"type": "page", "timestamp": T0, "context": {"a": "b" * 5_000}}
    assert len(taken_alone(dumped(long | {"userId": "u" * MAX_ID_CHARS}))) == 1
    for more in (
        {"userId": "u" * 513},
        {"userId": "u", "messageId": "m" * 513},
        {"userId": "u", "properties": {"sku": "s" * 513}},
    ):
        value = dumped(long | more)
        with pytest.raises(RefusedError, match="513 characters"):
            decode_event(value, T0, LIMITS)
        check([value])
    check([own(more=b',"item":"%b","source":[]' % (b"i" * size)) for size in (500, 512, 513, 2_000)])


def test_a_field_of_a_call_that_the_reader_does_not_know_is_told_and_not_passed_over() -> None:
    with pytest.raises(CompiledError, match=r"segment\.c does not know the field consent"):
        quiet_fold(Event, replace(CALLS, fields=(*CALLS.fields, "consent")), NOTHING)
    with pytest.raises(CompiledError, match="cannot follow"):
        quiet_fold(Event, replace(CALLS, items=(("products", 1, "product_id"),)), NOTHING)
    assert quiet_fold(Event, CALLS, NOTHING) is not None
