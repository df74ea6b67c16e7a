"""Anonymous to known: whatever the interleaving, one user who did everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.plain.record import unpack
from state.record import Record
from state.user import texts_waiting
from tests.small_cluster import SmallCluster
from tests.small_partition import T0, SmallPartition

SEGMENTS = """
[[segment]]
id = "busy"
rule = 'count("view", within="1h") >= 3'
[[segment]]
id = "spender"
rule = 'total("purchase", "amount", within="1d") >= 50'
[[segment]]
id = "no-buyer"
rule = 'count("view", within="1d") >= 1 and count("purchase", within="1d") == 0'
[[segment]]
id = "abandoned"
rule = 'absent("purchase", after="view", wait="1h", within="2d")'
"""
#: of a history's turns, so many are taken in any order
DRAWN_TURNS = 80
KNOWN, ANONYMOUS = "known", "anon-3"
KINDS = ["view", "view", "purchase", "comment", "follow", "unfollow", "join", "leave"]


@st.composite
def histories(draw: st.DrawFn, users: list[str], most: int = 14) -> list[dict[str, Any]]:
    times = st.integers(0, 30).map(lambda step: T0 + step * 600.0)
    return [
        {
            "user": draw(st.sampled_from(users)),
            "kind": draw(st.sampled_from(KINDS)),
            "time": draw(times),
            "id": f"e{number}",
            "category": draw(st.sampled_from(["", "sale"])),
            "amount": draw(st.sampled_from([0.0, 19.99, 40.0])),
            "text": "pasta",
            "target": draw(st.sampled_from(["v", "w"])),
            "group": draw(st.sampled_from(["g", "h"])),
        }
        for number in range(draw(st.integers(1, most)))
    ]


def shuffled(data: st.DataObject, cluster: SmallCluster, events: list[dict[str, Any]]) -> None:
    """Publish in some order, with duplicates and records in wrong partitions, and let the partitions take turns."""
    again = data.draw(st.lists(st.sampled_from(events), max_size=3), label="duplicates")
    count = len(cluster.partitions)
    for event in data.draw(st.permutations(events + again), label="order"):
        wrong = data.draw(st.sampled_from([None, None, None, *range(count)]), label="partition")
        cluster.publish(event, wrong)
    if data.draw(st.booleans(), label="all events before anything that follows from them"):
        for queue in [queue for queue in cluster.queues if queue[0] == cluster.topics.events]:
            cluster.step(*queue, len(cluster.queues[queue]))
    turns = iter(range(DRAWN_TURNS))

    def draw(least: int, most: int, after: int) -> int:
        # an example that draws for ever is thrown away by hypothesis, and what does not end would not be seen
        return data.draw(st.integers(least, most)) if next(turns, None) is not None else after

    cluster.flow(lambda waiting: draw(0, waiting - 1, 0), lambda: draw(1, 4, 100))


def assert_same_counts(one: Record, other: Record, partition: SmallPartition) -> None:
    assert (one.count, one.first, one.time, one.texts) == (other.count, other.first, other.time, other.texts)
    assert {each for each, _ in one.ids.items()} == {each for each, _ in other.ids.items()}
    assert (one.edges.items(), one.groups.items()) == (other.edges.items(), other.groups.items())
    assert texts_waiting(one) == texts_waiting(other)
    for sort in partition.plan.asks.sorts:
        assert one.cells.latest(sort) == other.cells.latest(sort), sort
    for spec in partition.plan.tallies.specs.values():
        totals = [each.cells.total(spec, each.time) for each in (one, other)]
        assert totals[0] == totals[1], spec.key
    mine, theirs = (unpack("u", each.pack()).counters for each in (one, other))
    assert (mine.month, mine.kinds.keys(), mine.categories.keys()) == (
        theirs.month, theirs.kinds.keys(), theirs.categories.keys(),
    )  # fmt: skip
    for row, sums in mine.kinds.items():
        assert sums == pytest.approx(theirs.kinds[row], rel=1e-9)
    assert mine.categories == pytest.approx(theirs.categories, rel=1e-9)


@given(st.data(), histories([KNOWN, ANONYMOUS]), st.integers(1, 3))
@settings(deadline=None)
def test_a_merge_anywhere_among_the_events_counts_as_if_all_had_been_the_known_user_s(
    data: st.DataObject, events: list[dict[str, Any]], partitions: int
) -> None:
    identify = {"user": KNOWN, "kind": "identify", "time": T0 + 9_000.0, "id": "i", "target": ANONYMOUS}
    cluster, alone = SmallCluster(SEGMENTS, partitions), SmallPartition(SEGMENTS)
    shuffled(data, cluster, [*events, identify])
    alone.events(*[{**event, "user": KNOWN} for event in [*events, identify]])

    merged, expected = cluster.state(KNOWN), alone.state(KNOWN)
    assert merged is not None
    assert expected is not None
    assert cluster.state(ANONYMOUS) is None
    alias = cluster.alias(ANONYMOUS)
    assert alias is not None
    assert (alias.into, alias.time, alias.sequence) == (KNOWN, T0 + 9_000.0, len(cluster.changes(ANONYMOUS)))
    assert [*merged.aliases] == [ANONYMOUS]
    assert_same_counts(merged, expected, alone)
    cluster.check()
    assert cluster.rejects == []
    for later in (T0 + 18_000.0, T0 + 200_000.0):
        for partition in (*cluster.partitions, alone):
            partition.fire(later)
        assert cluster.home(KNOWN).members(KNOWN) == alone.members(KNOWN)
    cluster.check()


IDS = ["p", "q", "s"]


@st.composite
def merges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Identifies in any direction; many contradict another."""
    pairs = draw(st.lists(st.permutations(IDS).map(lambda ids: (ids[0], ids[1])), min_size=1, max_size=3))
    pairs += [(target, user) for user, target in pairs if draw(st.booleans())]
    return [
        {"user": user, "kind": draw(st.sampled_from(["identify", "alias"])), "time": T0 + draw(st.integers(0, 5)),
         "id": f"i{number}", "target": target}
        for number, (user, target) in enumerate(pairs)
    ]  # fmt: skip


@given(
    st.data(),
    histories(IDS, 8),
    merges(),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_chains_and_loops_of_identifies_end_and_every_event_counts_once(
    data: st.DataObject, events: list[dict[str, Any]], identifies: list[dict[str, Any]], partitions: int
) -> None:
    cluster = SmallCluster(SEGMENTS, partitions)
    shuffled(data, cluster, [*events, *identifies])

    cluster.check()
    states = cluster.states()
    assert sum(state.count for state in states.values()) == len(events) + len(identifies)
    for first in IDS:
        user, seen = first, {first}
        while (alias := cluster.alias(user)) is not None:
            assert user not in states, "who was merged has no state"
            user = alias.into
            assert user not in seen, "a loop of forwarding records is left"
            seen.add(user)


@given(st.data(), histories(["v", "w", "x"], 10))
@settings(deadline=None)
def test_events_in_any_partition_count_at_their_user_s_home_once(
    data: st.DataObject, events: list[dict[str, Any]]
) -> None:
    cluster, alone = SmallCluster(SEGMENTS, 3), SmallPartition(SEGMENTS)
    events = [{**event, "target": "y"} for event in events]
    shuffled(data, cluster, events)
    alone.events(*events)
    states = cluster.states()
    assert sum(state.count for state in states.values()) == len(events)
    for user, state in states.items():
        expected = alone.state(user)
        assert expected is not None
        assert_same_counts(state, expected, alone)
    cluster.check()
