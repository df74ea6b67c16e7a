"""The compiled module in a Python that has no package, whichever it is: loaded, used, let go; in interpreters beside
each other; and loaded twice. Run by itself, without site-packages:

    python -I -S tests/bare_module.py PATH_OF_THE_MODULE
"""

from __future__ import annotations

import gc
import importlib.util
import struct
import sys
import threading
import weakref
from collections import namedtuple
from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FIELDS = (
    "user", "kind", "time", "id", "item", "category", "amount", "dwell", "text", "target", "group", "anonymous",
)  # fmt: skip
#: a plan without any definition: PlanHead of state/c/core/plan.h
NOTHING = struct.pack("<12Id", 0x314E4C50, 56, *[0] * 10, float("inf"))
BOUNDS = (10_000, 100, 0.0, 1e9, 1e9, 1e9)


class TooLargeError(ValueError):
    """Of Python's side."""


class FormatError(ValueError):
    pass


class Event:
    __slots__ = FIELDS
    __struct_fields__ = FIELDS


def stand_ins() -> None:
    """What the module imports of Python's side, whose own modules need packages."""
    counters = ("view", "click", "spend", "dwell")
    parts: dict[str, dict[str, object]] = {
        "state": {},
        "state.user": {
            "Membership": namedtuple("Membership", "since score version sequence leaving"),
            "PendingLabel": namedtuple("PendingLabel", "segment member weight"),
            "INTEREST": {"view": 1.0},
            "category_bucket": lambda category: len(category) % 64,
        },
        "state.record": {
            "Opaque": namedtuple("Opaque", "type data next_change unknown_until"), "TooLargeError": TooLargeError,
        },
        "state.kinds": {"ROW": {name: row for row, name in enumerate(counters)}, "COUNTERS": counters},
        "state.layout": {"FormatError": FormatError},
        "state.features": {
            "PLACES": {"view": (0, 1)}, "SPEND_FAST": 2, "SPEND_SLOW": 3, "DWELL_SLOW": 4, "FOLLOWEES": 5, "GROUPS": 6,
            "TEXTS": 7, "CATEGORIES": 8, "RAW_DIM": 72,
        },
    }  # fmt: skip
    for name, words in parts.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        vars(module).update(words)


def loaded(path: str) -> Any:
    loader = ExtensionFileLoader("state._fold", path)
    spec = importlib.util.spec_from_file_location("state._fold", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def turn(module: Any, plan: Any, table: Any, count: int) -> int:
    """A turn of so many events, half of which Python reads; how many are in memory then."""
    values = [
        b'{"user":"u%d","kind":"%s","time":%d}' % (number % 97, b"view" if number % 2 else b"dance", 1_000 + number)
        for number in range(count)
    ]
    records = [SimpleNamespace(value=value, timestamp=2_000_000) for value in values]

    def slow(record: Any) -> Any:
        event: Any = Event()
        for field in FIELDS:
            setattr(event, field, "")
        event.user, event.kind, event.time = "u1", "dance", 1_000.0
        event.amount, event.dwell, event.anonymous = 0.0, 0.0, False
        return event, 7, record, 2_000.0

    batch, _ = plan.read(records, bytes, slow, BOUNDS)
    area = table.begin()
    for user in area.find(batch):
        area.begin(user, 1, 1)
    plan.fold(area, batch, (), 1, 0, False, None, None)
    items = batch["u1"]
    assert [plan.fold_on(area.get("u1"), items, 0, 1e12, 0.0), items.time(0)] == [(0, False), 1_000.0]
    assert [items[0][1], items.plain(0), len(list(batch))] == [7, None, len(batch)]
    area.settle((), {}, set())
    area.commit()
    return int(table.users)


def use(module: Any) -> None:
    """Something of everything; also what is refused."""
    record = module.Record("u", 1, 2)
    record.count_event("view", "shoes", 5.0, 1.0, 1.0)
    record.members.put("s", sys.modules["state.user"].Membership(1.0, 2.0, 3, 4, None))
    record.edges.set("v", 5.0, present=True)
    record.ids.add(7, 5.0)
    record.labels = [sys.modules["state.user"].PendingLabel("s", True, 0.5)]
    again = module.open_record("u", record.pack())
    assert [again.members.items()[0][0], again.ids.items(), again.pack()] == ["s", [(7, 5)], record.pack()]
    for damaged in (b"", record.pack()[:-1]):
        try:
            module.open_record("u", damaged)
        except FormatError:
            continue
        raise AssertionError("a damaged block was taken")
    records, whole, lost = module.parse([])
    assert (len(records), whole, lost, module.fitting(records, 5)) == (0, 0, -1, (0, 0))
    wire = module.Wire(Event, ("view",), (), {}, {}, (), (), (), ())
    plan = module.Plan(wire, NOTHING, ())
    table = module.Arena(1 << 22).table()
    assert [turn(module, plan, table, 5_000), turn(module, plan, table, 10)] == [97, 97]
    for make in (module.Area, module.Table, module.Batch, module.Records):
        try:
            make()
        except TypeError:
            continue
        raise AssertionError(f"{make} was made by a call")


def check(path: str) -> None:
    """In one interpreter."""
    stand_ins()
    module = loaded(path)
    use(module)
    other = loaded(path)
    assert other.Record is not module.Record
    use(other)
    try:
        module.Plan(other.Wire(Event, ("view",), (), {}, {}, (), (), (), ()), NOTHING, ())
    except TypeError:
        pass
    else:
        raise AssertionError("an object of another module was taken")
    watched = [weakref.ref(part) for part in (other, other.Area, other.Plan, other.Record, other.Batch)]
    del other
    gc.collect()
    assert [part() for part in watched] == [None] * len(watched), "a module that nobody has any more is still there"
    use(module)


def interpreters(path: str, count: int) -> None:
    """The same in others beside this one, at the same time: from 3.12 on each has a lock of its own."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    others = import_module(name)
    source = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    source += f"import bare_module\nbare_module.check({path!r})"
    errors: list[object] = []

    def run() -> None:
        made = others.create()
        try:
            error = others.run_string(made, source)
        except Exception as raised:
            error = raised
        if error is not None:
            errors.append(error)
        others.destroy(made)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


if __name__ == "__main__":
    check(sys.argv[1])
    interpreters(sys.argv[1], 3)
    check(sys.argv[1])
    sys.stdout.write(f"{sys.version_info.major}.{sys.version_info.minor}\n")
