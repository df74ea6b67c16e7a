"""What a user in memory takes is what a process takes more while it keeps many, by their number."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from benchmarks import cached_user
from benchmarks.harness import contestant


def test_a_user_takes_what_all_take_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def contestant(_name: str, command: list[str], _timeout: float) -> dict[str, Any]:
        assert command[-2:] == ["1000", "25"]
        return {"in_turns": 1_188_000, "at_rest": 990_000, "users_in_memory": 990, "bytes_in_memory": 940_500}

    monkeypatch.setattr(cached_user, "contestant", contestant)
    monkeypatch.setattr(cached_user, "BEFORE", {25: 8_000})
    assert cached_user.measure(1_000) == {
        "25": {
            "bytes_in_turns": 1_200, "bytes": 1_000, "bytes_by_the_table": 950, "bytes_before": 8_000,
            "part_of_before": 0.125,
        }
    }  # fmt: skip


def test_what_is_weighed_goes_with_the_users() -> None:
    # by a process of its own: others would free and take memory meanwhile
    weighed = contestant("weigh", [sys.executable, "-m", "benchmarks.cached_user", "2000", "3"], 120.0)
    assert weighed["users_in_memory"] == 2_000
    assert weighed["bytes_in_memory"] / 2 < weighed["at_rest"] < weighed["in_turns"] + 2**21  # whole pages of 2 MiB
