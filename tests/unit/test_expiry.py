"""States expire without events: memberships end first, nothing is left, and no sequence is given twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from state import layout
from state.tables import open_stored
from streams.settings import Settings
from streams.steps import expiry
from streams.steps.segments import parse_plan
from streams.wire.decode import Limits, decode_event
from tests.golden.test_state_format import golden
from tests.small_cluster import SmallCluster
from tests.small_partition import PLACE, T0, Sent, SmallPartition
from tests.unit.membership_cases import COOKING, comment, follow, view

DAY = 86_400.0
LASTING = """
[[segment]]
id = "keen"
rule = 'count("view", within="3650d") >= 2'
[[segment]]
id = "seen"
rule = 'count("view", within="3650d") >= 1'
"""
SOON = replace(PLACE, wall_clock=True, anonymous_ttl=90 * DAY, state_ttl=400 * DAY)


def anonymous(at: float, **more: Any) -> dict[str, Any]:
    return view(at, anonymous=True, **more)


class Partition(SmallPartition):
    """Records arrive a few seconds after what the clock says, so that none is ahead of its time."""

    def __init__(self, definitions: str = LASTING) -> None:
        super().__init__(definitions, SOON)
        self.clock = T0

    def _record(self, value: bytes | None) -> Sent:
        return replace(super()._record(value), timestamp=int(((self.clock or T0) + 10) * 1_000))

    def at(self, days: float) -> SmallPartition:
        self.clock = T0 + days * DAY
        return self


def test_an_anonymous_id_ends_in_order_and_leaves_nothing() -> None:
    partition = Partition()
    partition.events(anonymous(0), anonymous(1), follow(2, "v", anonymous=True), comment(3, COOKING, anonymous=True))
    partition.at(89).expire("u")
    assert partition.members() == {"keen", "seen"}
    effects = partition.at(91).expire("u")
    assert [each[:3] for each in partition.told()[2:]] == [("keen", "exited", "expiry"), ("seen", "exited", "expiry")]
    assert partition.changes[-1].reason.summary == "no event of the user came for 90 days"
    assert partition.changes[-1].sequence == 4
    assert effects.erased == ["u"]  # the tombstone of user-segments
    assert effects.expired == 1
    assert {chr(key[0]) for key in partition.memory.data} == {"p"}
    assert partition.meta.users == 0
    assert partition.meta.queued == 0


def test_a_known_user_stays_longer_and_by_default_for_ever() -> None:
    assert PLACE.state_ttl == PLACE.anonymous_ttl == float("inf")
    partition = Partition()
    partition.events(anonymous(0), view(1), anonymous(2))  # once named, always known
    partition.at(399).expire("u")
    assert partition.members() == {"keen", "seen"}
    partition.at(401).expire("u")
    assert partition.state() is None


def test_who_comes_back_begins_anew_with_sequences_that_nobody_had() -> None:
    partition = Partition()
    partition.events(anonymous(0), anonymous(1), view(2, user="other"))
    partition.at(100).expire("u", "other")
    assert partition.meta.sequence_floor == 4
    partition.at(101).events(anonymous(101 * DAY), anonymous(101 * DAY, user="new"), view(101 * DAY, user="other"))
    sequences = [(change.user, change.sequence) for change in partition.changes]
    assert sequences == [
        ("u", 1), ("u", 2), ("other", 1), ("u", 3), ("u", 4), ("u", 5), ("new", 5), ("other", 2),
    ]  # fmt: skip


def test_a_guard_that_expires_leaves_no_sequence_to_be_given_again() -> None:
    partition = Partition()
    partition.events(view(0), view(1), {"kind": "delete", "time": T0 + 2})
    partition.now = T0 + 31 * DAY
    partition.expire_guards()
    assert partition.meta.guards == 0
    partition.at(31).events(view(31 * DAY))
    assert [change.sequence for change in partition.changes] == [1, 2, 3, 4, 5]


def test_old_events_that_a_replay_brings_stay_for_as_long_after_their_arrival() -> None:
    partition = Partition()
    partition.at(300).events(anonymous(0), anonymous(1))
    partition.at(389).expire("u")
    assert partition.state() is not None
    partition.at(391).expire("u")
    assert partition.state() is None


def test_changed_definitions_are_no_sign_of_life() -> None:
    partition = Partition()
    partition.events(anonymous(0), anonymous(1))
    partition.redefine(LASTING.replace(">= 2", ">= 1"))
    partition.at(80).sweep()
    partition.at(89).expire("u")
    assert partition.members() == {"keen", "seen"}
    partition.at(91).expire("u")
    assert partition.state() is None


def test_a_state_of_an_earlier_release_counts_as_a_known_user_s() -> None:
    state = open_stored("u", golden()["user-5"], lambda _plan: 0)
    assert state.identified
    assert not expiry.is_over(state, SOON, state.time + 399 * DAY)
    assert expiry.is_over(state, SOON, state.time + 400 * DAY)


def test_who_follows_somebody_expired_is_sent_the_vectors_of_the_next_life() -> None:
    cluster = SmallCluster(LASTING + '[[segment]]\nid = "s"\nlearned = "g"\n', 2, replace(SOON, wall_clock=False))
    idol, fan = "idol", "fan-7"
    cluster.publish({**follow(0, idol), "user": fan, "id": "f"})
    cluster.publish({**anonymous(1), "user": idol, "id": "i1"})
    cluster.settle()
    before = layout.decode_neighbour(cluster.home(fan).memory.data[layout.neighbour_key(idol)])
    assert before.version > 0
    home = cluster.home(idol)
    home.clock = T0 + 20 * 365 * DAY
    cluster.took(home.expire(idol))
    assert cluster.state(idol) is None
    for number in range(3):
        cluster.publish({**anonymous(2 + number, category=f"c{number}"), "user": idol, "id": f"i2{number}"})
    cluster.settle()
    after = layout.decode_neighbour(cluster.home(fan).memory.data[layout.neighbour_key(idol)])
    assert after.version > before.version


def test_a_merge_with_a_known_user_makes_an_anonymous_id_known() -> None:
    cluster = SmallCluster(LASTING, 2, SOON)
    cluster.publish({**anonymous(0), "user": "anon-3", "id": "a"})
    cluster.publish({"user": "known", "kind": "identify", "time": T0 + 1, "target": "anon-3", "id": "i"})
    cluster.publish({**anonymous(2), "user": "anon-3", "id": "b"})
    cluster.flow()
    state = cluster.state("known")
    assert state is not None
    assert (state.identified, state.count) == (True, 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"user": "u", "kind": "view", "time": T0}, False),
        ({"user": "u", "kind": "view", "time": T0, "anonymous": True}, True),
        ({"user": "u", "kind": "view", "time": "2023-11-14", "anonymous": True}, True),
        ({"type": "page", "userId": "u", "anonymousId": "a", "timestamp": "2023-11-14"}, False),
        ({"type": "page", "anonymousId": "a", "timestamp": "2023-11-14"}, True),
        ({"type": "page", "userId": "", "anonymousId": "a", "timestamp": "2023-11-14"}, True),
    ],
)
def test_what_makes_an_event_anonymous(content: dict[str, Any], expected: bool) -> None:
    assert decode_event(msgspec.json.encode(content), T0, Limits()).anonymous is expected


@pytest.mark.parametrize("order", [(True, True, True), (True, False, True), (False, True, True)])
def test_one_event_that_names_a_user_is_enough_whoever_folds_it(order: tuple[bool, ...]) -> None:
    for together in (True, False):
        partition = Partition()
        events = [view(number, anonymous=each) for number, each in enumerate((True, *order))]
        if together:
            partition.events(*events)
        else:
            for event in events:
                partition.events(event)
        state = partition.state()
        assert state is not None
        assert (state.identified, state.count) == (not all(order), 4)


def test_rules_that_look_back_longer_than_states_are_kept_are_named_with_their_windows() -> None:
    plan = parse_plan(
        LASTING
        + """
