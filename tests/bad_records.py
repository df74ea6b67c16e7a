"""Records of the event topic that cannot be used, each with the refusal it must meet; several tests read this list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from streams.wire.refused import Code

ARRIVED: Final = 1_700_000_000.0
"""When the broker took the records: 2023-11-14, in seconds."""
GOOD_TIME: Final = 1_690_000_000.0


@dataclass(frozen=True)
class BadRecord:
    """``phrase`` stands in the reason for people, whenever the record arrives.

    ``by_schema``: the published JSON Schema refuses it as well.
    """

    name: str
    value: bytes | None
    code: Code
    phrase: str
    by_schema: bool = False


def own(**fields: Any) -> bytes:
    """A good click in our own form, with fields replaced or, when None, left out."""
    event = {"user": "u-1", "kind": "click", "time": GOOD_TIME, "id": "e-1"} | fields
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def call(**fields: Any) -> bytes:
    """A good Segment Spec call, with fields replaced or, when None, left out."""
    event = {
        "type": "track",
        "event": "Product Clicked",
        "userId": "u-1",
        "messageId": "e-1",
        "timestamp": "2023-07-22T04:26:40.000Z",
    } | fields
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def with_raw(field: str, raw: bytes) -> bytes:
    """A good click with one more field whose value is ``raw`` as it is."""
    return own()[:-1] + b', "' + field.encode() + b'": ' + raw + b"}"


def _order(**properties: Any) -> bytes:
    return call(event="Order Completed", properties=properties)


_DEEP = 100_000

#: the ten kinds that must never stop the service, and what else producers get wrong
BAD_RECORDS: Final = (
    # no JSON
    BadRecord("null value", None, Code.EMPTY, "no value"),
    BadRecord("empty value", b"", Code.EMPTY, "no value"),
    BadRecord("not JSON", b"GET / HTTP/1.1", Code.NOT_JSON, "not valid JSON"),
    BadRecord("only blanks", b"  \n", Code.NOT_JSON, "not valid JSON"),
    BadRecord("cut off", own()[:-9], Code.NOT_JSON, "truncated"),
    BadRecord("trailing bytes", own() + b"\x00\x01", Code.NOT_JSON, "trailing characters"),
    BadRecord("two records in one", own() + own(), Code.NOT_JSON, "trailing characters"),
    BadRecord("single quotes", own().replace(b'"', b"'"), Code.NOT_JSON, "not valid JSON"),
    BadRecord("surrogate garbage", own().replace(b"u-1", rb"\ud83d u"), Code.NOT_JSON, "surrogate"),
    BadRecord("surrogates in the wrong order", own().replace(b"u-1", rb"\ude00\ud83d"), Code.NOT_JSON, "surrogate"),
    BadRecord("UTF-8 byte order mark", b"\xef\xbb\xbf" + own(), Code.NOT_JSON, "byte order mark"),
    BadRecord("UTF-16", own().decode().encode("utf-16-le"), Code.NOT_JSON, "UTF-16"),
    BadRecord("UTF-16 byte order mark", own().decode().encode("utf-16"), Code.NOT_UTF8, "UTF-16"),
    BadRecord("invalid UTF-8", own().replace(b"u-1", b"u-\xff"), Code.NOT_UTF8, "byte 0xff at 12"),
    BadRecord("surrogate as UTF-8", own().replace(b"u-1", b"\xed\xa0\x80"), Code.NOT_UTF8, "byte 0xed at 10"),
    BadRecord("Latin-1", own(user="Jürgen").replace(rb"\u00fc", b"\xfc"), Code.NOT_UTF8, "byte 0xfc"),
    # nesting and size
    BadRecord("deep nesting", with_raw("x", b"[" * _DEEP + b"]" * _DEEP), Code.TOO_DEEP, "nested too deeply"),
    BadRecord("deep nesting, never closed", with_raw("x", b'{"a":' * _DEEP), Code.TOO_DEEP, "nested too deeply"),
    BadRecord(
        "nested properties bomb",
        call()[:-1] + b', "properties": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}",
        Code.TOO_DEEP,
        "nested too deeply",
    ),
    BadRecord("10 MB text", own(kind="comment", text="x" * 10_000_000), Code.TOO_LARGE, "10,000,0", True),
    BadRecord("long text", own(kind="comment", text="x" * 20_001), Code.TEXT_TOO_LONG, "20,001 characters", True),
    BadRecord("id too long", own(id="x" * 513), Code.TOO_LARGE, "`id` has 513 characters", True),
    BadRecord("user too long", own(user="x" * 513), Code.TOO_LARGE, "`user` has 513 characters", True),
    BadRecord("category too long", own(category="x" * 999_999), Code.TOO_LARGE, "`category` has 999,999", True),
    # shape
    BadRecord("null", b"null", Code.WRONG_TYPE, "Expected `object`, got `null`", True),
    BadRecord("array", b'["u-1", "click", 1690000000]', Code.WRONG_TYPE, "Expected `object`, got `array`", True),
    BadRecord("text", b'"click"', Code.WRONG_TYPE, "Expected `object`, got `str`", True),
    BadRecord("number", b"42", Code.WRONG_TYPE, "Expected `object`, got `int`", True),
    BadRecord("empty object", b"{}", Code.MISSING_FIELD, "no field `user`", True),
    BadRecord("wrong types", own(user=7, text=[]), Code.WRONG_TYPE, "`user` has the wrong type", True),
    BadRecord("text as number", own(amount="12.50"), Code.WRONG_TYPE, "`amount` has the wrong type", True),
    BadRecord("number as text", own(text=5), Code.WRONG_TYPE, "`text` has the wrong type", True),
    BadRecord("null user", with_raw("user", b"null"), Code.WRONG_TYPE, "Expected `str`, got `null`", True),
    BadRecord("missing user", own(user=None), Code.MISSING_FIELD, "no field `user`", True),
    BadRecord("empty user", own(user=""), Code.MISSING_FIELD, "`user` is empty", True),
    BadRecord("missing time", own(time=None), Code.MISSING_FIELD, "no field `time`", True),
    BadRecord("missing kind", own(kind=None), Code.MISSING_FIELD, "no field `kind`", True),
    BadRecord("unknown kind", own(kind="klick"), Code.UNKNOWN_KIND, "the kind 'klick' is not known", True),
    BadRecord("long unknown kind", own(kind="k" * 9_999), Code.UNKNOWN_KIND, "known are view, click", True),
    BadRecord(
        "kind with a terminal's escapes", own(kind="\x1b[2J\n"), Code.UNKNOWN_KIND, r"the kind '\x1b[2J\n'", True
    ),
    BadRecord("kind twice", own(kind="klick")[:-1] + b', "kind": "view"}', Code.UNKNOWN_KIND, "the kind 'klick'"),
    BadRecord("kind twice, then none", own(kind="klick")[:-1] + b', "kind": null}', Code.UNKNOWN_KIND, "'klick'", True),
    BadRecord("kind twice, then no text", own(kind="k")[:-1] + b', "kind": "\xff"}', Code.UNKNOWN_KIND, "the kind 'k'"),
    BadRecord("kind like a reason", own(kind="missing required field `a`"), Code.UNKNOWN_KIND, "field `a`'", True),
    BadRecord("kind as number", own(kind=1), Code.WRONG_TYPE, "`kind` has the wrong type", True),
    # what a kind needs
    BadRecord("empty text comment", own(kind="comment", text=""), Code.MISSING_FIELD, "needs the field `text`", True),
    BadRecord(
        "blank text comment", own(kind="comment", text=" \n"), Code.MISSING_FIELD, "needs the field `text`", True
    ),
    BadRecord("blank user", own(user=" \t"), Code.MISSING_FIELD, "`user` is blank", True),
    BadRecord(
        "blank target", own(kind="follow", target="\u200b"), Code.MISSING_FIELD, "needs the field `target`", False
    ),
    BadRecord("follow of nobody", own(kind="follow"), Code.MISSING_FIELD, "needs the field `target`", True),
    BadRecord("join of nothing", own(kind="join"), Code.MISSING_FIELD, "needs the field `group`", True),
    BadRecord("identify with nobody", own(kind="identify"), Code.MISSING_FIELD, "needs the field `target`", True),
    BadRecord("self-follow", own(kind="follow", target="u-1"), Code.SELF_FOLLOW, "cannot follow themselves"),
    BadRecord("self-alias", own(kind="alias", target="u-1"), Code.SELF_FOLLOW, "cannot alias themselves"),
    # amounts
    BadRecord("NaN amount", with_raw("amount", b"NaN"), Code.BAD_AMOUNT, "no NaN or Infinity"),
    BadRecord("infinite amount", with_raw("amount", b"Infinity"), Code.BAD_AMOUNT, "no NaN or Infinity"),
    BadRecord("negative infinity", with_raw("dwell", b"-Infinity"), Code.BAD_AMOUNT, "no NaN or Infinity"),
    BadRecord("negative amount", own(amount=-1), Code.BAD_AMOUNT, "amount -1 is not between", True),
    BadRecord("number too large", own(amount=1e12), Code.BAD_AMOUNT, "amount 1e+12 is not between", True),
    BadRecord(
        "number beyond floats", with_raw("amount", b"1e400"), Code.BAD_AMOUNT, "`amount` is a number out of range", True
    ),
    BadRecord("5,000 digits", with_raw("amount", b"9" * 5_000), Code.BAD_AMOUNT, "`amount` is a number out of range"),
    BadRecord("negative dwell", own(dwell=-0.5), Code.BAD_AMOUNT, "dwell -0.5 s is not between", True),
    BadRecord("dwell of a month", own(dwell=2_592_000), Code.BAD_AMOUNT, "is not between 0 and 604800 s", True),
    # times
    BadRecord("year 1970", own(time=12.5), Code.ABSURD_TIME, "1970-01-01T00:00:12.500Z is before 2000-01-01", True),
    BadRecord("year 2999", own(time=32_472_144_000), Code.ABSURD_TIME, "2999-01-01T00:00:00.000Z is after"),
    BadRecord("year 2999 in ms", own(time=32_472_144_000_000), Code.ABSURD_TIME, "2999-01-01T00:00:00.000Z is after"),
    BadRecord("year 2999 in ISO", own(time="2999-01-01T00:00:00Z"), Code.ABSURD_TIME, "2999-01-01T00:00:00.000Z"),
    BadRecord("year 9999 in ISO", own(time="9999-12-31T23:59:59-23:59"), Code.ABSURD_TIME, "too far ahead"),
    BadRecord("microseconds", own(time=1_690_000_000_000_000), Code.ABSURD_TIME, "not micro- or nanoseconds", True),
    BadRecord("nanoseconds", own(time=1_690_000_000 * 10**9), Code.ABSURD_TIME, "not micro- or nanoseconds", True),
    BadRecord("time of 1e308", own(time=1e308), Code.ABSURD_TIME, "the time 1e+308 is too large", True),
    BadRecord("time beyond floats", own(time=10**400), Code.ABSURD_TIME, "`time` is a number out of range", True),
    BadRecord("negative time", own(time=-5), Code.ABSURD_TIME, "1969-12-31T23:59:55.000Z is before", True),
    BadRecord("time of -1e300", own(time=-1e300), Code.ABSURD_TIME, "-1e+300 s is before", True),
    BadRecord("time as true", own(time=True), Code.WRONG_TYPE, "`time` has the wrong type", True),
    BadRecord("time in words", own(time="yesterday"), Code.ABSURD_TIME, "'yesterday' is neither", True),
    BadRecord("time as NaN text", own(time="NaN"), Code.ABSURD_TIME, "'NaN' is neither", True),
    BadRecord("time as digits in text", own(time="1690000000"), Code.ABSURD_TIME, "'1690000000' is neither"),
    BadRecord("empty time", own(time=""), Code.ABSURD_TIME, "'' is neither", True),
    BadRecord("30th of February", own(time="2023-02-30T00:00:00Z"), Code.ABSURD_TIME, "is neither"),
    # the Segment Spec
    BadRecord("unsupported Segment event", call(event="Coffee Spilled"), Code.UNKNOWN_EVENT, "'Coffee Spilled'"),
    BadRecord("track without event", call(event=None), Code.UNKNOWN_EVENT, "a track call without `event`", True),
    BadRecord("unknown segment call type", call(type="push"), Code.UNKNOWN_EVENT, "the call type 'push'", True),
    BadRecord("call type as number", call(type=3), Code.WRONG_TYPE, "`type` has the wrong type", True),
    BadRecord("call without user", call(userId=None), Code.MISSING_FIELD, "neither `userId` nor `anonymousId`", True),
    BadRecord("call without time", call(timestamp=None), Code.MISSING_FIELD, "no `timestamp`", True),
    BadRecord("call in words of time", call(timestamp="noon"), Code.ABSURD_TIME, "'noon' is neither", True),
    BadRecord("call in microseconds", call(timestamp=1.69e15), Code.ABSURD_TIME, "not micro- or nanoseconds", True),
    BadRecord("call in 1999", call(timestamp="1999-12-31T23:59:59.999Z"), Code.ABSURD_TIME, "before 2000-01-01"),
    BadRecord("user id as list", call(userId=["u-1"]), Code.WRONG_TYPE, "`userId` has the wrong type", True),
    BadRecord("properties as list", call(properties=[1]), Code.WRONG_TYPE, "`properties` has the wrong type", True),
    BadRecord("numeric user id of 600 digits", call(userId=10**600), Code.TOO_LARGE, "`user` has 601 characters"),
    BadRecord("revenue in words", _order(revenue="12 EUR"), Code.WRONG_TYPE, "`properties.revenue` is not a number"),
    BadRecord("revenue as NaN text", _order(revenue="NaN"), Code.BAD_AMOUNT, "`properties.revenue` is not a finite"),
    BadRecord("revenue of 400 digits", _order(revenue=10**400), Code.BAD_AMOUNT, "too large a number"),
    BadRecord("revenue below zero", _order(revenue=-3), Code.BAD_AMOUNT, "amount -3 is not between"),
    BadRecord("revenue as object", _order(total={"EUR": 3}), Code.WRONG_TYPE, "`properties.total` is not a number"),
    BadRecord("revenue with an underscore", _order(revenue="1_0"), Code.WRONG_TYPE, "not a number: '1_0'"),
    BadRecord(
        "review without text",
        call(event="Product Reviewed", properties={"product_id": "p"}),
        Code.MISSING_FIELD,
        "needs the field `text`",
    ),
    BadRecord(
        "self-follow as a call",
        call(event="User Followed", properties={"followedId": "u-1"}),
        Code.SELF_FOLLOW,
        "cannot follow themselves",
    ),
)
