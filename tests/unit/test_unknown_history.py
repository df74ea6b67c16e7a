"""History that is not known counts as unknown: nobody enters and nobody leaves on it (issue 11, fault 8)."""

from __future__ import annotations

import msgspec
import pytest

from state import layout
from state.windows import NEVER
from streams.service import window_value
from streams.steps.in_force import FIRST_EPOCH
from streams.steps.merge import MoveIn
from tests.format1 import User, encode_user, ids_of
from tests.small_cluster import SmallCluster
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import NO_PURCHASE, TWO_VIEWS, WORDS, comment, purchase, view

DAY = 86_400.0


def rule(segment: str, text: str, more: str = "") -> str:
    return f"[[segment]]\nid = \"{segment}\"\nrule = '{text}'\n{more}"


VIEWS = rule("viewers", 'count("view", within="30d") >= 1')
NOT_BOUGHT = rule("not-bought", 'count("purchase", within="30d") == 0')
FIRST_EVER = rule("first-ever", 'count("purchase", within="3650d") == 1')


def test_a_new_rule_about_what_was_not_done_is_not_entered_by_those_who_did_it() -> None:
    partition = SmallPartition(VIEWS)
    partition.events(purchase(0), view(10))
    partition.redefine(VIEWS + NOT_BOUGHT)
    partition.events(view(20))
    partition.sweep()
    assert partition.members() == {"viewers"}
    known = T0 + 31 * DAY  # 30 days in buckets of a day
    partition.events(view(29 * DAY))
    partition.fire(known - 1)
    assert partition.members() == {"viewers"}
    partition.fire(known)
    assert partition.told()[1:] == [("not-bought", "entered", "expiry", 31 * DAY)]


def unknown_of(partition: SmallPartition, user: str = "u") -> dict[str, float]:
    """Of the tallies that are counted, up to when each is not known."""
    state = partition.state(user)
    assert state is not None
    untils = {spec.key: state.cells.unknown_until(spec.key) for spec in partition.plan.specs}
    return {key: until for key, until in untils.items() if until is not None}


def test_who_comes_later_is_known_at_once() -> None:
    partition = SmallPartition(VIEWS)
    partition.events(view(0))
    partition.redefine(VIEWS + NOT_BOUGHT)
    partition.events(view(10, user="new"))
    assert partition.members("new") == {"viewers", "not-bought"}


def test_a_longer_window_makes_no_member_leave_until_it_is_known() -> None:
    short = rule("keen", 'count("view", within="7d") >= 2')
    partition = SmallPartition(short)
    partition.events(view(0), view(6 * DAY))
    partition.redefine(short.replace("7d", "14d"))
    partition.events(purchase(6 * DAY + 60))
    partition.sweep()
    assert partition.told() == [("keen", "entered", "event", 6 * DAY)]
    while partition.due() != NEVER:
        partition.fire(partition.due())
    assert [each[:3] for each in partition.told()[1:]] == [("keen", "exited", "expiry")]
    assert partition.told()[1][3] >= 20 * DAY


def test_first_purchase_ever_is_not_entered_by_people_with_three_after_a_detour() -> None:
    for kept in (True, False):
        partition = SmallPartition(FIRST_EVER)
        partition.events(purchase(0), purchase(1), purchase(2))
        assert [change for _, change, _, _ in partition.told()] == ["entered", "exited"]
        partition.redefine(VIEWS, kept=kept)
        partition.events(view(10))
        partition.redefine(FIRST_EVER)
        partition.events(view(20), purchase(30))
        partition.sweep()
        assert partition.told()[2:] == [
            ("viewers", "entered", "definition", 10.0),
            ("viewers", "exited", "definition", 20.0),
        ]
        state = partition.state()
        assert state is not None
        # a detour that is not longer than terms are kept destroys nothing
        assert bool(unknown_of(partition)) != kept


def test_a_user_whom_a_detour_never_met_does_not_know_what_was_missed() -> None:
    partition = SmallPartition(FIRST_EVER)
    partition.events(view(0))
    partition.redefine(VIEWS)
    partition.events(view(0, user="other"))
    partition.redefine(FIRST_EVER)
    partition.events(purchase(20))
    assert partition.members() == set()  # purchases of the detour were counted by nobody


