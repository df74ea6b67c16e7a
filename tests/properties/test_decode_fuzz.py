"""Whatever the bytes are, decoding gives an event that the rest of the service can use, or a refusal, nothing else."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.wire.decode import MAX_ID_CHARS, is_blank
from streams.wire.events import KINDS, Event, encode_event
from streams.wire.segment_spec import CALLS, TRACK
from tests.bad_records import ARRIVED, call, own
from tests.fuzz.checks import LIMITS, check_event, check_label
from tests.properties.mutation import mutated

#: how long to look: ``FUZZ_EXAMPLES=20000`` for a long search (hypothesis itself is deterministic under CI)
FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "300")), deadline=None)

SEEDS: Final = (
    own(),
    own(kind="comment", text='schön 👍 \\ " \n', item="i", category="c"),
    own(kind="follow", target="u-2", time="2023-07-22T04:26:40.125+02:00"),
    own(kind="purchase", amount=12.5, dwell=3, time=1_690_000_000_125),
    call(),
    call(event="Order Completed", properties={"revenue": "12.50", "products": [{"product_id": 7, "category": "x"}]}),
    call(type="alias", previousId="old", anonymousId=12, timestamp=1_690_000_000_125),
    json.dumps({"user": "u", "segment": "s", "member": True, "time": 1.69e9, "weight": 2}).encode(),
)
#: pieces that break parsers
NASTY: Final = (
    b'"\\ud800"', b'"\\udfff\\ud800"', b"\\ud83d", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"1" * 400, b"9" * 4_300,
    b"9" * 4_301, b"null", b"true", b"[" * 2_000, b'{"a":' * 2_000, b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0",
    b'"\\u0000"', b"\x1f", b"}", b'"', b"\\", b",", b":", b"1e11", b"99999999999.9", b"2.5e15", b"-1",
    b"\xf4\x90\x80\x80",
)  # fmt: skip


def mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value in nine is odd, so that records with several fields get past the first check."""
    return st.integers(0, 8).flatmap(lambda roll: odd if roll == 8 else good)


_any_text = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates as well
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _any_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_any_text, inner, max_size=4)),
    max_leaves=12,
)
_times = mostly(
    st.one_of(
        st.floats(9.5e8, ARRIVED),
        st.integers(950_000_000_000, int(ARRIVED * 1000)),
        st.datetimes(datetime(2000, 1, 2), datetime(2023, 11, 1), timezones=st.one_of(st.none(), st.timezones())).map(  # noqa: DTZ001 # zones are drawn
            lambda time: time.isoformat()
        ),
    ),
    st.one_of(
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.datetimes().map(lambda time: time.isoformat()),
        st.text(max_size=30),
        _json,
    ),
)
_ids = mostly(
    st.text(min_size=1, max_size=20),
    st.one_of(_any_text, st.integers(), st.sampled_from(["", "x" * 513, "é" * 512, "\0"]), _json),
)
_numbers = mostly(
    st.floats(0, 1e5),
    st.one_of(st.floats(), st.integers(-(10**400), 10**400), st.text("0123456789.eE+-_ naif", max_size=12), _json),
)
_properties = st.dictionaries(
    st.sampled_from(
        ["revenue", "total", "value", "dwell", "duration", "item", "product_id", "products", "category", "text",
         "review_body", "target", "userId", "group"]
    ),
    st.one_of(_ids, _numbers),
    max_size=5,
)  # fmt: skip
_own = st.fixed_dictionaries(
    {"user": _ids, "kind": st.sampled_from(KINDS), "time": _times},
    optional={
        **dict.fromkeys(("id", "item", "category", "text", "target", "group"), _ids),
        **dict.fromkeys(("amount", "dwell"), _numbers),
        "extra": _json,
    },
)
_calls = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", *CALLS]), "event": st.sampled_from(sorted(TRACK)), "userId": _ids},
    optional={
        **dict.fromkeys(("messageId", "anonymousId", "previousId", "groupId", "name"), _ids),
        **dict.fromkeys(("timestamp", "originalTimestamp", "sentAt", "receivedAt"), _times),
        "properties": mostly(_properties, _json),
        "context": _json,
    },
)
_labels = st.fixed_dictionaries(
    {"user": _ids, "segment": _ids, "member": st.booleans(), "time": _times},
    optional={"weight": _numbers, "id": _ids, "extra": _json},
)


