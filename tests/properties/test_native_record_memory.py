"""The compiled record loses no reference and no memory, wherever there is none: see also test_native_leaks.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from state.layout2 import CHUNK, CHUNK_BYTES, mark_of
from state.record import Opaque
from state.user import Membership, PendingLabel
from tests.leaks import left_behind
from tests.native_records import FULL, new, opened, record_module
from tests.record_verbs import KEYS, SORTS, SPECS
from tests.records import LANDMARK

pytestmark = pytest.mark.compiled


class Watched:
    """An absence without a generator, of which Python itself loses a piece when it finds no memory."""

    def next_sure(self, cells: Any, now: float) -> float:
        return float(cells.latest(SORTS[0])) + now


# loops, for Python itself loses the closure of a list comprehension for which there is no memory


def add_to_a_tally(record: Any) -> None:
    for number in range(60):
        record.cells.add(SPECS[1], LANDMARK - 7_200.0 * number, 2**40, LANDMARK)


def count_events(record: Any) -> None:
    for kind in ("view", "click", "join"):
        record.count_event(kind, "shoes", 5.0, 1.0, 1.0)


def look_often(record: Any) -> None:
    for _ in range(100):
        record.slow_counters(5.0)


def remember_ids(record: Any) -> None:
    for number in range(CHUNK):
        record.ids.add(2**40 + number, 9.0)


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
    "tally": add_to_a_tally,
    "buckets": lambda record: record.cells.buckets(SPECS[1]),
    "opaque": lambda record: record.cells.put_opaque(KEYS[0], Opaque(1, bytes(700), 5.0)),
    "get opaque": lambda record: record.cells.opaque(KEYS[1]),
    "keep only": lambda record: record.cells.keep_only({mark_of(SPECS[1].key)}),
    "event": count_events,
    "unite": lambda record: record.unite_counters(FULL),
    "slow": look_often,
    "settle": lambda record: record.settle(SPECS, [Watched()]),
    "ids": remember_ids,
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
    act = ACTS[name]

    def fails(at: int) -> bool:
        record = prepared()
        faults.set_nomemory(at, at + 1)
        try:
            act(record)
        except MemoryError:
            return True
        finally:
            faults.remove_mem_hooks()
            opened(record.pack())  # it is a record still
        return False

    def all_faults() -> None:
        at = 0
        while fails(at):
            at += 1
        assert at > 0

    assert left_behind(all_faults, times=1) == []


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
