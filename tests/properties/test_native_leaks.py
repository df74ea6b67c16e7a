"""No verb of the compiled module leaves anything behind: not when it is done, nor refused, nor given up halfway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from aiokafka.record.util import calc_crc32c

from state import plan_image
from state.compiled import COMPILED
from state.features import RAW_DIM
from state.layout import FormatError
from state.plain.record import PlainRecord
from state.user import Membership
from state.windows import NEVER
from streams.steps.segments import CALLS, Plan, parse_plan
from streams.wire.decode import Limits, decode_unchecked
from streams.wire.events import Event
from tests.leaks import left_behind
from tests.native_records import FULL, REFUSED, fill, new, opened
from tests.properties.test_fetched import batch as kafka_batch
from tests.record_verbs import SPECS, all_told

pytestmark = pytest.mark.compiled
MODULE: Final[Any] = COMPILED
T0: Final = 1_699_920_000.0
PLANS: Final = [
    parse_plan(f'[[segment]]\nid = "far"\nrule = \'count("view", within="1h") >= {least}\'') for least in (10**6, 3)
]
IMAGE: Final = plan_image.write(PLANS[0].described)
WIRE: Final = (
    Event, ("click", "purchase", "view"), CALLS.fields, dict(CALLS.kinds), dict(CALLS.tracks), CALLS.items,
    CALLS.categories, CALLS.amounts, CALLS.dwells,
)  # fmt: skip


def quiet(plan: Plan = PLANS[0]) -> Any:
    assert plan.quiet is not None
    return plan.quiet._plan


class Sent:
    """A record of a source topic."""

    def __init__(self, value: bytes) -> None:
        self.value, self.timestamp = value, int((T0 + 1e6) * 1_000)


def event(number: int, **others: object) -> bytes:
    said = {"user": f"u{number % 5}", "kind": "view", "time": T0 + number, "id": str(number), "category": "c7"}
    return msgspec.json.encode(said | others)


VALUES: Final = [event(number) for number in range(20)]
CALL: Final = msgspec.json.encode(
    {"type": "track", "event": "Product Viewed", "userId": "u1", "timestamp": T0 + 30, "messageId": "m",
     "properties": {"product_id": "p", "category": "c7"}}
)  # fmt: skip


def taken(record: Any) -> Any:
    return decode_unchecked(record.value), 7, record, T0


def read(values: list[bytes], slow: Callable[[Any], object] = lambda _: None, plan: Plan = PLANS[0]) -> Any:
    return quiet(plan).read([Sent(value) for value in values], decode_unchecked, slow, Limits().usual)[0]


def fails(error: type[BaseException], act: Callable[[], object]) -> None:
    """``pytest.raises`` keeps more than an act may leave."""
    try:
        act()
    except error:
        return
    raise AssertionError("it was not refused")


def boom(*_: object) -> Any:
    raise ZeroDivisionError


class Puts(dict[bytes, "bytes | None"]):
    """Stands for RocksDB's batch."""

    def __delitem__(self, key: bytes) -> None:
        self[key] = None


class Ends:
    """An area of a table of its own, with the events of five users."""

    def __init__(self) -> None:
        self.table = MODULE.Arena(1 << 22).table()
        self.batch = read(VALUES)
        self.area = self.table.begin()

    def folded(self) -> Ends:
        for user in self.area.find(self.batch):
            self.area.begin(user, 1, 1)
        quiet().fold(self.area, self.batch, (), 1, 0, False, None, None)
        return self

    def settled(self) -> Ends:
        self.folded().area.settle(PLANS[0].specs, {}, set())
        return self


# done


def turn_to_the_end() -> None:
    ends = Ends().settled()
    ends.area.commit()
    again = ends.table.begin()
    assert again.find(["u1", "nobody"]) == ["nobody"]
    assert (again.due("u1"), "u1" in again, len(again.users())) == (again.get("u1").due, True, 1)
    again.forget("u1", erased=True)
    again.drop()
    assert ends.table.get("u1") is not None
    ends.table.tidy()
    ends.table.clear()
    assert (ends.table.users, ends.table.bytes_held) == (0, 0)


def written_behind() -> None:
    ends, puts = Ends().settled(), Puts()
    ends.area.commit(True)
    assert (ends.table.dirty, ends.table.tight) == (5, False)
    assert (ends.table.put_new(puts), ends.table.dirty) == (5, 0)
    again = ends.table.begin()
    again.find(["u1"])
    again.settle(PLANS[0].specs, {}, set())
    again.commit(True)
    assert (ends.table.put_dirty(puts, 0.0, 1.0), ends.table.dirty) == (1, 0)
    area = MODULE.Arena(1 << 22).table().begin()
    assert area.admit_whole({key[1:].decode(): block for key, block in puts.items() if block}) == []
    assert area.admit_whole({"z": b"\1 of before"}) == ["z"]
    fails(TypeError, lambda: area.admit_whole([]))
    area.drop()
    fails(TypeError, lambda: ends.table.put_dirty(puts, "0", 1.0))


