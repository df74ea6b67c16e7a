"""Events whose time is yet to come wait for it; until then they do nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from state import waiting
from streams.steps import fold
from streams.steps import waiting as steps
from streams.steps.effects import Effects
from streams.steps.partitioner import partition_of
from streams.wire.refused import Code
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0, Sent, SmallPartition

CART = """
[[segment]]
id = "cart"
rule = 'absent("purchase", after="click", wait="10s", within="1h")'
[[segment]]
id = "looking"
rule = 'count("view", within="1d") >= 1'
"""
WALL = replace(PLACE, wall_clock=True)


def taking(partition: SmallPartition, arrived: float, *events: dict[str, Any]) -> Effects:
    """One batch that arrives at ``arrived`` seconds after T0; the times of the events count from there as well."""
    records = []
    for event in events:
        given = {"user": "u", **event, "time": T0 + event["time"]}
        sent = partition.sent(given)
        records.append(Sent(sent.offset, sent.value, round((T0 + arrived) * 1_000)))
    return partition.take(partition.place.topics.events, [*records])


def clock(partition: SmallPartition, now: float) -> Effects:
    """What is due ``now`` seconds after T0; first what waits, then the timers, each in turns of their own."""
    turn = partition._turn()
    until = fold.receive_waiting(turn, T0 + now)
    effects = partition._commit(turn)
    partition.fire(until)
    return effects


def waits(partition: SmallPartition) -> int:
    found = sum(key.startswith(b"y") for key in partition.memory.data)
    assert found == partition.meta.waiting == sum(key.startswith(b"z") for key in partition.memory.data)
    return found


def test_an_event_from_the_future_does_not_end_the_wait_that_it_is_ahead_of() -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "click", "time": 0})
    taking(partition, 1.0, {"kind": "purchase", "time": 31})
    assert partition.told() == []
    assert waits(partition) == 1
    clock(partition, 10.0)
    assert partition.told() == [("cart", "entered", "expiry", 10.0)]
    clock(partition, 30.9)
    assert len(partition.told()) == 1
    clock(partition, 31.0)
    assert partition.told()[1:] == [("cart", "exited", "event", 31.0)]
    assert waits(partition) == 0


@pytest.mark.parametrize(("early", "acts"), [(0.0, True), (1.0, True), (1.1, False), (600.0, False)])
def test_a_second_is_the_difference_of_clocks_that_is_overlooked(early: float, acts: bool) -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "view", "time": early})
    assert (partition.members() == {"looking"}) is acts
    assert waits(partition) == (not acts)
    assert partition.meta.watermark == (T0 + early if acts else 0.0)


def test_by_event_time_nothing_waits() -> None:
    partition = SmallPartition(CART, PLACE)
    taking(partition, 0.0, {"kind": "view", "time": 500})
    assert partition.members() == {"looking"}
    assert waits(partition) == 0


def test_what_arrives_at_the_time_or_later_finds_it_folded_although_the_clock_is_not_there_yet() -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "click", "time": 20}, {"kind": "view", "time": 5, "user": "other"})
    taking(partition, 21.0, {"kind": "purchase", "time": 21})
    state = partition.state()
    assert state is not None
    assert state.count == 2
    assert waits(partition) == 1  # of another user, of whom nothing arrived
    clock(partition, 40.0)
    assert [each for each in partition.told() if each[0] == "cart"] == []


def test_an_event_that_comes_twice_counts_once_whether_it_waits_or_has_waited() -> None:
    partition = SmallPartition(CART, WALL)
    view = {"kind": "view", "time": 30, "id": "once"}
    taking(partition, 0.0, view, view)
    taking(partition, 2.0, view)
    assert waits(partition) == 1
    assert partition.meta.duplicates == 2
    taking(partition, 3.0, {"kind": "view", "time": 40, "id": "once"})
    clock(partition, 50.0)
    taking(partition, 51.0, view)
    assert partition.meta.events == 1
    assert partition.meta.duplicates == 4


def test_a_new_worker_goes_on_where_events_wait() -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "view", "time": 30})
    partition.redefine(CART)
    assert steps.first(partition.memory, 0.0) == T0 + 30
    clock(partition, 29.9)
    assert partition.state() is None
    clock(partition, 30.0)
    assert partition.members() == {"looking"}


def test_an_erasure_takes_what_waits_and_is_not_newer_and_leaves_the_rest() -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "view", "time": 0}, {"kind": "view", "time": 40, "id": "secret"},
           {"kind": "view", "time": 90})  # fmt: skip
    assert waits(partition) == 2
    taking(partition, 50.0, {"kind": "delete", "time": 50})
    assert waits(partition) == 1
    assert not any(b"secret" in value for value in partition.memory.data.values())
    clock(partition, 100.0)
    state = partition.state()
    assert state is not None
    assert state.count == 1


def test_a_delete_from_the_future_waits_too() -> None:
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, {"kind": "view", "time": 0}, {"kind": "delete", "time": 60})
    assert partition.members() == {"looking"}
    clock(partition, 60.0)
    assert partition.state() is None


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MOST_OF_USER", 2)
    monkeypatch.setattr(steps, "MOST", 4)


@pytest.mark.usefixtures("few")
def test_too_many_waiting_events_of_a_user_or_a_partition_are_refused_with_a_reason() -> None:
    partition = SmallPartition(CART, WALL)
    effects = taking(partition, 0.0, *({"kind": "view", "time": 30 + number} for number in range(3)))
    assert [reject.error.code for reject in effects.rejects] == [Code.TOO_MANY_AHEAD]
    assert "of the user" in str(effects.rejects[0].error)
    effects = taking(partition, 0.0, *({"kind": "view", "time": 30, "user": f"v{number}"} for number in range(3)))
    assert "of the partition" in str(effects.rejects[0].error)
    assert waits(partition) == 4
    clock(partition, 100.0)
    assert taking(partition, 101.0, {"kind": "view", "time": 140}).rejects == []


@pytest.mark.usefixtures("few")
def test_a_delete_from_the_future_is_obeyed_at_once_where_there_is_no_room_for_it() -> None:
    """Who fills the room with events that are ahead must not keep anybody from being erased."""
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, *({"kind": "view", "time": 30 + at, "id": f"w{at}"} for at in range(4)))
    taking(partition, 0.5, {"kind": "view", "time": 0, "id": "now"})
    assert partition.members() == {"looking"}
    effects = taking(partition, 1.0, {"kind": "delete", "time": 500, "id": "d"})
    assert effects.rejects == []
    assert (partition.told()[-1][:3], waits(partition)) == (("looking", "exited", "erasure"), 0)
    taking(partition, 2.0, {"kind": "view", "time": 2, "id": "late"})  # it is older than the delete
    clock(partition, 40.0)
    assert partition.state() is None
    taking(partition, 501.0, {"kind": "view", "time": 501, "id": "new"})
    assert partition.members() == {"looking"}


def test_more_than_a_turn_takes_come_in_several_and_no_timer_overtakes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "MOST_AT_ONCE", 2)
    partition = SmallPartition(CART, WALL)
    taking(partition, 0.0, *({"kind": "view", "time": 30 + number} for number in range(5)))
    for until in (31.0, 33.0):
        turn = partition._turn()
        assert fold.receive_waiting(turn, T0 + 100.0) == T0 + until
        partition._commit(turn)
    turn = partition._turn()
    assert fold.receive_waiting(turn, T0 + 100.0) == T0 + 100.0
    partition._commit(turn)
    assert waits(partition) == 0


def test_a_misrouted_event_waits_at_its_users_home() -> None:
    cluster = SmallCluster(CART, 2, WALL)
    here = cluster.partitions[1 - partition_of("u", 2)]
    cluster.took(taking(here, 0.0, {"kind": "view", "time": 30}))
    assert waits(here) == 0
    cluster.flow()
    home = cluster.home("u")
    assert waits(home) == 1
    clock(home, 30.0)
    assert home.members() == {"looking"}


def test_an_event_of_an_id_that_is_merged_while_it_waits_counts_for_the_known_user() -> None:
    cluster = SmallCluster(CART, 2, WALL)
    anonymous = next(f"a{number}" for number in range(100) if partition_of(f"a{number}", 2) != partition_of("u", 2))
    there, home = cluster.home(anonymous), cluster.home("u")
    cluster.took(taking(there, 0.0, {"kind": "view", "time": 30, "user": anonymous}))
    cluster.took(taking(home, 1.0, {"kind": "identify", "time": 1, "target": anonymous}))
    cluster.flow()
    assert waits(there) == 1
    cluster.took(clock(there, 30.0))
    cluster.flow()
    assert waits(there) == waits(home) == 0
    state = home.state("u")
    assert state is not None
    assert state.count == 2
    assert there.state(anonymous) is None


@pytest.mark.parametrize("user", ["u", "a\0b", "用户", "x" * 512])
@pytest.mark.parametrize("time", [T0, T0 + 0.0004, T0 + 0.9996])
def test_keys_name_the_same_event_and_are_never_early(user: str, time: float) -> None:
    ms = waiting.due_ms(time)
    assert 0.0 <= ms / 1_000.0 - time < 0.002
    key = waiting.waiting_key(ms, user, 2**64 - 1)
    assert waiting.waiting_parts(key) == (ms, user, 2**64 - 1)
    assert waiting.by_time(waiting.own_key(key)) == key
    assert waiting.own_key(key).startswith(waiting.waiting_of(user))
    assert waiting.waiting_from(ms / 1_000.0) <= key < waiting.waiting_from((ms + 1) / 1_000.0)


def test_what_is_kept_is_read_back() -> None:
    event = waiting.WaitingEvent(msgspec.json.encode({"user": "u"}), "user-events", 3, 17, 1_700_000_000_000)
    assert waiting.decode_waiting(waiting.encode_waiting(event)) == event
