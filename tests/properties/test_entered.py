"""Memberships that begin in the compiled fold: told by it, in the record, and in the words of ``Rule.told``."""

from __future__ import annotations

from typing import Any

import pytest

from state.native import Entered, Newcomers
from state.record import Record
from state.tables import Area
from state.user import Membership
from streams.steps.effects import Effects
from streams.steps.segments import parse_plan
from tests.properties.test_quiet_fold import T0, new_table, quiet_of, read
from tests.small_partition import SmallPartition

pytestmark = pytest.mark.compiled

#: terms in another order than the plan numbers them in, one written in two ways, and a sign that patterns know
RULES = """
[[segment]]
id = "viewers"
rule = 'count("view", within="1h") >= 3'
version = 7
[[segment]]
id = "both"
rule = 'count("click", category="50%d", within="2h") + count("view", within="1h") >= count("view", within="60m") + 1'
[[segment]]
id = "stayers"
rule = 'count("view", within="10m") >= 2 and not count("purchase", within="1h") > 0'
min_stay = "5m"
"""
PLAN = parse_plan(RULES)
ALONE = Newcomers(0, 4, 0, 1, ())


def events(*kinds: str, user: str = "u", begin: int = 0) -> list[dict[str, Any]]:
    return [{"user": user, "kind": kind, "time": T0 + at, "id": f"{user} {at}"} for at, kind in enumerate(kinds, begin)]


def folded(*given: dict[str, Any], enters: bool = True) -> tuple[Area, Entered, Any]:
    batch, area = read(PLAN, given), new_table().begin()
    area.find(batch)
    entered: Entered = {}
    found = quiet_of(PLAN).fold(area, batch, (), 1, 0, False, ALONE, entered if enters else None)
    return area, entered, found


def record_of(area: Area, user: str = "u") -> Record:
    record = area.get(user)
    assert record is not None
    return record


def test_memberships_begin_with_the_event_by_which_their_rule_holds() -> None:
    area, entered, found = folded(*events("view", "view", "view", "view"))
    assert found == (4, 1, {"u": (4, False)})
    stayers = (1, 2, 5, 1.0, T0 + 1, (2.0, 0.0))
    assert entered == {"u": (True, [stayers, (2, 0, 6, 1.0, T0 + 2, (3.0,))])}
    record = record_of(area)
    assert record.sequence == 6
    assert dict(record.members.items()) == {
        "stayers": Membership(T0 + 1, 1.0, 1, 5), "viewers": Membership(T0 + 2, 1.0, 7, 6),
    }  # fmt: skip
    assert record.due == quiet_of(PLAN).next_due(record)


def test_nothing_begins_where_nobody_asks_for_it() -> None:
    area, entered, found = folded(*events("view", "view", "view"), enters=False)
    assert (entered, found[2]) == ({}, {"u": (2, True)})
    assert not record_of(area).members


def test_who_enters_and_is_left_then_is_told_with_what_is_left() -> None:
    _, entered, found = folded(*events("view", "view", "purchase", "view"), *events("view", user="v"))
    assert found == (1, 2, {"u": (3, True)})  # the purchase ends it: that is Python's
    assert entered == {"u": (False, [(1, 2, 5, 1.0, T0 + 1, (2.0, 0.0))])}


def test_the_turn_tells_the_changes_as_it_does_without_the_compiled_part() -> None:
    def told(compiled: bool) -> Effects:
        partition = SmallPartition(RULES)
        if not compiled:
            partition.plan.quiet = None
        return partition.events(
            *events("view", "view", "view"), {"kind": "click", "time": T0 + 9, "category": "50%d", "id": "c"}
        )

    changes = [each.change for each in told(True).changes]
    assert changes == [each.change for each in told(False).changes]
    assert [change.segment for change in changes] == ["stayers", "viewers", "both"]
    written = "count('click', category='50%d', within='2h')"
    assert changes[2].reason.summary == (
        f"the rule holds: {written} is 1, count('view', within='1h') is 3, count('view', within='60m') is 3"
    )
    assert list(changes[2].reason.values.values()) == [1.0, 3.0, 3.0]