_values = st.sampled_from(
    [b'"klick"', b'"view"', b'"\xff"', b'"\\ud800"', b'""', b"null", b"1", b"-1e999", b"[]", b"{}"]
)


@st.composite
def _repeated(draw: st.DrawFn) -> bytes:
    """A good record with one of its fields before and after all of them as well, as JSON allows."""
    seed = draw(st.sampled_from(SEEDS))
    name = json.dumps(draw(st.sampled_from(sorted(json.loads(seed))))).encode()
    return b"{%b:%b,%b,%b:%b}" % (name, draw(_values), seed[1:-1], name, draw(_values))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_give_an_event_or_a_refusal(value: bytes) -> None:
    check_event(value)
    check_label(value)


@FUZZ
@given(mutated(st.sampled_from(SEEDS), NASTY, st.integers(1, 255), 4))
@example(own()[:-1] + b', "\\ud800": 1}')
@example(b'{"kind":"\x1b[31m\n"}')
@example(b'{"user":"u","kind":"\x1b\r","time":1690000000}')
@example(b'{"user":"u","kind":"\\u000a","time":1690000000}')
def test_a_damaged_record_gives_an_event_or_a_refusal(value: bytes) -> None:
    check_event(value)
    check_label(value)


@FUZZ
@given(_json)
def test_json_of_any_shape_gives_an_event_or_a_refusal(value: Any) -> None:
    check_event(json.dumps(value).encode())
    check_label(json.dumps(value).encode())


@FUZZ
@given(_own)
@example({"user": "u", "kind": "click", "time": 1e308})
@example({"user": "u", "kind": "click", "time": "9999-12-31T23:59:59.999999-23:59"})
@example({"user": "u", "kind": "click", "time": "0001-01-01T00:00:00+23:59"})
def test_fields_of_our_own_form_give_an_event_or_a_refusal(value: dict[str, Any]) -> None:
    check_event(json.dumps(value).encode())


@FUZZ
@given(_calls)
@example({"type": "page", "userId": 10**4_299, "timestamp": 1.69e9})
@example({"type": "track", "event": "purchase", "userId": "u", "timestamp": 1.69e9, "properties": {"value": 10**4_299}})
def test_calls_of_the_segment_spec_give_an_event_or_a_refusal(value: dict[str, Any]) -> None:
    check_event(json.dumps(value).encode())


@FUZZ
@given(_repeated())
def test_a_field_that_is_there_again_gives_an_event_or_a_refusal(value: bytes) -> None:
    check_event(value)
    check_label(value)


@FUZZ
@given(_labels)
def test_fields_of_a_label_give_a_label_or_a_refusal(value: dict[str, Any]) -> None:
    check_label(json.dumps(value).encode())


@FUZZ
@given(st.integers(0, 3_000), st.sampled_from([b"[", b'{"a":']), st.sampled_from(SEEDS[:7]))
def test_nesting_of_any_depth_gives_an_event_or_a_refusal(depth: int, opening: bytes, seed: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for field in (b"properties", b"extra"):
        check_event(seed[:-1] + b', "' + field + b'": ' + opening * depth + b"1" + closing * depth + b"}")


@FUZZ
@given(
    user=st.text(min_size=1, max_size=MAX_ID_CHARS).filter(lambda user: user != "other" and not is_blank(user)),
    kind=st.sampled_from(KINDS),
    time=st.floats(LIMITS.min_event_time, ARRIVED),
    names=st.lists(st.text(max_size=40), min_size=3, max_size=3),
    text=st.text(min_size=1, max_size=200).filter(lambda text: not is_blank(text)),
)
def test_every_good_event_is_taken_and_comes_back_equal(
    user: str, kind: Any, time: float, names: list[str], text: str
) -> None:
    event = Event(user, kind, time, names[0], names[1], names[2], amount=9.99, text=text, target="other", group="g")
    assert check_event(encode_event(event)) == event
