"""``total(kind, measure, within=…, category=…)``: the sum of a measure over a window: ``amount``, or ``dwell`` in
seconds."""

from __future__ import annotations

from typing import Final

from streams.rules.term import Call, Row
from streams.rules.terms.tally import TallyTerm, tally_term


def parse(call: Call) -> TallyTerm:
    kind, measure = call.words
    return tally_term(call, kind, measure)


ROW: Final = Row("total", takes=("a kind", "a measure"), options=("within", "category"), parse=parse)
