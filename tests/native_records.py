"""The compiled record: made, filled, asked for what it refuses, and once more in a module of its own
(``tests/c/record_module.c``) whose memory fails, and whose blocks move, when a test says so."""

from __future__ import annotations

import importlib.util
import math
import sysconfig
from collections.abc import Callable
from functools import cache
from importlib.machinery import ExtensionFileLoader
from typing import Any, Final

from state.compiled import COMPILED
from state.layout2 import mark_of
from state.record import Opaque
from state.user import Membership, PendingLabel
from tests import core
from tests.record_verbs import ABSENCES, KEYS, SORTS, SPECS, all_told
from tests.records import LANDMARK, golden_blocks

_NAME: Final = "record_module"
FULL: Final = golden_blocks()["full"]


@cache
def record_module() -> Any:
    """``Record`` and ``open_record`` as in ``state._fold``, and what its C file says."""
    ours = core.SOURCES.parent
    flags = f"-std=gnu11 -Wall -Werror -ffp-contract=off -DMEMORY_FAULTS {core.FLAGS} -fPIC -shared"
    flags += f" -I{sysconfig.get_path('include')} -I{ours}"
    sources = [
        *ours.glob("record_*.c"),
        ours / "module_state.c",
        *core.SOURCES.glob("*.c"),
        core.DRIVERS / "record_module.c",
    ]
    loader = ExtensionFileLoader(_NAME, str(core.build("record.so", flags, sources)))
    spec = importlib.util.spec_from_file_location(_NAME, loader.path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def new(user: Any = "u", epoch: int = 3, life: int = 4) -> Any:
    assert COMPILED is not None
    return COMPILED.Record(user, epoch, life)


def restless(block: bytes) -> Any:
    """One whose block moves each time that it is looked at, as it may in a turn."""
    module = record_module()
    return module.restless(module.open_record("u", block))


def opened(block: Any) -> Any:
    assert COMPILED is not None
    return COMPILED.open_record("u", block)


#: what the twin refuses: ValueError, KeyError or FormatError
REFUSED: dict[str, Callable[[Any], object]] = {
    "members: no such segment to leave": lambda record: record.members.set_leaving("no", 1.0),
    "members: no such segment to remove": lambda record: record.members.remove("no"),
    "members: a score that is none": lambda record: record.members.set_leaving("s", math.nan),
    "members: a number below 0": lambda record: record.members.put("s", Membership(1.0, 2.0, -1, 3)),
    "members: too large a number": lambda record: record.members.put("s", Membership(1.0, 2.0, 1, 2**64)),
    "edges: half a surrogate": lambda record: record.edges.set("\udc00", 1.0, present=True),
    "edges: before all time": lambda record: record.edges.set("v", 0.0, present=True),
    "cells: too many bytes": lambda record: record.cells.put_opaque("k", Opaque(0, bytes(0xFFFF * 8), 5.0)),
    "cells: a type that is none": lambda record: record.cells.put_opaque("k", Opaque(-1, b"", 5.0)),
    "ids: a record of another size": lambda record: record.ids.restore([b"x"]),
    "labels: a weight that is none": lambda record: setattr(record, "labels", [PendingLabel("s", True, math.inf)]),
    "aliases: none": lambda record: setattr(record, "aliases", [""]),
    "events: an unknown kind": lambda record: record.count_event("dance", "", 5.0, 0.0, 0.0),
    "time: after 2106": lambda record: record.enter(2.0**32),
}


def fill(record: Any) -> None:
    """All verbs, once at least."""
    record.enter(LANDMARK)
    for name, value in (
        ("count", 2**63), ("sequence", 5), ("scored", 7), ("version", 8), ("first", 5.5), ("due", 1e10),
        ("queued", True), ("identified", True), ("dirty", 2**40), ("texts", 3), ("texts_put", 4), ("texts_taken", 2),
        ("erased", 9.0), ("known_at", 1e12), ("encode_at", 9), ("epoch", 9), ("life", 9),
    ):  # fmt: skip
        setattr(record, name, value)
    record.labels = [PendingLabel("a" * number, number % 2 == 0, 0.5) for number in range(1, 40)]
    record.aliases = [f"用户{number}" for number in range(40)]
    record.count_event("purchase", category="tools", time=LANDMARK, amount=2.5, dwell=3.5)
    for number in range(20):
        record.members.put(f"s{number}", Membership(5.0, 0.5, number, 2**60 + number, 0.25))
        record.members.set_leaving(f"s{number}", None if number % 2 else 0.75)
        record.edges.set(f"v{number}", 5.0 + number, present=number % 3 > 0)
        record.groups.set(f"g{number}", 5.0 + number, present=number % 3 > 0)
        record.cells.add(SPECS[1], LANDMARK - 90_000.0 * (number % 6), 300**3, LANDMARK)
    record.members.remove("s3")
    record.edges.drop("v3")
    record.groups.bound(5)
    record.groups.bound_removed(2)
    record.cells.add(SPECS[0], LANDMARK, 1, LANDMARK)
    for sort in SORTS:
        record.cells.note(sort, LANDMARK)
    record.cells.mark_unknown(SPECS[2].key, LANDMARK)
    record.cells.mark_unknown("@" + SORTS[0].key, LANDMARK + 1.0)
    record.cells.put_opaque(KEYS[0], Opaque(1, bytes(300), 5.0, 6.0))
    record.cells.put_opaque(KEYS[1], Opaque(1, b"x", 5.0))
    record.cells.drop(KEYS[1])
    record.cells.keep_only({mark_of(key) for key in (*KEYS, *(spec.key for spec in SPECS), "@click|shoes")})
    for number in range(200):
        record.ids.add(number * 2**40, 5.0)
    record.ids.replace(record.ids.items()[10:])
    record.settle(SPECS, ABSENCES)
    record.unite_counters(record.pack())
    assert all_told(record)["count"] == 2**63
    again = opened(record.pack())
    again.ids.restore([record.ids.unsaved.get(number) for number in record.ids.numbers])
    assert (again.ids.items(), again.ids.latest, 2**70 + 7 in again.ids) == (record.ids.items(), 5, False)
