"""docs/performance.md says what the committed reports say."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.tables import MISSING, OUT, PAGE, TABLES, written


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
