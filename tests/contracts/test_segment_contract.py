"""What every kind of segment inherits: thresholds, a reason that explains, entering and leaving by whole turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from streams.steps.segments import DEFAULT_THRESHOLDS, DefinitionError, parse_plan
from streams.wire.emit import Change
from tests.small_partition import T0, SmallPartition

COOKING = "I love cooking, and this restaurant served the best pasta"
FOOTBALL = "the football match was decided by a penalty in the last minute"


@dataclass(frozen=True)
class Kind:
    """A way to say who belongs, and how to make user ``u`` enter and leave it."""

    definition: str
    more: str
    """Other definitions that it needs."""
    enter: Callable[[SmallPartition], None]
    leave: Callable[[SmallPartition], None]


def event(kind: str, at: float, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "time": T0 + at, **more}


def rule_enter(partition: SmallPartition) -> None:
    partition.events(event("view", 0), event("view", 1))


def rule_leave(partition: SmallPartition) -> None:
    partition.fire(T0 + 200)


def words_enter(partition: SmallPartition) -> None:
    partition.events(event("comment", 0, text=COOKING))
    partition.encode_waiting()


def words_leave(partition: SmallPartition) -> None:
    partition.events(*(event("comment", 100 + step, text=f"{FOOTBALL}, round {step}") for step in range(8)))
    partition.encode_waiting()


def learn(partition: SmallPartition, at: float, member: bool) -> None:
    """Twenty people like ``u`` and twenty unlike; those like ``u`` are (or are not) members."""
    names = [f"{which}{number}" for which in ("like", "unlike") for number in range(20)]
    partition.events(
        *(
            event("view" if name.startswith("like") else "purchase", at, user=name, id=f"{name}@{at}", amount=9.0)
            for name in names
        )
    )
    partition.encode_waiting()
    labels = tuple(
        {
            "user": name,
            "segment": "s" if name.startswith("like") == member else "other",
            "member": True,
            "time": T0 + at,
            "id": f"{name}@{at}",
        }
        for name in names
    )
    for _ in range(3):
        partition.train(partition.batch(labels=tuple({**label, "id": f"{label['id']}-{_}"} for label in labels)))


def learned_enter(partition: SmallPartition) -> None:
    partition.events(event("view", 0))
    partition.encode_waiting()
    learn(partition, 0, member=True)
    partition.events(event("view", 1))


def learned_leave(partition: SmallPartition) -> None:
    for step in range(6):
        learn(partition, 100 + step, member=False)
    partition.events(event("view", 200))


KINDS = {
    "rule": Kind('rule = \'count("view", within="24s") >= 2\'', "", rule_enter, rule_leave),
    "words": Kind('words = "people who love cooking and restaurants"', "", words_enter, words_leave),
    "learned": Kind(
        'learned = "g"',
        '[[segment]]\nid = "other"\nlearned = "g"\n[[group]]\nid = "g"\nmin_labels = 40\n',
        learned_enter,
        learned_leave,
    ),
}
pytestmark = pytest.mark.parametrize("name", sorted(KINDS))


def definitions(name: str, lines: str = "") -> str:
    kind = KINDS[name]
    return f'[[segment]]\nid = "s"\n{kind.definition}\n{lines}\n{kind.more}'


def changes(partition: SmallPartition) -> list[Change]:
    return [change for change in partition.changes if change.user == "u" and change.segment == "s"]


def test_it_parses_with_the_thresholds_of_its_kind(name: str) -> None:
    plan = parse_plan(definitions(name))
    segment = plan.segments["s"]
    assert segment.kind == name
    assert (segment.enter, segment.exit) == DEFAULT_THRESHOLDS[name]
    assert segment.exit <= segment.enter
    assert set(DEFAULT_THRESHOLDS) == set(KINDS)
    assert plan.needs_vectors == (name == "learned")


def test_it_takes_its_own_thresholds_stay_title_and_version(name: str) -> None:
    lines = 'enter = 0.9\nexit = 0.1\nmin_stay = "2m"\ntitle = "T"\nversion = 3'
    segment = parse_plan(definitions(name, lines)).segments["s"]
    assert (segment.enter, segment.exit, segment.min_stay) == (0.9, 0.1, 120.0)
    assert (segment.title, segment.version) == ("T", 3)


def test_an_exit_above_the_enter_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match=r"segment 's': exit \(0.9\) is above enter \(0.8\): users would flap"):
        parse_plan(definitions(name, "enter = 0.8\nexit = 0.9"))


def test_a_user_enters_and_leaves_with_a_reason(name: str) -> None:
    partition = SmallPartition(definitions(name, "version = 3"))
    KINDS[name].enter(partition)
    assert [change.change for change in changes(partition)] == ["entered"]
    KINDS[name].leave(partition)
    entered, exited = changes(partition)
    assert (exited.change, exited.sequence) == ("exited", entered.sequence + 1)
    segment = partition.plan.segments["s"]
    assert entered.score >= segment.enter
    assert exited.score < segment.exit
    assert entered.event_time <= exited.event_time
    for change in (entered, exited):
        assert change.segment_version == 3
        assert change.reason.summary
        evidence = {"rule": change.reason.rule, "words": change.reason.words, "learned": change.reason.shares}
        assert [kind for kind, found in evidence.items() if found] == [name]
        assert bool(change.encoder_version) == (name != "rule")
        assert bool(change.head_version) == (name == "learned")
    if name == "learned":
        assert sum(entered.reason.shares.values()) == pytest.approx(1.0, abs=1e-3)
    assert partition.members() - {"other"} == set()


def test_a_minimum_stay_puts_the_exit_off_and_a_timer_then_does_it(name: str) -> None:
    partition = SmallPartition(definitions(name, 'min_stay = "1h"'))
    KINDS[name].enter(partition)
    KINDS[name].leave(partition)
    (entered,) = changes(partition)
    state = partition.state()
    assert state is not None
    member = state.members.get("s")
    assert member is not None
    assert member.leaving is not None
    assert partition.due() == entered.event_time + 3_600
    partition.fire(partition.due() - 0.01)
    assert len(changes(partition)) == 1
    partition.fire(entered.event_time + 3_600)
    exited = changes(partition)[1]
    assert (exited.change, exited.origin, exited.event_time) == ("exited", "expiry", entered.event_time + 3_600)


def test_it_ends_when_its_definition_does(name: str) -> None:
    partition = SmallPartition(definitions(name))
    KINDS[name].enter(partition)
    partition.redefine('[[segment]]\nid = "another"\nrule = \'count("click", within="1h") >= 1\'\n')
    partition.events(event("join", 5, group="g"))
    exited = changes(partition)[-1]
    assert (exited.change, exited.origin) == ("exited", "definition")


def test_it_ends_with_the_erasure_of_the_user(name: str) -> None:
    partition = SmallPartition(definitions(name))
    KINDS[name].enter(partition)
    partition.events(event("delete", 5))
    assert (changes(partition)[-1].change, changes(partition)[-1].origin) == ("exited", "erasure")
    assert partition.state() is None


def test_a_restart_between_any_two_turns_changes_nothing(name: str) -> None:
    with_restarts = SmallPartition(definitions(name))
    commit = with_restarts.restart
    KINDS[name].enter(with_restarts)
    commit()
    KINDS[name].leave(with_restarts)
    without = SmallPartition(definitions(name))
    KINDS[name].enter(without)
    KINDS[name].leave(without)
    assert with_restarts.told() == without.told()
