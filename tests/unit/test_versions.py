"""The log of definitions decides what is in force, alike for everybody who reads it."""

from __future__ import annotations

import msgspec
import pytest

from state.unknown import NO_TERMS
from state.windows import NEVER
from streams.steps.segments import DefinitionError, parse_plan
from streams.steps.versions import Ledger, difference, encode

DAY = 86_400.0
NOW = 1_700_000_000.0


def rule(segment: str, text: str) -> str:
    return f"[[segment]]\nid = \"{segment}\"\nrule = '{text}'\n"


ONE = rule("one", 'count("view", within="1h") >= 1')
TWO = rule("two", 'count("click", within="1d") >= 1 and absent("purchase", after="click", wait="1h")')
LEARNED = '[[segment]]\nid = "warm"\nlearned = "taste"\n[[group]]\nid = "taste"\nmin_labels = 3\n'


def proposal(text: str, number: int, author: str = "ada") -> bytes:
    return encode(parse_plan(text), number, NOW, author, "why")[1]


def test_a_version_comes_back_as_it_was_published() -> None:
    key, value = encode(parse_plan(ONE + LEARNED), 1, NOW, "ada", "why")
    ledger = Ledger()
    assert key == b"1"
    assert ledger.take(value, NOW) == ""
    assert ledger.newest is not None
    assert (ledger.newest.number, ledger.newest.author, ledger.newest.comment) == (1, "ada", "why")
    assert ledger.newest.plan().fingerprint == parse_plan(ONE + LEARNED).fingerprint
    assert ledger.newest.plan().groups["taste"].min_labels == 3


def test_of_two_who_propose_the_same_version_the_first_in_the_log_wins() -> None:
    ledger = Ledger()
    assert ledger.take(proposal(ONE, 1), NOW) == ""
    assert ledger.take(proposal(TWO, 2, "ada"), NOW) == ""
    assert "somebody else was first" in ledger.take(proposal(LEARNED, 2, "bob"), NOW)
    assert "version 4" in ledger.take(proposal(LEARNED, 4, "bob"), NOW)
    assert ledger.newest is not None
    assert (ledger.newest.number, ledger.newest.author) == (2, "ada")


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b'{"version": 2}', b'{"version": "2", "segments": []}', b"\xff"]
)
def test_what_is_no_version_is_passed_over(value: bytes | None) -> None:
    ledger = Ledger()
    ledger.take(proposal(ONE, 1), NOW)
    assert ledger.take(value, NOW)
    assert ledger.take(proposal(TWO, 2), NOW) == ""


@pytest.mark.parametrize("number", [-1, 0, 2**53 + 1, 2**64, 10**400])
def test_a_number_that_no_position_record_can_say_is_no_version(number: int) -> None:
    ledger = Ledger()
    assert ledger.take(b'{"version":%d,"segments":[]}' % number, NOW)
    assert ledger.newest is None
    assert ledger.take(proposal(ONE, 1), NOW) == ""


def test_a_version_of_a_later_release_counts_though_this_one_cannot_use_it() -> None:
    fields = msgspec.json.decode(proposal(ONE, 1))
    fields["segments"][0]["rule"] = 'sequence("view", "purchase", within="1h")'
    fields["something"] = "new"
    ledger = Ledger()
    assert ledger.take(msgspec.json.encode(fields), NOW) == ""
    assert ledger.newest is not None
    with pytest.raises(DefinitionError, match="version 1"):
        ledger.newest.plan()
    assert ledger.newest.asks() == NO_TERMS
    assert ledger.take(proposal(TWO, 2), NOW) == ""
    ledger.newest.plan()


@pytest.mark.parametrize(
    "segments", [b'[{"id":"\xff","rule":""}]', b'[{"id":"\xed\xa0\x80"}]', b"[" * 5_000 + b"]" * 5_000]
)
def test_definitions_that_cannot_be_read_are_refused_in_words_and_ask_for_nothing(segments: bytes) -> None:
    ledger = Ledger()
    if ledger.take(b'{"version":1,"segments":' + segments + b"}", NOW):
        return  # told there
    assert ledger.newest is not None
    assert ledger.newest.asks() == NO_TERMS
    with pytest.raises(DefinitionError):
        ledger.newest.plan()


def test_what_no_version_asks_for_any_more_is_kept_for_a_while() -> None:
    ledger = Ledger()
    ledger.take(proposal(ONE, 1), NOW)
    ledger.take(proposal(TWO, 2), NOW + DAY)
    ledger.take(proposal(LEARNED, 3), NOW + 3 * DAY)
    one, two = parse_plan(ONE).asks, parse_plan(TWO).asks
    assert ledger.kept(NOW + 4 * DAY, 7 * DAY) == (one | two, NOW + 8 * DAY)
    assert ledger.kept(NOW + 8 * DAY, 7 * DAY) == (two, NOW + 10 * DAY)
    assert ledger.kept(NOW + 10 * DAY, 7 * DAY) == (NO_TERMS, NEVER)
    plan = parse_plan(LEARNED, kept=one)
    assert plan.counted == one.keys
    assert plan.asked == set()


def test_a_difference_names_what_it_adds_removes_and_changes() -> None:
    before, after = parse_plan(ONE + TWO).definitions, parse_plan(ONE.replace(">= 1", ">= 2") + LEARNED).definitions
    assert str(difference(before, after)) == "added: warm; removed: two; changed: one"
