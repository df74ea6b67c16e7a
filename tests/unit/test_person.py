"""All ids of one person: however many there are, no event counts twice, and an erasure finds them."""

from __future__ import annotations

from typing import Any

import pytest

from state import layout
from streams.steps import graph
from streams.steps.person import MOST_ALIASES
from tests.small_cluster import SmallCluster
from tests.small_partition import T0
from tests.unit.membership_cases import TWO_VIEWS

PERSON, OTHER = "account-x", "account-y"


def device(number: int, of: str = PERSON) -> str:
    return f"dev-{of[-1]}-{number:05}-e"


def doing(user: str, kind: str, at: float, **more: Any) -> dict[str, Any]:
    return {"user": user, "kind": kind, "time": T0 + at, "id": f"{kind}-{at}-{more.get('target', '')[:5]}", **more}


def identify(cluster: SmallCluster, count: int, of: str = PERSON) -> None:
    for number in range(count):
        cluster.publish(doing(of, "identify", number, target=device(number, of)))
    cluster.flow()


def test_nothing_of_fifteen_hundred_ids_is_left_after_the_erasure() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    cluster.publish(doing(device(7), "view", 1))
    identify(cluster, 1_500)
    cluster.publish(doing(device(3), "view", 2_000))  # is forwarded
    cluster.flow()
    assert cluster.bytes().count(b"-e") >= 1_500
    cluster.publish(doing(PERSON, "delete", 3_000))
    cluster.flow()
    everything = cluster.bytes()
    assert PERSON.encode() not in everything
    assert b"dev-x" not in everything
    told = {(receipt.receipt, receipt.partition) for receipt in cluster.receipts}
    assert len(told) == 3 * 1_501
    assert sum(partition.meta.aliases for partition in cluster.partitions) == 0
    cluster.check()


def test_a_turn_tells_of_a_bounded_number_of_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_NAMES", 20)
    cluster = SmallCluster(TWO_VIEWS, 3)
    identify(cluster, MOST_ALIASES + 70)
    effects = cluster.home(PERSON).events(doing(PERSON, "delete", 3_000))
    assert len(effects.messages) == 3 * (1 + MOST_ALIASES + 20) + 1
    cluster.took(effects)
    cluster.flow()
    assert b"dev-x" not in cluster.bytes()
    assert len({receipt.receipt for receipt in cluster.receipts}) == MOST_ALIASES + 71


def test_no_receipt_names_any_of_many_ids_by_the_event_s_id() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    identify(cluster, MOST_ALIASES + 10)
    cluster.publish({**doing(PERSON, "delete", 3_000), "id": f"of {device(2)}"})
    cluster.flow()
    assert {receipt.event for receipt in cluster.receipts} == {""}


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 1_000])
def test_the_ids_of_somebody_with_many_go_with_them_when_they_are_merged(steps: int) -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    identify(cluster, MOST_ALIASES + 40)
    cluster.publish(doing(OTHER, "identify", 4_000, target=PERSON))
    for _ in range(steps):  # the delete meets a merge that is under way
        waiting = [queue for queue, records in sorted(cluster.queues.items()) if records]
        if waiting:
            cluster.step(*waiting[0])
    cluster.publish(doing(OTHER, "delete", 5_000))
    cluster.flow()
    if steps:  # else nobody could know of them yet
        assert PERSON.encode() not in cluster.bytes()
        assert b"dev-x" not in cluster.bytes()
    cluster.check()


def test_a_state_has_the_newest_ids_and_records_of_their_own_have_the_others() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    identify(cluster, MOST_ALIASES + 5)
    state = cluster.state(PERSON)
    assert state is not None
    assert len(state.aliases) == MOST_ALIASES
    kept = {key[-len(device(0)) :].decode() for key in cluster.home(PERSON).memory.keys(b"i")}
    assert {*state.aliases, *kept} == {device(number) for number in range(MOST_ALIASES + 5)}
    assert len(kept) == 5


# the ids of events that a forwarding record keeps


def test_a_forwarded_event_writes_a_little_of_what_the_forwarding_record_knows() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    anonymous = cluster.home(device(0))
    for number in range(1_500):
        cluster.publish(doing(device(0), "view", number))
    cluster.flow()
    cluster.publish(doing(PERSON, "identify", 5_000, target=device(0)))
    cluster.flow()
    most = 0
    for number in range(2_000, 2_130):
        effects = anonymous.events(doing(device(0), "view", number))
        cluster.took(effects)
        mine = [value or b"" for key, value in effects.puts.items() if device(0).encode() in key]
        most = max(most, sum(map(len, mine)))
    assert most < 1_700
    cluster.flow()
    cluster.check()


def test_what_is_forwarded_counts_once_however_often_and_when_it_is_sent() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    events = [doing(device(0), "view", number) for number in range(2_000)]
    for batch in (events[:1_200], [doing(PERSON, "identify", 5_000, target=device(0))], events, events):
        for event in batch:
            cluster.publish(event)
        cluster.flow()
    state = cluster.state(PERSON)
    assert state is not None
    assert state.count == 2_001
    cluster.check()


def test_the_forwarding_record_of_an_earlier_release_is_read_and_becomes_small() -> None:
    cluster = SmallCluster(TWO_VIEWS, 2)
    cluster.publish(doing(PERSON, "identify", 5_000, target=device(0)))
    cluster.flow()
    home = cluster.home(device(0))
    old = {number: int(T0) for number in range(1_000)}
    plain = b"\x01" + layout._encode([PERSON, T0 + 5_000, 0, old])
    home.memory.data[layout.alias_key(device(0))] = plain
    cluster.publish(doing(device(0), "view", 6_000))
    cluster.flow()
    alias = cluster.alias(device(0))
    assert alias is not None
    assert len(alias.seen.numbers) == 1_001 // 64
    assert len(home.memory.data[layout.alias_key(device(0))]) < 1_000
    cluster.check()
