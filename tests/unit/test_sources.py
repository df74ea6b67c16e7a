"""The sources: small files with every case, and the real data sets as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.tools.sources import CompleteJourney, JsonLines, Raw, Records, StackExchange
from streams.tools.sources.jsonl import describe
from streams.tools.sources.stackexchange import plain_text
from streams.wire.events import Event, Label, encode_event

DAY = 1_520_812_800.0  # 2018-03-12 00:00 UTC


def _table(rows: Iterable[dict[str, str]]) -> str:
    body = "".join("<row {} />".format(" ".join(f"{k}={quoteattr(v)}" for k, v in row.items())) for row in rows)
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>\n<table>{body}</table>'


def _at(hour: int) -> str:
    return f"2018-03-12T{hour:02d}:00:00.500"


def _dump(
    directory: Path,
    posts: Iterable[dict[str, str]] = (),
    comments: Iterable[dict[str, str]] = (),
    votes: Iterable[dict[str, str]] = (),
) -> StackExchange:
    for name, rows in (("Posts", posts), ("Comments", comments), ("Votes", votes)):
        (directory / f"{name}.xml").write_text(_table(rows), encoding="utf-8")
    return StackExchange(directory)


QUESTION = {
    "Id": "1",
    "PostTypeId": "1",
    "OwnerUserId": "7",
    "CreationDate": _at(9),
    "Tags": "<qubit><gates>",
    "Title": "Why & how?",
    "Body": "<p>A &lt;qubit&gt;</p><p>x<sub>1</sub></p>",
}
ANSWER = {
    "Id": "2",
    "PostTypeId": "2",
    "ParentId": "1",
    "OwnerUserId": "8",
    "CreationDate": _at(10),
    "Body": "<p>So</p>",
}


def test_a_question_and_an_answer_are_comments_in_the_questions_category(tmp_path: Path) -> None:
    events = list(_dump(tmp_path, [ANSWER, QUESTION]))
    assert events == [
        Event("se-7", "comment", DAY + 9 * 3600 + 0.5, "se-post-1", "1", "qubit", text="Why & how? A <qubit> x1"),
        Event("se-8", "follow", DAY + 10 * 3600 + 0.5, "se-follow-8-7", target="se-7"),
        Event("se-8", "comment", DAY + 10 * 3600 + 0.5, "se-post-2", "2", "qubit", text="So"),
    ]


def test_tags_of_new_dumps_are_understood(tmp_path: Path) -> None:
    assert [e.category for e in _dump(tmp_path, [QUESTION | {"Tags": "|qubit|gates|"}])] == ["qubit"]


def test_a_comment_keeps_what_only_looks_like_html(tmp_path: Path) -> None:
    comment = {"Id": "5", "PostId": "2", "UserId": "7", "CreationDate": _at(11), "Text": "see <psi|phi>\n Q&A"}
    events = list(_dump(tmp_path, [QUESTION, ANSWER], [comment]))
    assert events[-2] == Event(
        "se-7", "comment", DAY + 11 * 3600 + 0.5, "se-comment-5", "2", "qubit", text="see <psi|phi> Q&A"
    )


def test_somebody_is_followed_once_from_the_earliest_occasion_and_nobody_follows_themselves(tmp_path: Path) -> None:
    comments = [
        {"Id": "5", "PostId": "1", "UserId": "8", "CreationDate": _at(23), "Text": "late"},
        {"Id": "6", "PostId": "1", "UserId": "8", "CreationDate": _at(8), "Text": "early"},
        {"Id": "7", "PostId": "1", "UserId": "7", "CreationDate": _at(12), "Text": "my own question"},
    ]
    follows = [e for e in _dump(tmp_path, [QUESTION, ANSWER], comments) if e.kind == "follow"]
    assert [(e.user, e.target, e.time) for e in follows] == [("se-8", "se-7", DAY + 8 * 3600 + 0.5)]


def test_a_favourite_is_a_click_and_a_bounty_a_purchase_at_the_start_of_its_day(tmp_path: Path) -> None:
    day = "2018-03-12T00:00:00.000"
    votes = [
        {"Id": "1", "PostId": "1", "VoteTypeId": "2", "CreationDate": day},
        {"Id": "2", "PostId": "1", "VoteTypeId": "5", "UserId": "8", "CreationDate": day},
        {"Id": "3", "PostId": "2", "VoteTypeId": "8", "UserId": "7", "CreationDate": day, "BountyAmount": "50"},
        {"Id": "4", "PostId": "2", "VoteTypeId": "9", "CreationDate": day, "BountyAmount": "50"},
        {"Id": "5", "PostId": "1", "VoteTypeId": "3", "UserId": "8", "CreationDate": day},
    ]
    source = _dump(tmp_path, [QUESTION, ANSWER], votes=votes)
    assert list(source)[:2] == [
        Event("se-8", "click", DAY, "se-vote-2", "1", "qubit"),
        Event("se-7", "purchase", DAY, "se-vote-3", "2", "qubit", 50.0),
    ]
    assert source.skipped == {"vote without a user": 2, "vote of type 3": 1}


def test_rows_of_nobody_and_of_the_site_itself_are_counted_and_not_followed(tmp_path: Path) -> None:
    wiki = {"Id": "3", "PostTypeId": "4", "OwnerUserId": "-1", "CreationDate": _at(9), "Body": "about"}
    nobody = {k: v for k, v in QUESTION.items() if k != "OwnerUserId"}
    comments = [
        {"Id": "5", "PostId": "1", "UserDisplayName": "gone", "CreationDate": _at(9), "Text": "hi"},
        {"Id": "6", "PostId": "1", "UserId": "-1", "CreationDate": _at(9), "Text": "hi"},
    ]
    source = _dump(tmp_path, [nobody, ANSWER, wiki], comments)
    assert [e.id for e in source] == ["se-post-2"]
    assert source.skipped == {"post without a user": 1, "comment without a user": 2, "tag wiki": 1}
    assert source.total == 1


def test_a_dump_that_declares_entities_is_refused(tmp_path: Path) -> None:
    _dump(tmp_path)
    (tmp_path / "Votes.xml").write_text('<!DOCTYPE v [<!ENTITY a "boom">]><votes><row Id="&a;"/></votes>')
    with pytest.raises(ValueError, match="declares the entity 'a'"):
        list(StackExchange(tmp_path))


def test_a_cut_off_dump_and_a_missing_file_are_named(tmp_path: Path) -> None:
    _dump(tmp_path)
    (tmp_path / "Votes.xml").write_text("<votes><row")
    with pytest.raises(ValueError, match=r"Votes\.xml is not well-formed"):
        list(StackExchange(tmp_path))
    (tmp_path / "Posts.xml").unlink()
    with pytest.raises(FileNotFoundError, match=r"Posts\.xml missing"):
        StackExchange(tmp_path)


def test_plain_text_parts_the_words_of_blocks_but_not_of_inline_tags() -> None:
    assert plain_text("<ul><li>a</li><li>b<b>c</b></li></ul>d<br/>e &amp;  f") == "a bc d e & f"


def test_the_real_site_gives_all_four_kinds_in_order_with_unique_ids(data_dir: Path) -> None:
    source = StackExchange(data_dir / "stackexchange-quantumcomputing")
    events = list(source)
    assert Counter(e.kind for e in events) == {"comment": 5082, "follow": 1771, "click": 710, "purchase": 22}
    assert source.skipped == {
        "tag wiki": 314,
        "post without a user": 2,
        "comment without a user": 1,
        "vote without a user": 11_828,
    }
    assert source.total == len(events) == len({e.id for e in events})
    assert [(e.time, e.id) for e in events] == sorted((e.time, e.id) for e in events)
    assert not [e for e in events if e.target == e.user]
    assert all(e.text for e in events if e.kind == "comment")


def test_the_journey_merges_purchases_and_redeemed_coupons_in_time_order() -> None:
    source = CompleteJourney(limit=30_000)
    events = list(source)
    assert len(events) == source.total == 30_000
    assert {e.kind for e in events} == {"purchase", "click"}
    assert all(a.time <= b.time for a, b in pairwise(events))
    assert len({e.id for e in events}) == 30_000
    assert all(e.amount >= 0 and e.item and e.category == e.category.lower() != "" for e in events)
    assert {e.category for e in events if e.kind == "click"} == {"coupon"}
    first = next(e for e in events if e.kind == "purchase")
    assert first == Event("cj-900", "purchase", 1_483_271_606.0, "cj-31198570044-1095275", "1095275", "rolls", 0.5)
    assert list(source) == events


def test_the_whole_journey_has_a_known_length_and_a_limit_beyond_it_does_not_change_it() -> None:
    assert CompleteJourney().total == CompleteJourney(10**9).total == 1_462_589
    assert list(CompleteJourney(0)) == []
    with pytest.raises(ValueError, match="limit"):
        CompleteJourney(-1)


LINES = (
    encode_event(Event("ann", "view", 5.0)),
    b'{"type":"track","userId":"bob","anonymousId":"x","timestamp":"2024-01-01T00:00:00Z"}',
    b'{"type":"track","userId":"","anonymousId":"a1","originalTimestamp":"2024-01-01T01:00:00+01:00"}',
    encode_event(Label("ann", "taste-food", True, 6.0)),
    b'{"user":"caf\xc3\xa9","time":1700000000123}',
    b'{"user": 42, "time": true}',
    b'{"user":"half a pair \\ud800","time":"soon"}',
    b'{"user":"broken',
    b"\xff\xfe",
    b"[1]",
    b"[" * 100_000,
)


def test_lines_are_passed_on_byte_for_byte_with_what_can_be_found(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(LINES[:4]) + b"\r\n\n  \n" + b"\n".join(LINES[4:]))
    source = JsonLines(path)
    records = list(source)
    assert tuple(r.value for r in records) == LINES
    assert [r.key for r in records] == [b"ann", b"bob", b"a1", b"ann", "café".encode()] + [None] * 6
    assert [r.time for r in records] == [5.0, 1_704_067_200.0, 1_704_067_200.0, 6.0, 1_700_000_000.123] + [None] * 6
    assert [r.label for r in records] == [False] * 3 + [True] + [False] * 7
    assert source.skipped == {"blank line": 2}
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "none")


@given(st.binary())
def test_any_line_can_be_described(line: bytes) -> None:
    assert describe(line).value == line


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.floats(0, 1e10))
def test_our_own_form_is_described_fully(user: str, time: float) -> None:
    value = encode_event(Event(user, "click", time))
    assert describe(value) == Raw(user.encode(), value, time)


def test_records_made_elsewhere_are_a_source() -> None:
    events = [Event("a", "view", 1.0), Event("b", "view", 2.0)]
    assert list(Records("two", events, total=2)) == events
