"""What every kind of event inherits: it decodes, is counted once, and is refused without what it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from state.features import PLACES, raw_features
from streams.steps.partitioner import partition_of
from streams.wire import decode as decode_module
from streams.wire.decode import Limits, decode_event
from streams.wire.events import GROUP_KINDS, KINDS, SOCIAL_KINDS, Event, encode_event
from streams.wire.refused import Code, RefusedError
from tests.small_partition import PLACE, T0, SmallPartition

#: kind → the field it cannot do without, with a value
NEEDED: dict[str, dict[str, str]] = {
    "view": {},
    "click": {},
    "purchase": {},
    "comment": {"text": "good"},
    "follow": {"target": "v"},
    "unfollow": {"target": "v"},
    "join": {"group": "g"},
    "leave": {"group": "g"},
    "identify": {"target": "anonymous-1"},
    "alias": {"target": "anonymous-1"},
    "delete": {},
}
COUNTED = [kind for kind in KINDS if kind != "delete"]
ARRIVED = T0 + 60.0
DEFINITIONS = """
[[segment]]
id = "once"
rule = 'count("{kind}", within="1h") == 1'
[[segment]]
id = "twice"
rule = 'count("{kind}", within="1h") >= 2'
"""


def minimal(kind: str) -> dict[str, Any]:
    return {"user": "u", "kind": kind, "time": T0, **NEEDED[kind]}


def raw(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content)


def decoded(content: dict[str, Any]) -> Event:
    return decode_event(raw(content), ARRIVED, Limits())


def test_every_kind_is_in_this_contract_and_in_the_features() -> None:
    assert set(NEEDED) == set(KINDS)
    assert len(set(KINDS)) == len(KINDS)
    assert set(PLACES) == set(KINDS)
    assert {kind: field for kind, needs in NEEDED.items() for field in needs} == decode_module.NEEDS
    assert {kind for kind, needs in NEEDED.items() if "group" in needs} == GROUP_KINDS
    assert {"follow", "unfollow"} == SOCIAL_KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_minimal_event_decodes_and_is_read_back_from_what_we_write(kind: str) -> None:
    event = decoded(minimal(kind))
    assert (event.user, event.kind, event.time) == ("u", kind, T0)
    assert decode_event(encode_event(event), ARRIVED, Limits()) == event


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", ["milliseconds", "iso", "iso with zone"])
def test_its_time_is_understood_in_every_form(kind: str, shape: str) -> None:
    times = {
        "milliseconds": T0 * 1_000,
        "iso": "2023-11-14T00:00:00",
        "iso with zone": "2023-11-14T02:00:00.000+02:00",
    }
    assert decoded(minimal(kind) | {"time": times[shape]}).time == T0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if NEEDED[kind]])
@pytest.mark.parametrize("value", [None, "", " \t"])
def test_it_is_refused_without_its_needed_field(kind: str, value: str | None) -> None:
    (field,) = NEEDED[kind]
    content = minimal(kind)
    del content[field]
    if value is not None:
        content[field] = value
    with pytest.raises(RefusedError, match=f"a {kind} needs the field `{field}`") as caught:
        decoded(content)
    assert caught.value.code is Code.MISSING_FIELD


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user": ""}, Code.MISSING_FIELD),
        ({"user": None}, Code.WRONG_TYPE),
        ({"user": "u" * 513}, Code.TOO_LARGE),
        ({"id": "i" * 513}, Code.TOO_LARGE),
        ({"category": "c" * 513}, Code.TOO_LARGE),
        ({"time": 0}, Code.ABSURD_TIME),
        ({"time": T0 + 10 * 86_400}, Code.ABSURD_TIME),
        ({"time": "yesterday"}, Code.ABSURD_TIME),
        ({"amount": -1}, Code.BAD_AMOUNT),
        ({"amount": 1e12}, Code.BAD_AMOUNT),
        ({"dwell": 1e9}, Code.BAD_AMOUNT),
        ({"kind": "buy"}, Code.UNKNOWN_KIND),
    ],
)
def test_it_is_refused_with_what_no_event_may_have(kind: str, change: dict[str, Any], code: Code) -> None:
    with pytest.raises(RefusedError) as caught:
        decoded(minimal(kind) | change)
    assert caught.value.code is code


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "target" in NEEDED[kind]])
def test_nobody_does_it_to_themselves(kind: str) -> None:
    with pytest.raises(RefusedError) as caught:
        decoded(minimal(kind) | {"target": "u"})
    assert caught.value.code is Code.SELF_FOLLOW


@pytest.mark.parametrize("kind", COUNTED)
def test_it_is_counted_once_however_often_it_comes(kind: str) -> None:
    partition = SmallPartition(DEFINITIONS.format(kind=kind))
    with_id, without_id = raw(minimal(kind) | {"id": "x"}), raw(minimal(kind) | {"time": T0 + 1})
    partition.raw(with_id, with_id)
    state = partition.state()
    assert state is not None
    assert state.count == 1
    assert partition.members() == {"once"}
    partition.raw(without_id)
    partition.raw(without_id, with_id)
    state = partition.state()
    assert state is not None
    assert (state.count, state.time) == (2, T0 + 1)
    assert partition.members() == {"twice"}
    assert (partition.meta.events, partition.meta.duplicates, partition.meta.users) == (2, 3, 1)
    assert raw_features(state)[PLACES[kind][0]] == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("kind", COUNTED)
def test_a_refused_one_beside_good_ones_changes_nothing_else(kind: str) -> None:
    partition = SmallPartition(DEFINITIONS.format(kind=kind))
    good, bad = raw(minimal(kind)), raw(minimal(kind) | {"time": 5})
    effects = partition.raw(bad, good, bad)
    assert [reject.record.value for reject in effects.rejects] == [bad, bad]
    assert all(reject.error.code is Code.ABSURD_TIME for reject in effects.rejects)
    assert partition.members() == {"once"}
    assert partition.meta.events == 1


@pytest.mark.parametrize("kind", COUNTED)
def test_one_that_comes_to_the_wrong_partition_is_passed_on_untouched(kind: str) -> None:
    home = partition_of("u", 64)
    elsewhere = SmallPartition(DEFINITIONS.format(kind=kind), replace(PLACE, partitions=64, partition=(home + 1) % 64))
    effects = elsewhere.raw(raw(minimal(kind)))
    assert [(message.value, message.key, message.partition) for message in effects.messages] == [
        (raw(minimal(kind)), b"u", home)
    ]
    assert effects.misrouted == 1
    assert elsewhere.state() is None
    assert (elsewhere.meta.users, elsewhere.meta.events) == (0, 0)


def test_an_erasure_is_not_counted_but_done_however_often_it_comes() -> None:
    partition = SmallPartition(DEFINITIONS.format(kind="view"))
    partition.raw(raw(minimal("view")))
    for erased in (["u"], []):
        effects = partition.raw(raw(minimal("delete") | {"id": "x"}))
        assert effects.erased == erased
        assert partition.state() is None
    assert partition.meta.users == 0
