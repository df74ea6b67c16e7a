"""Mutated records, many and quick; ``python -m tests.fuzz`` looks for longer."""

from __future__ import annotations

from tests.fuzz.decoding import fuzz_decoders
from tests.fuzz.internal import fuzz_internal


def test_a_hundred_thousand_mutated_records_give_events_or_refusals() -> None:
    found = fuzz_decoders(seed=20, records=100_000, processes=1)
    assert found.findings == []
    assert found.accounted
    assert found.taken > 30_000  # good ones among them: the mutations do not only make noise
    assert set(found.refused) > {"not-json", "not-utf8", "wrong-type", "missing-field", "absurd-time", "too-large"}


def test_mutated_records_of_the_internal_topics_stop_neither_partition_nor_heads() -> None:
    found = fuzz_internal(seed=21, records=6_000)
    assert found.accounted
    assert min(found.taken.values()) > 100
    assert min(found.refused.values()) > 100
