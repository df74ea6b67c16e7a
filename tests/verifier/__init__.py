"""The independent check: reads only topics and shares no code with the service.

From ``user-events`` alone it recomputes every user's counts, decayed counters, window buckets, edges and rule
memberships, and compares them with the state changelog, with ``segment-changes`` as a ``read_committed`` subscriber
sees it, with ``user-segments``, with the dead letters, and with the totals in the partitions' position records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.verifier import topics as written
from tests.verifier.reading import Kafka, Source, read_all
from tests.verifier.records import Held, Tally, mark_of
from tests.verifier.recount import FAST, SLOW, Decayed, Recount, User, home_of, present, recount
from tests.verifier.rules import Absent, Rule, Term, terms_of
from tests.verifier.topics import Changes, States
from tests.verifier.truth import Truth

__all__ = ["Absent", "Findings", "Rule", "Source", "Term", "compare", "read_all", "verify"]

FOLLOWEES = 64
GROUPS = 256
#: relative error of decayed sums that rounding explains
CLOSE = 1e-6
#: half-lives after which a sum may have become 0
GONE = 400.0
#: seconds that a timer may be late
LATE = 2.0


@dataclass
class Findings:
    """What was read, and every difference found."""

    events: int = 0
    """Records of ``user-events``."""
    distinct_events: int = 0
    duplicates: int = 0
    misrouted: int = 0
    refused: int = 0
    users: int = 0
    changes: int = 0
    dead_letters: int = 0
    erased: int = 0
    """Users."""
    entries: dict[str, int] = field(default_factory=dict)
    """By segment, how often it was entered."""
    members: dict[str, int] = field(default_factory=dict)
    """By segment, at the end."""
    proved: int = 0
    """Changes of rules that were held against the events that had arrived."""
    unproved: int = 0
    """Those of users who were erased or merged."""
    differences: list[str] = field(default_factory=list)

    def report(self, difference: str) -> None:
        self.differences.append(difference)


def verify(
    bootstrap: str,
    app: str,
    prefix: str = "",
    rules: Sequence[Rule] = (),
    stopped_at: float = 0.0,
    earlier: Sequence[Rule] = (),
    former: Sequence[tuple[int, float]] = (),
) -> Findings:
    """Compare the output and the state with a recount of the input; all workers have stopped in order.

    ``rules``: what the definitions say, as data; without them windows and memberships are not recomputed. ``earlier``:
    what else they said for some time. ``stopped_at``: when all was settled and the workers were stopped (seconds since
    the epoch): rules must hold as of then, so whatever a timer had to end has ended. 0: as of each user's latest event
    or timer only. ``former``: how many partitions there once were, and until when, oldest
    first.
    """
    return compare(Kafka(bootstrap), app, prefix, rules, stopped_at, earlier, former)


def compare(
    source: Source,
    app: str,
    prefix: str,
    rules: Sequence[Rule],
    stopped_at: float,
    earlier: Sequence[Rule] = (),
    former: Sequence[tuple[int, float]] = (),
) -> Findings:
    """``verify``, wherever the topics are."""
    found = Findings()
    events = f"{prefix}user-events"
    partitions = source.partitions(events)
    counted = recount(source.read(events), partitions, rules, former)
    states = written.read_states(source, f"{prefix}{app}-state-changelog")
    truth = Truth(counted, [*rules, *earlier], found.report)
    floor = max((position.get("sequence_floor", 0) for position in states.positions), default=0)
    changes = written.read_changes(source, f"{prefix}segment-changes", found.report, truth.take, floor)
    found.proved, found.unproved = truth.proved, truth.unproved
    letters = written.read_letters(source, f"{prefix}dead-letters")
    found.events, found.changes = counted.records, changes.count
    found.entries = dict(sorted(changes.entries.items()))
    found.users = sum(not user.gone for user in counted.users.values())
    found.distinct_events = sum(len(user.ids) for user in counted.users.values())
    found.misrouted = sum(user.misrouted for user in counted.users.values())
    found.refused, found.dead_letters = len(counted.refused), letters.total()
    copies = 0 if source.partitions(f"{prefix}{app}-reroute") else found.misrouted
    found.duplicates = sum(user.records for user in counted.users.values()) - found.distinct_events - copies
    _check_letters(found, counted, letters, events)
    _check_states(found, counted, states, partitions)
    _check_rules(found, counted, states, rules, stopped_at)
    _check_changes(found, states, changes)
    _check_snapshots(found, changes, written.read_snapshots(source, f"{prefix}user-segments", found.report))
    _check_positions(found, counted, states, changes)
    receipts = written.read_receipts(source, f"{prefix}erasure-receipts")
    _check_receipts(found, counted, receipts, {partitions, *(number for number, _ in former)})
    return found


def _check_letters(found: Findings, counted: Recount, letters: Counter[tuple[str, int, int]], events: str) -> None:
    for origin in sorted(counted.refused | {origin for origin in letters if origin[0] == events}):
        if letters[origin] != 1 or origin not in counted.refused:
            kind = "bad" if origin in counted.refused else "good"
            found.report(f"the {kind} record {origin} has {letters[origin]} dead letters")
    for origin, count in letters.items():
        if origin[0] != events and count != 1:
            found.report(f"the record {origin} has {count} dead letters")


def _check_states(found: Findings, counted: Recount, states: States, partitions: int) -> None:
    gone = {name for name, user in counted.users.items() if user.gone}
    for name, user in counted.users.items():
        state = states.users.get(name)
        if name in gone:
            if state is not None:
                found.report(f"user {name} is erased, but has a state")
            continue
        if state is None:
            found.report(f"user {name} has no state, but {len(user.ids)} events")
            continue
        if states.homes[name] != [home_of(name, partitions)]:
            found.report(f"user {name} has states in partitions {states.homes[name]}")
        if state.count != len(user.ids):
            found.report(f"user {name}: {state.count} events counted, {len(user.ids)} sent")
        _check_details(found, name, user, state, counted.reference, gone)
    for name in states.users.keys() - counted.users.keys():
        found.report(f"user {name} has a state, but no events")
    if states.texts:
        found.report(f"{states.texts} texts still wait for the encode lane")
    for name in states.waiting:
        found.report(f"user {name} still waits for the encode lane")


def _check_details(found: Findings, name: str, user: User, state: Held, reference: float, gone: set[str]) -> None:
    if state.first != user.first or state.time < user.last:
        got = f"{state.first} to {state.time}"
        found.report(f"user {name}: times {got}, events from {user.first} to {user.last}")
    if state.texts != user.comments or state.waiting:
        found.report(f"user {name}: {state.texts} texts, {state.waiting} waiting; {user.comments} sent")
    kinds = {key: (sums, (FAST, SLOW)) for key, sums in user.decayed.items()}
    _check_decayed(found, f"user {name}: decayed", kinds, state.decayed, reference)
    buckets = {key: (sums, (SLOW,)) for key, sums in user.categories.items()}
    _check_decayed(found, f"user {name}: category", buckets, state.categories, reference)
    for what, edges, most, all_held in (
        ("follows", user.edges, FOLLOWEES, state.edges),
        ("groups", user.groups, GROUPS, state.groups),
    ):
        held = {target for target, time in all_held.items() if time > 0}
        must, may = present(edges, most, gone)
        if not (must <= held <= may and len(held) <= most):
            found.report(f"user {name}: {what} {sorted(held)}, events give {sorted(must)} and may give {sorted(may)}")


def _check_decayed(
    found: Findings,
    what: str,
    expected: Mapping[Any, tuple[Decayed, Sequence[float]]],
    held: Mapping[Any, tuple[float, ...]],
    reference: float,
) -> None:
    if held.keys() != expected.keys():
        found.report(f"{what} has {sorted(held)}, events give {sorted(expected)}")
        return
    for key, (sums, halves) in expected.items():
        since, *values = held[key]
        for half, value in zip(halves, values, strict=True):
            wanted = (sums.fast if half == FAST else sums.slow) * 2.0 ** ((reference - sums.latest) / half)
            if not value and since - sums.latest > GONE * half:
                continue
            at_latest = value * 2.0 ** ((since - sums.latest) / half)
            if abs(at_latest - wanted) > CLOSE * max(1.0, wanted):
                found.report(f"{what} {key} is {at_latest} at {sums.latest}, events give {wanted}")


def _check_rules(found: Findings, counted: Recount, states: States, rules: Sequence[Rule], stopped_at: float) -> None:
    terms = terms_of(rules)
    known = {rule.id for rule in rules}
    for name, user in counted.users.items():
        state = states.users.get(name)
        if state is None:
            continue
        now = state.time
        for key, term in terms.items():
            _check_tally(found, name, term, user.buckets.get(key, {}), state.tallies.get(mark_of(key)), now)
        held = state.members & known
        for at in {now, max(now, stopped_at - LATE)}:
            wanted = {rule.id for rule in rules if rule.holds(user, at)}
            if held != wanted:
                found.report(f"user {name}: wrong membership {sorted(held)}, at {at} rules give {sorted(wanted)}")


def _check_tally(
    found: Findings, name: str, term: Term, buckets: dict[int, int], held: Tally | None, now: float
) -> None:
    wanted = {bucket: value for bucket, value in buckets.items() if term.alive(bucket, now)}
    total, stored = (held.total, held.buckets) if held is not None else (0, {})
    alive = {bucket: value for bucket, value in stored.items() if term.alive(bucket, now)}
    # a sum of zero may have a bucket or none
    if {b: v for b, v in alive.items() if v} != {b: v for b, v in wanted.items() if v}:
        found.report(f"user {name}: tally {term.key} has {alive}, events give {wanted}")
    if total != sum(stored.values()):
        found.report(f"user {name}: tally {term.key} says {total}, its buckets {sum(stored.values())}")


def _check_changes(found: Findings, states: States, changes: Changes) -> None:
    for name in changes.sequences.keys() | states.users.keys():
        state = states.users.get(name)
        held = state.members if state else set()
        if held != changes.members[name]:
            found.report(f"user {name}: the state has {sorted(held)}, changes give {sorted(changes.members[name])}")
        if state and state.sequence != changes.sequences[name]:
            at = state.sequence
            found.report(f"user {name}: the state is at sequence {at}, changes at {changes.sequences[name]}")


def _check_snapshots(found: Findings, changes: Changes, snapshots: dict[str, dict[str, Any] | None]) -> None:
    for name, sequence in changes.sequences.items():
        snapshot, segments = snapshots.get(name), changes.members[name]
        if name in snapshots and snapshot is None and not segments:
            continue  # a tombstone: erased, or merged into another
        if sequence and snapshot is None:
            found.report(f"user {name} has changes, but no user-segments record")
        elif snapshot and set(snapshot["segments"]) != segments:
            held = sorted(snapshot["segments"])
            found.report(f"user {name}: user-segments has {held}, changes give {sorted(segments)}")
        elif snapshot and snapshot["sequence"] != sequence:
            found.report(f"user {name}: user-segments is at {snapshot['sequence']}, changes at {sequence}")
    for name in {name for name, snapshot in snapshots.items() if snapshot} - changes.sequences.keys():
        found.report(f"user {name} has a user-segments record, but no changes")


def _check_positions(found: Findings, counted: Recount, states: States, changes: Changes) -> None:
    """The exact totals that the partitions keep."""
    members: Counter[str] = Counter()
    for segments in changes.members.values():
        members.update(segments)
    found.members = dict(sorted(members.items()))
    held: Counter[str] = Counter()
    for position in states.positions:
        held.update(position["members"])
    if +held != members:
        found.report(f"position records count the members {dict(+held)}, changes give {dict(members)}")
    # of somebody erased, what arrived after the delete is dropped: how much, only the order of arrival tells
    spare = sum(user.records for user in counted.users.values() if user.erased)
    for name, wanted, less in (
        ("events", found.distinct_events, spare),
        ("duplicates", found.duplicates, spare),
        ("users", found.users, 0),
        ("changes", found.changes, 0),
    ):
        total = sum(position[name] for position in states.positions)
        if not wanted - less <= total <= wanted:
            found.report(f"position records count {total} {name}, the recount {wanted}")


def _check_receipts(
    found: Findings, counted: Recount, receipts: dict[str, tuple[int, list[int]]], numbers: set[int]
) -> None:
    """Each partition has answered once for each erased user, whom only a hash names."""
    found.erased = sum(user.erased > 0.0 for user in counted.users.values())
    if len(receipts) != found.erased:
        found.report(f"{found.erased} users were erased, {len(receipts)} have receipts")
    for name, (partitions, answered) in receipts.items():
        if partitions not in numbers or sorted(answered) != list(range(partitions)):
            found.report(f"the erasure {name} has receipts of the partitions {sorted(answered)} of {partitions}")
