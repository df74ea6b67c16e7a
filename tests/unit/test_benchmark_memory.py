"""What a user in memory takes is what a process that keeps all takes more than one that keeps nobody."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import cached_user


def test_a_user_takes_the_difference_of_two_processes_by_those_whom_only_one_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def contestant(name: str, command: list[str], _timeout: float) -> dict[str, Any]:
        assert command[-3:-1] == ["1000", "25"]
        assert command[-1] == name
        kept = {"resident_bytes": 5_000_000, "users_in_memory": 1_000, "bytes_in_memory": 950_000}
        return (
            kept if name == "keep" else {"resident_bytes": 4_010_000, "users_in_memory": 10, "bytes_in_memory": 9_000}
        )

    monkeypatch.setattr(cached_user, "contestant", contestant)
    monkeypatch.setattr(cached_user, "BEFORE", {25: 8_000})
    assert cached_user.measure(1_000) == {
        "25": {"bytes": 1_000, "bytes_by_the_table": 950, "bytes_before": 8_000, "part_of_before": 0.125}
    }
