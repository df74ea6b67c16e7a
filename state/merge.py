"""Two ids turn out to be one person's: what was counted for both becomes one user's. Pure.

All that a fold adds up is commutative, so the sum of two states is the state of one user who did everything; what is
last-writer-wins stays so by event time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from state.absence import SORT, Watch
from state.plain.ids import Entry, unite
from state.record import Cells, Record
from state.user import MOST_GROUPS
from state.vectors import Vectors, add_text, text_sum
from state.windows import TallyPlan

#: of one user; only what somebody made up comes there, and a record has room for as many events again
_MOST_COUNT: Final = 2**63
_MOST_TEXTS: Final = 2**31


def merge_states(
    into: Record, other: Record, ids: Iterable[Entry], user: str, merged: str, plan: TallyPlan, watch: Watch
) -> list[str]:
    """Add all that ``other`` (known as ``merged``, with these ``ids`` of events) did to ``into`` (known as ``user``).

    Memberships stay as they are: they must be decided anew at the merged ``time``. Texts that wait are not in a state.
    The list of merged ids grows; the caller bounds it.
    Returns the targets of whom something else is known than before, sorted; whoever keeps an index of them must be
    told, and bounds their number.
    """
    if other.count:
        into.first = min(into.first, other.first) if into.count else other.first
    into.enter(other.time)
    into.count = min(into.count + other.count, _MOST_COUNT)
    into.texts = min(into.texts + other.texts, _MOST_TEXTS)
    into.identified |= other.identified
    into.unite_counters(other.pack())
    _add_tallies(into, other, plan)
    for spec in plan.specs.values():
        if (until := other.cells.unknown_until(spec.key)) is not None:
            into.cells.mark_unknown(spec.key, until)
    _merge_latest(into.cells, other.cells, watch)
    unite(into.ids, ids)
    into.labels = [*into.labels, *other.labels]
    groups = into.groups
    for group, time in other.groups.items():
        groups.set(group, abs(time), time > 0)
    groups.bound(MOST_GROUPS)
    groups.bound_removed(MOST_GROUPS)
    known = {user, *into.aliases}
    more = [alias for alias in dict.fromkeys((*other.aliases, merged)) if alias not in known]
    into.aliases = [*into.aliases, *more]
    return _merge_edges(into, other, {user, merged, *into.aliases})


def _add_tallies(into: Record, other: Record, plan: TallyPlan) -> None:
    """What definitions no longer ask for is left out."""
    for spec in plan.specs.values():
        for bucket, amount in other.cells.buckets(spec):
            into.cells.add(spec, float(bucket * spec.width), amount, into.time)


def _merge_latest(into: Cells, other: Cells, watch: Watch) -> None:
    """Of each sort what is known of the later time; at the same time an event before none."""
    for sort in watch.sorts:
        mine, theirs = into.latest(sort), other.latest(sort)
        if (abs(theirs), theirs) <= (abs(mine), mine):
            continue
        key = SORT + sort.key
        if theirs < 0.0:
            into.mark_unknown(key, -theirs)
        else:
            into.drop(key)
            into.note(sort, theirs)


def _merge_edges(into: Record, other: Record, same: set[str]) -> list[str]:
    """``same`` are ids of the one person: nobody follows themselves."""
    mine = into.edges
    before = dict(mine.items())
    for target, time in other.edges.items():
        mine.set(target, abs(time), time > 0)
    for target in same:
        mine.drop(target)
    after = dict(mine.items())
    return sorted(target for target in before.keys() | after.keys() if before.get(target) != after.get(target))


def merge_vectors(into: Vectors, other: Vectors) -> None:
    """Add the decayed text sum of ``other``; all other vectors come with the next encoding."""
    if not other.text_sum:
        return
    if into.text_sum and len(into.text_sum) != len(other.text_sum):
        return  # of another encoder: no sum of the two means anything
    add_text(into, text_sum(other), other.text_time)
    into.encoder = into.encoder or other.encoder
