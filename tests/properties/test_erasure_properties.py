"""After any interleaving of follow, unfollow, delete, encoding and delivery, no record holds an erased id."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_cluster import SmallCluster
from tests.small_partition import T0

PEOPLE = [f"person-{number}-name" for number in range(5)]
LEARNED = '[[segment]]\nid = "s"\nlearned = "g"\n'
PARTITIONS = 3

acts = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["follow", "unfollow"]),
            st.sampled_from(PEOPLE),
            st.sampled_from(PEOPLE),
            st.integers(0, 20),
        ).filter(lambda act: act[1] != act[2]),
        st.tuples(st.just("delete"), st.sampled_from(PEOPLE), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("view"), st.sampled_from(PEOPLE), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("deliver"), st.just(""), st.just(""), st.integers(0, PARTITIONS - 1)),
        st.tuples(st.just("encode"), st.just(""), st.just(""), st.integers(0, PARTITIONS - 1)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(acts, st.booleans())
def test_no_record_of_any_partition_holds_an_erased_id(acts: list[tuple[str, str, str, int]], learned: bool) -> None:
    cluster = SmallCluster(LEARNED if learned else "", PARTITIONS)
    for kind, user, target, number in acts:
        if kind == "deliver":
            cluster.deliver(number, 2)
        elif kind == "encode":
            cluster.encode(number)
        else:
            event: dict[str, Any] = {"user": user, "kind": kind, "time": T0 + number}
            cluster.events(event | ({"target": target} if target else {}))
    for user in PEOPLE:
        cluster.events({"user": user, "kind": "delete", "time": T0 + 100})
    cluster.settle()
    everything = cluster.bytes()
    assert [user for user in PEOPLE if user.encode() in everything] == []
    assert all(partition.meta.users == 0 for partition in cluster.partitions)
    assert {partition.meta.guards for partition in cluster.partitions} == {len(PEOPLE)}
    last = [receipt for receipt in cluster.receipts if receipt.erased_at == T0 + 100]
    assert len(last) == len(PEOPLE) * PARTITIONS


@settings(max_examples=60, deadline=None)
@given(acts)
def test_those_who_stay_hold_no_edge_to_the_erased_and_keep_all_others(acts: list[tuple[str, str, str, int]]) -> None:
    erased, rest = PEOPLE[0], PEOPLE[1:]
    cluster, without = SmallCluster(LEARNED, PARTITIONS), SmallCluster(LEARNED, PARTITIONS)
    for kind, user, target, number in acts:
        if kind in ("follow", "unfollow") and user != erased:
            event = {"user": user, "kind": kind, "time": T0 + number, "target": target}
            cluster.events(event)
            if target != erased:
                without.events(event)
        elif kind == "deliver":
            cluster.deliver(number, 2)
        elif kind == "delete" and user == erased:
            cluster.events({"user": user, "kind": kind, "time": T0 + 100})
    cluster.events({"user": erased, "kind": "delete", "time": T0 + 100})
    cluster.settle()
    without.settle()
    assert erased.encode() not in cluster.bytes()
    for user in rest:
        mine, other = cluster.home(user).state(user), without.home(user).state(user)
        assert (mine.edges.items() if mine else []) == (other.edges.items() if other else [])
    index = [{key for key in each.memory.data if key[:1] == b"f"} for each in cluster.partitions]
    assert index == [{key for key in each.memory.data if key[:1] == b"f"} for each in without.partitions]
