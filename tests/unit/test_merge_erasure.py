"""Somebody with several ids is erased: all of them go, whatever of the merge is still on its way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.wire.receipts import erasure_digest
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0
from tests.unit.membership_cases import COOKING, TWO_VIEWS, WORDS

LEARNED = '[[segment]]\nid = "s"\nlearned = "g"\n'
ACCOUNT, DEVICE, FRIEND = "account-x", "device-y", "friend-z"


def doing(user: str, kind: str, at: float, **more: Any) -> dict[str, Any]:
    return {"user": user, "kind": kind, "time": T0 + at, "id": f"{kind}-{at}-{len(user)}", **more}


HISTORY = [
    doing(DEVICE, "view", 0),
    doing(DEVICE, "comment", 1, text=COOKING),
    doing(DEVICE, "follow", 2, target=FRIEND),
    doing(FRIEND, "follow", 3, target=DEVICE),
    doing(FRIEND, "follow", 4, target=ACCOUNT),
    doing(ACCOUNT, "view", 5),
    doing(ACCOUNT, "identify", 6, target=DEVICE),
    doing(DEVICE, "view", 7),
]
DELETE = doing(ACCOUNT, "delete", 50)


def assert_gone(cluster: SmallCluster) -> None:
    everything = cluster.bytes()
    assert ACCOUNT.encode() not in everything
    assert DEVICE.encode() not in everything


def test_both_ids_are_gone_and_both_have_receipts() -> None:
    cluster = SmallCluster(TWO_VIEWS + WORDS, 3)
    for event in HISTORY:
        cluster.publish(event)
        cluster.settle()
    assert DEVICE.encode() in cluster.bytes()
    cluster.publish(DELETE)
    cluster.settle()
    assert_gone(cluster)
    told = {(receipt.receipt, receipt.partition) for receipt in cluster.receipts}
    assert told == {
        (erasure_digest(name, PLACE.erasure_key).hex(), number) for name in (ACCOUNT, DEVICE) for number in range(3)
    }


def test_what_arrives_late_for_the_merged_id_brings_nobody_back() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for event in (*HISTORY, DELETE):
        cluster.publish(event)
        cluster.settle()
    for event in HISTORY:
        cluster.publish(event)
    cluster.publish(doing(DEVICE, "purchase", 8, amount=5.0))
    cluster.settle()
    assert_gone(cluster)
    assert set(cluster.states()) == {FRIEND}


@pytest.mark.parametrize("steps", range(4))
def test_an_erasure_in_the_middle_of_a_merge_takes_both(steps: int) -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for event in HISTORY[:-2]:
        cluster.publish(event)
    cluster.settle()
    cluster.publish(HISTORY[-2])
    for _ in range(steps):  # the parts of the merge, one at a time
        waiting = [queue for queue, records in sorted(cluster.queues.items()) if records]
        if waiting:
            cluster.step(*waiting[0])
    cluster.publish(DELETE)
    cluster.settle()
    if DEVICE.encode() in cluster.bytes():
        # the delete was worked off before the identify that it is newer than: nobody could know of the device then
        assert DEVICE in cluster.states()
    assert ACCOUNT.encode() not in cluster.bytes()


@given(st.data())
@settings(deadline=None, max_examples=15)
def test_in_whatever_order_things_arrive_nothing_of_the_account_is_left(data: st.DataObject) -> None:
    cluster = SmallCluster(LEARNED if data.draw(st.booleans()) else TWO_VIEWS, data.draw(st.integers(1, 3)))
    for event in data.draw(st.permutations([*HISTORY, *HISTORY[:4], DELETE])):
        cluster.publish(event)
        for _ in range(data.draw(st.integers(0, 2))):
            waiting = sorted(queue for queue, records in cluster.queues.items() if records)
            if waiting:
                cluster.step(*data.draw(st.sampled_from(waiting)))
    cluster.settle()
    assert ACCOUNT.encode() not in cluster.bytes()
    cluster.check()


def test_no_receipt_of_any_id_names_another_by_the_event_s_id() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for event in (*HISTORY, DELETE | {"id": f"delete/{ACCOUNT}"}):
        cluster.publish(event)
        cluster.settle()
    assert {receipt.event for receipt in cluster.receipts} == {""}
