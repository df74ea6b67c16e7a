"""Another number of partitions: whatever happened before, what follows is as if there had always been so many."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.base import NODE_DIM
from state import layout
from state.plain.ids import Ids
from state.vectors import unpack
from tests.moving import moved
from tests.records import block_with
from tests.small_cluster import SmallCluster
from tests.small_partition import T0

SEGMENTS = """
[[segment]]
id = "busy"
rule = 'count("view", within="1h") >= 3'
[[segment]]
id = "abandoned"
rule = 'absent("purchase", after="view", wait="1h", within="2d")'
[[segment]]
id = "cooks"
words = "people who love cooking"
enter = 0.2
[[segment]]
id = "taste-food"
learned = "taste"
"""
USERS = [f"u{number}" for number in range(9)]
#: who turns out to be one of the others; nobody follows them, for whoever follows a merged id is told by partition
ANONYMOUS = [f"a{number}" for number in range(4)]
KINDS = ["view", "view", "view", "purchase", "comment", "follow", "follow", "follow", "unfollow", "identify", "delete"]


@st.composite
def histories(draw: st.DrawFn, begin: int, most: int = 14) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, most))):
        user = draw(st.sampled_from(USERS + ANONYMOUS))
        kind = draw(st.sampled_from(KINDS))
        others = ANONYMOUS if kind == "identify" else USERS
        found.append({
            "user": user,
            "kind": kind,
            "time": T0 + (begin + number) * 300.0,
            "id": f"e{begin + number}",
            "text": draw(st.sampled_from(["I cook pasta", "trains"])),
            "target": draw(st.sampled_from([name for name in others if name != user])),
        })  # fmt: skip
    return found


def play(cluster: SmallCluster, events: list[dict[str, Any]], settled: bool) -> None:
    for event in events:
        cluster.publish(event)
        cluster.flow()
    if settled:
        cluster.settle()


def records(cluster: SmallCluster) -> dict[tuple[int, bytes], Any]:
    """All records, without what tells only of the order in which partitions took their turns."""
    found: dict[tuple[int, bytes], Any] = {}
    for number, partition in enumerate(cluster.partitions):
        for key, value in partition.memory.data.items():
            place, family = (number, key), key[:1]
            if family == b"u":
                found[place] = block_with(key[1:].decode(), value, life=0, scored=0, version=0, ids=Ids())
            elif family == b"v":
                found[place] = len(layout.decode_vectors(value).text_sum), layout.decode_vectors(value).subscribers
            elif family == b"n":
                found[place] = layout.decode_neighbour(value).followers
            elif family == b"e":
                found[place] = layout.decode_guard(value).time
            elif family != b"p":
                found[place] = value
    return found


def nodes(cluster: SmallCluster) -> dict[tuple[int, bytes], Any]:
    """What is known of the vectors of those who are followed, and of one's own."""
    found: dict[tuple[int, bytes], Any] = {}
    for number, partition in enumerate(cluster.partitions):
        for key, value in partition.memory.data.items():
            if key[:1] == b"n":
                found[number, key] = unpack(layout.decode_neighbour(value).node, NODE_DIM)
            elif key[:1] == b"v":
                found[number, key] = unpack(layout.decode_vectors(value).node, NODE_DIM)
    return found


@given(st.data(), histories(0), histories(50), st.booleans())
@settings(deadline=None, max_examples=60)
def test_the_same_events_go_on_as_in_a_cluster_that_always_had_so_many_partitions(
    data: st.DataObject, first: list[dict[str, Any]], then: list[dict[str, Any]], settled: bool
) -> None:
    before = data.draw(st.integers(1, 3), label="before")
    after = data.draw(st.integers(before + 1, 5), label="after")
    crashes = data.draw(st.lists(st.integers(0, 60), max_size=3), label="crashes")
    cluster, always = SmallCluster(SEGMENTS, before), SmallCluster(SEGMENTS, after)
    for each in (cluster, always):
        play(each, first, settled)
    cluster = moved(cluster, SEGMENTS, after, crashes)
    cluster.check()
    assert records(cluster) == records(always)
    for each in (cluster, always):
        each.settle()
        play(each, then, True)
        each.check()
    assert records(cluster) == records(always)
    one, other = nodes(cluster), nodes(always)
    assert one.keys() == other.keys()
    for key, vector in one.items():
        np.testing.assert_allclose(vector, other[key], atol=5e-3, err_msg=str(key))
    assert [change.user for change in told(cluster)] == [change.user for change in told(always)]
    assert [(each.segment, each.change, each.sequence) for each in told(cluster)] == [
        (each.segment, each.change, each.sequence) for each in told(always)
    ]


def told(cluster: SmallCluster) -> list[Any]:
    changes = [change for partition in cluster.partitions for change in partition.changes]
    return sorted(changes, key=lambda change: (change.user, change.sequence))
