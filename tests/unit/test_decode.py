"""Decoding: bad records are refused with a reason, good ones are understood in every form of time."""

from __future__ import annotations

import json

import pytest

from streams.wire.decode import MAX_ID_CHARS, NAMES, Limits, decode_event, decode_label
from streams.wire.events import KINDS, Event, Label, encode_event
from streams.wire.refused import Code, RefusedError
from tests.bad_records import ARRIVED, BAD_RECORDS, GOOD_TIME, BadRecord, call, own, with_raw

LIMITS = Limits()
CLICK = Event(user="u-1", kind="click", time=GOOD_TIME, id="e-1")
LABEL = {"user": "u-1", "segment": "s", "member": True, "time": GOOD_TIME}


def refusal(value: bytes | None) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        decode_event(value, ARRIVED, LIMITS)
    return caught.value


def label_refusal(value: bytes | None) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        decode_label(value, ARRIVED, LIMITS)
    return caught.value


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=lambda bad: bad.name)
def test_a_bad_record_is_refused_with_its_code_and_a_reason_for_people(bad: BadRecord) -> None:
    error = refusal(bad.value)
    assert (error.code, bad.phrase in str(error)) == (bad.code, True), str(error)


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=lambda bad: bad.name)
def test_a_reason_is_one_short_printable_line(bad: BadRecord) -> None:
    reason = str(refusal(bad.value))
    assert reason.isprintable()
    assert len(reason) < 300


def test_the_catalogue_of_bad_records_has_every_code_that_decoding_can_give() -> None:
    elsewhere = {Code.UNKNOWN_SEGMENT, Code.BROKEN_INTERNAL, Code.DAMAGED_BATCH, Code.UNWRITABLE, Code.TOO_MANY_AHEAD}
    assert {bad.code for bad in BAD_RECORDS} == set(Code) - elsewhere
    assert len({bad.name for bad in BAD_RECORDS}) == len(BAD_RECORDS)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1_690_000_000, 1_690_000_000.0),
        (1_690_000_000.125, 1_690_000_000.125),
        (1.69e9, 1_690_000_000.0),
        (1_690_000_000_125, 1_690_000_000.125),
        (1.690000000125e12, 1_690_000_000.125),
        ("2023-07-22T04:26:40Z", 1_690_000_000.0),
        ("2023-07-22T04:26:40.125Z", 1_690_000_000.125),
        ("2023-07-22T04:26:40.125999999Z", 1_690_000_000.125999),
        ("2023-07-22T04:26:40,5Z", 1_690_000_000.5),
        ("2023-07-22T04:26:40+00:00", 1_690_000_000.0),
        ("2023-07-22T06:26:40+02:00", 1_690_000_000.0),
        ("2023-07-21T23:56:40-0430", 1_690_000_000.0),
        ("2023-07-22T09:56:40.000+05:30", 1_690_000_000.0),
        ("2023-07-22 04:26:40", 1_690_000_000.0),
        ("2023-07-22T04:26:40", 1_690_000_000.0),
        ("20230722T042640Z", 1_690_000_000.0),
        ("2023-W29-6", 1_689_984_000.0),
        ("2023-07-22", 1_689_984_000.0),
    ],
)
def test_every_form_of_time_is_understood_alike_in_both_wire_forms_and_labels(time: object, seconds: float) -> None:
    assert decode_event(own(time=time), ARRIVED, LIMITS).time == seconds
    assert decode_event(call(timestamp=time), ARRIVED, LIMITS).time == seconds
    assert decode_label(json.dumps(LABEL | {"time": time}).encode(), ARRIVED, LIMITS).time == seconds


def test_numbers_are_milliseconds_from_1e11_on() -> None:
    assert "5138-11-16T09:46:39.000Z is after" in str(refusal(own(time=99_999_999_999)))
    assert "1973-03-03T09:46:40.000Z is before" in str(refusal(own(time=100_000_000_000)))
    early = Limits(min_event_time=1.0)
    assert decode_event(own(time=100_000_000_000), ARRIVED, early).time == 100_000_000.0
    assert decode_event(own(time=1_690_000_000_123), ARRIVED, LIMITS).time == 1_690_000_000.123