def memberships_that_begin() -> None:
    batch = read(VALUES, plan=PLANS[1])
    area = MODULE.Arena(1 << 22).table().begin()
    entered: dict[str, Any] = {}
    area.find(batch)
    counted, begun, left = quiet(PLANS[1]).fold(area, batch, (), 1, 0, False, (0, 0, 0, 1, ()), entered)
    assert (counted, begun) == (20, 5)
    assert {*left} == {*entered} == {*batch}
    area.drop()


def turn_of_the_stored() -> None:
    stored = PlainRecord("x", 1, 1)
    for number in range(300):
        stored.ids.add(number * 0x9E37_79B9_7F4A_7C15, T0)
    block, chunks = stored.pack(), [stored.ids.unsaved[number] for number in stored.ids.numbers]
    area = MODULE.Arena(1 << 22).table().begin()
    record = area.admit("x", block, chunks)
    record.ids.add(1, T0)
    area.take(stored_as("y", stored), 5.0)
    area.settle(SPECS, {}, set())
    area.commit()


def stored_as(user: str, record: PlainRecord) -> PlainRecord:
    record.user = user
    return record


def events_one_by_one() -> None:
    batch = read([*VALUES, CALL, event(40, kind="comment", text="ho")], taken)
    assert batch.get("nobody") is None
    assert len(list(batch.keys())) == len(batch.values()) == len(batch.items()) == len(batch)
    items = batch["u1"]
    assert (items.time(0), items.plain(0)[0], len(items[1:]), items[-1][0].user) == (T0 + 1, "view", 4, "u1")
    record = opened(FULL)
    quiet().fold_on(record, items, 0, NEVER, 0.0)
    quiet().next_due(record)
    some = iter(batch)
    next(some)


def fetched() -> None:
    data = kafka_batch([(at, 1, b"ua", b"%d" % at, [("name", b"x"), ("none", None)]) for at in range(9)])
    records, _, _ = MODULE.parse([(data, None, 2)])
    assert MODULE.fitting(records, 200)[0] > 0
    assert list(MODULE.latest(records[1:])) == [b"ua"]
    assert [(one.offset, one.timestamp, one.timestamp_type, one.key, one.value, one.headers) for one in records]
    repr(records[0])
    batch, _ = quiet().read(records, decode_unchecked, lambda _: None, Limits().usual)
    assert len(batch) == 0
    assert MODULE.put(Puts(), {b"ua": b"\2" + bytes(20), b"e1": b"", b"p": None}, {b"ub"}, True) == 1
    data = kafka_batch([(at, 1, key, b"\2" + bytes(20), []) for at, key in enumerate((b"ua", b"e1", b"ua"))])
    records, _, _ = MODULE.parse([(data, None, 0)])
    assert MODULE.load(Puts(), records, b"") == 1
    assert MODULE.load(Puts(), records, b"xx") == 0
    assert MODULE.crc32c(data) in (None, calc_crc32c(data))


def read_all_of_a_record() -> None:
    record = opened(FULL)
    all_told(record)
    record.cells.next_change()
    parts = (
        len(record.members), len(record.ids), "s" in record.members, "k" in record.cells, 5 in record.ids,
        record.members.segments(), record.members.get("s"), record.members.get(record.members.segments()[0]),
        record.edges.get("v"), record.edges.present_count, record.groups.count,
    )  # fmt: skip
    assert len(parts) == 11
    record.features(np.empty(RAW_DIM, np.float32))


def module_of_its_own() -> None:
    wire = MODULE.Wire(*WIRE)
    MODULE.Plan(wire, IMAGE, (("view", "", 0),))


DONE: Final[dict[str, Callable[[], object]]] = {
    "all verbs of a record": lambda: fill(new()),
    "a record is read": read_all_of_a_record,
    "a turn is committed": turn_to_the_end,
    "memberships that begin in a fold": memberships_that_begin,
    "users who are written behind": written_behind,
    "a turn of users whom the store has": turn_of_the_stored,
    "events are read": events_one_by_one,
    "records are fetched": fetched,
    "definitions": module_of_its_own,
}

# refused, or given up


def refused_by_a_record() -> None:
    record = new()
    record.members.put("s", Membership(1.0, 2.0, 3, 4))
    for act in REFUSED.values():
        fails((ValueError, KeyError, FormatError), lambda act=act: act(record))  # type: ignore[arg-type, misc]


