"""Anonymous to known: what subscribers see, what is left behind, and who gets what comes later."""

from __future__ import annotations

import struct
from itertools import count
from typing import Any

import pytest

from state import layout
from state.user import texts_waiting
from state.vectors import Vectors
from streams.steps import merge
from streams.steps.effects import Hop
from streams.wire.refused import Code
from tests.format1 import User, encode_user
from tests.records import block_of
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0
from tests.unit.membership_cases import (
    COOKING,
    NO_PURCHASE,
    SPENDERS,
    TWO_VIEWS,
    WORDS,
    comment,
    delete,
    purchase,
    view,
)

#: of three partitions, the homes are 2, 0 and 1
KNOWN, ANONYMOUS, FAN = "known", "anon-3", "other"
NUMBERS = count()
REROUTE = PLACE.topics.reroute
LEARNED = '[[segment]]\nid = "s"\nlearned = "g"\n'


def publish(cluster: SmallCluster, user: str, *events: dict[str, Any]) -> None:
    for event in events:
        cluster.publish({"user": user, "id": f"e{next(NUMBERS)}"} | event)


def happened(cluster: SmallCluster, user: str, *events: dict[str, Any]) -> None:
    publish(cluster, user, *events)
    cluster.flow()


def identify(target: str = ANONYMOUS, at: float = 20, **more: Any) -> dict[str, Any]:
    return {"kind": "identify", "time": T0 + at, "target": target, **more}


def told(cluster: SmallCluster, user: str) -> list[tuple[str, str, str]]:
    return [(change.segment, change.change, change.origin) for change in cluster.changes(user)]


def test_a_membership_goes_over_to_the_known_user_and_is_explained() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0), view(1))
    happened(cluster, KNOWN, identify(at=2, id="login"))
    assert told(cluster, ANONYMOUS) == [("keen", "entered", "event"), ("keen", "exited", "merge")]
    assert told(cluster, KNOWN) == [("keen", "entered", "merge")]
    exited, entered = cluster.changes(ANONYMOUS)[-1], cluster.changes(KNOWN)[0]
    assert exited.reason.event == entered.reason.event == "login"
    assert exited.reason.summary == "the user is one with known"
    cluster.check()


def test_two_halves_that_make_a_whole_enter_together() -> None:
    cluster = SmallCluster(SPENDERS, 3)
    happened(cluster, ANONYMOUS, purchase(0, 60.0))
    happened(cluster, KNOWN, purchase(1, 60.0), identify(at=2))
    assert told(cluster, ANONYMOUS) == []
    assert told(cluster, KNOWN) == [("spenders", "entered", "merge")]


def test_a_segment_that_both_were_in_changes_nothing_for_the_known_user() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0), view(1))
    happened(cluster, KNOWN, view(0), view(1), identify(at=2))
    assert told(cluster, KNOWN) == [("keen", "entered", "event")]
    assert told(cluster, ANONYMOUS)[-1] == ("keen", "exited", "merge")


def test_a_segment_that_holds_no_longer_for_the_two_as_one_is_left_once() -> None:
    cluster = SmallCluster(NO_PURCHASE, 3)
    happened(cluster, ANONYMOUS, purchase(0))
    happened(cluster, KNOWN, view(1), identify(at=2))
    assert told(cluster, ANONYMOUS) == []
    assert told(cluster, KNOWN) == [("looker", "entered", "event"), ("looker", "exited", "merge")]


def test_nothing_of_the_merged_id_is_left_but_a_forwarding_record() -> None:
    cluster = SmallCluster(WORDS + LEARNED, 3)
    happened(cluster, ANONYMOUS, comment(0, COOKING), {"kind": "follow", "time": T0 + 1, "target": "idol"})
    cluster.encode_all()
    happened(cluster, ANONYMOUS, comment(2, COOKING))
    publish(cluster, KNOWN, identify())
    cluster.step(cluster.topics.events, 2)
    effects = cluster.step(REROUTE, 0)
    assert effects.erased == [ANONYMOUS]  # a tombstone in user-segments
    assert effects.merged == 1
    left = {key for key in cluster.partitions[0].memory.data if ANONYMOUS.encode() in key}
    assert left == {layout.alias_key(ANONYMOUS)}
    cluster.flow()
    state = cluster.state(KNOWN)
    assert state is not None
    assert ([*state.aliases], state.edges.present(), texts_waiting(state)) == ([ANONYMOUS], ["idol"], 1)
    cluster.check()


