"""All terms of the rule language."""

from __future__ import annotations

from typing import Final

from streams.rules.term import Row
from streams.rules.terms import absent, count, total

#: name → row; nothing else in the engine knows a term by its name
TERMS: Final[dict[str, Row]] = {row.name: row for row in (count.ROW, total.ROW, absent.ROW)}