[[segment]]
id = "waited"
rule = 'absent("purchase", after="click", wait="1d", within="100d")'
[[segment]]
id = "short"
rule = 'count("view", within="90d") >= 1'
"""
    )
    never = float("inf")
    assert expiry.too_long(plan, never, never) == expiry.too_long(parse_plan(""), DAY, DAY) == ""
    assert expiry.too_long(plan, never, 3_650 * DAY) == ""
    assert expiry.too_long(plan, never, 90 * DAY) == (
        "the window of 'seen' (3650 days), 'keen' (3650 days), 'waited' (100 days) is longer than a state is kept: an "
        "anonymous id is forgotten after 90 days without an event (SEGMENTS_ANONYMOUS_TTL_DAYS), and whoever comes "
        "back counts as new, so that a count may be too low and a membership untrue"
    )
    both = expiry.too_long(plan, 400 * DAY, 90 * DAY)
    assert "a known user is forgotten after 400 days without an event (SEGMENTS_STATE_TTL_DAYS), an anon" in both


def test_with_the_event_clock_nothing_expires_and_nothing_is_too_long() -> None:
    assert Settings(state_ttl_days=30.0).ttls == (30 * DAY, 90 * DAY)
    assert Settings(anonymous_ttl_days=0.0).ttls == (float("inf"), float("inf"))
    assert Settings(state_ttl_days=30.0, clock="event").ttls == (float("inf"), float("inf"))
