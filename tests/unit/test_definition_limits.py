"""How much definitions may ask for: what is too much is refused by name, with and without the compiled part."""

from __future__ import annotations

import pytest

from state import plan_image
from state.absence import Absence, Sort
from state.compiled import COMPILED
from state.plan_image import MOST, MOST_TERMS, Described, Ruled
from state.unknown import NO_TERMS, Terms
from state.windows import MAX_WINDOW, TallySpec
from streams.rules.program import Instruction, Op, write
from streams.steps import segments
from streams.steps.segments import DefinitionError, Plan, SegmentDef, make_plan
from streams.steps.versions import Ledger, encode
from streams.tools import applying
from streams.wire.events import Event

NOW = 1_700_000_000.0
#: so many counts of different windows fit into one rule
AT_ONCE = 500


def counting(first: int, after: int) -> list[SegmentDef]:
    """Rules that count views in windows of so many seconds, each a window of its own."""
    found = []
    for begin in range(first, after, AT_ONCE):
        counts = (f'count("view", within="{window}s") >= 1' for window in range(begin, min(begin + AT_ONCE, after)))
        found.append(SegmentDef(f"s{begin}", rule=" or ".join(counts)))
    return found


def plan_of(definitions: list[SegmentDef], kept: Terms = NO_TERMS) -> Plan:
    return make_plan(definitions, [], "my.toml", kept)


def test_as_many_segments_as_there_may_be_are_taken_and_one_more_is_refused() -> None:
    definitions = [SegmentDef(f"s{number}", words="x") for number in range(MOST + 1)]
    assert len(plan_of(definitions[:-1]).segments) == MOST
    with pytest.raises(DefinitionError, match=r"^my\.toml: 8,193 segments are more than the 8,192 that are possible; "):
        plan_of(definitions)


def test_as_many_counts_as_there_may_be_are_taken_and_one_more_is_refused() -> None:
    assert len(plan_of(counting(1, MOST + 1)).counted) == MOST
    with pytest.raises(DefinitionError, match=r"^my\.toml: 8,193 different counts and times are more than the 8,192"):
        plan_of(counting(1, MOST + 2))


def test_what_earlier_versions_asked_for_counts_as_well_and_is_named() -> None:
    kept = Terms(frozenset(TallySpec("click", "count", window) for window in range(1, MOST)), frozenset({Sort("view")}))
    assert len(plan_of([], kept).counted) == MOST
    ledger = Ledger()
    assert ledger.take(encode(plan_of(counting(1, 2)), 1, NOW, "ada", "")[1], NOW) == ""
    assert ledger.newest is not None
    assert ledger.newest.plan().counted
    with pytest.raises(DefinitionError, match=r"version 1 .* 8,193 different counts and times \(with what earlier"):
        ledger.newest.plan(kept)


def test_what_workers_could_not_count_beside_the_version_in_force_is_not_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else they would stay with that one, and a worker that starts would have none."""
    monkeypatch.setattr(segments, "MOST", 3)
    ledger = Ledger()
    ledger.take(encode(plan_of(counting(1, 4)), 1, NOW, "ada", "")[1], NOW)
    monkeypatch.setattr(applying, "read_ledger", lambda _conf, _topic: ledger)
    published: list[Plan] = []

    def publish(_conf: object, _topic: str, plan: Plan, after: int, author: str, comment: str) -> Ledger:
        published.append(plan)
        ledger.take(encode(plan, after + 1, NOW, author, comment)[1], NOW)
        return ledger

    monkeypatch.setattr(applying, "publish", publish)
    other = plan_of(counting(7, 9))
    with pytest.raises(DefinitionError, match=r"5 different counts and times \(with what earlier versions asked for"):
        applying.apply_definitions({}, "t", other, "bob", "", keep_seconds=60.0)
    assert published == []
    assert applying.apply_definitions({}, "t", other, "bob", "", keep_seconds=0.0).startswith("version 2: added: s7")


def test_too_many_terms_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST_TERMS", 3)
    plan_of(counting(1, 4))
    with pytest.raises(DefinitionError, match="4 different terms are more than the 3 that are possible"):
        plan_of(counting(1, 5))


def test_two_terms_of_one_mark_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance: once in 2^64 for each two."""
    monkeypatch.setattr(segments, "mark_of", len)
    with pytest.raises(DefinitionError, match="two terms have the same mark"):
        plan_of(counting(1, 3))


def described(stays: int = 0, terms: int = 0) -> Described:
    natives = tuple(Absence(Sort("purchase"), Sort("click"), 1 + number, MAX_WINDOW) for number in range(terms))
    program = write((Instruction(Op.TERM, 0), Instruction(Op.END)))
    rules = (Ruled("s0", 1.0, 1.0, program, natives, (True,) * terms, 1),) if terms else ()
    return Described((), rules, {f"s{number}": 0.0 for number in range(max(stays, len(rules)))}, bool(terms))


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (described(stays=MOST), described(stays=MOST + 1)),
        (described(terms=MOST_TERMS), described(terms=MOST_TERMS + 1)),
    ],
    ids=["segments", "terms"],
)
def test_the_limits_are_those_of_the_compiled_part(right: Described, wrong: Described) -> None:
    assert COMPILED is not None
    wire = COMPILED.Wire(Event, ("view",), (), {}, {}, (), (), (), ())
    COMPILED.Plan(wire, plan_image.write(right), ())
    with pytest.raises(ValueError, match="takes no plan of so many"):
        COMPILED.Plan(wire, plan_image.write(wrong), ())