def test_no_time_is_later_than_a_record_has_room_for_however_far_ahead_it_may_be() -> None:
    far = Limits(max_ahead_seconds=float("inf"))
    assert decode_event(own(time=2**32 - 1), ARRIVED, far).time == 2**32 - 1
    for late in (2**32, 2**32 * 1_000, 99_999_999_999, "2106-02-07T06:28:16Z"):
        with pytest.raises(RefusedError, match="2106-02-07T06:28:15"):
            decode_event(own(time=late), ARRIVED, far)


def test_a_time_is_taken_as_seconds_once_only() -> None:
    """Microseconds divided twice, or an ISO year above 5138 divided once, would become a plausible date."""
    far = Limits(min_event_time=1.0, max_ahead_seconds=float("inf"))
    for value in (
        own(time="9000-01-01T00:00:00Z"),
        own(time=1_690_000_000_000_000),
        call(timestamp=1_690_000_000_000_000),
        call(timestamp="9000-01-01T00:00:00Z"),
    ):
        with pytest.raises(RefusedError) as caught:
            decode_event(value, ARRIVED, far)
        assert caught.value.code is Code.ABSURD_TIME


@pytest.mark.parametrize("time", [946_684_800, 946_684_800_000, "2000-01-01T00:00:00Z", ARRIVED + 600])
def test_the_bounds_of_time_belong_to_what_is_taken(time: object) -> None:
    assert decode_event(own(time=time), ARRIVED, LIMITS).user == "u-1"


@pytest.mark.parametrize("time", [946_684_799.999, 946_684_799_999, ARRIVED + 600.001])
def test_just_outside_the_bounds_of_time_is_refused(time: float) -> None:
    assert refusal(own(time=time)).code is Code.ABSURD_TIME


def test_a_wild_append_time_lets_no_time_without_a_date_pass() -> None:
    for time in (1e12 * 1e3, 1e15, 1e300):
        with pytest.raises(RefusedError):
            decode_event(own(time=time), 9.2e15, LIMITS)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e11, float("nan"), float("inf")])
def test_limits_refuse_an_earliest_time_that_state_cannot_hold(value: float) -> None:
    with pytest.raises(ValueError, match="min_event_time"):
        Limits(min_event_time=value)


@pytest.mark.parametrize("extra", [b"1", b"null", b'{"deep": [[{}]]}', b'"\\u0000"', b"[1e300, -0.0, true]"])
def test_unknown_fields_are_ignored(extra: bytes) -> None:
    assert decode_event(with_raw("invented_later", extra), ARRIVED, LIMITS) == CLICK
    assert decode_event(call()[:-1] + b', "context": ' + extra + b"}", ARRIVED, LIMITS) == CLICK
    label = json.dumps(LABEL).encode()
    assert decode_label(label[:-1] + b', "source": ' + extra + b"}", ARRIVED, LIMITS) == Label(**LABEL)  # type: ignore[arg-type] # a plain dict


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_encoded_is_decoded_to_the_same_event(kind: str) -> None:
    event = Event(
        user="ü-1", kind=kind, time=GOOD_TIME + 0.25, id="e", item="i", category="c", amount=9.99,  # type: ignore[arg-type] # KINDS are Kind
        dwell=3.5, text="gut 👍", target="t", group="g",
    )  # fmt: skip
    assert decode_event(encode_event(event), ARRIVED, LIMITS) == event


def test_a_kind_stands_above_a_type() -> None:
    assert decode_event(own(type="track", event="Order Completed"), ARRIVED, LIMITS) == CLICK


def test_of_a_repeated_field_the_last_counts() -> None:
    assert decode_event(with_raw("user", b'"u-2"'), ARRIVED, LIMITS).user == "u-2"