def test_an_absence_of_which_nothing_is_known_is_not_entered_and_ends_no_membership() -> None:
    cart = rule("cart", 'absent("purchase", after="click", wait="30m", within="2h")')
    settled = rule("settled", 'not absent("purchase", after="click", wait="30m", within="2h")')
    partition = SmallPartition(VIEWS + rule("settled", 'count("click", within="1d") >= 1'))
    partition.events({"kind": "click", "time": T0})
    partition.redefine(VIEWS + cart + settled)
    partition.events(view(60))
    partition.fire(T0 + 3_000)
    assert partition.members() == {"settled", "viewers"}
    partition.fire(T0 + 7_260)  # whatever was clicked before the definition, its time is over
    assert partition.members() == {"settled", "viewers"}
    state = partition.state()
    assert state is not None
    assert state.known_at == NEVER


def test_what_is_over_already_is_not_published_when_the_definitions_change() -> None:
    new = rule("hot", 'count("view", within="1h") >= 1')
    for how in ("sweep", "timer", "event"):
        partition = SmallPartition(rule("seen", 'count("view", within="1h") >= 5') + NO_PURCHASE)
        partition.events(view(0))
        partition.redefine(new + NO_PURCHASE)
        partition.clock = T0 + 2 * DAY
        if how == "sweep":
            partition.sweep()
        elif how == "timer":
            partition.fire(T0 + 2 * DAY)
        else:
            partition.events(purchase(2 * DAY))
        assert "hot" not in {segment for segment, *_ in partition.told()}


def test_what_holds_now_is_entered_now() -> None:
    partition = SmallPartition(rule("seen", 'count("view", within="1h") >= 5'))
    partition.events(view(0))
    partition.redefine(rule("hot", 'count("view", within="1h") >= 1'))
    partition.clock = T0 + 600
    partition.sweep()
    assert partition.told() == [("hot", "entered", "definition", 600.0)]


def test_unknown_or_true_is_true() -> None:
    either = rule("either", 'count("view", within="30d") >= 1 or count("purchase", within="30d") >= 3')
    partition = SmallPartition(VIEWS)
    partition.events(view(0))
    partition.redefine(VIEWS + either)
    partition.events(view(1))
    assert partition.members() == {"viewers", "either"}


def test_what_was_counted_is_a_lower_bound_that_suffices_to_enter() -> None:
    partition = SmallPartition(VIEWS)
    partition.events(view(0))
    partition.redefine(VIEWS + rule("buyers", 'count("purchase", within="30d") >= 2'))
    partition.events(purchase(1))
    assert partition.members() == {"viewers"}
    partition.events(purchase(2))
    assert partition.members() == {"viewers", "buyers"}


def test_a_reason_says_what_is_not_known() -> None:
    partition = SmallPartition(VIEWS)
    partition.events(view(0))
    partition.redefine(VIEWS + rule("buyers", 'count("purchase", within="30d") >= 1'))
    partition.events(purchase(1))
    assert partition.changes[-1].reason.summary == (
        "the rule holds: count('purchase', within='30d') is at least 1 (not known yet before 2023-11-14T00:00:00.000Z)"
    )


def test_who_looks_at_a_user_is_told_what_is_not_known() -> None:
    partition = SmallPartition(VIEWS)
    partition.events(view(0))
    partition.redefine(VIEWS + rule("buyers", 'count("purchase", within="30d") >= 2'))
    partition.events(purchase(1))
    state = partition.state()
    assert state is not None
    told = {spec.kind: window_value(state, spec) for spec in partition.plan.tallies.specs.values()}
    assert told == {"view": 1, "purchase": "at least 1, not known yet before 2023-11-14 00:00:00 UTC"}


def test_a_change_of_thresholds_alone_makes_nothing_unknown() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    partition.redefine(TWO_VIEWS.replace(">= 2", ">= 3"))
    partition.events(purchase(2))
    state = partition.state()
    assert state is not None
    assert not unknown_of(partition)
    assert partition.members() == set()


def test_descriptions_decide_by_the_vectors_that_are_kept() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, "I love cooking, and this restaurant served the best pasta"))
    partition.encode_waiting()
    partition.redefine(WORDS.replace("cooks", "cooks-2"))
    partition.sweep()
    assert partition.members() == {"cooks-2"}


# epochs