def test_later_events_and_labels_of_the_merged_id_are_the_known_user_s() -> None:
    cluster = SmallCluster(TWO_VIEWS + LEARNED, 3)
    happened(cluster, ANONYMOUS, view(0, id="a"))
    happened(cluster, KNOWN, identify(at=2))
    happened(cluster, ANONYMOUS, view(1, id="late"), view(3, id="later"), view(0, id="a"), view(3, id="later"))
    cluster.publish_label({"user": ANONYMOUS, "segment": "s", "member": True, "time": T0})
    cluster.flow()
    state = cluster.state(KNOWN)
    assert state is not None
    assert state.count == 4
    assert [label.segment for label in state.labels] == ["s"]
    assert cluster.state(ANONYMOUS) is None
    assert sum(partition.meta.duplicates for partition in cluster.partitions) == 2
    assert cluster.misrouted == 0
    cluster.check()


def test_somebody_known_by_nothing_but_the_merge_is_made_by_it() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0), view(1))
    out = merge.MoveOut(ANONYMOUS, KNOWN, T0 + 2, "login", T0 + 3)
    cluster._append(REROUTE, 0, b"", merge._encode(out), [("reroute-kind", b"merge")])
    cluster.flow()
    assert told(cluster, KNOWN) == [("keen", "entered", "merge")]
    cluster.check()


def test_an_id_that_did_nothing_is_forwarded_as_well() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, KNOWN, identify())
    happened(cluster, ANONYMOUS, view(21), view(22))
    assert told(cluster, KNOWN) == [("keen", "entered", "event")]
    assert [len(partition.memory.data) for partition in cluster.partitions][1] <= 1


def test_saying_it_again_does_nothing() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0), view(1))
    happened(cluster, KNOWN, identify(at=2), identify(at=3), {**identify(at=1), "kind": "alias"})
    alias = cluster.alias(ANONYMOUS)
    assert alias is not None
    assert (alias.into, alias.time, alias.sequence) == (KNOWN, T0 + 3, 2)
    assert told(cluster, KNOWN) == [("keen", "entered", "merge")]
    happened(cluster, ANONYMOUS, identify(KNOWN, at=5))
    state = cluster.state(KNOWN)
    assert state is not None
    assert state.count == 6
    cluster.check()


def test_what_comes_of_a_shared_device_is_the_one_s_who_said_so_last() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0))
    happened(cluster, KNOWN, identify(at=2))
    happened(cluster, FAN, identify(at=9))
    happened(cluster, "idol", identify(at=5))  # late: not the last word
    happened(cluster, ANONYMOUS, view(10))
    counts = {user: state.count for user, state in cluster.states().items()}
    assert counts == {KNOWN: 2, FAN: 2, "idol": 1}
    assert [[*cluster.states()[user].aliases] for user in (KNOWN, FAN, "idol")] == [[ANONYMOUS], [ANONYMOUS], []]


def test_two_who_each_say_that_they_are_the_other_end_as_one_by_the_later_word() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0), view(1))
    happened(cluster, KNOWN, view(2))
    publish(cluster, KNOWN, identify(ANONYMOUS, at=3))
    publish(cluster, ANONYMOUS, identify(KNOWN, at=4))
    for home in (0, 2):  # neither knows of the other's word yet
        cluster.step(cluster.topics.events, home)
    cluster.flow()
    assert {user: state.count for user, state in cluster.states().items()} == {ANONYMOUS: 5}
    assert told(cluster, ANONYMOUS)[-2:] == [("keen", "exited", "merge"), ("keen", "entered", "merge")]
    assert [change.sequence for change in cluster.changes(ANONYMOUS)] == [1, 2, 3]
    happened(cluster, KNOWN, view(5))
    assert cluster.states()[ANONYMOUS].count == 6
    cluster.check()


def test_texts_read_and_waiting_speak_for_the_known_user() -> None:
    cluster = SmallCluster(WORDS, 3)
    happened(cluster, ANONYMOUS, comment(0, COOKING))
    cluster.encode_all()
    happened(cluster, KNOWN, identify())
    assert told(cluster, ANONYMOUS) == [("cooks", "entered", "event"), ("cooks", "exited", "merge")]
    assert told(cluster, KNOWN) == [("cooks", "entered", "merge")]

    happened(cluster, "anon-0", comment(30, COOKING, id="waiting"))
    happened(cluster, "idol", identify("anon-0", at=40))
    assert told(cluster, "idol") == []
    cluster.encode_all()
    assert told(cluster, "idol") == [("cooks", "entered", "event")]
    assert cluster.changes("idol")[0].reason.event == "waiting"
    cluster.check()


