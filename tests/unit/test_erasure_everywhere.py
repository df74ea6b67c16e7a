"""A user is forgotten in all partitions, is not brought back by what is older, and may begin anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from state import layout
from streams.steps import graph
from streams.wire.receipts import erasure_digest
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0, Memory, SmallPartition
from tests.unit.membership_cases import TWO_VIEWS, comment, delete, follow, unfollow, view

LEARNED = '[[segment]]\nid = "s"\nlearned = "g"\n'
GONE = "ada-who-is-erased"
KEYED = replace(PLACE, erasure_key=b"k" * 32)


def friends(cluster: SmallCluster) -> list[str]:
    """Two users of each partition."""
    found: dict[int, list[str]] = {}
    number = 0
    while any(len(found.get(each, [])) < 2 for each in range(len(cluster.partitions))):
        name = f"friend-{number}"
        number += 1
        mine = found.setdefault(cluster.home(name).place.partition, [])
        if len(mine) < 2:
            mine.append(name)
    return [name for names in found.values() for name in names]


def test_nobody_in_any_partition_holds_an_edge_or_a_vector_of_an_erased_user() -> None:
    cluster = SmallCluster(LEARNED, 3, KEYED)
    people = friends(cluster)
    cluster.events(comment(0, "I cook", user=GONE))
    for number, friend in enumerate(people):
        cluster.events(view(0, user=friend), follow(1, GONE, user=friend), follow(1, friend, user=GONE))
        if number % 2:
            cluster.events(unfollow(2, GONE, user=friend))
    cluster.settle()
    assert GONE.encode() in cluster.bytes()
    assert all(each.memory.get(layout.neighbour_key(GONE)) for each in cluster.partitions)
    cluster.events(delete(3, user=GONE, id="d"))
    cluster.settle()
    assert GONE.encode() not in cluster.bytes()
    for partition in cluster.partitions:
        assert partition.meta.guards == 1
        assert [key for key in partition.memory.data if key[:1] == b"n"] == []
    for friend in people:
        state = cluster.home(friend).state(friend)
        assert state is not None
        assert (state.edges.count, state.queued) == (0, False)


def test_every_partition_gives_one_receipt_that_names_the_user_by_a_keyed_hash() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3, KEYED)
    people = friends(cluster)
    cluster.events(view(0, user=GONE), view(1, user=GONE), follow(1, people[0], user=GONE))
    cluster.events(*(follow(1, GONE, user=friend) for friend in people))
    cluster.events(delete(3, user=GONE, id="d"))
    cluster.settle()
    home = cluster.home(GONE).place.partition
    assert sorted(receipt.partition for receipt in cluster.receipts) == [0, 1, 2]
    for receipt in cluster.receipts:
        assert receipt.receipt == erasure_digest(GONE, b"k" * 32).hex() != erasure_digest(GONE, b"").hex()
        assert (receipt.event, receipt.partitions, receipt.erased_at) == ("d", 3, T0 + 3)
        here = receipt.partition == home
        assert (receipt.memberships_ended, receipt.edges_removed) == ((1, 3) if here else (0, 2))


def test_a_receipt_does_not_tell_the_id_of_a_delete_event_that_names_the_user() -> None:
    cluster = SmallCluster(TWO_VIEWS, 1)
    cluster.events(delete(3, user=GONE, id=f"delete/{GONE}"))
    cluster.settle()
    assert [receipt.event for receipt in cluster.receipts] == [""]


def test_a_delete_of_somebody_unknown_leaves_a_guard_and_receipts() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    cluster.events(delete(3, user=GONE))
    cluster.settle()
    assert len(cluster.receipts) == 2
    assert [each.meta.guards for each in cluster.partitions] == [1, 1]
    assert [each.meta.users for each in cluster.partitions] == [0, 0]
    cluster.events(view(2, user=GONE))
    assert cluster.home(GONE).state(GONE) is None


def test_a_delete_that_comes_again_does_nothing() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    cluster.events(view(1, user=GONE), delete(3, user=GONE, id="d"), delete(3, user=GONE, id="d"))
    cluster.events(view(4, user=GONE), delete(3, user=GONE, id="d"))
    cluster.settle()
    assert len(cluster.receipts) == 2
    state = cluster.home(GONE).state(GONE)
    assert state is not None
    assert state.count == 1


def test_events_that_are_not_newer_than_the_erasure_are_dropped_and_counted() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0, id="a"), view(1, id="b"), delete(5))
    effects = partition.events(view(0, id="a"), view(5, id="c"), view(4, id="d"))
    assert (effects.outlived, partition.state()) == (3, None)
    effects = partition.events(view(6, id="e"), view(1, id="b"))  # in the next life they are not wanted either
    state = partition.state()
    assert state is not None
    assert (effects.outlived, state.count) == (1, 1)
    partition.restart()
    assert partition.events(view(2, id="f")).outlived == 1
    assert partition.meta.events == 3


def test_an_erasure_that_comes_late_covers_all_that_was_counted() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(7, id="late"), delete(5))
    assert partition.events(view(7, id="late")).outlived == 1
    assert partition.state() is None


def test_labels_that_are_older_than_the_erasure_are_dropped_and_counted() -> None:
    partition = SmallPartition(LEARNED)
    partition.events(view(0), delete(5), view(6))
    effects = partition.batch(labels=({"segment": "s", "member": True, "time": T0 + 4},))
    state = partition.state()
    assert state is not None
    assert (effects.outlived, [*state.labels]) == (1, [])
    partition.batch(labels=({"segment": "s", "member": True, "time": T0 + 7},))
    assert len(partition.state().labels) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("together", [False, True])
def test_the_sequence_of_a_user_who_comes_back_goes_on(together: bool) -> None:
    partition = SmallPartition(TWO_VIEWS)
    lives = [(view(0), view(1), delete(2)), (view(3), view(4), delete(5)), (view(6), view(7))]
    if together:
        partition.events(*(event for life in lives for event in life))
    else:
        for life in lives:
            partition.events(*life)
            partition.restart()
    assert [change.sequence for change in partition.changes] == [1, 2, 3, 4, 5]
    assert [change.change for change in partition.changes] == ["entered", "exited"] * 2 + ["entered"]


def test_a_follow_that_is_not_newer_than_the_erasure_makes_no_edge_in_any_partition() -> None:
    cluster = SmallCluster(LEARNED, 3)
    people = friends(cluster)
    cluster.events(view(0, user=GONE), delete(5, user=GONE))
    cluster.settle()
    cluster.events(*(follow(5, GONE, user=friend) for friend in people))
    cluster.settle()
    assert GONE.encode() not in cluster.bytes()
    assert all(cluster.home(friend).state(friend) is not None for friend in people)  # the event itself counts


def test_who_follows_the_next_life_keeps_the_edge_and_gets_its_vectors() -> None:
    cluster = SmallCluster(LEARNED, 3)
    people = friends(cluster)
    cluster.events(comment(0, "I cook", user=GONE), *(follow(1, GONE, user=friend) for friend in people[:3]))
    cluster.settle()
    cluster.events(*(follow(9, GONE, user=friend) for friend in people[3:]))  # before they hear of the erasure
    cluster.events(delete(5, user=GONE), comment(8, "I play football", user=GONE))
    cluster.settle()
    for friend in people:
        state = cluster.home(friend).state(friend)
        assert state is not None
        assert bool(state.edges.get(GONE)) == (friend in people[3:])
    vectors = layout.decode_vectors(cluster.home(GONE).memory.data[layout.vectors_key(GONE)])
    followed = {cluster.home(friend).place.partition for friend in people[3:]}
    assert set(vectors.subscribers) == followed
    for number, partition in enumerate(cluster.partitions):
        record = partition.memory.get(layout.neighbour_key(GONE))
        assert (record is not None) == (number in followed)
        if record:
            assert layout.decode_neighbour(record).node == vectors.sent_node


def test_a_subscription_that_crosses_the_erasure_leaves_no_record_behind() -> None:
    cluster = SmallCluster(LEARNED, 2)
    friend = next(name for name in friends(cluster) if cluster.home(name) is not cluster.home(GONE))
    cluster.events(view(0, user=GONE))
    cluster.events(follow(1, GONE, user=friend))
    assert cluster.waiting[cluster.home(GONE).place.partition]  # the subscription is on its way
    cluster.events(delete(5, user=GONE))
    cluster.settle()
    assert GONE.encode() not in cluster.bytes()


def test_very_many_followers_are_taken_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_EDGES", 10)
    partition = SmallPartition(TWO_VIEWS)
    fans = [f"fan-{number:02}" for number in range(34)]
    partition.events(*(follow(1, GONE, user=fan) for fan in fans))
    partition.events(follow(9, GONE, user="fan-05"))  # stays: it follows the next life
    effects = partition.events(delete(5, user=GONE))
    turns, left, receipts = 0, len(fans), 0
    while any(message.topic == partition.place.topics.graph for message in effects.messages):
        effects = partition.deliver_graph(effects)
        turns += 1
        receipts += sum(message.topic == partition.place.topics.receipts for message in effects.messages)
        now = sum(bool(state.edges.get(GONE)) for fan in fans if (state := partition.state(fan)))
        assert left - now <= 10
        left = now
    assert (left, receipts) == (1, 1)
    assert 4 <= turns <= 6  # the last one is about the subscription


def test_an_unfollow_of_a_stranger_is_remembered_and_found_by_the_erasure() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    people = friends(cluster)
    cluster.events(*(unfollow(1, GONE, user=friend) for friend in people))
    assert GONE.encode() in cluster.bytes()
    cluster.events(delete(5, user=GONE))
    cluster.settle()
    assert GONE.encode() not in cluster.bytes()
    assert [receipt.edges_removed for receipt in cluster.receipts] == [0, 0]


def test_unfollowing_strangers_grows_neither_the_state_nor_the_index() -> None:
    partition = SmallPartition(TWO_VIEWS)
    most = graph.MOST_REMOVED
    partition.events(*(unfollow(number, f"v{number}") for number in range(3 * most)))
    state = partition.state()
    assert state is not None
    assert {target for target, _ in state.edges.items()} == {f"v{number}" for number in range(2 * most, 3 * most)}
    assert len(list(partition.memory.keys(b"f"))) == most
    assert list(partition.memory.keys(b"n")) == []


def test_guards_expire_when_the_events_that_they_keep_away_are_gone() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), delete(5), view(0, user="other"), delete(5, user="other"))
    partition.now += 20 * 86_400
    partition.events(delete(20, user="other"))  # once more: remembered from now on
    partition.now += 11 * 86_400
    partition.expire_guards()
    assert partition.meta.guards == 1
    assert len(list(partition.memory.keys(b"e"))) == 1
    partition.now += 30 * 86_400
    partition.expire_guards()
    assert partition.meta.guards == 0
    assert list(partition.memory.keys(b"e")) == []


class Asked(Memory):
    """Notes the keys that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_read: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.keys_read.append(key)
        return super().get(key)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        self.keys_read += keys
        return super().get_many(keys)


def test_where_nobody_was_erased_no_guard_is_looked_up() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.memory = memory = Asked()
    asked = memory.keys_read
    partition.events(view(0), follow(1, "v"))
    assert [key for key in asked if key[:1] == b"e"] == []
    partition.events(delete(2))
    asked.clear()
    partition.events(view(3, user="stranger"))
    assert sum(key[:1] == b"e" for key in asked) == 1
    asked.clear()
    partition.events(view(4, user="stranger"))
    assert asked == []
