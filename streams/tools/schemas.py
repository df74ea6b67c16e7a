"""Writes the published schemas: ``python -m streams.tools.schemas [DIRECTORY]`` (default: ``docs``).

Here because the AsyncAPI document and the definitions' schema need types from above the wire.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from streams.steps.segments import GroupDef, SegmentDef
from streams.steps.text_precision import TextPrecision
from streams.steps.versions import DefinitionsVersion
from streams.wire import schemas
from streams.wire.refused import Code
from streams.wire.schemas import Published, Refine, Schema
from streams.wire.topics import Topics, TopicSpec

#: Of the contract, not of the code: the first number changes when a reader or writer has to change.
CONTRACT_VERSION: Final = "0.1.0"
_BINDING: Final = "0.5.0"
_TOPICS: Final = Topics(app="segments")
_USER_KEY: Final = "The user id; it decides the partition (murmur2, as Kafka's Java clients partition)."


class SegmentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The segments file (TOML): tables ``[[segment]]`` and ``[[group]]``."""

    segment: list[SegmentDef] = []
    group: list[GroupDef] = []


def _refine_definition(schema: Schema) -> None:
    at = schema["properties"]
    at["id"] |= {"minLength": 1, "maxLength": 200}
    at["min_stay"] |= {
        "pattern": "^\\s*([0-9]+\\s*[smhdw]\\s*)+$",
        "description": "At least so long in the segment, such as 30m or 1d 12h.",
    }
    at["rule"]["description"] = "An expression over counts in windows."
    at["words"]["description"] = "A description; users are compared with it by what they write."
    at["enter"]["description"] = "Score from which a user enters; null: the default of the kind of segment."
    at["exit"]["description"] = "Score below which a user leaves; not above `enter`."
    ways = ("rule", "words", "learned")
    schema["oneOf"] = [{"required": [way], "properties": {way: {"minLength": 1}}} for way in ways]


_REFINE: Final[Mapping[type, Refine]] = {SegmentDef: _refine_definition}
DEFINITION: Final = Published("segment-definition", "SegmentDefinition", SegmentDef, _REFINE)
SEGMENTS_FILE: Final = Published("segments-file", "SegmentsFile", SegmentsFile, _REFINE)
VERSION: Final = Published("segment-definitions", "SegmentDefinitions", DefinitionsVersion, _REFINE)
TEXT_PRECISION: Final = Published("text-precision", "TextPrecision", TextPrecision)
MESSAGES: Final = (*schemas.PUBLISHED, VERSION, TEXT_PRECISION)
PUBLISHED: Final = (*MESSAGES, DEFINITION, SEGMENTS_FILE)


def _cloud_event(identity: str, kinds: list[str], subject: str, time: str) -> Schema:
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes (Kafka binding, binary content mode), as UTF-8.",
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {"type": "string", "description": identity},
            "ce_source": {"type": "string", "pattern": "^/live-segments/", "description": "Application and partition."},
            "ce_type": {"enum": kinds},
            "ce_subject": {"type": "string", "description": subject},
            "ce_time": {"type": "string", "format": "date-time", "description": time},
            "content-type": {"const": "application/json"},
        },
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "content-type"],
    }


CHANGE_HEADERS: Final = _cloud_event(
    "User and sequence; the same for the same change.",
    [f"live-segments.segment.{change}" for change in ("entered", "exited")],
    "The user id.",
    "When the change became true.",
)
RECEIPT_HEADERS: Final = _cloud_event(
    "Hash, time of the erasure and partition.",
    ["live-segments.erasure.receipt"],
    "The user's keyed hash.",
    "Up to when the user is erased.",
)
DEAD_LETTER_HEADERS: Final[Schema] = {
    "type": "object",
    "description": "After the headers that the record came with; numbers are decimal text.",
    "properties": {
        "reason-code": {"enum": [str(code) for code in Code]},
        "reason": {"type": "string", "description": "One sentence for a person."},
        "origin-topic": {"type": "string"},
        "origin-partition": {"type": "string", "pattern": "^[0-9]+$"},
        "origin-offset": {"type": "string", "pattern": "^[0-9]+$"},
        "origin-timestamp": {"type": "string", "pattern": "^-?[0-9]+$", "description": "Milliseconds."},
    },
    "required": ["reason-code", "reason", "origin-topic", "origin-partition", "origin-offset", "origin-timestamp"],
}


@dataclass(frozen=True)
class _Sent:
    """One kind of message of a topic."""

    name: str
    summary: str
    payload: Published | Schema
    headers: Schema | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class _Channel:
    name: str
    topic: str
    action: str
    """``receive``: the service reads it; ``send``: the service writes it."""
    key: str
    messages: tuple[_Sent, ...]


