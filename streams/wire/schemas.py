"""JSON Schema of all public messages and one AsyncAPI document of the public topics.

Generated from the types that encode and decode (msgspec), from their docstrings, and from the limits that
``decode.py`` checks, so they cannot say something else than the code does. Written to ``docs/`` by
``python -m streams.tools.schemas``. What a schema cannot say (a user following themselves, times after the
record's arrival, nesting, bytes that are no JSON) is refused by ``decode.py`` alone.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from streams.wire import segment_spec
from streams.wire.decode import (
    MAX_AMOUNT,
    MAX_DWELL,
    MAX_ID_CHARS,
    MAX_WEIGHT,
    NAMES,
    NEEDS,
    Limits,
    WireLabel,
)
from streams.wire.emit import Change, MembershipNow, Origin, Reason, UserSegments
from streams.wire.events import Event, Label, WireEvent
from streams.wire.receipts import Receipt
from streams.wire.times import MILLISECONDS_FROM

Schema = dict[str, Any]
Refine = Callable[[Schema], None]
"""Adds to a type's schema, in place, what the type alone does not say."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LIMITS: Final = Limits()
_EPOCH: Final = "Seconds since the epoch (UTC)."


class AudienceProperties(msgspec.Struct, frozen=True):
    """What the call says of the change; one more property, named as the segment, tells whether the user is in it."""

    audience_key: str
    audience_name: str
    score: float
    sequence: int
    """Per user, without holes, from 1."""
    origin: Origin
    reason: Reason


class AudienceCall(msgspec.Struct, frozen=True, rename="camel"):
    """A change of membership as a track call of the Segment Spec (the setting ``value_format = "audience"``)."""

    type: Literal["track"]
    event: Literal["Audience Entered", "Audience Exited"]
    user_id: str
    message_id: str
    """The same change has the same id."""
    timestamp: str
    properties: AudienceProperties


def _time(description: str) -> Schema:
    """A time of a producer: seconds, milliseconds or ISO 8601."""
    earliest, split = int(_LIMITS.min_event_time), int(MILLISECONDS_FROM)
    return {
        "description": description,
        "anyOf": [
            {"type": "number", "minimum": earliest, "exclusiveMaximum": split, "description": "seconds"},
            {"type": "number", "minimum": earliest * 1000, "exclusiveMaximum": split * 1000,
             "description": "milliseconds"},
            {"type": "string", "pattern": "^[0-9]{4}-?([0-9]{2}|W[0-9]{2})", "description": "ISO 8601"},
        ],
    }  # fmt: skip


def _filled(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"type": "string", "pattern": "\\S"}}}


def _refine_event(schema: Schema) -> None:
    schema["description"] = "What one user did, in our own compact form."
    at = schema["properties"]
    for name in NAMES:
        at[name]["maxLength"] = MAX_ID_CHARS
    at["user"] |= {"minLength": 1, "pattern": "\\S"}
    at["time"] = _time("When it happened.")
    at["text"]["maxLength"] = _LIMITS.max_text_chars
    at["amount"] |= {"minimum": 0, "maximum": MAX_AMOUNT}
    at["dwell"] |= {"minimum": 0, "maximum": MAX_DWELL}
    schema["allOf"] = [
        {"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": _filled(needed)}
        for kind, needed in NEEDS.items()
    ]


