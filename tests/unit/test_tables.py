"""docs/performance.md says what the committed reports say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.scale import grown
from benchmarks.sizes import middle
from benchmarks.tables import MISSING, OUT, PAGE, TABLES, edges, known, users, written


def test_the_tables_in_the_docs_are_those_of_the_committed_reports() -> None:
    page = PAGE.read_text("utf-8")
    assert written(page, OUT) == page, "run python -m benchmarks.tables"


def test_every_table_has_its_place_in_the_docs() -> None:
    assert sorted(re.findall(r"<!-- table: (\S+) -->", PAGE.read_text("utf-8"))) == sorted(TABLES)


def test_a_table_without_a_report_says_so_and_is_replaced_when_there_is_one(tmp_path: Path) -> None:
    page = "before\n<!-- table: memory -->\nold\n<!-- end -->\nafter\n"
    empty = written(page, tmp_path)
    assert MISSING in empty
    filled = written(empty, OUT)
    assert MISSING not in filled
    assert filled.startswith("before\n")
    assert filled.endswith("\nafter\n")
    assert written(filled, OUT) == filled


def measured(cost: float) -> dict[str, Any]:
    found = dict.fromkeys(
        (
            "cpu_microseconds_per_event_until_rest",
            "compaction_microseconds_per_event",
            "broker_cpu_microseconds_per_event",
        ),
        cost + 1.0,
    )
    return found | {
        "events_per_second": 90_000.0, "records_per_turn": 4_000.0, "users_in_memory": 9_000.0,
        "cpu_microseconds_per_event": cost,
    }  # fmt: skip


def scale() -> dict[str, Any]:
    sizes = {"10000": middle([measured(4.0)] * 3), "1000000": middle([measured(5.0), measured(6.0), measured(8.0)])}
    one = {"events_per_second": 90_000.4, "cpu_microseconds_per_event": 7.0, "records_per_turn": 90_000}
    return {
        **{key: value for part in ("cached", "rocksdb", "follows") for key, value in grown(part, sizes).items()},
        "rocksdb_share_read": 0.98,
        "peers": {"ours": {"10000": one, "1000000": one}, "flink-heap": {"10000": one}},
        "peers_ratio": {"ours": 1.0},
        "left_out": {"flink-heap-1000000": "too few commits"},
        "machine": {"cores": 2, "cpu": "any", "python": "3.11", "load_1m": 1.0},
    }


def test_a_part_of_the_scale_report_says_how_much_more_the_largest_size_costs() -> None:
    told = "\n".join(users(scale()))
    assert "| 1,000,000 | 6.00 (5.00 to 8.00) | 7.00 | 7.00 | 90,000 |" in told
    assert told.count("**1,000,000 cost 1.50 times what 10,000 do** between commits, 1.40 times until it rests.") == 2
    assert "Above 9,000 and 9,000 users are in memory; below 98.0 % of the visits find nobody there." in told
    assert "**1,000,000 cost 1.50 times" in "\n".join(edges(scale()))


def test_a_contestant_that_gave_no_figure_is_named_with_the_reason() -> None:
    told = "\n".join(known(scale()))
    assert "| **live-segments** | 7.00 µs, 90,000 events/s | 7.00 µs, 90,000 events/s | 1.00 |" in told
    assert "| flink-heap | 7.00 µs, 90,000 events/s |  |  |" in told
    assert "Left out: flink-heap-1000000 (too few commits)." in told


def test_parts_that_were_not_measured_are_said_to_be_missing() -> None:
    for lines in (users, known, edges):
        assert list(lines({})) == [MISSING]
