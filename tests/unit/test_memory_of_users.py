"""How much memory users' states may take where nobody says it: by what the worker may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.settings import Settings, memory_bytes, usual_cache_mb

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
GIB = 2**30


def limited(tmp_path: Path, lines: str, limits: dict[str, str]) -> int:
    """``memory_bytes`` of a process in these control groups, with these files of limits."""
    of = tmp_path / "cgroup"
    of.write_text(lines)
    for name, content in limits.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return memory_bytes(of, tmp_path / "groups")


@pytest.mark.parametrize(
    ("memory", "megabytes"), [(GIB // 4, 256), (2 * GIB, 256), (4 * GIB, 512), (8 * GIB, 1_024), (512 * GIB, 1_024)]
)
def test_users_have_an_eighth_of_the_memory_but_neither_little_nor_very_much(memory: int, megabytes: int) -> None:
    assert usual_cache_mb(memory) == megabytes


def test_what_is_set_is_what_users_have() -> None:
    assert Settings(cache_mb=7).cache_bytes == 7 * 2**20
    assert Settings().cache_mb == usual_cache_mb(memory_bytes())


def test_without_control_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path / "none", tmp_path) == MACHINE


def test_the_least_limit_of_a_group_and_those_around_it_counts(tmp_path: Path) -> None:
    limits = {"a/b/memory.max": "max\n", "a/memory.max": "3000000\n", "memory.max": "5000000\n"}
    assert limited(tmp_path, "0::/a/b\n", limits) == 3_000_000


def test_a_container_that_sees_its_own_group_alone_has_the_limit_of_that(tmp_path: Path) -> None:
    assert limited(tmp_path, "0::/\n", {"memory.max": "4000000\n"}) == 4_000_000
    old = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n"
    assert limited(tmp_path, old, {"memory/memory.limit_in_bytes": "2000000\n"}) == 2_000_000


def test_a_limit_above_the_machines_memory_is_none(tmp_path: Path) -> None:
    limits = {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}
    assert limited(tmp_path, "4:memory:/a\n", limits) == MACHINE
