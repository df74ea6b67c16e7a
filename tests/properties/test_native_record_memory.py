"""The compiled record loses no reference and no memory, whatever is refused and wherever there is no memory."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from state.layout import FormatError
from state.layout2 import CHUNK, CHUNK_BYTES, mark_of
from state.record import Opaque
from state.user import Membership, PendingLabel
from tests.core import SANITIZED
from tests.native_records import FULL, REFUSED, fill, new, opened, record_module
from tests.record_verbs import KEYS, SORTS, SPECS
from tests.records import LANDMARK

pytestmark = pytest.mark.compiled


def refuse(record: Any) -> None:
    for act in REFUSED.values():
        with pytest.raises((ValueError, KeyError, FormatError)):
            act(record)


def blocks() -> int:
    """Pieces of memory that Python has, but for what only waits to be collected, as exceptions with their frames do."""
    gc.collect()
    return sys.getallocatedblocks()


def resident() -> int:
    """Pages of this process."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1])


def test_ten_thousand_records_through_all_verbs_leave_nothing_behind() -> None:
    def load(records: int) -> int:
        for _ in range(records):
            record = new()
            record.members.put("s", Membership(1.0, 2.0, 3, 4))
            for number in range(CHUNK):
                record.ids.add(number, 5.0)
            fill(record)
        return blocks()

    for _ in range(3):
        before, pages = load(100), resident()
    after = load(1_000 if SANITIZED else 10_000)
    assert after < before + 100
    if not SANITIZED:
        assert resident() < pages + 256  # a mebibyte: a tenth of a record each would be more


def test_refusals_leave_nothing_behind() -> None:
    def load(times: int) -> int:
        record = new()
        record.members.put("s", Membership(1.0, 2.0, 3, 4))
        for _ in range(times):
            refuse(record)
        return blocks()

    for _ in range(3):
        before = load(20)
    assert load(300) < before + 100


class Watched:
    """An absence without a generator, of which Python itself loses a piece when it finds no memory."""

    def next_sure(self, cells: Any, now: float) -> float:
        return float(cells.latest(SORTS[0])) + now


ACTS: dict[str, Callable[[Any], object]] = {
    "new": lambda record: new("u", 5, 6),
    "open": lambda record: opened(FULL),
    "get": lambda record: record.members.get("s"),
    "put": lambda record: record.members.put("t" * 600, Membership(1.0, 2.0, 3, 4)),
    "items": lambda record: record.members.items(),
    "segments": lambda record: record.members.segments(),
    "edges": lambda record: (record.edges.items(), record.edges.present()),
    "edge": lambda record: record.edges.set("w" * 600, 5.0, present=True),
    "bound": lambda record: record.edges.bound(1),
    "labels": lambda record: setattr(record, "labels", [PendingLabel("a" * 300, True, 0.5)] * 3),
    "get labels": lambda record: record.labels,
    "aliases": lambda record: setattr(record, "aliases", ["a" * 300] * 3),
    "get aliases": lambda record: record.aliases,
    "tally": lambda record: [record.cells.add(SPECS[1], LANDMARK - 7_200.0 * n, 2**40, LANDMARK) for n in range(60)],
    "buckets": lambda record: record.cells.buckets(SPECS[1]),
    "opaque": lambda record: record.cells.put_opaque(KEYS[0], Opaque(1, bytes(700), 5.0)),
    "get opaque": lambda record: record.cells.opaque(KEYS[1]),
    "keep only": lambda record: record.cells.keep_only({mark_of(SPECS[1].key)}),
    "event": lambda record: [record.count_event(kind, "shoes", 5.0, 1.0, 1.0) for kind in ("view", "click", "join")],
    "unite": lambda record: record.unite_counters(FULL),
    "slow": lambda record: [record.slow_counters(5.0) for _ in range(100)],
    "settle": lambda record: record.settle(SPECS, [Watched()]),
    "ids": lambda record: [record.ids.add(2**40 + number, 9.0) for number in range(CHUNK)],
    "get ids": lambda record: (record.ids.items(), record.ids.numbers, record.ids.unsaved),
    "replace": lambda record: record.ids.replace([(number, 5) for number in range(2 * CHUNK)]),
    "restore": lambda record: record.ids.restore([bytes(CHUNK_BYTES)]),
    "pack": lambda record: record.pack(),
}


def prepared() -> Any:
    record = new()
    record.enter(LANDMARK + 1000.0)
    record.members.put("s", Membership(1.0, 2.0, 3, 4))
    record.labels, record.aliases = [PendingLabel("a", True, 0.5)], ["用户"]
    for number in range(5):
        record.edges.set(f"v{number}", 5.0, present=True)
    record.cells.add(SPECS[1], LANDMARK, 5, LANDMARK)
    record.cells.put_opaque(KEYS[1], Opaque(1, b"x", 5.0))
    for number in range(CHUNK + 5):
        record.ids.add(number, 5.0)
    return record


@pytest.mark.parametrize("name", ACTS)
def test_where_there_is_no_memory_a_verb_says_so_and_loses_nothing(name: str) -> None:
    faults = import_module("_testcapi")  # of CPython itself; where it was left out, the test fails
    act, failed = ACTS[name], 0

    def once(fails_at: int) -> bool:
        record = prepared()
        faults.set_nomemory(fails_at, fails_at + 1)
        try:
            act(record)
        except MemoryError:
            return True
        finally:
            faults.remove_mem_hooks()
            opened(record.pack())  # it is a record still
        return False

    def all_faults() -> int:
        nonlocal failed
        at = 0
        while once(at):
            at += 1
        failed = at
        return blocks()

    before = all_faults()
    if not SANITIZED:
        before = all_faults()
        assert all_faults() < before + 20
    assert failed > 0


@pytest.mark.parametrize("name", ["add", "replace", "restore"])
def test_where_there_is_no_memory_for_records_of_ids_the_verb_says_so_and_loses_nothing(name: str) -> None:
    module = record_module()
    acts: dict[str, Callable[[Any], object]] = {
        "add": lambda record: [record.ids.add(1_000 + number, 5.0) for number in range(10 * CHUNK)],
        "replace": lambda record: record.ids.replace([(number, 5) for number in range(10 * CHUNK)]),
        "restore": lambda record: record.ids.restore([bytes(range(232)) * 2] * 3),
    }
    for fails_in in range(1, 20):
        record = module.Record("u")
        for number in range(3 * CHUNK):
            record.ids.add(number, 5.0)
        before, references = record.ids.items(), sys.getrefcount(record)
        module.fail_in(fails_in)
        try:
            acts[name](record)
        except MemoryError:
            failed = True
        else:
            failed = False
        module.fail_in(0)
        assert sys.getrefcount(record) == references
        assert len(record.ids) == len(record.ids.items())
        assert opened(record.pack()).ids.numbers == record.ids.numbers
        if failed and name != "replace":
            assert record.ids.items()[: len(before)] == before
        del record
        assert module.live() == 0
        if not failed:
            break
    assert 1 < fails_in < 19
