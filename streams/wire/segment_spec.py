"""The Segment Spec, as Segment and RudderStack write it to Kafka, mapped to our events.

The mapping is the table below; a ``track`` event that is not in it is refused by name, so that nothing is
dropped unseen. ``identify``/``alias`` join an anonymous id to a user id; ``page``/``screen`` are views.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from streams.wire.events import Event, Kind
from streams.wire.refused import SHOWN, Code, RefusedError
from streams.wire.times import wire_seconds

#: ``event`` of a track call → our kind (names of the ecommerce, video and our own social vocabulary)
TRACK: Final[dict[str, Kind]] = {
    "product viewed": "view",
    "product list viewed": "view",
    "article viewed": "view",
    "content viewed": "view",
    "video content started": "view",
    "promotion viewed": "view",
    "product clicked": "click",
    "promotion clicked": "click",
    "article clicked": "click",
    "product added": "click",
    "product added to wishlist": "click",
    "product shared": "click",
    "cart viewed": "view",
    "checkout started": "click",
    "order completed": "purchase",
    "product purchased": "purchase",
    "product reviewed": "comment",
    "comment added": "comment",
    "commented": "comment",
    "user followed": "follow",
    "followed": "follow",
    "user unfollowed": "unfollow",
    "unfollowed": "unfollow",
    "group joined": "join",
    "group left": "leave",
    "user deleted": "delete",
}
#: our own kinds are taken as event names as well
TRACK.update({kind: kind for kind in ("view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave")})

#: ``type`` of the other calls → our kind
CALLS: Final[dict[str, Kind]] = {
    "page": "view",
    "screen": "view",
    "identify": "identify",
    "alias": "alias",
    "group": "join",
    "delete": "delete",
}

Path = tuple[str | int, ...]
#: paths within ``properties`` (keys, and 0 for the first of a list) to a field of ours; the first that says something
ITEM: Final[tuple[Path, ...]] = (
    ("products", 0, "product_id"), ("item",), ("product_id",), ("productId",), ("sku",), ("article_id",),
    ("content_id",), ("order_id",),
)  # fmt: skip
CATEGORY: Final[tuple[Path, ...]] = (("category",), ("product_category",), ("products", 0, "category"))
TEXT: Final[tuple[Path, ...]] = (("review_body",), ("text",), ("comment",), ("body",), ("content",))
TARGET: Final[tuple[Path, ...]] = (("target",), ("followedId",), ("followed_id",), ("user_id",), ("userId",))
GROUP: Final[tuple[Path, ...]] = (("group",), ("groupId",), ("group_id",))
AMOUNT: Final[tuple[Path, ...]] = (("revenue",), ("total",), ("value",), ("amount",))
DWELL: Final[tuple[Path, ...]] = (("dwell",), ("seconds_watched",), ("duration",))


class Message(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A call of the Segment Spec; fields we do not use are ignored. Ids may be numbers, as some libraries write."""

    type: str
    message_id: str | int | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    previous_id: str | int | None = None
    group_id: str | int | None = None
    event: str | None = None
    name: str | None = None
    timestamp: str | float | None = None
    original_timestamp: str | float | None = None
    sent_at: str | float | None = None
    received_at: str | float | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(Message).decode


def decode(raw: bytes) -> Event:
    """Map one Segment Spec call. Raises RefusedError, or msgspec's errors when it is not such a call."""
    call = _decode(raw)
    known = _text(call.user_id)
    user = known or _text(call.anonymous_id)
    if not user:
        raise RefusedError(Code.MISSING_FIELD, "the call has neither `userId` nor `anonymousId`")
    properties = call.properties or {}
    kind = _kind(call)
    target = ""
    group = ""
    if kind in ("identify", "alias"):
        target = _text(call.previous_id) if kind == "alias" else _text(call.anonymous_id)
        if not target or target == user:
            # identify with nothing to join only says that the user is there
            kind, target = "view", ""
    elif kind in ("follow", "unfollow"):
        target = _first(properties, TARGET)
    elif kind in ("join", "leave"):
        group = _text(call.group_id) or _first(properties, GROUP)
    return Event(
        user=user,
        kind=kind,
        time=_time(call),
        id=_text(call.message_id),
        item=_first(properties, ITEM),
        category=_first(properties, CATEGORY),
        amount=_number(properties, AMOUNT) if kind == "purchase" else 0.0,
        dwell=_number(properties, DWELL),
        text=_first(properties, TEXT) if kind == "comment" else "",
        target=target,
        group=group,
        anonymous=not known,
    )


def _kind(call: Message) -> Kind:
    if call.type == "track":
        name = (call.event or "").strip()
        kind = TRACK.get(name.lower())
        if kind is None:
            shown = f"the track event {name[:SHOWN]!r}" if name else "a track call without `event`"
            raise RefusedError(Code.UNKNOWN_EVENT, f"{shown} is not mapped to a kind; see docs/events.md for the names")
        return kind
    other = CALLS.get(call.type)
    if other is None:
        raise RefusedError(
            Code.UNKNOWN_EVENT,
            f"the call type {call.type[:SHOWN]!r} is not known; known are track, {', '.join(CALLS)}",
        )
    return other


def _time(call: Message) -> float:
    """``timestamp`` is the spec's corrected time; without it the client's, then the server's."""
    for value in (call.timestamp, call.original_timestamp, call.sent_at, call.received_at):
        if value is not None and value != "":
            return wire_seconds(value)
    raise RefusedError(Code.MISSING_FIELD, "the call has no `timestamp`")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""


def _at(properties: dict[str, Any], path: Path) -> object:
    """What lies there; None: nothing does."""
    value: object = properties
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def _first(properties: dict[str, Any], paths: tuple[Path, ...]) -> str:
    for path in paths:
        if found := _text(_at(properties, path)):
            return found
    return ""


def _number(properties: dict[str, Any], paths: tuple[Path, ...]) -> float:
    for path in paths:
        value = _at(properties, path)
        if value is None:
            continue
        name = ".".join(map(str, path))
        number = None
        # as text some libraries write numbers, but Python would read 1_0 as ten
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and "_" not in str(value):
            try:
                number = float(value)
            except OverflowError:
                raise RefusedError(Code.BAD_AMOUNT, f"`properties.{name}` is too large a number") from None
            except ValueError:
                pass
        if number is None:
            raise RefusedError(Code.WRONG_TYPE, f"`properties.{name}` is not a number: {value!r:.{SHOWN}}")
        if not math.isfinite(number):
            raise RefusedError(Code.BAD_AMOUNT, f"`properties.{name}` is not a finite number")
        return number
    return 0.0
