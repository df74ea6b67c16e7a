"""The compiled fold of a batch into a turn's copies does to each record what ``state.user.fold`` does, to the byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from state.compiled import COMPILED
from state.native import Folded, Newcomers, QuietFold
from state.plain.record import PlainRecord
from state.record import Record
from state.tables import Area, Table
from state.user import Membership, fold
from state.windows import NEVER
from streams.steps.membership import plain_next_due
from streams.steps.partitioner import partition_of
from streams.steps.segments import Plan, parse_plan
from streams.wire.decode import Limits, decode_unchecked
from streams.wire.events import Event

pytestmark = pytest.mark.compiled
T0: Final = 1_699_920_000.0
ARRIVED: Final = T0 + 86_400
LIMITS: Final = Limits()
RULES: Final = """
[[segment]]
id = "viewers"
rule = 'count("view", within="1h") >= 3'
[[segment]]
id = "steady"
rule = 'count("view", within="10m") >= 2 and not count("purchase", within="1h") > 1'
min_stay = "5m"
[[segment]]
id = "spenders"
rule = 'total("purchase", "amount", within="1d") >= 2000 or count("click", category="c1", within="1m") > 30'
[[segment]]
id = "dropped-out"
rule = 'absent("purchase", after="click", wait="2m", within="1h")'
"""
#: what nobody enters or leaves by these events: all of them stay quiet
QUIET: Final = """
[[segment]]
id = "far"
rule = 'count("view", within="1h") >= 1000000 or total("purchase", "amount", within="30d") > 100000000000'
"""
PLAN: Final = parse_plan(RULES)
FAR: Final = parse_plan(QUIET)


class Sent(NamedTuple):
    """A record of a source topic."""

    offset: int
    value: bytes
    timestamp: int = int(ARRIVED * 1_000)
    key: bytes = b"u"
    headers: Sequence[tuple[str, bytes | None]] = ()


def quiet_of(plan: Plan) -> QuietFold:
    assert plan.quiet is not None
    return plan.quiet


def new_table() -> Table:
    assert COMPILED is not None
    table: Table = COMPILED.Arena(1 << 28).table()
    return table


def read(plan: Plan, events: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
    """A batch; what is unusual is left out."""
    records = [Sent(number, msgspec.json.encode(event)) for number, event in enumerate(events)]
    batch: Mapping[str, Any]
    batch, _ = quiet_of(plan).read(records, decode_unchecked, lambda _: None, LIMITS.usual)
    return batch


def fold_by_python(plan: Plan, record: Record, items: Sequence[tuple[Event, int, Any, float]]) -> None:
    """Events that came in order, with the timer that is found anew where they lie apart."""
    horizon = NEVER
    for event, id_hash, _, arrived in items:
        if event.time >= horizon:
            record.due = plain_next_due(plan, record)
            horizon = NEVER
        assert fold(record, event, id_hash, plan.tallies, arrived, plan.watch) == 0
        horizon = min(horizon, event.time + plan.shortest_window)


def check(
    plan: Plan,
    area: Area,
    batch: Mapping[str, Any],
    twins: Mapping[str, PlainRecord],
    found: tuple[int, int, dict[str, Folded]],
) -> None:
    """That the twins come to the same records."""
    counted, _, left = found
    assert counted == sum(len(items) for user, items in batch.items() if user not in left)
    for user, items in batch.items():
        record = area.get(user)
        if user not in twins:
            assert record is None
            assert left[user] == (0, False)
            continue
        twin = twins[user]
        assert record is not None
        folded, opened = left.get(user, (len(items), False))
        assert folded > 0 or not opened
        fold_by_python(plan, twin, items[:folded])
        due = plain_next_due(plan, twin)
        assert record.due in ((twin.due, due) if user in left else (due,))  # of what is left it may be found anew
        twin.due = record.due
        assert record.pack() == twin.pack()
        assert dict(record.ids.unsaved) == twin.ids.unsaved


EVENTS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.sampled_from(["u", "u", "v", "用户"]),
            "kind": st.sampled_from(["view", "view", "click", "purchase", "comment"]),
            "id": st.sampled_from(["a", "b"]) | st.uuids().map(str),
            "category": st.sampled_from(["", "c1", "c2", "用"]),
            "amount": st.sampled_from([0.0, 1e-7, 9.99, 1e9]),
            "dwell": st.sampled_from([0.0, 0.0005, 3.0, 86_400.0]),
            "anonymous": st.booleans(),
        }
    ),
    max_size=40,
)
STEPS: Final = st.lists(st.sampled_from([0.0, 1.0, 60.0, 700.0, 5_000.0, -30.0]), min_size=40, max_size=40)
MEMBERS: Final = st.dictionaries(
    st.sampled_from(["viewers", "steady", "spenders", "dropped-out", "gone"]),
    st.builds(Membership, st.just(T0), st.just(1.0), st.just(1), st.just(1), st.none() | st.just(0.0)),
)


@given(st.lists(st.tuples(EVENTS, STEPS), min_size=1, max_size=4), MEMBERS, st.booleans())
def test_records_become_what_python_makes_of_them(
    batches: list[tuple[list[dict[str, Any]], list[float]]], members: dict[str, Membership], far: bool
) -> None:
    plan = FAR if far else PLAN
    table, time = new_table(), T0
    twins: dict[str, PlainRecord] = {}
    for events, steps in batches:
        for event, step in zip(events, steps, strict=False):
            time += step
            event["time"] = time
        batch = read(plan, events)
        area = table.begin()
        for user in area.find(batch):
            twins[user] = PlainRecord(user, 1, 5)
            for record in (area.begin(user, 1, 5), twins[user]):
                for segment, member in members.items():
                    record.members.put(segment, member)
        check(plan, area, batch, twins, quiet_of(plan).fold(area, batch, (), 1, 0, False, None))
        for user in area.users():
            twin = twins[user]
            twin.cells.trim(plan.specs, twin.time)
            twin.version += 1
            twin.ids.save()
        puts: dict[bytes, bytes | None] = {}
        area.settle(plan.specs, puts, set())
        area.commit()
        assert all(puts[b"u" + user.encode()] == twins[user].pack() for user in batch)


NAMES: Final = ["u", "v", "w", "x", "y", "z", "用户"]
FIRST: Final = st.fixed_dictionaries(
    {"user": st.sampled_from(NAMES), "kind": st.sampled_from(["view", "click", "comment", "delete"])}
)


@given(
    st.lists(FIRST, max_size=30), st.sets(st.sampled_from(NAMES)), st.integers(0, 2), st.integers(1, 3), st.booleans()
)
def test_who_has_no_record_is_begun_where_python_would_do_no_more(
    events: list[dict[str, Any]], apart: set[str], partition: int, partitions: int, known: bool
) -> None:
    batch = read(PLAN, [event | {"time": T0 + at, "id": f"e{at}"} for at, event in enumerate(events)])
    area = new_table().begin()
    twins: dict[str, PlainRecord] = {}
    if known:
        twins["u"] = PlainRecord("u", 1, 1)
        area.begin("u", 1, 1)
    strangers = [user for user in batch if user in area.find(batch)]
    for life, user in enumerate(strangers, 8):  # each has one, begun or not
        at_home = partition_of(user, partitions) == partition
        if at_home and user not in apart and batch[user].plain(0) is not None:
            twins[user] = PlainRecord(user, 1, life)
            twins[user].sequence = 3
    newcomers = Newcomers(7, 3, partition, partitions, apart)
    counted, begun, left = quiet_of(PLAN).fold(area, batch, (), 1, 0, False, newcomers)
    assert begun == len(twins) - known
    check(PLAN, area, batch, {user: twin for user, twin in twins.items() if user in batch}, (counted, begun, left))


def test_who_is_left_out_is_not_begun_but_has_a_life() -> None:
    batch = read(PLAN, [{"user": user, "kind": "view", "time": T0, "id": user} for user in "abc"])
    area = new_table().begin()
    area.find(batch)
    counted, begun, left = quiet_of(PLAN).fold(area, batch, {"b"}, 1, 0, False, Newcomers(0, 0, 0, 1, ()))
    assert (counted, begun, left) == (2, 2, {})
    assert {user: record.life for user in area.users() if (record := area.get(user))} == {"a": 1, "c": 3}


def test_who_was_begun_by_a_fold_is_to_be_settled() -> None:
    batch, area = read(PLAN, in_order(1)), new_table().begin()
    area.find(batch)
    area.settle((), {}, set())
    quiet_of(PLAN).fold(area, batch, (), 1, 0, False, Newcomers(0, 0, 0, 1, ()))
    with pytest.raises(RuntimeError, match="not settled"):
        area.commit()


def in_order(count: int, user: str = "u", begin: int = 0) -> list[dict[str, Any]]:
    return [
        {"user": user, "kind": "view", "time": T0 + number / 8, "id": f"{user} {number}", "category": f"c{number % 90}"}
        for number in range(begin, begin + count)
    ]


def test_a_record_grows_as_its_events_come_and_its_ids_with_it() -> None:
    table, twin = new_table(), PlainRecord("u", 1, 1)
    for begin in range(0, 3_000, 750):
        batch = read(FAR, in_order(750, begin=begin))
        area = table.begin()
        if area.find(batch):
            area.begin("u", 1, 1)
        check(FAR, area, batch, {"u": twin}, quiet_of(FAR).fold(area, batch, (), 1, 0, False, None))
        twin.version += 1
        puts: dict[bytes, bytes | None] = {}
        area.settle(FAR.specs, puts, set())
        area.commit()
        assert len(puts) == 1 + len(twin.ids.unsaved)
        twin.ids.save()
    assert twin.count == 3_000
    assert len(twin.ids.numbers) > 20


def test_one_user_after_the_other_comes_to_the_same_as_all_at_once() -> None:
    batch = read(FAR, [event for number in range(20) for event in in_order(7, f"u{number}")])
    areas = [new_table().begin() for _ in range(2)]
    for area in areas:
        for user in area.find(batch):
            area.begin(user, 1, 1)
    quiet = quiet_of(FAR)
    assert quiet.fold(areas[0], batch, (), 1, 0, False, None) == (140, 0, {})
    for user, items in batch.items():
        record = areas[1].get(user)
        assert record is not None
        assert quiet.fold_on(record, items, 0, 4.0, 0.0) == (0, False)  # nothing is before that timer
        assert quiet.fold_on(record, items, 0, NEVER, T0) == (0, False)  # the first is of a life before
        assert quiet.fold_on(record, items[:3], 0, NEVER, 0.0) == (3, False)
        assert quiet.fold_on(record, items, 3, NEVER, 0.0) == (7, False)
        assert quiet.fold_on(record, items, 7, NEVER, 0.0) == (7, False)
        record.due = quiet.next_due(record)
        other = areas[0].get(user)
        assert other is not None
        assert record.pack() == other.pack()


def test_of_whom_more_is_to_be_done_is_told_and_how_far_it_went() -> None:
    names = ["epoch", "heads", "encoded", "queued", "late", "without", "away", "all"]
    batch = read(FAR, [event for name in names for event in in_order(3, name)])
    assert list(batch) == names
    area = new_table().begin()
    for user in names:
        if user != "away":
            record = area.begin(user, 1, 1)
            record.scored, record.encode_at = 4, 100
            record.enter(T0)
    for user, name, value in (
        ("epoch", "epoch", 2), ("heads", "scored", 3), ("encoded", "encode_at", 3), ("queued", "encode_at", 3),
        ("queued", "queued", True), ("all", "encode_at", 4),
    ):  # fmt: skip
        setattr(area.get(user), name, value)
    late = area.get("late")
    assert late is not None
    late.enter(T0 + 0.2)
    counted, begun, left = quiet_of(FAR).fold(area, batch, {"without": 1}, 1, 4, True, None)
    assert (counted, begun) == (6, 0)
    assert left == {
        "epoch": (0, False), "heads": (3, False), "encoded": (3, False), "late": (0, False), "away": (0, False),
    }  # fmt: skip
    assert list(left) == ["epoch", "heads", "encoded", "late", "away"]
    counts = {user: found.count for user in area.users() if (found := area.get(user))}
    assert counts == {"epoch": 0, "heads": 3, "encoded": 3, "queued": 3, "late": 0, "without": 0, "all": 3}


def test_who_comes_after_the_batch_was_looked_for_is_folded_and_who_is_forgotten_is_not() -> None:
    batch = read(FAR, [*in_order(2, "here"), *in_order(2, "comes"), *in_order(2, "goes"), *in_order(2, "again")])
    area = new_table().begin()
    for user in ("here", "goes", "again"):
        area.begin(user, 1, 1)
    assert area.find(batch) == ["comes"]
    area.begin("comes", 1, 2)
    area.forget("goes", erased=False)
    area.forget("again", erased=True)
    area.begin("again", 1, 3)
    assert quiet_of(FAR).fold(area, batch, (), 1, 0, False, None) == (6, 0, {"goes": (0, False)})
    # another area, which nobody looked into by this batch
    other = new_table().begin()
    other.begin("goes", 1, 1)
    found = quiet_of(FAR).fold(other, batch, (), 1, 0, False, None)
    assert found == (2, 0, dict.fromkeys(("here", "comes", "again"), (0, False)))


def test_it_stops_behind_an_event_that_may_open_a_segment() -> None:
    events = [{**event, "user": "u"} for event in in_order(9)]
    batch = read(PLAN, events)
    area = new_table().begin()
    area.begin("u", 1, 1)
    counted, _, left = quiet_of(PLAN).fold(area, batch, (), 1, 0, False, None)
    assert (counted, left) == (0, {"u": (2, True)})  # steady: two views
    record = area.get("u")
    assert record is not None
    record.members.put("steady", Membership(T0, 1.0, 1, 1))
    assert quiet_of(PLAN).fold_on(record, batch["u"], 2, NEVER, 0.0) == (3, True)  # viewers: three
    record.members.put("viewers", Membership(T0, 1.0, 1, 2))
    assert quiet_of(PLAN).fold_on(record, batch["u"], 3, NEVER, 0.0) == (9, False)
    assert quiet_of(PLAN).next_due(record) == plain_next_due(PLAN, record)


def test_what_does_not_belong_together_is_refused() -> None:
    batch, others = read(PLAN, in_order(3)), read(FAR, in_order(3))
    table = new_table()
    area = table.begin()
    record = area.begin("u", 1, 1)
    quiet = quiet_of(PLAN)
    wrong: Any = None
    calls: tuple[tuple[Any, ...], ...] = (
        (area, others, (), 1, 0, False, None), (area, {"u": []}, (), 1, 0, False, None),
        (wrong, batch, (), 1, 0, False, None), (area, batch, wrong, 1, 0, False, None),
        (area, batch, [1], 1, 0, False, None), (area, batch, (), "1", 0, False, None),
        (table, batch, (), 1, 0, False, None), (area, batch, (), 1, 0, False, [0, 0, 0, 1, ()]),
        (area, batch, (), 1, 0, False, (0, 0, 0, 1, [1])), (area, batch, (), 1, 0, False, (0, 0, 0, 1)),
    )  # fmt: skip
    for arguments in calls:
        with pytest.raises(TypeError):
            quiet.fold(*arguments)
    for epoch in (-1, 2**32, 2**64):
        with pytest.raises((ValueError, OverflowError)):
            quiet.fold(area, batch, (), epoch, 0, False, None)
    for one, items in ((record, others["u"]), (wrong, batch["u"]), (record, wrong), (PlainRecord("u"), batch["u"])):
        with pytest.raises(TypeError):
            quiet.fold_on(one, items, 0, NEVER, 0.0)
    for at in (-1, 4, 2**40):
        with pytest.raises(IndexError):
            quiet.fold_on(record, batch["u"], at, NEVER, 0.0)
    with pytest.raises(TypeError):
        quiet.next_due(PlainRecord("u"))
    assert record.count == 0
    area.drop()
    for verb in (
        lambda: quiet.fold(area, batch, (), 1, 0, False, None),
        lambda: quiet.fold_on(record, batch["u"], 0, NEVER, 0.0),
        lambda: quiet.next_due(record),
        lambda: area.find(batch),
    ):
        with pytest.raises(RuntimeError, match="the turn is over"):
            verb()


def test_an_image_that_is_none_is_refused() -> None:
    assert COMPILED is not None
    wire = COMPILED.Wire(Event, ("view",), (), {}, {}, (), (), (), ())
    images: list[tuple[bytes, Any]] = [(image, ()) for image in (b"", b"PLN1", bytes(56), bytes(1_000))]
    for image, routes in [*images, (bytes(56), (("view", "", 0),)), (bytes(56), (("dance", "", 0),))]:
        with pytest.raises(ValueError, match=r"image|route"):
            COMPILED.Plan(wire, image, routes)
    with pytest.raises(TypeError):
        COMPILED.Plan(None, bytes(56), ())


def test_a_batch_is_a_mapping_in_order_of_appearance() -> None:
    batch = read(FAR, [*in_order(2, "b"), *in_order(1, "a"), *in_order(1, "用户"), *in_order(1, "b", begin=9)])
    assert len(batch) == 3
    assert list(batch) == list(batch.keys()) == ["b", "a", "用户"]
    assert [(user, len(items)) for user, items in batch.items()] == [("b", 3), ("a", 1), ("用户", 1)]
    assert [len(items) for items in batch.values()] == [3, 1, 1]
    assert {**batch}.keys() == set(batch)
    assert "a" in batch
    nobodies: tuple[Any, ...] = ("c", "", "aa", "\ud800", b"a", 1, None)
    for nobody in nobodies:
        assert nobody not in batch
        assert batch.get(nobody) is None
        with pytest.raises(KeyError):
            batch[nobody]
    assert batch.get("c", ()) == ()
    assert [item[0].id for item in batch["b"]] == ["b 0", "b 1", "b 9"]
    assert batch["b"][0][1] == xxhash.xxh3_64_intdigest(b"b 0")
    assert list(read(FAR, [])) == []
