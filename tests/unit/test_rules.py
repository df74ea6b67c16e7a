"""Rules: the grammar, what its errors say, and when the mere passing of time can make one true."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state.plain.record import PlainRecord
from state.windows import MAX_WINDOW, TallySpec
from streams.rules.compile import Rule, RuleError, parse_rule
from streams.rules.durations import duration
from streams.wire.events import KINDS

NOW = 1_700_000_000.0
VIEWS = 'count("view", within="1h")'
SPENT = 'total("purchase", "amount", within="30d")'


def parsed(text: str) -> Rule:
    return parse_rule(text, KINDS)


def somebody(views: int = 0, spent: float = 0.0) -> PlainRecord:
    found = PlainRecord("u")
    found.cells.add(TallySpec("view", "count", 3_600), NOW, views, NOW)
    found.cells.add(TallySpec("purchase", "amount", 30 * 86_400), NOW, round(spent * 1e6), NOW)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VIEWS, 3.0),
        (f"{VIEWS} >= 3", 1.0),
        (f"{VIEWS} > 3", 0.0),
        (f"{VIEWS} < 3", 0.0),
        (f"{VIEWS} <= 3", 1.0),
        (f"{VIEWS} == 3", 1.0),
        (f"{VIEWS} != 3", 0.0),
        (f"3 <= {VIEWS}", 1.0),
        (SPENT, 19.99),
        (f"{SPENT} >= 19.99", 1.0),
        (f"{SPENT} / {VIEWS} > 6.6", 1.0),
        (f"{SPENT} / ({VIEWS} - 3)", 0.0),
        (f"{VIEWS} * 2 + 1 - 0.5", 6.5),
        (f"{VIEWS} > -1", 1.0),
        (f"{VIEWS} >= 3 and {SPENT} > 100", 0.0),
        (f"{VIEWS} >= 3 or {SPENT} > 100", 1.0),
        (f"not {VIEWS} >= 3", 0.0),
        (f"not ({VIEWS} >= 3 and {SPENT} > 100)", 1.0),
        (f"not {VIEWS}", 0.0),
        (f"({VIEWS} + -5) and {VIEWS}", 0.0),
        (f"not ({VIEWS} + -5)", 1.0),
        ('count("view", category="sale", within="1h") == 0', 1.0),
        (f"\n  {VIEWS} >= 3\n  and\t{SPENT} > 1\n", 1.0),
    ],
)
def test_a_rule_gives_what_its_grammar_says(text: str, expected: float) -> None:
    assert parsed(text).evaluate(somebody(views=3, spent=19.99).cells, NOW) == pytest.approx(expected)


def test_values_are_the_terms_as_written() -> None:
    rule = parsed(f"{VIEWS} >= 3 and not {SPENT} > 100")
    assert rule.values(somebody(views=4, spent=2.5).cells, NOW) == {
        "count('view', within='1h')": 4.0,
        "total('purchase', 'amount', within='30d')": 2.5,
    }


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ('count("vieww", within="7d") > 1', 1, "the kind 'vieww' is not known; known are view,"),
        ('1 < count("view", within="7 days")', 5, "'7 days' is not a duration"),
        ('1 < count("view", within="")', 5, "'' is not a duration"),
        ('count("view", within="0s")', 1, "at least one second"),
        ('count("view", within="600w")', 1, "longer than 3650 days"),
        ('count("view", within="99999999999999d")', 1, "too long a duration"),
        ('count("view")', 1, 'within="7d"'),
        ('count("view", within=7)', 22, "7 must be text in quotes"),
        ('count("view", whithin="7d")', 1, "whithin is not an option"),
        ('count("view", **{"within": "7d"})', 1, "write the options one by one"),
        ('count(*"view", within="7d")', 7, "*'view' must be text in quotes"),
        ('count("view", "dwell", within="7d")', 1, "count takes a kind"),
        ('total("view", within="7d")', 1, "total takes a kind and a measure"),
        ('total("view", "clicks", within="7d")', 1, "measure 'clicks' is not one of count, amount, dwell"),
        ("counts(1) > 2", 1, "'counts' is not known; known are count(…), total(…) and absent(…)"),
        ('absent("view")', 1, 'say after what and from when, as in after="click", wait="30m"'),
        ('absent("view", after="click")', 1, "say after what and from when"),
        ('absent("view", after="clck", wait="1h")', 1, "the kind 'clck' is not known"),
        ('absent("vew", after="click", wait="1h")', 1, "the kind 'vew' is not known"),
        ('1 == absent("view", after="click", wait="1h", within="1h")', 6, "within must be longer than wait"),
        ('absent("view", after="click", wait="8d")', 1, "within must be longer than wait"),
        ('absent("view", after="click", wait="soon")', 1, "'soon' is not a duration"),
        ('absent("view", after="click", delay="1h")', 1, "after, wait, within, category and after_category"),
        ('absent("view", "amount", after="click", wait="1h")', 1, "absent takes a kind"),
        ('count("view", within="1h", after="click")', 1, "known are within and category"),
        ("__import__('os').system('true')", 1, "is not known"),
        (f"1 < {VIEWS} < 3", 1, "write chained comparisons with `and`"),
        (f"{VIEWS} in (1, 2)", 1, "only > >= < <= == != compare"),
        (f"{VIEWS} ** 2", 1, "only + - * / can combine numbers"),
        (f"-{VIEWS}", 1, "is not part of the rule language"),
        (f"{VIEWS} if 1 else 2", 1, "is not part of the rule language"),
        (f"{VIEWS} > True", len(VIEWS) + 4, "'True' is not part of the rule language"),
        (f"{VIEWS} > -True", len(VIEWS) + 4, "'-True' is not part of the rule language"),
        (f"{VIEWS} > 1e999", len(VIEWS) + 4, "numbers are at most 1e+15"),
        (f"{VIEWS} > 1{'0' * 400}", len(VIEWS) + 4, "numbers are at most 1e+15"),
        (f"{VIEWS} > '3'", len(VIEWS) + 4, "is not part of the rule language"),
        (f"  {VIEWS} >= x", len(VIEWS) + 7, "'x' is not part of the rule language"),
        ('count("view", category="日本", within="1h") >= x', 46, "'x' is not part"),
        (f" {VIEWS} >=", len(VIEWS) + 5, "is not an expression: invalid syntax"),
        (f"\n{VIEWS} >= 1 )", len(VIEWS) + 8, "unmatched ')'"),
        (f"{'not ' * 3_000}{VIEWS}", 1, "nested too deeply"),
        ("+".join([VIEWS] * 3_000), 1, "nested too deeply"),
    ],
)
def test_an_error_says_where_and_why(text: str, column: int, said: str) -> None:
    with pytest.raises(RuleError) as caught:
        parsed(text)
    message = str(caught.value)
    assert said in message
    assert f"column {column}" in message.removeprefix(text)
    assert text[:40] in message or repr(text)[1:40] in message


@pytest.mark.parametrize(
    ("text", "said"),
    [("1 > 0", "counts nothing"), ("\0", "not an expression"), (f"{VIEWS}\0", "not an expression"), ("", "syntax")],
)
def test_an_error_without_a_place_names_the_rule(text: str, said: str) -> None:
    with pytest.raises(RuleError, match=said) as caught:
        parsed(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("30m", 1_800),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1d 12h", 129_600),
        ("1d12h", 129_600),
        (" 1 d ", 86_400),
        ("0s", 0),
        ("3650d", MAX_WINDOW),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "7", "d", "7 days", "-1d", "1.5h", "1d,2h", "7D", "3651d", "9" * 5_000 + "s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|longer"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "rising"),
    [
        (f"{VIEWS} >= 3", set()),
        (f"{VIEWS} >= 3 and {SPENT} > 5 or {VIEWS} > 7", set()),
        (f"{VIEWS} + {SPENT} > 10", set()),
        (f"not {VIEWS} >= 3", {"view"}),
        (f"{SPENT} > 5 and {VIEWS} == 0", {"view"}),
        (f"{VIEWS} < 3", {"view"}),
        (f"{VIEWS} > {SPENT}", {"view", "purchase"}),
        (f"{VIEWS} - {SPENT} > 0", {"view", "purchase"}),
    ],
)
def test_a_rule_begins_by_what_makes_it_true_by_running_out(text: str, rising: set[str]) -> None:
    assert {cell.kind for term in parsed(text).begins_by for cell in term.cells} == rising


# terms for generated rules: two kinds and two windows, so that terms are shared and run out at different times
TERMS = st.sampled_from(
    [f'count("{kind}", within="{window}")' for kind in ("view", "click") for window in ("10s", "30s")]
)
NUMBERS = st.sampled_from(["0", "1", "2", "3", "-1", "-2", "0.5"])
EXPRESSIONS = st.recursive(
    TERMS | NUMBERS,
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "-", "*", "/", ">", ">=", "<", "<=", "==", "!=", "and", "or"]), inner
        ).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda part: f"(not {part})"),
    ),
    max_leaves=6,
)
ACTS = st.lists(st.tuples(st.sampled_from(["view", "click"]), st.integers(0, 40)), max_size=8)


@given(EXPRESSIONS, TERMS, st.sampled_from(["and", "or", "+"]), ACTS)
@example('(count("view", within="10s") + -2)', 'count("view", within="30s")', "and", [("view", 0), ("view", 0)])
def test_time_alone_makes_a_rule_true_only_by_the_terms_that_it_begins_by(
    expression: str, term: str, how: str, acts: list[tuple[str, int]]
) -> None:
    rule = parsed(f"{expression} {how} {term}")
    counted = PlainRecord("u")
    last = NOW + max((at for _, at in acts), default=0)
    for kind, at in acts:
        for spec in rule.asks.specs:
            if spec.kind == kind:
                counted.cells.add(spec, NOW + at, 1, last)
    before = rule.evaluate(counted.cells, last)
    for later in range(1, 80):
        score = rule.evaluate(counted.cells, last + later)
        assert score <= before or rule.begins_by
        before = score


@given(EXPRESSIONS, TERMS, ACTS)
def test_a_rule_that_is_a_condition_scores_one_or_zero(expression: str, term: str, acts: list[tuple[str, int]]) -> None:
    counted = PlainRecord("u")
    for text, condition in ((f"not ({expression} + {term})", True), (f"{expression} + {term}", False)):
        rule = parsed(text)
        assert rule.condition is condition
        for kind, at in acts:
            for spec in rule.asks.specs:
                if spec.kind == kind:
                    counted.cells.add(spec, NOW + at, 1, NOW + 40)
        assert not condition or rule.evaluate(counted.cells, NOW + 40) in (0.0, 1.0)