def test_what_an_earlier_release_wrote_is_known_if_the_definitions_are_the_same() -> None:
    for same in (True, False):
        partition = SmallPartition(FIRST_EVER)
        partition.events(view(0))
        fingerprint = partition.plan.fingerprint
        state = partition.state()
        assert state is not None
        packed, _ = ids_of([(5, int(T0))])
        old = User(
            time=T0, first=T0, count=1, decayed={"view": [T0, 1.0, 1.0]}, ids=packed, plan=fingerprint, life=1
        )  # fmt: skip
        partition.memory.data[layout.user_key("u")] = encode_user(old)
        partition.meta = layout.Meta(
            users=1, events=1, queued=0, plan=fingerprint if same else fingerprint - 1, watermark=T0, lives=1
        )
        partition.restart()
        partition.events(purchase(1))
        assert partition.members() == ({"first-ever"} if same else set())


def test_a_new_partition_begins_with_all_known() -> None:
    partition = SmallPartition(FIRST_EVER)
    partition.events(view(0))
    assert partition.meta.epoch == FIRST_EPOCH
    assert set(partition.meta.terms.values()) == {FIRST_EPOCH}


def test_nobody_is_to_be_checked_where_nobody_was_when_the_definitions_came() -> None:
    partition = SmallPartition(FIRST_EVER)
    partition.events(view(0))
    assert partition.meta.swept == partition.meta.epoch  # else all who come in a backlog are looked at twice
    partition.redefine(VIEWS)
    partition.events(view(1))
    assert partition.meta.swept < partition.meta.epoch
    partition.sweep()
    assert partition.members() == {"viewers"}


def test_terms_that_are_no_longer_kept_are_dropped_and_begin_anew() -> None:
    partition = SmallPartition(FIRST_EVER)
    partition.events(purchase(0))
    (key,) = partition.meta.terms
    partition.redefine(VIEWS, kept=True)
    partition.events(purchase(1))
    assert partition.meta.terms[key] == FIRST_EPOCH
    partition.redefine(VIEWS)  # their time is over
    partition.events(view(2))
    assert key not in partition.meta.terms
    partition.redefine(FIRST_EVER)
    partition.events(view(3))
    assert partition.meta.terms[key] == partition.meta.epoch
    assert partition.members() == set()


# merges


@pytest.mark.parametrize("at_home", [True, False])
def test_what_is_not_known_of_an_id_is_not_known_of_whom_it_is_merged_into(at_home: bool) -> None:
    cluster = SmallCluster(VIEWS, 2)
    anonymous, known = "a1", "u2"
    cluster.events(purchase(0) | {"user": anonymous}, view(1, user=known))
    for partition in cluster.partitions:
        partition.redefine(VIEWS + NOT_BOUGHT)
    if at_home:  # the one partition changed over, the other did not take a turn yet
        cluster.events(view(2, user=known))
    cluster.events({"user": known, "kind": "identify", "target": anonymous, "time": T0 + 10})
    cluster.settle()
    state = cluster.state(known)
    assert state is not None
    assert state.count == 3 + at_home
    assert state.cells.unknown_until("purchase|count|2592000|") is not None
    assert "not-bought" not in state.members


def test_a_state_of_an_earlier_release_brings_nothing_known() -> None:
    cluster = SmallCluster(NOT_BOUGHT, 2)
    anonymous, known = "a1", "u2"
    cluster.events(view(0, user=anonymous), view(1, user=known))
    cluster.events({"user": known, "kind": "identify", "target": anonymous, "time": T0 + 10})
    home = cluster.home(anonymous)
    reroute = cluster.topics.reroute
    if cluster.queues.get((reroute, home.place.partition)):
        cluster.step(reroute, home.place.partition)
    queue = cluster.queues[reroute, cluster.home(known).place.partition]
    (record,) = queue
    fields = msgspec.msgpack.decode(record.value or b"")
    terms = 1 + MoveIn.__struct_fields__.index("terms")  # behind the tag
    assert fields[terms] == sorted(home.meta.terms)
    record.value = msgspec.msgpack.encode(fields[:terms])  # type: ignore[misc]  # a Sent, which can be written
    cluster.settle()
    state = cluster.state(known)
    assert state is not None
    assert unknown_of(cluster.home(known), known) == {"purchase|count|2592000|": T0}
    assert len(state.members) > 0  # what was entered is kept
