"""``count(kind, within=…, category=…)``: how many events of a kind there were within a window."""

from __future__ import annotations

from typing import Final

from streams.rules.term import Call, Row
from streams.rules.terms.tally import TallyTerm, tally_term


def parse(call: Call) -> TallyTerm:
    (kind,) = call.words
    return tally_term(call, kind, "count")


ROW: Final = Row("count", takes=("a kind",), options=("within", "category"), parse=parse)
