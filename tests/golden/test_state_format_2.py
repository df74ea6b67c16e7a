"""The bytes of format 2, written by hand from ADR 0041: whoever changes the layout sees it here, and must raise the
format's number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from state.absence import Sort
from state.kinds import ROW, SPEND_ROW
from state.layout2 import FORMAT, abi, mark_of
from state.plain.ids import unpack_chunk
from state.plain.record import PlainRecord, unpack
from state.record import Opaque
from state.user import DWELL, Membership, PendingLabel
from state.windows import NEVER, TallySpec
from tests.records import LANDMARK, golden_blocks, told

TIME = LANDMARK + 100.5
VIEWS = TallySpec("view", "count", 3_600)
CLICKS = TallySpec("click", "count", 3_600)
PURCHASES = TallySpec("purchase", "count", 604_800)
SALES = TallySpec("purchase", "amount", 3_600, "sale")
COMMENTS = TallySpec("comment", "count", 86_400)
JOINS = TallySpec("join", "count", 86_400)
SPECS = (VIEWS, CLICKS, PURCHASES, SALES, COMMENTS, JOINS)
SHOES = Sort("click", "shoes")
BUYS = Sort("purchase")
DISTINCT = "distinct|view|item|604800"
DAYS = "days|purchase|90"
LAST_ID = 2**64 - 1


def kinds(record: PlainRecord) -> None:
    record.counters.kinds = {SPEND_ROW: (19.99, 19.99), ROW["view"]: (1.5, 1.75), ROW[DWELL]: (0.0, 2.0**-499)}


def categories(record: PlainRecord) -> None:
    record.counters.categories = {63: 2.0**120, 7: 5.0}


def members(record: PlainRecord) -> None:
    record.members.put("用户", Membership(5.0, -1.0, 3, 2**64 - 1, -0.5))
    record.members.put("taste-food", Membership(TIME, 0.75, 2, 2, 0.25))
    record.members.put("regulars", Membership(LANDMARK + 0.25, 1.0, 1, 1))


def lane(record: PlainRecord) -> None:
    record.dirty, record.texts, record.texts_put, record.texts_taken = 3, 4, 3, 1


def erased(record: PlainRecord) -> None:
    record.erased = 1_600_000_000.5


def labels(record: PlainRecord) -> None:
    record.labels = [PendingLabel("taste-food", True, 0.5), PendingLabel("t", False, 2.0)]


def edges(record: PlainRecord) -> None:
    record.edges.set("用户", LANDMARK + 60.0, present=False)
    record.edges.set("g\0", 0.5, present=True)
    record.edges.set("abcdef", LANDMARK + 50.0, present=True)


def groups(record: PlainRecord) -> None:
    record.groups.set("chess", 2.0**32 - 1, present=False)


def aliases(record: PlainRecord) -> None:
    record.aliases = ["anonymous-1", "ü"]


def ids(record: PlainRecord) -> None:
    record.ids.first, record.ids.stored = 2, 3
    record.ids.add(LAST_ID, LANDMARK)
    record.ids.add(5, LANDMARK + 100.9)
    record.ids.add(5 + 2**56, LANDMARK + 200.0)  # the same to 56 bits


def tallies(record: PlainRecord) -> None:
    for spec, ago, amount in (
        (VIEWS, 0, 255), (VIEWS, 3, 1), (CLICKS, 0, 256), (PURCHASES, 2, 1), (PURCHASES, 0, 65_536), (SALES, 0, 2**50),
        (SALES, 1, 19_990_000), (SALES, 29, 0), (SALES, 0, 1),
    ):  # fmt: skip
        record.cells.add(spec, LANDMARK - ago * spec.width + 0.5, amount, TIME)


def latest(record: PlainRecord) -> None:
    record.cells.note(SHOES, TIME)
    record.cells.note(SHOES, TIME - 1.0)
    record.cells.mark_unknown("@" + BUYS.key, LANDMARK - 0.25)
    record.cells.mark_unknown("@" + SHOES.key, TIME - 1.0)


def opaque(record: PlainRecord) -> None:
    record.cells.put_opaque(DISTINCT, Opaque(258, b"\1\2\3", LANDMARK + 604_800.0))
    record.cells.put_opaque(DAYS, Opaque(7, b"", NEVER, LANDMARK - 1.5))


def unknown(record: PlainRecord) -> None:
    record.cells.mark_unknown(COMMENTS.key, LANDMARK - 50.25)
    record.cells.mark_unknown(JOINS.key, LANDMARK)
    record.cells.add(JOINS, LANDMARK, 2, TIME)
    record.known_at = LANDMARK + 86_400.0


def ids_63(record: PlainRecord) -> None:
    for number in range(63):
        record.ids.add(LAST_ID - number * 3**30, LANDMARK + number)


def ids_none(record: PlainRecord) -> None:
    for number in range(64):
        record.ids.add(LAST_ID - number, LANDMARK + number)


def header(record: PlainRecord) -> None:
    record.due, record.identified, record.queued = 1_700_355_720.0, True, True
    record.first, record.count, record.encode_at, record.sequence, record.scored = LANDMARK + 0.25, 3, 4, 2, 9
    record.version, record.epoch, record.life = 2**32 - 1, 2**32 - 1, 2**64 - 1


ALONE: dict[str, Callable[[PlainRecord], None]] = {
    "header": header, "kinds": kinds, "categories": categories, "tallies": tallies, "latest": latest, "opaque": opaque,
    "unknown": unknown, "members": members, "lane": lane, "erased": erased, "labels": labels, "edges": edges,
    "groups": groups, "aliases": aliases, "ids": ids, "ids-63": ids_63, "ids-none": ids_none,
}  # fmt: skip


def made(name: str) -> PlainRecord:
    """The record of a golden block, made by verbs."""
    if name == "new":
        return PlainRecord("u", 7, 6)
    record = PlainRecord("u")
    record.enter(TIME)
    if name != "full":
        ALONE[name](record)
        return record
    for part, make in ALONE.items():
        if not part.startswith("ids-"):
            make(record)
    record.version, record.epoch, record.life = 11, 7, 6
    return record


GOLDEN = golden_blocks()
BLOCKS = sorted(GOLDEN.keys() - {"ids-record"})


def test_the_file_is_of_this_format_and_has_all_that_is_tried() -> None:
    assert FORMAT == 2
    assert set(BLOCKS) == {"new", "full", *ALONE}


@pytest.mark.parametrize("name", BLOCKS)
def test_bytes_are_as_they_were_written_by_hand(name: str) -> None:
    assert made(name).pack().hex() == GOLDEN[name].hex()


@pytest.mark.parametrize("name", BLOCKS)
def test_bytes_are_read_as_they_were_meant(name: str) -> None:
    read, meant = unpack("u", GOLDEN[name]), made(name)
    if name == "ids-none":
        meant.ids.restore([None])  # a record of its own, which is read for itself
    assert told(read, SPECS, (SHOES, BUYS), (DISTINCT, DAYS)) == told(meant, SPECS, (SHOES, BUYS), (DISTINCT, DAYS))
    assert read.pack() == GOLDEN[name]


def test_a_record_of_ids_is_as_it_was_written_by_hand() -> None:
    record = made("ids-none")
    assert record.ids.unsaved == {0: GOLDEN["ids-record"]}
    assert unpack_chunk(GOLDEN["ids-record"]) == record.ids.items()


def test_numbers_of_the_layout_are_as_they_were() -> None:
    assert abi() == 0x27FD02A7821A7437
    assert mark_of("view|count|604800|") == 0xFA627CCE58CA44FF