_CHANNELS: Final = (
    _Channel("userEvents", _TOPICS.events, "receive", _USER_KEY, (
        _Sent("event", "Something a user did, in our own form.", schemas.EVENT),
        _Sent("segmentCall", "The same as a call of the Segment Spec, as RudderStack and Segment write it.",
              schemas.SEGMENT_CALL),
    )),
    _Channel("segmentLabels", _TOPICS.labels, "receive", _USER_KEY, (
        _Sent("label", "Feedback from which learned segments learn.", schemas.LABEL),
    )),
    _Channel("segmentDefinitions", _TOPICS.definitions, "receive", "The version, as text; or `text-precision`.", (
        _Sent("segmentDefinitions", "A version of all definitions; the newest that counts is in force.", VERSION),
        _Sent("textPrecision", "What one app's texts are encoded in; written by its first worker.", TEXT_PRECISION),
    )),
    _Channel("segmentChanges", _TOPICS.changes, "send", _USER_KEY, (
        _Sent("change", "A user entered or exited a segment.", schemas.CHANGE, CHANGE_HEADERS),
        _Sent("audienceCall", "The same as a Segment track call (setting `value_format`).", schemas.AUDIENCE,
              CHANGE_HEADERS),
    )),
    _Channel("userSegments", _TOPICS.memberships, "send", _USER_KEY, (
        _Sent("userSegments", "All segments that a user is in now.", schemas.MEMBERSHIP),
        _Sent("userErased", "The user was erased (a record without a value).", {"type": "null"}),
    )),
    _Channel("erasureReceipts", _TOPICS.receipts, "send", "The user's keyed hash, as hex.", (
        _Sent("erasureReceipt", "A partition holds nothing of an erased user any more.", schemas.RECEIPT,
              RECEIPT_HEADERS),
    )),
    _Channel("deadLetters", _TOPICS.dead_letters, "send", "As it came.", (
        _Sent("deadLetter", "A refused record, untouched, with the reason in its headers.",
              {"description": "The bytes as they came."}, DEAD_LETTER_HEADERS, "application/octet-stream"),
    )),
)  # fmt: skip


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document of the public topics."""
    specs = {spec.name: spec for spec in _TOPICS.specs(partitions=1)}
    parts: dict[str, Schema] = {}
    for entry in MESSAGES:
        parts |= schemas.components(entry, "#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "live-segments",
            "version": CONTRACT_VERSION,
            "description": "Who is in which segment, right now. Topic names are those without a prefix; numbers of "
            "partitions and retention are the installation's.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "The default setting."}},
        "channels": {each.name: _channel(each, specs[each.topic]) for each in _CHANNELS},
        "operations": {f"{each.action}{each.name[0].upper()}{each.name[1:]}": _operation(each) for each in _CHANNELS},
        "components": {
            "messages": {sent.name: _message(sent, each.key) for each in _CHANNELS for sent in each.messages},
            "schemas": parts,
        },
    }


def _channel(channel: _Channel, spec: TopicSpec) -> Schema:
    config: Schema = {"cleanup.policy": spec.config["cleanup.policy"].split(",")}
    for name in ("retention.ms", "delete.retention.ms", "max.message.bytes"):
        if name in spec.config:
            config[name] = int(spec.config[name])
    return {
        "address": spec.name,
        "description": spec.what,
        "messages": {sent.name: {"$ref": f"#/components/messages/{sent.name}"} for sent in channel.messages},
        "bindings": {"kafka": {"topic": spec.name, "topicConfiguration": config, "bindingVersion": _BINDING}},
    }


def _operation(channel: _Channel) -> Schema:
    at = f"#/channels/{channel.name}"
    return {
        "action": channel.action,
        "channel": {"$ref": at},
        "messages": [{"$ref": f"{at}/messages/{sent.name}"} for sent in channel.messages],
    }


def _message(sent: _Sent, key: str) -> Schema:
    message: Schema = {"name": sent.name, "summary": sent.summary, "contentType": sent.content_type}
    if sent.headers:
        message["headers"] = sent.headers
    payload = sent.payload
    if isinstance(payload, Published):
        payload = {"$ref": f"#/components/schemas/{payload.title}"}
    message["payload"] = payload
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": _BINDING}}
    return message


def files() -> dict[str, str]:
    """Name below the directory → content, of all published documents."""
    return {**schemas.schema_files(PUBLISHED), "asyncapi.json": schemas.as_text(asyncapi())}


def write(directory: Path) -> None:
    """Write all documents; schemas that are no longer published go away."""
    wanted = files()
    for old in (directory / "schemas").glob("*.json"):
        if f"schemas/{old.name}" not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
