"""What the compiled fold does, by the verbs of the Python twin: for the tests that hold both to the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from state.plain.record import PlainRecord
from state.record import Record
from state.user import PLAIN_KINDS, Membership
from state.windows import NEVER, SCALES, TallySpec
from streams.steps.membership import plain_next_due
from streams.steps.segments import Plan, Segment

_EXACT: Final = 2**53


@dataclass(frozen=True)
class Given:
    """An event, and when it arrived (seconds since the epoch)."""

    kind: str
    time: float
    id_hash: int
    category: str = ""
    amount: float = 0.0
    dwell: float = 0.0
    arrived: float = 0.0
    anonymous: bool = False


def add(plan: Plan, record: Record, event: Given) -> None:
    """All of an event but its id."""
    if not event.anonymous:
        record.identified = True
    record.enter(event.time)
    if record.count == 0 or event.time < record.first:
        record.first = event.time
    record.count += 1
    record.count_event(event.kind, event.category, event.time, event.amount, event.dwell)
    for spec in plan.tallies.touched(event.kind, event.category):
        amount = 1 if spec.measure == "count" else round(getattr(event, spec.measure) * SCALES[spec.measure])
        record.cells.add(spec, event.time, min(amount, 2**50), record.time)
    for sort in plan.watch.touched(event.kind, event.category):
        record.cells.note(sort, event.time)


def gates(plan: Plan, record: Record, event: Given) -> list[tuple[Segment, bool]]:
    """The rules that an event just folded concerns, and whether it can end them."""
    if record.count == 1:
        return [(segment, True) for segment in plan.rules]
    return list(plan.affected(event.kind, event.category))


def score(record: PlainRecord, segment: Segment, inside: bool) -> float:
    """What ``check_rule`` compares with the thresholds."""
    assert segment.rule is not None
    return segment.rule.bounds(record.cells, record.time)[inside]


def _is_inexact(record: PlainRecord, segment: Segment) -> bool:
    assert segment.rule is not None
    specs = [term.native for term in segment.rule.terms if isinstance(term.native, TallySpec)]
    return any(spec.measure != "count" and record.cells.total(spec, record.time) >= _EXACT for spec in specs)


def opens(plan: Plan, record: PlainRecord, event: Given) -> bool:
    """Whether Python has to look at a rule after the event."""
    for segment, can_end in gates(plan, record, event):
        member = record.members.get(segment.id)
        if member is not None and not can_end:
            continue
        if (member is not None and member.leaving is not None) or _is_inexact(record, segment):
            return True
        found = score(record, segment, member is not None)
        if found >= segment.enter if member is None else found < segment.exit:
            return True
    return False


def fold(
    plan: Plan, record: PlainRecord, events: Sequence[Given], at: int, limit: float, erased: float
) -> tuple[int, bool]:
    """As ``tests.core_fold.CoreUser.fold``."""
    horizon = NEVER
    for number in range(at, len(events)):
        event = events[number]
        plain = event.kind in PLAIN_KINDS and 0.0 <= event.amount < inf and 0.0 <= event.dwell < inf
        if not plain or event.time < record.time or event.time <= erased or event.time >= 2.0**32:
            return number, False
        if event.time >= horizon:
            limit = record.due = plain_next_due(plan, record)
            horizon = NEVER
        if event.time >= limit or event.id_hash in record.ids:
            return number, False
        record.ids.add(event.id_hash, event.arrived)
        add(plan, record, event)
        horizon = min(horizon, event.time + plan.shortest_window)
        if opens(plan, record, event):
            return number + 1, True
    return len(events), False


def decide(plan: Plan, records: tuple[PlainRecord, Record], event: Given) -> None:
    """What Python does when the fold stopped behind an event; the first record says what is to be, all get it."""
    first = records[0]
    for segment, can_end in gates(plan, first, event):
        member, now = first.members.get(segment.id), first.time
        if member is not None and not can_end:
            continue
        found = score(first, segment, member is not None)
        for record in records:
            if member is None and found >= segment.enter:
                record.sequence += 1
                record.members.put(segment.id, Membership(now, found, segment.version, record.sequence))
            elif member is not None and found >= segment.exit:
                record.members.set_leaving(segment.id, None)
            elif member is not None and now >= member.since + segment.min_stay:
                record.sequence += 1
                record.members.remove(segment.id)
            elif member is not None:
                record.members.set_leaving(segment.id, found)
