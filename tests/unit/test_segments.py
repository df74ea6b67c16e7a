"""Segment definitions: defaults, what is refused and what the message says, and what an event can change."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.steps.segments import DEFAULT_THRESHOLDS, DEMO, DefinitionError, Plan, load_plan, parse_plan
from streams.wire.events import KINDS

RULE = """rule = 'count("view", within="1h") >= 2'"""


def one(lines: str) -> str:
    return f'[[segment]]\nid = "s"\n{lines}\n'


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "segment 's': give exactly one of rule, words and learned"),
        (f'{RULE}\nwords = "x"', "exactly one"),
        ('rule = \'count("nothing", within="1h")\'', "segment 's': in the rule"),
        ('rule = \'count("view", within="99999w")\'', "longer than"),
        (f"{RULE}\nexit = 1.0\nenter = 0.5", "exit (1) is above enter (0.5)"),
        (f"{RULE}\nenter = 2", "enter (2) is above 1"),
        (f"{RULE}\nexit = 0", "exit (0) must be above 0"),
        (f"{RULE}\nenter = nan", "must be numbers"),
        (f"{RULE}\nenter = inf", "must be numbers"),
        ('words = "x"\nenter = 1.5', "enter (1.5) is above 1"),
        ('words = "x"\nexit = 0.9', "exit (0.9) is above enter (0.3)"),
        (f'{RULE}\nmin_stay = "soon"', "min_stay: 'soon' is not a duration"),
        (f"{RULE}\nminstay = '1h'", "minstay"),
        (f"{RULE}\nversion = 'x'", "version"),
        (f"{RULE}\nversion = -1", "version must be from 0"),
        (f"{RULE}\nversion = {2**53 + 1}", "version must be from 0"),
        (f"{RULE}\nenter = 0.5\nexit = -1e308", "exit (-1e+308) must be"),
        (f"{RULE}\n[[segment]]\nid = 's'\n{RULE}", "'s' is defined twice"),
        (f"{RULE}\n[[segment]]\nid = ''\n{RULE}", "1 to 200 characters"),
        ("learned = 'g'\n[[group]]\nid = 'g'\n[[group]]\nid = 'g'", "group 'g' is defined twice"),
        ("learned = 'g'\n[[group]]\nid = ''", "needs an id"),
        ("rule = ", "is not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_place(lines: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_plan(one(lines), "my.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("my.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"none\.toml: No such file"):
        load_plan(tmp_path / "none.toml")
    with pytest.raises(DefinitionError, match="cannot read"):
        load_plan(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[[segment]]\nid = "caf\xe9"\n')
    with pytest.raises(DefinitionError, match=r"latin\.toml is not UTF-8"):
        load_plan(tmp_path / "latin.toml")


def test_a_file_gives_what_its_text_gives(tmp_path: Path) -> None:
    text = one(RULE).replace('"s"', '"日本"')
    (tmp_path / "plan.toml").write_text(text, "utf-8")
    assert load_plan(tmp_path / "plan.toml").fingerprint == parse_plan(text).fingerprint


def test_the_built_in_definitions_have_one_of_each_kind() -> None:
    plan = load_plan(DEMO)
    assert {segment.kind for segment in plan.segments.values()} == {"rule", "words", "learned"}
    assert plan.needs_vectors
    assert plan.may_rise


@pytest.mark.parametrize(
    ("enter", "leave", "expected"),
    [
        ("", "", DEFAULT_THRESHOLDS["words"]),
        ("enter = 0.5", "", (0.5, 0.25)),
        ("enter = 0.1", "", (0.1, 0.1)),
        ("", "exit = 0.1", (0.3, 0.1)),
        ("enter = 1", "exit = 0", (1.0, 0.0)),
    ],
)
def test_thresholds_have_defaults_that_fit_each_other(enter: str, leave: str, expected: tuple[float, float]) -> None:
    segment = parse_plan(one(f'words = "x"\n{enter}\n{leave}')).segments["s"]
    assert (segment.enter, segment.exit) == expected


def test_a_rule_with_a_number_of_its_own_takes_any_thresholds() -> None:
    rule = 'rule = \'total("purchase", "amount", within="30d") - 10 * count("view", within="30d")\''
    segment = parse_plan(one(f"{rule}\nenter = 200\nexit = -50\nmin_stay = '1h 30m'")).segments["s"]
    assert (segment.enter, segment.exit, segment.min_stay) == (200.0, -50.0, 5_400.0)


def test_a_group_that_only_a_segment_names_has_the_defaults() -> None:
    plan = parse_plan(one('learned = "taste"'))
    assert plan.groups["taste"].exclusive
    assert [segment.id for segment in plan.learned["taste"]] == ["s"]


def affected(plan: Plan, kind: str, category: str = "") -> list[str]:
    return [segment.id for segment, _ in plan.affected(kind, category)]


def test_an_event_affects_the_rules_that_count_it_and_no_others() -> None:
    plan = parse_plan(
        """
        [[segment]]
        id = "views"
        rule = 'count("view", within="1h") >= 2'
        [[segment]]
        id = "sale"
        rule = 'count("view", within="1h", category="sale") >= 2 or count("click", within="1h") == 7'
        [[segment]]
        id = "words"
        words = "x"
        """
    )
    assert affected(plan, "view") == ["views"]
    assert affected(plan, "view", "other") == ["views"]
    assert affected(plan, "view", "sale") == ["views", "sale"]
    assert affected(plan, "click", "sale") == ["sale"]
    assert affected(plan, "comment") == []
    counted = {(spec.kind, spec.category) for kind in KINDS for spec in plan.tallies.touched(kind, "sale")}
    assert counted == {("view", ""), ("view", "sale"), ("click", "")}


def test_an_event_says_whether_it_can_end_what_holds() -> None:
    plan = parse_plan(one('rule = \'count("view", within="1h") >= 2 and count("click", within="1h") < 9\''))
    assert [can_end for _, can_end in plan.affected("view", "")] == [False]
    assert [can_end for _, can_end in plan.affected("click", "")] == [True]


def test_the_fingerprint_is_of_the_definitions_and_survives_a_restart() -> None:
    plan = parse_plan(one(RULE))
    assert plan.fingerprint == parse_plan(one(RULE)).fingerprint < 2**53
    assert plan.fingerprint != parse_plan(one(f"{RULE}\nversion = 2")).fingerprint
    assert plan.fingerprint != parse_plan(one(f"{RULE}\nmin_stay = '1h'")).fingerprint
    learned = "learned = 'g'\n[[group]]\nid = 'g'\nmin_labels = {}"
    assert parse_plan(one(learned.format(5))).fingerprint != parse_plan(one(learned.format(6))).fingerprint
