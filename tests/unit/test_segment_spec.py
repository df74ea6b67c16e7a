"""One story, as RudderStack writes it to Kafka and in our own form: equal events, equal states; and the docs say so."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import xxhash

from state.layout2 import DEDUPE_EVENTS, DEDUPE_SECONDS, MOST_IDS
from state.plain.record import PlainRecord
from state.user import fold
from state.windows import TallyPlan, TallySpec
from streams.settings import Settings
from streams.steps.waiting import MOST, MOST_OF_USER
from streams.wire.decode import NEEDS, Limits, decode_event, decode_label
from streams.wire.events import KINDS, Event
from streams.wire.refused import Code, RefusedError
from streams.wire.segment_spec import CALLS, TRACK
from tests.bad_records import ARRIVED, call

LIMITS = Limits()
EVENTS_MD = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def rudder(kind: str, number: int, timestamp: str = "2023-07-22T04:26:40.250Z", **fields: Any) -> dict[str, Any]:
    """A call with all that RudderStack's JavaScript SDK and server put into it; fields given as None are left out."""
    payload = {
        "type": kind,
        "messageId": f"9c0ba4e3-{number:04d}",
        "channel": "web",
        "rudderId": "3b6f1f0c-5a53-4f6d-9d0e-0a8d0f6f5f11",
        "userId": "u-1",
        "anonymousId": "b2f1c9aa-anon",
        "context": {
            "app": {"name": "Shop", "namespace": "com.example.shop", "version": "1.4.0", "installType": "npm"},
            "campaign": {"source": "newsletter", "medium": "mail"},
            "ip": "203.0.113.7",
            "library": {"name": "RudderLabs JavaScript SDK", "version": "2.48.0"},
            "locale": "de-CH",
            "page": {"path": "/p/3", "referrer": "$direct", "title": "Shoes", "url": "https://shop.example/p/3"},
            "screen": {"density": 2, "height": 1117, "width": 1728, "innerHeight": 951, "innerWidth": 1728},
            "sessionId": 1689999990000,
            "sessionStart": True,
            "timezone": "GMT+0200",
            "traits": {"email": "someone@example.org", "age": 41},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Firefox/115.0",
        },
        "integrations": {"All": True, "KAFKA": {"topic": "user-events"}},
        "originalTimestamp": "2023-07-22T04:26:45.750Z",
        "sentAt": "2023-07-22T04:26:46.000Z",
        "receivedAt": "2023-07-22T04:26:40.500Z",
        "timestamp": timestamp,
        "request_ip": "203.0.113.7",
        "properties": {},
    } | fields
    return {name: value for name, value in payload.items() if value is not None}


def ours(kind: str, number: int, **fields: Any) -> dict[str, Any]:
    return {"user": "u-1", "kind": kind, "time": 1_690_000_000.25, "id": f"9c0ba4e3-{number:04d}"} | fields


_PRODUCT = {
    "product_id": "sku-3", "sku": "G-32", "category": "shoes", "name": "Runner", "brand": "Fleet", "variant": "red",
    "price": 59.9, "quantity": 1, "coupon": "SUMMER", "position": 3, "url": "https://shop.example/p/3",
}  # fmt: skip
_OTHER = _PRODUCT | {"product_id": "sku-4", "category": "socks"}
_AT_3 = {"item": "sku-3", "category": "shoes"}
_ORDER = {
    "checkout_id": "c-7", "order_id": "o-9", "affiliation": "Web", "currency": "CHF", "shipping": 7, "tax": 4.5,
    "discount": 2.5, "coupon": "SUMMER", "products": [_PRODUCT, _OTHER],
}  # fmt: skip
_n = count(1)