def test_vectors_on_their_way_during_a_merge_are_thrown_away_and_made_anew() -> None:
    cluster = SmallCluster(WORDS, 3)
    happened(cluster, ANONYMOUS, comment(0, COOKING))
    cluster.encode_all()
    happened(cluster, KNOWN, comment(1, COOKING))
    home = cluster.home(KNOWN)
    jobs = home.jobs()
    happened(cluster, KNOWN, identify())
    assert home.batch(jobs=jobs).messages == []
    state = cluster.state(KNOWN)
    assert state is not None
    assert texts_waiting(state) == 1
    cluster.encode_all()
    vectors = layout.decode_vectors(home.memory.data[layout.vectors_key(KNOWN)])
    alone = SmallCluster(WORDS, 1)
    happened(alone, KNOWN, comment(0, COOKING), comment(1, COOKING))
    alone.encode_all()
    assert vectors.text_sum == layout.decode_vectors(alone.home(KNOWN).memory.data[layout.vectors_key(KNOWN)]).text_sum


def test_very_many_waiting_texts_go_in_several_messages() -> None:
    cluster = SmallCluster(WORDS, 3)
    long = "pasta " * 3_000
    happened(cluster, ANONYMOUS, *(comment(number, long) for number in range(120)))
    publish(cluster, KNOWN, identify())
    cluster.step(cluster.topics.events, 2)
    effects = cluster.step(REROUTE, 0)
    assert len(effects.messages) > 1
    assert max(len(message.value or b"") for message in effects.messages) < 5_000_000
    cluster.flow()
    state = cluster.state(KNOWN)
    assert state is not None
    keys = layout.text_keys(KNOWN, state.texts_taken, state.texts_put)
    waiting = [layout.decode_text(cluster.home(KNOWN).memory.data[key]) for key in keys]
    assert [text.time - T0 for text in waiting] == list(range(120))
    assert state.queued


def test_followers_of_the_merged_id_follow_the_known_user() -> None:
    cluster = SmallCluster(LEARNED, 3)
    follow = {"kind": "follow", "time": T0, "target": ANONYMOUS}
    happened(cluster, ANONYMOUS, view(0))
    happened(cluster, FAN, follow)
    happened(cluster, KNOWN, follow)
    happened(cluster, KNOWN, identify())
    happened(cluster, "fan", follow)  # of somebody who is already merged
    states = cluster.states()
    assert [dict(states[user].edges.items()) for user in (FAN, "fan", KNOWN)] == [{KNOWN: T0}, {KNOWN: T0}, {}]
    cluster.encode_all()
    cluster.flow()
    cluster.check()
    for user in (FAN, "fan"):
        neighbour = cluster.home(user).memory.get(layout.neighbour_key(KNOWN))
        assert neighbour is not None
        assert layout.decode_neighbour(neighbour).node
        assert cluster.home(user).memory.get(layout.neighbour_key(ANONYMOUS)) is None
    assert [key for key in cluster.partitions[0].memory.data if key == layout.vectors_key(ANONYMOUS)] == []


def test_somebody_who_followed_both_follows_once_and_a_later_unfollow_stays() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    for target, kind, at in ((ANONYMOUS, "follow", 1), (KNOWN, "follow", 2), (KNOWN, "unfollow", 3)):
        happened(cluster, FAN, {"kind": kind, "time": T0 + at, "target": target})
    happened(cluster, KNOWN, identify())
    assert dict(cluster.states()[FAN].edges.items()) == {KNOWN: -(T0 + 3)}
    cluster.check()


def test_nobody_follows_themselves_under_another_name() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, {"kind": "follow", "time": T0, "target": KNOWN})
    happened(cluster, KNOWN, identify())
    happened(cluster, ANONYMOUS, {"kind": "follow", "time": T0 + 30, "target": KNOWN})
    state = cluster.state(KNOWN)
    assert state is not None
    assert (state.edges.count, state.count) == (0, 3)
    cluster.check()


def test_very_many_followers_are_renamed_turn_by_turn(monkeypatch: Any) -> None:
    monkeypatch.setattr("streams.steps.graph.MOST_EDGES", 3)
    cluster = SmallCluster(TWO_VIEWS, 1)
    for number in range(10):
        happened(cluster, f"fan{number}", {"kind": "follow", "time": T0, "target": ANONYMOUS})
    publish(cluster, KNOWN, identify())
    cluster.flow(most=lambda: 1)
    assert all(cluster.states()[f"fan{number}"].edges.items() == [(KNOWN, T0)] for number in range(10))
    cluster.check()


