"""The simulated town: the same seed gives the same town, and its statistics are the promised ones."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from functools import cache
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.tools.town import CATEGORIES, GROUPS, TASTES, Town
from streams.tools.town.people import settle
from streams.tools.town.texts import comment
from streams.wire.events import KINDS, Event, Label, encode_event

START, RATE, N = 1_700_000_000.0, 50.0, 60_000


@cache
def _stream() -> tuple[Town, list[Event], list[Label]]:
    town = Town(7, people=120)
    records = list(town.events(N, START, RATE))
    return town, [r for r in records if isinstance(r, Event)], [r for r in records if isinstance(r, Label)]


def _digest(town: Town, n: int = 5_000) -> str:
    return hashlib.sha256(b"\n".join(encode_event(r) for r in town.events(n, START, RATE))).hexdigest()


def test_the_same_seed_gives_the_same_stream_and_another_seed_another() -> None:
    town = Town(7)
    assert _digest(Town(7)) == _digest(town) == _digest(town)
    assert _digest(Town(8)) != _digest(town)


def test_without_a_change_of_tastes_a_longer_stream_begins_like_a_shorter_one() -> None:
    town = Town(3, taste_change=False)
    short = list(town.events(10_000, START, RATE))
    assert list(islice(town.events(20_000, START, RATE), 10_000)) == short


TOWNS = st.builds(
    Town, st.integers(0, 2**64), st.integers(2, 60), taste_change=st.booleans(), change_at=st.floats(0, 1)
)


@settings(max_examples=25)
@given(TOWNS, st.integers(0, 400), st.floats(0.001, 1e6))
def test_any_town_gives_n_records_in_time_order_within_the_plan(town: Town, n: int, rate: float) -> None:
    records = list(town.events(n, START, rate))
    times = [r.time for r in records]
    assert [r.id.split("-")[1] for r in records] == [str(i) for i in range(n)]
    assert times == sorted(times)
    assert all(START + i / rate - 1e-5 <= time <= START + (i + 1) / rate + 1e-5 for i, time in enumerate(times))
    assert {r.user for r in records} <= set(town.users)


def test_the_mix_of_kinds_is_the_planned_one() -> None:
    _, events, labels = _stream()
    share = {kind: count / N for kind, count in Counter(e.kind for e in events).items()}
    assert len(labels) / N == pytest.approx(0.02, rel=0.15)
    assert share["view"] == pytest.approx(0.45, abs=0.03)
    assert share["click"] == pytest.approx(0.33, abs=0.02)
    assert share["purchase"] == pytest.approx(0.07, abs=0.01)
    assert share["comment"] == pytest.approx(0.08, abs=0.01)
    assert share["follow"] == pytest.approx(0.04, abs=0.015)
    assert set(share) == set(KINDS) - {"alias", "delete"}


def test_labels_can_be_left_out_entirely() -> None:
    assert all(isinstance(r, Event) for r in Town(1, labels_share=0.0).events(20_000, START, RATE))


def test_activity_is_unequal_but_nobody_is_silent() -> None:
    town, events, _ = _stream()
    counts = Counter(e.user for e in events)
    assert set(counts) == set(town.users)
    assert counts.most_common(1)[0][1] > 20 * counts.most_common()[-1][1]


def test_two_thirds_to_three_quarters_of_a_persons_events_come_from_the_own_tastes() -> None:
    people = settle(7, 120, taste_change=True)
    town, events, _ = _stream()
    number = {user: p for p, user in enumerate(people.users)}
    own, total = Counter[str](), Counter[str]()
    for event in events:
        if event.category:
            taste = TASTES.index(CATEGORIES[event.category])
            p = number[event.user]
            total[event.user] += 1
            phase = int(event.time >= town.change_time)
            own[event.user] += bool(taste in (people.main[phase, p], people.second[p]))
    busy = [user for user, count in total.items() if count > 1_000]
    assert len(busy) > 5
    assert all(0.61 < own[user] / total[user] < 0.79 for user in busy)


def test_two_fifths_of_the_people_change_their_main_taste_when_the_plan_says() -> None:
    town, _, _ = _stream()
    assert town.change_time == START + 0.5 * N / RATE
    before, after = town.change_time - 1, town.change_time
    assert len(town.changed) == 48
    assert {u for u in town.users if town.truth(u, before) != town.truth(u, after)} == town.changed
    assert Counter(town.truth(u, before) for u in town.users) == dict.fromkeys(TASTES, 20)
    with pytest.raises(KeyError):
        town.truth("stranger", before)


def test_behaviour_follows_the_change() -> None:
    town, events, _ = _stream()
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event.user in town.changed and event.category and event.time >= town.change_time:
            seen[event.user][CATEGORIES[event.category]] += 1
    busy = {user: tastes for user, tastes in seen.items() if tastes.total() > 300}
    assert len(busy) > 5
    assert all(tastes.most_common(1)[0][0] == town.truth(user, math.inf) for user, tastes in busy.items())


def test_a_town_without_change_keeps_its_truth() -> None:
    town = Town(7, people=12, taste_change=False)
    list(town.events(100, START, RATE))
    assert town.changed == frozenset()
    assert town.change_time == math.inf


def test_feedback_is_true_when_it_is_given() -> None:
    town, _, labels = _stream()
    assert all((label.segment == f"taste-{town.truth(label.user, label.time)}") == label.member for label in labels)
    assert 0.6 < sum(label.member for label in labels) / len(labels) < 0.8


def test_people_follow_mostly_alike_people_never_themselves_and_nobody_twice() -> None:
    town, events, _ = _stream()
    follows: set[tuple[str, str]] = set()
    alike: list[bool] = []
    for event in events:
        pair = event.user, event.target
        if event.kind == "follow":
            assert event.user != event.target
            assert pair not in follows
            follows.add(pair)
            alike.append(town.truth(event.user, event.time) == town.truth(event.target, event.time))
        elif event.kind == "unfollow":
            follows.remove(pair)
    assert sum(alike) / len(alike) > 0.5  # 1/6 by chance


def test_groups_are_left_only_after_joining() -> None:
    _, events, _ = _stream()
    members: set[tuple[str, str]] = set()
    for event in events:
        if event.kind == "join":
            assert event.group in GROUPS
            assert (event.user, event.group) not in members
            members.add((event.user, event.group))
        elif event.kind == "leave":
            members.remove((event.user, event.group))


def test_identify_names_an_anonymous_id_that_is_new() -> None:
    _, events, _ = _stream()
    targets = [e.target for e in events if e.kind == "identify"]
    assert len(set(targets)) == len(targets) > 100
    assert all(target.startswith("anon-") for target in targets)


def test_money_and_dwell_are_where_they_belong() -> None:
    _, events, _ = _stream()
    assert all((e.amount > 0) == (e.kind == "purchase") for e in events)
    assert all((e.dwell > 0) <= (e.kind in {"view", "click"}) for e in events)


def test_comments_are_hardly_ever_the_same() -> None:
    _, events, _ = _stream()
    texts = [e.text for e in events if e.kind == "comment"]
    assert len(set(texts)) > 0.99 * len(texts)
    numbers = range(0, 1 << 62, (1 << 62) // 50_000)
    assert len({comment("food", number) for number in numbers}) > 45_000


@given(st.sampled_from([None, *TASTES]), st.integers(0, (1 << 62) - 1))
def test_every_comment_is_a_whole_sentence(taste: str | None, number: int) -> None:
    text = comment(taste, number)
    assert text == comment(taste, number)
    assert len(text) > 15
    assert text[0] == text[0].upper()
    assert not set("{}") & set(text)


def test_the_encoded_stream_is_the_events_without_labels() -> None:
    events = [r for r in Town(5, labels_share=0.0).events(3_000, START, RATE) if isinstance(r, Event)]
    pairs = list(Town(5).encoded(3_000, START, RATE))
    assert [key for key, _ in pairs] == [e.user.encode() for e in events]
    assert [msgspec.json.decode(value, type=Event) for _, value in pairs] == events


def test_a_town_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        Town(-1)
    with pytest.raises(ValueError, match="people"):
        Town(0, people=1)
    with pytest.raises(ValueError, match="labels_share"):
        Town(0, labels_share=1.0)
    with pytest.raises(ValueError, match="change_at"):
        Town(0, change_at=1.5)
    with pytest.raises(ValueError, match="rate"):
        Town(0).events(1, START, 0.0)