def test_a_target_may_be_oneself_where_it_joins_nobody() -> None:
    assert decode_event(own(kind="comment", text="mine", target="u-1"), ARRIVED, LIMITS).target == "u-1"


def test_odd_ids_are_taken_as_they_are() -> None:
    for user in ("a\0b", " a ", "\u202ea", "💥", "0", "null", "../..", "\\"):
        event = decode_event(own(user=user), ARRIVED, LIMITS)
        assert event.user == user
        assert event.user.encode().decode() == user


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("letter", ["x", "é", "💥", "\0"])
def test_a_name_may_have_512_characters_of_any_size_and_no_more(name: str, letter: str) -> None:
    most = "a" + letter * (MAX_ID_CHARS - 1)
    assert getattr(decode_event(own(**{name: most}), ARRIVED, LIMITS), name) == most
    error = refusal(own(**{name: most + letter}))
    assert error.code is Code.TOO_LARGE
    assert f"`{name}` has 513 characters" in str(error)


def test_sizes_are_those_of_the_limits() -> None:
    limits = Limits(max_record_bytes=200, max_text_chars=5)
    assert decode_event(own(kind="comment", text="12345"), ARRIVED, limits).text == "12345"
    with pytest.raises(RefusedError, match="6 characters; at most 5"):
        decode_event(own(kind="comment", text="123456"), ARRIVED, limits)
    with pytest.raises(RefusedError, match="at most 200"):
        decode_event(own(x="y" * 200), ARRIVED, limits)


def test_a_label_is_decoded() -> None:
    value = encode_event(Label(user="u-1", segment="s", member=False, time=GOOD_TIME, weight=2.5, id="l-1"))
    assert decode_label(value, ARRIVED, LIMITS) == Label("u-1", "s", False, GOOD_TIME, 2.5, "l-1")


@pytest.mark.parametrize(
    ("fields", "code", "phrase"),
    [
        ({"user": None}, Code.MISSING_FIELD, "the label has no field `user`"),
        ({"user": ""}, Code.MISSING_FIELD, "a label needs `user` and `segment`"),
        ({"segment": ""}, Code.MISSING_FIELD, "a label needs `user` and `segment`"),
        ({"user": "x" * 513}, Code.TOO_LARGE, "`user` has 513 characters"),
        ({"segment": "x" * 513}, Code.TOO_LARGE, "`segment` has 513 characters"),
        ({"member": 1}, Code.WRONG_TYPE, "`member` has the wrong type"),
        ({"weight": 0}, Code.BAD_AMOUNT, "weight 0 is not above 0"),
        ({"weight": -1}, Code.BAD_AMOUNT, "weight -1 is not above 0"),
        ({"weight": 1000.5}, Code.BAD_AMOUNT, "at most 1000"),
        ({"time": 5}, Code.ABSURD_TIME, "1970-01-01T00:00:05.000Z is before"),
        ({"time": "noon"}, Code.ABSURD_TIME, "'noon' is neither"),
        ({"time": 1.69e15}, Code.ABSURD_TIME, "not micro- or nanoseconds"),
    ],
)
def test_a_bad_label_is_refused(fields: dict[str, object], code: Code, phrase: str) -> None:
    label = {name: value for name, value in (LABEL | fields).items() if value is not None}
    error = label_refusal(json.dumps(label).encode())
    assert error.code is code
    assert phrase in str(error)


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=lambda bad: bad.name)
def test_a_bad_event_on_the_topic_of_labels_is_refused_as_well(bad: BadRecord) -> None:
    assert str(label_refusal(bad.value)).isprintable()


def test_a_label_can_be_too_large_or_too_deep() -> None:
    assert label_refusal(json.dumps(LABEL | {"x": "y" * 1_048_576}).encode()).code is Code.TOO_LARGE
    deep = json.dumps(LABEL).encode()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert label_refusal(deep).code is Code.TOO_DEEP
