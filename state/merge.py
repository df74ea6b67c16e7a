"""Two ids turn out to be one person's: what was counted for both becomes one user's. Pure.

All that a fold adds up is commutative, so the sum of two states is the state of one user who did everything; what is
last-writer-wins stays so by event time.
"""

from __future__ import annotations

from state import absence, decay, windows
from state.user import MOST_GROUPS, UserState
from state.vectors import Vectors, add_text, text_sum
from state.windows import TallyPlan


def merge_states(into: UserState, other: UserState, user: str, merged: str, plan: TallyPlan) -> list[str]:
    """Add all that ``other`` (known as ``merged``) did to ``into`` (known as ``user``).

    Memberships stay as they are: they must be decided anew at the merged ``time``. Texts that wait are not in a state.
    The list of merged ids grows; the caller bounds it.
    Returns the targets of whom something else is known than before, sorted; whoever keeps an index of them must be
    told, and bounds their number.
    """
    if other.count:
        into.first = min(into.first, other.first) if into.count else other.first
    into.time = max(into.time, other.time)
    into.count += other.count
    into.texts += other.texts
    into.identified |= other.identified
    decay.merge(into._decayed, other._decayed, (decay.FAST, decay.SLOW))
    decay.merge(into._categories, other._categories, (decay.SLOW,))
    _add_tallies(into, other, plan)
    for key, until in other._unknown.items():
        if key in plan.specs:
            into.cells.mark_unknown(key, until)
    absence.merge(into._last, other._last)
    into.ids.unite(other.ids)
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


def _add_tallies(into: UserState, other: UserState, plan: TallyPlan) -> None:
    for key, tally in other._tallies.items():
        spec = plan.specs.get(key)
        if spec is None:
            continue  # of definitions that are no longer there
        for bucket, amount in tally.buckets.items():
            windows.add(into._tallies, spec, bucket * spec.width, amount, into.time)


def _merge_edges(into: UserState, other: UserState, same: set[str]) -> list[str]:
    """``same`` are ids of the one person: nobody follows themselves."""
    mine = into.edges
    before = dict(mine.items())
    for target, time in other.edges.items():
        if time:  # else it says nothing, and only damage wrote it
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
