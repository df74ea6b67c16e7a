"""Users' records in tests: who implements them, what they tell, and the golden blocks of format 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from state.absence import Sort
from state.compiled import COMPILED
from state.features import RAW_DIM
from state.plain.record import PlainRecord, unpack
from state.record import Record
from state.windows import TallySpec
from tests.core_record import CoreRecord, open_record

FILE = Path(__file__).parent / "golden" / "state_format_2.txt"
#: a month of 30 days begins here
LANDMARK = 1_700_352_000


@dataclass(frozen=True)
class Implementation:
    new: Callable[[str, int, int], Record]
    """(user, epoch, life) → the record of somebody never seen."""
    open: Callable[[str, bytes], Record]
    """(user, block that anybody may have written) → the record; raises FormatError."""


IMPLEMENTATIONS = {
    "plain": Implementation(PlainRecord, unpack),
    "core": Implementation(CoreRecord, open_record),
}
if COMPILED is not None:
    IMPLEMENTATIONS["native"] = Implementation(COMPILED.Record, COMPILED.open_record)


def block_of(user: str = "u", time: float = 0.0, **fields: Any) -> bytes:
    """The block of somebody of whom nothing is told but ``fields``."""
    record = PlainRecord(user)
    record.enter(time)
    return _with(record, fields)


def block_with(user: str, block: bytes, **fields: Any) -> bytes:
    """The block with other ``fields``; ids that lie in records of their own stay there."""
    return _with(unpack(user, block), fields)


def _with(record: PlainRecord, fields: dict[str, Any]) -> bytes:
    for name, value in fields.items():
        assert hasattr(record, name)
        setattr(record, name, value)
    return record.pack()


def golden_blocks() -> dict[str, bytes]:
    """Name → its bytes, of all that the file has."""
    found: dict[str, bytes] = {}
    name = ""
    for line in FILE.read_text("utf-8").splitlines():
        piece = line.split("#", 1)[0]
        if piece.startswith("  "):
            found[name] += bytes.fromhex(piece)
        elif piece.strip():
            name = piece.strip()
            found[name] = b""
    return found


def told(
    record: Record, specs: Iterable[TallySpec] = (), sorts: Iterable[Sort] = (), keys: Iterable[str] = ()
) -> dict[str, Any]:
    """All that a record says by its verbs; of cells as far as they are asked for."""
    names = (
        "user", "time", "first", "count", "sequence", "due", "epoch", "scored", "encode_at", "life", "version",
        "identified", "queued", "dirty", "texts", "texts_put", "texts_taken", "erased", "known_at",
    )  # fmt: skip
    says: dict[str, Any] = {name: getattr(record, name) for name in names}
    says["labels"] = [(label.segment, label.member, label.weight) for label in record.labels]
    says["aliases"] = list(record.aliases)
    says["members"] = record.members.items()
    for name in ("edges", "groups"):
        edges = getattr(record, name)
        says[name] = (edges.items(), edges.present(), edges.count, edges.present_count)
    says["ids"] = (record.ids.items(), record.ids.numbers, record.ids.latest)
    cells, now = record.cells, record.time
    for spec in specs:
        says[spec.key] = (
            spec.key in cells, cells.buckets(spec), cells.total(spec, now), cells.next_expiry(spec, now),
            cells.unknown_until(spec.key),
        )  # fmt: skip
    for sort in sorts:
        says["@" + sort.key] = (cells.latest(sort), cells.unknown_until("@" + sort.key))
    for key in keys:
        says[key] = (cells.opaque(key), cells.unknown_until(key))
    features = np.empty(RAW_DIM, dtype=np.float32)
    record.features(features)
    says["features"] = features.tolist()
    says["slow"] = record.slow_counters(now + 5.0)
    return says


def reopened(kind: Implementation, record: Record) -> Record:
    """The record of what it packs, with its records of ids."""
    found = kind.open(record.user, record.pack())
    found.ids.restore(record.ids.unsaved.get(number) for number in record.ids.numbers)
    return found