def _track(event: str, properties: dict[str, Any], kind: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    number = next(_n)
    return rudder("track", number, event=event, properties=properties), ours(kind, number, **fields)


def _call(kind: str, ours_kind: str, given: dict[str, Any], **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    number = next(_n)
    return rudder(kind, number, **given), ours(ours_kind, number, **fields)


PAIRS = {
    "product viewed": _track("Product Viewed", _PRODUCT, "view", **_AT_3),
    "product list viewed": _track(
        "Product List Viewed", {"list_id": "l", "category": "sale", "products": [_PRODUCT, _OTHER]}, "view",
        item="sku-3", category="sale",
    ),
    "product clicked": _track("Product Clicked", _PRODUCT, "click", **_AT_3),
    "product added": _track("Product Added", {"cart_id": "c", **_PRODUCT}, "click", **_AT_3),
    "cart viewed": _track("Cart Viewed", {"cart_id": "c", "products": [_PRODUCT, _OTHER]}, "view", **_AT_3),
    "promotion clicked": _track("Promotion Clicked", {"promotion_id": "p", "creative": "top"}, "click"),
    "checkout started": _track("Checkout Started", _ORDER | {"value": 80}, "click", **_AT_3),
    "order by revenue": _track("Order Completed", _ORDER | {"revenue": 119.8, "total": 131.3}, "purchase",
                               amount=119.8, **_AT_3),
    "order by total": _track("order completed", _ORDER | {"total": 131}, "purchase", amount=131, **_AT_3),
    "order with text revenue": _track("ORDER COMPLETED ", {"order_id": "o-9", "revenue": "12.50"}, "purchase",
                                      item="o-9", amount=12.5),
    "review": _track("Product Reviewed", {"product_id": "sku-3", "review_id": "r", "rating": "5",
                                          "review_body": "Läuft sich wie auf Wolken 👟"}, "comment",
                     item="sku-3", text="Läuft sich wie auf Wolken 👟"),
    "comment": _track("Comment Added", {"article_id": "a-1", "text": "agreed"}, "comment", item="a-1", text="agreed"),
    "article": _track("Article Viewed", {"article_id": "a-1", "category": "politics", "dwell": 31.5}, "view",
                      item="a-1", category="politics", dwell=31.5),
    "video": _track("Video Content Started", {"content_id": "v-1", "seconds_watched": 12}, "view",
                    item="v-1", dwell=12),
    "follow": _track("User Followed", {"followedId": "u-2"}, "follow", target="u-2"),
    "follow of a number": _track("Followed", {"user_id": 77}, "follow", target="77"),
    "unfollow": _track("User Unfollowed", {"followed_id": "u-2"}, "unfollow", target="u-2"),
    "group joined": _track("Group Joined", {"group_id": "runners"}, "join", group="runners"),
    "group left": _track("Group Left", {"group": "runners"}, "leave", group="runners"),
    "own kind as event": _track("click", {"item": "x"}, "click", item="x"),
    "page": _call("page", "view", {"name": "Shoes", "properties": {"path": "/p/3", "category": "shoes"}},
                  category="shoes"),
    "screen": _call("screen", "view", {"name": "Home", "properties": {"item": "home"}}, item="home"),
    "group call": _call("group", "join", {"groupId": "acme", "traits": {"plan": "pro"}}, group="acme"),
    "identify": _call("identify", "identify", {"traits": {"email": "x@example.org"}}, target="b2f1c9aa-anon"),
    "identify of nobody else": _call("identify", "view", {"anonymousId": None}),
    "alias": _call("alias", "alias", {"previousId": "old-1", "anonymousId": None}, target="old-1"),
    "anonymous": _call("page", "view", {"userId": None}, user="b2f1c9aa-anon", anonymous=True),
    "empty user id": _call("page", "view", {"userId": ""}, user="b2f1c9aa-anon", anonymous=True),
    "numeric user id": _call("page", "view", {"userId": 4711}, user="4711"),
    "numeric message id": _call("page", "view", {"messageId": 12}, id="12"),
    "properties are null": _call("page", "view", {"properties": None}),
    "erasure": _call("delete", "delete", {}),
}  # fmt: skip


def decoded(value: dict[str, Any]) -> Event:
    return decode_event(json.dumps(value).encode(), ARRIVED, LIMITS)


@pytest.mark.parametrize("name", PAIRS)
def test_a_segment_call_and_our_own_form_of_it_are_equal_field_by_field(name: str) -> None:
    theirs, own = (decoded(value) for value in PAIRS[name])
    for field in Event.__struct_fields__:
        assert getattr(theirs, field) == getattr(own, field), field


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 1_690_000_000.25),
        ({"timestamp": None}, 1_690_000_005.75),
        ({"timestamp": ""}, 1_690_000_005.75),
        ({"timestamp": None, "originalTimestamp": None}, 1_690_000_006.0),
        ({"timestamp": None, "originalTimestamp": None, "sentAt": None}, 1_690_000_000.5),
        ({"timestamp": "2023-07-22T06:26:40.25+02:00"}, 1_690_000_000.25),
        ({"timestamp": 1_690_000_000_250}, 1_690_000_000.25),
    ],
)
def test_the_time_is_the_first_of_the_specs_four(fields: dict[str, Any], seconds: float) -> None:
    value = {key: each for key, each in (rudder("page", 1) | fields).items() if each is not None}
    assert decoded(value).time == seconds