def _refine_label(schema: Schema) -> None:
    schema["description"] = "Feedback: the user is (or is not) a member of the segment."
    at = schema["properties"]
    for name in ("user", "segment"):
        at[name] |= {"minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "\\S"}
    at["id"]["maxLength"] = MAX_ID_CHARS
    at["weight"] |= {"exclusiveMinimum": 0, "maximum": MAX_WEIGHT}
    at["time"] = _time("When it was found.")


def _refine_call(schema: Schema) -> None:
    at = schema["properties"]
    at["type"]["enum"] = ["track", *segment_spec.CALLS]
    at["event"]["description"] = (
        "Name of a track call; case does not matter. Known: " + ", ".join(sorted(segment_spec.TRACK)) + "."
    )
    ids = ("userId", "anonymousId")
    for name in (*ids, "messageId", "previousId", "groupId"):
        at[name]["maxLength"] = MAX_ID_CHARS
    at["timestamp"]["anyOf"] = [*_time("")["anyOf"], {"const": ""}, {"type": "null"}]
    times = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")
    given = {"type": ["string", "number"], "minLength": 1, "pattern": "\\S"}
    schema["allOf"] = [
        {"anyOf": [{"required": [name], "properties": {name: given}} for name in ids]},
        {"anyOf": [{"required": [name], "properties": {name: given}} for name in times]},
        {"if": {"properties": {"type": {"const": "track"}}}, "then": _filled("event")},
    ]


def _refine_change(schema: Schema) -> None:
    at = schema["properties"]
    at["sequence"]["minimum"] = 1
    at["score"]["description"] = "What was compared with the thresholds: 0 or 1 of a rule, cosine, or probability."
    at["encoder_version"]["description"] = "null: no encoder had a part in it."
    at["head_version"]["description"] = "null: no learned head had a part in it."
    at["event_time"]["description"] = f"{_EPOCH} When it became true."
    at["processed_at"]["description"] = f"{_EPOCH} When the service found it."


def _refine_membership(schema: Schema) -> None:
    at = schema["properties"]
    at["sequence"] |= {"minimum": 0, "description": "Of the user's last change."}
    at["as_of"]["description"] = f"{_EPOCH} The user's latest event or timer."
    at["segments"]["description"] = "Segment id to membership; empty: the user is in none."


def _refine_membership_now(schema: Schema) -> None:
    at = schema["properties"]
    at["since"]["description"] = _EPOCH
    at["version"]["description"] = "Of the segment's definition when the user entered."


def _refine_receipt(schema: Schema) -> None:
    at = schema["properties"]
    at["receipt"]["pattern"] = "^[0-9a-f]{32}$"
    at["partition"]["minimum"] = 0
    at["partitions"]["minimum"] = 1
    for name in ("memberships_ended", "edges_removed"):
        at[name]["minimum"] = 0
    at["erased_at"]["description"] = f"{_EPOCH} Event time up to which the user is erased."
    at["processed_at"]["description"] = f"{_EPOCH} When the partition was done."


def _refine_audience(schema: Schema) -> None:
    schema["properties"]["timestamp"]["format"] = "date-time"


def _refine_audience_properties(schema: Schema) -> None:
    schema["properties"]["sequence"]["minimum"] = 1
    schema["additionalProperties"] = {"type": "boolean"}


REFINE: Final[Mapping[type, Refine]] = {
    WireEvent: _refine_event,
    WireLabel: _refine_label,
    segment_spec.Message: _refine_call,
    Change: _refine_change,
    UserSegments: _refine_membership,
    MembershipNow: _refine_membership_now,
    Receipt: _refine_receipt,
    AudienceCall: _refine_audience,
    AudienceProperties: _refine_audience_properties,
}
#: wire type → the type whose attribute docstrings describe its fields
_DESCRIBED_BY: Final[Mapping[type, type]] = {WireEvent: Event, WireLabel: Label}


@dataclass(frozen=True)
class Published:
    """A public message: its schema is the file ``name``.json, and the component ``title`` of the AsyncAPI document."""

    name: str
    title: str
    struct: type[msgspec.Struct]
    refine: Mapping[type, Refine] = field(default_factory=lambda: REFINE)


EVENT: Final = Published("event", "Event", WireEvent)
SEGMENT_CALL: Final = Published("segment-call", "SegmentCall", segment_spec.Message)
LABEL: Final = Published("label", "Label", WireLabel)
CHANGE: Final = Published("change", "Change", Change)
AUDIENCE: Final = Published("audience", "AudienceCall", AudienceCall)
MEMBERSHIP: Final = Published("membership", "UserSegments", UserSegments)
RECEIPT: Final = Published("erasure-receipt", "ErasureReceipt", Receipt)
PUBLISHED: Final = (EVENT, SEGMENT_CALL, LABEL, CHANGE, AUDIENCE, MEMBERSHIP, RECEIPT)


def components(entry: Published, ref_template: str = "#/$defs/{name}") -> dict[str, Schema]:
    """The schemas of a message and of the types within it by name; the message's own name is ``entry.title``."""
    _, found = msgspec.json.schema_components([entry.struct], ref_template=ref_template)
    known = vars(sys.modules[entry.struct.__module__])
    result = {}
    for name, schema in found.items():
        cls = entry.struct if name == entry.struct.__name__ else known[name]
        _describe(schema, cls)
        if refine := entry.refine.get(cls):
            refine(schema)
        title = entry.title if cls is entry.struct else name
        result[title] = schema | {"title": title}
    return result


def json_schema(entry: Published) -> Schema:
    """A message's JSON Schema (2020-12) as a document of its own."""
    parts = components(entry)
    root = parts.pop(entry.title)
    document: Schema = {"$schema": DIALECT, "$id": f"urn:live-segments:schema:{entry.name}", **root}
    if parts:
        document["$defs"] = parts
    return document


def as_text(document: Schema) -> str:
    """A document as its file holds it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schema_files(entries: Iterable[Published]) -> dict[str, str]:
    """File name in ``docs/`` → content."""
    return {f"schemas/{entry.name}.json": as_text(json_schema(entry)) for entry in entries}


def _describe(schema: Schema, cls: type[msgspec.Struct]) -> None:
    """Docstrings of a type and of its attributes become descriptions."""
    if "description" in schema:
        schema["description"] = _plain(schema["description"])
    docs = _attribute_docs(_DESCRIBED_BY.get(cls, cls))
    for each in msgspec.structs.fields(cls):
        if text := docs.get(each.name):
            schema["properties"][each.encode_name]["description"] = text


def _attribute_docs(cls: type) -> dict[str, str]:
    """The strings that follow the attributes of a class in its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for attribute, after in zip(body.body, body.body[1:], strict=False):
        match attribute, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = _plain(text)
    return docs


def _plain(text: str) -> str:
    return " ".join(inspect.cleandoc(text).replace("``", "`").split())
