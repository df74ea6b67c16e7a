"""What ``segments user`` says of a user, and that it is so."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.ops.view import UserView, counted, span
from streams.steps.segments import parse_plan
from streams.tools.lookup import show_user


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (20, "20 s"), (60, "1 min"), (3_600, "1 h"), (5_400, "1 h 30 min"), (604_800, "7 d")],
)
def test_a_window_is_named_as_it_was_written(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(164.8, "164.8"), (1_200, "1,200"), (99_999.99, "99,999.99"), (0, "0"), ("at least 1", "at least 1")],
)
def test_what_a_window_counted_is_told_to_the_cent(value: float | str, text: str) -> None:
    assert counted(value) == text


def test_a_user_is_shown_with_the_time_that_the_view_is_as_of() -> None:
    user = UserView(user="u-1", partition=3, last_event_time=1_790_000_000.0, windows={"spend within 7 d": 164.8})
    out = io.StringIO()
    Console(file=out, width=100).print(show_user(user))
    text = out.getvalue()
    assert "2026-09-21 14:13:20 UTC" in text
    assert "last event" not in text  # it may be a timer's time, or that of a change of definitions
    assert "164.8" in text


def test_a_reason_of_an_earlier_rule_is_not_told_as_the_present_one() -> None:
    plan = parse_plan('[[segment]]\nid = "vip"\nrule = \'count("view", within="1h") >= 2\'\n')

    assert plan.still("vip", {"summary": "the rule holds", "rule": 'count("view", within="1h") >= 2'})
    assert not plan.still("vip", {"summary": "the rule holds", "rule": 'count("view", within="1h") >= 1'})
    assert plan.still("vip", {"summary": "the head gives 0.94"})
    assert not plan.still("gone", {"summary": "the rule holds"})