class Broken:
    """A tally, a sort, a membership or a label of which nothing can be read."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError


def broken_arguments() -> None:
    record, broken = opened(FULL), Broken()
    for act in (
        lambda: record.members.put("s", broken), lambda: record.cells.add(broken, 1.0, 1, 1.0),
        lambda: record.cells.latest(broken), lambda: record.cells.put_opaque("k", broken),
        lambda: record.settle([broken], ()), lambda: record.settle((), boom()), lambda: record.ids.replace([broken]),
        lambda: record.ids.replace([(1, 2), broken]), lambda: record.ids.restore(boom()),
        lambda: setattr(record, "labels", [broken]), lambda: setattr(record, "aliases", ["a", broken]),
        lambda: record.cells.keep_only([1, broken]), lambda: record.unite_counters(b"x"),
        lambda: record.features(bytearray(4)), lambda: record.settle(SPECS, [broken]), lambda: record.enter(broken),
        lambda: MODULE.open_record(broken, FULL), lambda: MODULE.open_record("u", FULL[:-8]),
        lambda: MODULE.open_record("u", broken), lambda: MODULE.Record("u", 2**40), lambda: MODULE.Record(broken),
        lambda: MODULE.Arena(0), lambda: MODULE.Arena("x"),
    ):  # fmt: skip
        fails(Exception, act)


def refused_by_a_turn() -> None:
    ends = Ends().folded()
    area, known = ends.area, ends.area.get("u1")
    stranger = read(VALUES, plan=PLANS[1])
    for act in (
        ends.table.begin, lambda: ends.table.get("u1"), lambda: area.begin("u1", 1, 1), lambda: area.begin("", 1, 1),
        lambda: area.begin("new", 2**40, 1), lambda: area.begin("x" * 70_000, 1, 1), lambda: area.find([1]),
        lambda: area.find(5), lambda: area.admit("new", FULL[:-1], ()), lambda: area.admit("new", FULL, [b"x"] * 9),
        lambda: area.admit("new", FULL, [Broken()]), lambda: area.admit("new", None, ()), lambda: area.take(None, 1.0),
        lambda: area.settle(None, {}, set()), lambda: area.settle((Broken(),), {}, set()),
        lambda: quiet().fold(area, stranger, (), 1, 0, False, None, None),
        lambda: quiet().fold(area, ends.batch, [1], 1, 0, False, None, None),
        lambda: quiet().fold(area, ends.batch, (), 1, 0, False, None, []),
        lambda: quiet().fold(area, ends.batch, (), 2**40, 0, False, None, None), area.commit, MODULE.Area,
        lambda: quiet().fold_on(known, stranger["u1"], 0, NEVER, 0.0),
        lambda: quiet().fold_on(known, ends.batch["u1"], 99, NEVER, 0.0), lambda: quiet().next_due(None),
        lambda: ends.batch["nobody"], lambda: ends.batch["u1"][::2], lambda: ends.batch["u1"][99],
    ):  # fmt: skip
        fails(Exception, act)


def turn_given_up() -> None:
    Ends().folded().area.drop()
    Ends().settled().area.drop()
    Ends().settled()  # nobody drops it
    ends = Ends().folded()
    record, members = ends.area.get("u1"), ends.area.get("u1").members
    ends.table.clear()
    fails(RuntimeError, ends.area.users)
    fails(RuntimeError, record.pack)
    fails(RuntimeError, members.items)
    kept = Ends().folded()
    record = kept.area.get("u2")
    kept.area.forget("u2", erased=False)
    fails(RuntimeError, record.pack)


def turn_that_cannot_be_settled() -> None:
    ends = Ends().folded()
    ends.area.get("u1").texts_taken = 5
    fails(ValueError, lambda: ends.area.settle((), {}, set()))
    fails(RuntimeError, ends.area.commit)


def reading_given_up() -> None:
    fails(ZeroDivisionError, lambda: read([VALUES[0], b"broken"], boom))
    for told in ((1, 2), (1, 2, 3, 4), (decode_unchecked(VALUES[0]), "x", 3, 4), 5):
        fails(Exception, lambda told=told: read([VALUES[0], b"broken"], lambda _: told))  # type: ignore[misc]
    fails(AttributeError, lambda: quiet().read([None], decode_unchecked, taken, Limits().usual))
    fails(TypeError, lambda: quiet().read([], decode_unchecked, taken, ()))
    batch, _ = quiet().read([Sent(VALUES[0])], boom, taken, Limits().usual)
    fails(ZeroDivisionError, lambda: batch["u0"][0])


def fetching_given_up() -> None:
    data = kafka_batch([(at, 1, b"ua", b"%d" % at, [("name", b"x")]) for at in range(9)])
    for batches in ([(data, None)], [(data[:20], None, 0)], [(None, None, 0)], [(data, 5, 0)], ((data, None, 0),)):
        fails(Exception, lambda batches=batches: MODULE.parse(batches))  # type: ignore[misc]
    MODULE.parse([(data[:-5], None, 0)])
    MODULE.parse([(data, b"not at all", 0)])
    fails(TypeError, lambda: MODULE.latest([]))
    fails(TypeError, lambda: MODULE.put(Puts(), {"k": b""}, set(), True))
    fails(TypeError, lambda: MODULE.put(Puts(), {b"ua": bytes(20)}, [], True))
    fails(ValueError, lambda: MODULE.put(Puts(), {b"ua": b"short"}, set(), True))
    fails(Exception, lambda: MODULE.put(None, {b"ua": bytes(20)}, set(), True))
    short, _, _ = MODULE.parse([(kafka_batch([(0, 1, b"ua", b"short", [])]), None, 0)])
    fails(TypeError, lambda: MODULE.load(Puts(), {b"ua": bytes(20)}, b""))
    fails(ValueError, lambda: MODULE.load(Puts(), short, b""))
    fails(Exception, lambda: MODULE.load(None, short, b"xx"))
    fails(TypeError, lambda: MODULE.crc32c(1))


class Unslotted(msgspec.Struct):
    user: str


def construction_given_up() -> None:
    wrong: dict[int, object] = {
        0: Unslotted, 1: (5,), 2: ("consent",), 3: {5: 5}, 4: {"x" * 200: "view"}, 5: (("products", 1),), 6: (5,),
        7: (("a",),) * 40, 8: ((),),
    }  # fmt: skip
    for place, value in wrong.items():
        fails(Exception, lambda at=place, it=value: MODULE.Wire(*WIRE[:at], it, *WIRE[at + 1 :]))  # type: ignore[misc]
    wire = MODULE.Wire(*WIRE)
    for arguments in (
        (None, IMAGE, ()), (wire, IMAGE[:-1], ()), (wire, bytes(56), ()), (wire, IMAGE, (5,)),
        (wire, IMAGE, (("view", "", 0), ("dance", "", 0))), (wire, IMAGE, (("view", "", 10**6),)),
        (wire, IMAGE, (("view", "\udc00", 0),)),
    ):  # fmt: skip
        fails(Exception, lambda given=arguments: MODULE.Plan(*given))  # type: ignore[misc]


GIVEN_UP: Final[dict[str, Callable[[], object]]] = {
    "what a record refuses": refused_by_a_record,
    "arguments that break": broken_arguments,
    "what a turn refuses": refused_by_a_turn,
    "a turn that is dropped, left or cleared away": turn_given_up,
    "a turn that cannot be settled": turn_that_cannot_be_settled,
    "events that break": reading_given_up,
    "batches that break": fetching_given_up,
    "definitions that break": construction_given_up,
}
TRIED: Final = DONE | GIVEN_UP


def types() -> set[type]:
    """All types of the module: those that it names, and those that are met."""
    batch, record, fetched = (
        read(VALUES),
        opened(FULL),
        MODULE.parse([(kafka_batch([(0, 1, b"k", b"v", [])]), None, 0)]),
    )
    met = (
        record,
        record.members,
        record.edges,
        record.cells,
        record.ids,
        batch,
        batch["u1"],
        iter(batch),
        fetched[0][0],
    )
    return {type(one) for one in met} | {one for one in vars(MODULE).values() if isinstance(one, type)}


@pytest.mark.parametrize("name", TRIED)
def test_nothing_is_left_behind(name: str) -> None:
    assert left_behind(TRIED[name], sorted(types(), key=repr)) == []


def test_what_is_left_behind_is_seen_be_it_an_object_memory_or_a_reference() -> None:
    kept: list[object] = []
    assert left_behind(lambda: kept.append(object()))
    assert left_behind(lambda: kept.append(MODULE.Arena(1 << 20).table))
    assert left_behind(lambda: kept.append(None))
    assert left_behind(lambda: kept.append(MODULE.Record), [MODULE.Record])


def test_all_that_can_be_called_is_tried() -> None:
    called: set[str] = set()

    def note(_frame: FrameType, what: str, function: Any) -> None:
        if what == "c_call":
            called.add(function.__qualname__)

    sys.setprofile(note)
    try:
        for act in TRIED.values():
            act()
    finally:
        sys.setprofile(None)
    verbs = {f"{one.__name__}.{name}" for one in types() for name, it in vars(one).items() if callable(it)}
    functions = {name for name, it in vars(MODULE).items() if callable(it) and not isinstance(it, type)}
    assert {name for name in verbs | functions if "__" not in name} - called == set()