def erased(cluster: SmallCluster, *names: str) -> bool:
    """Nothing of them is left, and every partition has said so of each."""
    bytes_left = cluster.bytes()
    answered = len({(receipt.receipt, receipt.partition) for receipt in cluster.receipts})
    return not any(name.encode() in bytes_left for name in names) and answered == len(names) * len(cluster.partitions)


def test_who_is_erased_is_erased_under_all_names() -> None:
    cluster = SmallCluster(TWO_VIEWS + LEARNED, 3)
    happened(cluster, ANONYMOUS, view(0), {"kind": "follow", "time": T0, "target": FAN})
    happened(cluster, FAN, {"kind": "follow", "time": T0, "target": ANONYMOUS})
    happened(cluster, "anon-4", view(1))
    happened(cluster, "anon-0", identify("anon-4", at=5))
    happened(cluster, KNOWN, identify(at=6), identify("anon-0", at=7))
    happened(cluster, KNOWN, delete(9))
    cluster.settle()
    assert erased(cluster, KNOWN, ANONYMOUS, "anon-0", "anon-4")
    happened(cluster, ANONYMOUS, view(2))
    assert set(cluster.states()) == {FAN}
    assert cluster.partitions[0].meta.aliases == 0
    happened(cluster, ANONYMOUS, view(10))  # a new life of nobody we know
    assert cluster.states()[ANONYMOUS].count == 1
    cluster.check()


def test_a_state_on_its_way_to_somebody_who_is_erased_is_erased_too() -> None:
    for steps in (0, 1):
        cluster = SmallCluster(TWO_VIEWS, 3)
        happened(cluster, ANONYMOUS, view(0), view(1))
        publish(cluster, KNOWN, identify(at=2), delete(3))
        cluster.step(cluster.topics.events, 2)
        if steps:
            cluster.step(REROUTE, 0)
        cluster.step(cluster.topics.events, 2)
        cluster.settle()
        assert erased(cluster, KNOWN, ANONYMOUS)
        assert cluster.states() == {}
        cluster.check()


def test_a_delete_of_a_merged_id_is_one_of_the_user() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, ANONYMOUS, view(0))
    happened(cluster, KNOWN, identify(at=2))
    happened(cluster, ANONYMOUS, delete(3))
    cluster.settle()
    assert erased(cluster, KNOWN, ANONYMOUS)


def test_an_id_that_another_claimed_after_the_erasure_is_still_forwarded() -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    happened(cluster, KNOWN, identify(at=2))
    happened(cluster, FAN, identify(at=9))
    happened(cluster, KNOWN, delete(5))
    cluster.settle()
    happened(cluster, ANONYMOUS, view(4), view(10))  # the first was the erased user's
    assert {user: state.count for user, state in cluster.states().items()} == {FAN: 2}
    cluster.check()


BLOCK = block_of(time=T0, count=1)


@pytest.mark.parametrize(
    "message",
    [
        merge.MoveOut("", KNOWN, T0, "", T0),
        merge.MoveOut(ANONYMOUS, "k" * 600, T0, "", T0),
        merge.MoveOut(ANONYMOUS, KNOWN, float("nan"), "", T0),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, b"\x07 another format"),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, b"\x01"),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, b"\x02"),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, encode_user(User(time=float("inf")))),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, BLOCK[:16] + struct.pack("<d", float("inf")) + BLOCK[24:]),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, BLOCK[:-1]),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, BLOCK, ids=b"1234"),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, block_of(count=2**53)),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, vectors=layout.encode_vectors(Vectors(text_sum=b"1234"))),
        merge.MoveIn(ANONYMOUS, KNOWN, T0, "", T0, path=[Hop(KNOWN, ANONYMOUS, float("nan"))]),
        merge.MoveIn(KNOWN, ANONYMOUS, T0, "", T0),
    ],
    ids=repr,
)
def test_a_part_of_a_merge_that_cannot_be_meant_is_a_dead_letter(message: merge.MoveOut | merge.MoveIn) -> None:
    cluster = SmallCluster(TWO_VIEWS, 3)
    home = 0 if isinstance(message, merge.MoveOut) else 2
    cluster._append(REROUTE, home, b"", merge._encode(message), [("reroute-kind", b"merge")])
    cluster.flow()
    assert [(each.topic, each.error.code) for each in cluster.rejects] == [(REROUTE, Code.BROKEN_INTERNAL)]
    assert cluster.states() == {}
