"""The published schemas are what the types generate, real messages satisfy them, and they refuse what decoding does."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from streams.steps.segments import DefinitionError, parse_plan
from streams.tools import schemas as published
from streams.wire import schemas
from streams.wire.emit import (
    Change,
    MembershipNow,
    Origin,
    Reason,
    UserSegments,
    audience_value,
    change_headers,
    change_value,
    membership_value,
)
from streams.wire.events import KINDS, Event, Label, encode_event
from streams.wire.receipts import Receipt, receipt_headers, receipt_value
from streams.wire.refused import Code, RefusedError, dead_letter_headers
from streams.wire.topics import Topics
from tests.bad_records import BAD_RECORDS, GOOD_TIME, BadRecord, call, own

DOCS = Path(__file__).resolve().parents[2] / "docs"
ASYNCAPI: dict[str, Any] = json.loads((DOCS / "asyncapi.json").read_text())
TOPICS = Topics(app="segments")


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text())
    return Draft202012Validator(schema, format_checker=FormatChecker())


VALIDATORS = {entry.name: validator(entry.name) for entry in published.PUBLISHED}


def in_asyncapi(reference: str) -> Draft202012Validator:
    """A validator for a schema within the AsyncAPI document."""
    registry: Registry[Any] = Registry().with_resource("asyncapi", DRAFT202012.create_resource(ASYNCAPI))
    return Draft202012Validator({"$ref": f"asyncapi{reference}"}, registry=registry)


def as_object(headers: Iterable[tuple[str, str | bytes | None]]) -> dict[str, str]:
    return {name: value.decode() for name, value in headers if isinstance(value, bytes)}


def a_change(**fields: Any) -> Change:
    full: dict[str, Any] = {
        "user": "u-1", "segment": "regulars", "change": "entered", "score": 1.0, "sequence": 1, "segment_version": 1,
        "encoder_version": None, "head_version": None, "origin": "event", "event_time": GOOD_TIME,
        "reason": Reason("seen ten things", rule='count("view") >= 10', values={"view": 10.0}),
        "processed_at": GOOD_TIME + 1.0,
    } | fields  # fmt: skip
    return Change(**full)


CHANGES = [
    *(a_change(origin=origin) for origin in get_args(Origin)),
    a_change(change="exited", sequence=2**60, score=-0.2),
    a_change(encoder_version="3f2a", head_version=9, reason=Reason("?", "e", words="food", shares={"text": 1.0})),
]
SNAPSHOTS = [
    UserSegments("u-1", {}, 0, GOOD_TIME),
    UserSegments("ü", {"regulars": MembershipNow(GOOD_TIME, 1.0, 1), "x y": MembershipNow(0.0, -1.0, 7)}, 3, 1.0),
]


def test_the_files_are_what_the_types_generate() -> None:
    """``python -m streams.tools.schemas`` writes them anew."""
    wanted = published.files()
    found = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in (DOCS / "schemas").iterdir()}
    assert found | {"asyncapi.json": (DOCS / "asyncapi.json").read_text(encoding="utf-8")} == wanted


def test_writing_removes_schemas_that_are_no_longer_published(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "gone.json").write_text("{}")
    published.write(tmp_path)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert written == set(published.files())


@pytest.mark.parametrize("entry", published.PUBLISHED, ids=lambda entry: entry.name)
def test_each_schema_is_json_schema_2020_12(entry: schemas.Published) -> None:
    schema = VALIDATORS[entry.name].schema
    assert isinstance(schema, dict)
    assert schema["$schema"] == schemas.DIALECT
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("kind", KINDS)
def test_events_of_every_kind_satisfy_the_schema(kind: str) -> None:
    bare = Event("u-1", kind, GOOD_TIME, text="t", target="u-2", group="g")  # type: ignore[arg-type] # KINDS are Kind
    full = msgspec.structs.replace(bare, id="e", item="i", category="c", amount=1e9, dwell=604_800.0)
    for event in (bare, full):
        VALIDATORS["event"].validate(json.loads(encode_event(event)))


@pytest.mark.parametrize("time", [GOOD_TIME, GOOD_TIME * 1000, "2023-07-22T04:26:40Z", "20230722", "2023-W29-6"])
def test_every_form_of_time_satisfies_the_schemas(time: object) -> None:
    VALIDATORS["event"].validate(json.loads(own(time=time)))
    VALIDATORS["segment-call"].validate(json.loads(call(timestamp=time)))
    VALIDATORS["label"].validate({"user": "u", "segment": "s", "member": True, "time": time})


def test_labels_satisfy_the_schema_and_nonsense_does_not() -> None:
    good = json.loads(encode_event(Label("u-1", "taste-food", True, GOOD_TIME, 1000.0, "l-1")))
    VALIDATORS["label"].validate(good)
    for fields in ({"user": ""}, {"segment": None}, {"member": 1}, {"weight": 0}, {"weight": 1001}, {"time": 5}):
        assert not VALIDATORS["label"].is_valid(good | fields), fields


@pytest.mark.parametrize("change", CHANGES)
def test_changes_satisfy_the_schemas_in_both_value_formats(change: Change) -> None:
    VALIDATORS["change"].validate(json.loads(change_value(change)))
    VALIDATORS["audience"].validate(json.loads(audience_value(change)))


def test_a_change_that_lacks_a_field_or_has_an_unknown_origin_breaks_the_schema() -> None:
    good = json.loads(change_value(CHANGES[0]))
    for name in good:
        assert not VALIDATORS["change"].is_valid({key: value for key, value in good.items() if key != name}), name
    for fields in ({"origin": "magic"}, {"change": "left"}, {"sequence": 0}, {"sequence": 1.5}, {"reason": "so"}):
        assert not VALIDATORS["change"].is_valid(good | fields), fields


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_memberships_satisfy_the_schema(snapshot: UserSegments) -> None:
    VALIDATORS["membership"].validate(json.loads(membership_value(snapshot)))


@pytest.mark.parametrize("bad", BAD_RECORDS, ids=lambda bad: bad.name)
def test_the_schema_refuses_what_decoding_refuses_where_a_schema_can_say_it(bad: BadRecord) -> None:
    try:
        value = json.loads(bad.value or b"", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        assert not bad.by_schema
        return
    is_call = isinstance(value, dict) and "kind" not in value and "type" in value
    refused = not VALIDATORS["segment-call" if is_call else "event"].is_valid(value)
    assert refused == bad.by_schema


def _no_constant(name: str) -> float:
    raise ValueError(name)


def test_the_built_in_segments_satisfy_the_schema_of_the_file() -> None:
    text = files("streams.tools").joinpath("segments.toml").read_text()
    content = tomllib.loads(text)
    VALIDATORS["segments-file"].validate(content)
    for definition in content["segment"]:
        VALIDATORS["segment-definition"].validate(definition)


@pytest.mark.parametrize(
    "definition",
    [
        'title = "no id"\nwords = "x"',
        'id = ""\nwords = "x"',
        f'id = "{"x" * 201}"\nwords = "x"',
        'id = "a"',
        'id = "a"\nwords = ""',
        'id = "a"\nwords = "x"\nlearned = "g"',
        'id = "a"\nwords = "x"\nmin_stay = "soon"',
        'id = "a"\nwords = "x"\nenter = "high"',
        'id = "a"\nwords = "x"\ncolour = "red"',
    ],
)
def test_the_schema_refuses_the_definitions_that_the_service_refuses(definition: str) -> None:
    text = f"[[segment]]\n{definition}\n"
    with pytest.raises(DefinitionError):
        parse_plan(text)
    assert not VALIDATORS["segments-file"].is_valid(tomllib.loads(text))


def test_the_asyncapi_document_has_every_public_topic_with_its_configuration() -> None:
    specs = {spec.name: spec for spec in TOPICS.specs(1)}
    internal = {TOPICS.changelog, TOPICS.graph, TOPICS.reroute, TOPICS.examples, TOPICS.heads, TOPICS.workers}
    channels = {channel["address"]: channel for channel in ASYNCAPI["channels"].values()}
    assert set(channels) == set(specs) - internal
    for name, channel in channels.items():
        kafka = channel["bindings"]["kafka"]
        assert kafka["topic"] == name
        assert kafka["topicConfiguration"]["cleanup.policy"] == specs[name].config["cleanup.policy"].split(",")


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    references = list(_references(ASYNCAPI))
    assert len(references) > 20
    for reference in references:
        node: Any = ASYNCAPI
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


def _references(node: object) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_every_operation_is_on_a_channel_and_names_that_channels_messages() -> None:
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    used = set()
    for operation in ASYNCAPI["operations"].values():
        channel = operation["channel"]["$ref"]
        used.add(channel)
        assert operation["action"] in ("send", "receive")
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
    assert used == {f"#/channels/{name}" for name in ASYNCAPI["channels"]}


def test_every_message_has_a_kafka_key_and_a_payload_that_older_tools_read() -> None:
    for message in ASYNCAPI["components"]["messages"].values():
        assert message["bindings"]["kafka"]["key"]["type"] == "string"
        assert {"name", "summary", "contentType", "payload"} <= set(message)
    for schema in ASYNCAPI["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)  # AsyncAPI's own dialect is a superset of draft 7
        assert not {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired"} & set(schema)


@pytest.mark.parametrize("change", [CHANGES[0], CHANGES[-2]])
def test_real_change_headers_satisfy_the_asyncapi_document(change: Change) -> None:
    check = in_asyncapi("#/components/messages/change/headers")
    good = as_object(change_headers(change, b"/live-segments/segments/0"))
    check.validate(good)
    for name in good:
        assert not check.is_valid({key: value for key, value in good.items() if key != name}), name


def test_receipts_of_erasure_and_their_headers_satisfy_the_schemas() -> None:
    receipt = Receipt("0f" * 16, "e-1", 1, 4, 2, 3, GOOD_TIME, GOOD_TIME + 1)
    VALIDATORS["erasure-receipt"].validate(json.loads(receipt_value(receipt)))
    headers = as_object(receipt_headers(receipt, b"/live-segments/app/1"))
    in_asyncapi("#/components/messages/erasureReceipt/headers").validate(headers)


@pytest.mark.parametrize("code", list(Code))
def test_real_dead_letter_headers_satisfy_the_asyncapi_document(code: Code) -> None:
    check = in_asyncapi("#/components/messages/deadLetter/headers")
    headers = [
        ("mine", b"1"),
        *dead_letter_headers(RefusedError(code, "because"), "user-events", 0, 7, 1_690_000_000_000),
    ]
    good = as_object(headers)
    check.validate(good)
    assert not check.is_valid(good | {"reason-code": "bad-mood"})


def test_payloads_of_the_asyncapi_document_check_as_the_files_do() -> None:
    check = in_asyncapi("#/components/schemas/Change")
    good = json.loads(change_value(CHANGES[0]))
    check.validate(good)
    assert not check.is_valid(good | {"reason": {"summary": 1}})
    in_asyncapi("#/components/messages/userErased/payload").validate(None)