SPECS = frozenset(
    {
        TallySpec("view", "count", 3_600),
        TallySpec("click", "count", 604_800, "shoes"),
        TallySpec("purchase", "amount", 30 * 86_400),
        TallySpec("purchase", "count", 86_400, "shoes"),
        TallySpec("view", "dwell", 86_400, "politics"),
        TallySpec("comment", "count", 600),
    }
)


def state_of(events: list[Event]) -> PlainRecord:
    plan = TallyPlan(SPECS)
    state = PlainRecord("u-1", 1)
    for event in events:
        fold(state, event, xxhash.xxh3_64_intdigest(event.id.encode()), plan, ARRIVED)
    return state


def test_both_streams_fold_into_the_same_state_to_the_byte() -> None:
    mine = [name for name, (_, own) in PAIRS.items() if own["user"] == "u-1" and own["kind"] != "delete"]
    theirs, own = ([decoded(PAIRS[name][side]) for name in mine] for side in (0, 1))
    state = state_of(theirs)
    assert state.pack() == state_of(own).pack()
    assert state.count == len(mine) > 20
    assert all(spec.key in state.cells for spec in SPECS)
    assert [event.text for event in theirs if event.text] == ["Läuft sich wie auf Wolken 👟", "agreed"]
    assert state.texts == 2
    assert {target for target, _ in state.edges.items()} == {"u-2", "77"}
    assert {group for group, _ in state.groups.items()} == {"runners", "acme"}


def test_every_kind_can_be_told_in_the_segment_spec() -> None:
    assert set(TRACK.values()) | set(CALLS.values()) == set(KINDS)


@pytest.mark.parametrize("name", TRACK)
def test_every_mapped_track_event_is_understood_however_it_is_written(name: str) -> None:
    properties = {"text": "t", "target": "u-2", "group": "g"}
    for written in (name, name.upper(), name.title(), f" {name} "):
        assert decode_event(call(event=written, properties=properties), ARRIVED, LIMITS).kind == TRACK[name]


def test_a_refusal_repeats_only_the_beginning_of_a_producers_words() -> None:
    for value in (call(event="z" * 100_000), call(type="z" * 100_000)):
        with pytest.raises(RefusedError) as caught:
            decode_event(value, ARRIVED, LIMITS)
        assert caught.value.code is Code.UNKNOWN_EVENT
        assert len(str(caught.value)) < 200


def _rows(words: str) -> set[str]:
    return {word.lower() for word in re.findall(r"`([^`]+)`", words)}


def test_the_docs_map_every_track_event_to_its_kind() -> None:
    table = EVENTS_MD.split("| `event` of a track call | kind |")[1].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        names, kind = line.strip("|").split("|")
        found.update(dict.fromkeys(_rows(names), kind.strip(" `")))
    assert found == TRACK


def test_the_docs_map_every_call_to_its_kind() -> None:
    table = EVENTS_MD.split("| call (`type`) | kind |")[1].split("\n\n")[0]
    for name, kind in CALLS.items():
        assert any(f"`{name}`" in line and f"`{kind}`" in line for line in table.splitlines()), name


def test_the_docs_have_every_kind_with_what_it_needs_and_every_field() -> None:
    for kind in KINDS:
        row = re.search(rf"^\| `{kind}` \|.*\| (.*)\|$", EVENTS_MD, re.MULTILINE)
        assert row, kind
        assert row[1].strip(" `") == NEEDS.get(kind, "")
    for field in Event.__struct_fields__:
        assert f"\n| `{field}` | " in EVENTS_MD.split("## The Segment Spec")[0], field


def test_the_docs_have_every_refusal_code_and_no_other() -> None:
    table = EVENTS_MD.split("| `reason-code` |")[1]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == {str(code) for code in Code}


def test_the_docs_say_what_the_limits_are() -> None:
    words = " ".join(EVENTS_MD.split())
    ahead = Settings.model_fields["max_ahead_seconds"].default
    for said in (
        f"more than {ahead:g} s after the record arrived at the broker, are refused",
        f"among the last {DEDUPE_EVENTS:,} events, however long ago, or within {DEDUPE_SECONDS // 3_600} hours,",
        f"at most the last {MOST_IDS:,} ids",
        f"At most {MOST_OF_USER:,} events of a user and {MOST:,} of a partition wait",
    ):
        assert said in words, said


def test_the_examples_in_the_docs_are_good_records() -> None:
    examples = re.findall(r"```json\n(.*?)```", EVENTS_MD, re.DOTALL)
    assert len(examples) == 4
    *events, label = (example.encode() for example in examples)
    own, _, theirs = (decode_event(event, ARRIVED, LIMITS) for event in events)
    assert own == theirs
    assert decode_label(label, ARRIVED, LIMITS).member
