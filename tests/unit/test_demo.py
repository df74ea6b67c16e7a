"""The demo's pure parts: agreement with the truth, when a worker has caught up, the view and the summary."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from streams.ops.view import PartitionStatus, WorkerStatus
from streams.tools.agreement import Agreement, agreement, newest, taste_of
from streams.tools.demo import Remains, caught_up, conclude
from streams.tools.demo_screen import Look, Moment, PlainScreen, Summary, summary_view, view
from streams.tools.replay import ReplayReport
from streams.tools.terminal import CommandError
from streams.tools.watch import read_change
from streams.wire.emit import MembershipNow, UserSegments
from tests.browser.small_service import SmallService, change


def snapshot(user: str, **scores: float) -> UserSegments:
    segments = {name.replace("_", "-"): MembershipNow(0.0, score, 1) for name, score in scores.items()}
    return UserSegments(user, segments, 1, 0.0)


def test_agreement_counts_the_placed_and_the_right() -> None:
    truth = {"ann": "food", "bob": "sport", "cid": "food", "dan": "travel"}
    snapshots = {
        "ann": snapshot("ann", taste_food=0.9, regulars=1.0),
        "bob": snapshot("bob", taste_food=0.7),
        "cid": snapshot("cid", regulars=1.0),
        "stranger": snapshot("stranger", taste_food=0.7),
    }
    found = agreement(snapshots, truth)
    assert found == Agreement(people=4, placed=2, right=1)
    assert (found.share, found.coverage) == (0.5, 0.5)
    assert (agreement({}, {}).share, agreement({}, {}).coverage) == (None, 0.0)


def test_of_several_tastes_the_surest_counts() -> None:
    assert taste_of(snapshot("a", taste_food=0.6, taste_sport=0.7)) == "sport"
    assert taste_of(snapshot("a", taste_sport=0.6, taste_food=0.6)) == "food"
    assert taste_of(snapshot("a", regulars=1.0)) is None


_tastes = st.sampled_from(["food", "sport", "travel"])
_users = st.sampled_from([f"u{n}" for n in range(6)])


@given(truth=st.dictionaries(_users, _tastes), placed=st.dictionaries(_users, _tastes | st.none()))
def test_agreement_is_one_when_all_are_right_and_never_out_of_bounds(
    truth: dict[str, str], placed: dict[str, str | None]
) -> None:
    snapshots = {u: snapshot(u, **({f"taste_{taste}": 0.8} if taste else {})) for u, taste in placed.items()}
    found = agreement(snapshots, truth)
    assert 0 <= found.right <= found.placed <= found.people == len(truth)
    assert found.placed == sum(placed.get(user) is not None for user in truth)
    exact = {user: snapshot(user, **{f"taste_{taste}": 0.8}) for user, taste in truth.items()}
    assert agreement(exact, truth) == Agreement(len(truth), len(truth), len(truth))


@given(st.lists(st.tuples(_users, st.floats(0, 1) | st.none())))
def test_the_newest_snapshot_of_each_user_stays_and_a_tombstone_removes(log: list[tuple[str, float | None]]) -> None:
    records = [
        (user.encode(), None if score is None else msgspec.json.encode(snapshot(user, taste_food=score)))
        for user, score in log
    ]
    expected = {user: score for user, score in dict(log).items() if score is not None}
    at_once = newest({}, records)
    in_steps: dict[str, UserSegments] = {}
    for record in records:
        in_steps = newest(in_steps, [record])
    assert {user: found.segments["taste-food"].score for user, found in at_once.items()} == expected
    assert in_steps == at_once


def status(position: int, lag: int = 0, depth: int = 0) -> WorkerStatus:
    part = PartitionStatus(partition=0, state="running", position=position, lag_records=lag)
    return WorkerStatus(
        worker="w", state="running", ready=True, started_at=0.0, partitions=[part], encode_queue_depth=depth
    )


def test_a_worker_has_caught_up_when_positions_lag_and_queue_say_so() -> None:
    assert caught_up(status(10), {0: 10})
    assert not caught_up(status(9), {0: 10})
    assert not caught_up(status(10), {0: 10, 1: 1})
    assert not caught_up(status(10, lag=1), {0: 10})
    assert not caught_up(status(10, depth=1), {0: 10})
    assert not caught_up(None, {})


def test_the_live_view_shows_page_flow_sizes_and_changes_within_the_terminal() -> None:
    moment = Moment(
        "http://127.0.0.1:6066", phase="before the change", sent=77, status=SmallService().status(), seen=13
    )
    moment.changes.extend(read_change(msgspec.json.encode(change(f"u-{n}", "cooking", n))) for n in range(1, 41))
    console = Console(width=100, height=24, file=io.StringIO(), force_terminal=True)
    with console.capture() as shown:
        console.print(view(moment, console.height))
    text = shown.get()
    for part in ("http://127.0.0.1:6066", "sent 77", "lag 99,290", "big-spenders", "5,120", "changes 13", "u-1"):
        assert part in text
    assert len(text.splitlines()) <= 24


def test_without_a_terminal_each_change_is_told_once() -> None:
    out = io.StringIO()
    screen = PlainScreen(Console(file=out, width=200))
    moment = Moment("http://127.0.0.1:6066", now=100.0)
    moment.changes.appendleft(read_change(msgspec.json.encode(change("u-1", "cooking", 1))))
    moment.seen = 1
    screen.show(moment)
    moment.now = 106.0
    screen.show(moment)
    moment.changes.appendleft(read_change(msgspec.json.encode(change("u-2", "cooking", 2))))
    moment.now, moment.seen = 112.0, 2
    screen.show(moment)
    assert (out.getvalue().count("u-1"), out.getvalue().count("u-2")) == (1, 1)


def test_the_summary_says_all_that_was_promised() -> None:
    looks = [Look("before the change", Agreement(300, 100, 90), Agreement(120, 40, 10))]
    summary = Summary(ReplayReport(980, 20, 10.0, {}), SmallService().status(), 3, 48_123, None, looks)
    console = Console(width=100, file=io.StringIO())
    with console.capture() as shown:
        console.print(summary_view(summary))
    text = shown.get()
    for part in (
        "980 events, 20 labels",
        "12,345,678",
        "not-json 14",
        "48,123 read by a subscriber",
        "not caught up: 99,290 records and 231 users to encode are left",
        "p50 12 ms, p99 81 ms",
        "33% (100/300)",
        "90% (90/100)",
        "25% (10/40)",
        "91% right",
    ):
        assert part in text


def test_a_demo_whose_worker_has_not_caught_up_says_so_and_fails() -> None:
    def summary(drained: float | None) -> Summary:
        return Summary(ReplayReport(980, 20, 10.0, {}), SmallService().status(), 3, 48_123, drained, [])

    console = Console(width=100, file=io.StringIO())
    conclude(summary(4.0), console)
    with pytest.raises(CommandError, match="did not catch up: 99,290 records and 231 users to encode are left"):
        conclude(summary(None), console)


def test_a_demo_waits_for_its_worker_as_long_as_there_is_less_to_do() -> None:
    remains = Remains(0.0)
    for look in range(1_000):  # a busy machine: a record in 50 s
        assert not remains.stalled(50.0 * look)
        remains.note(status(look, depth=7), {0: 1_000}, 50.0 * look)
    remains.note(None, {0: 1_000}, 50_000.0)
    remains.note(status(999, depth=8), {0: 1_000}, 50_000.0)
    assert not remains.stalled(50_009.0)
    assert remains.stalled(50_010.0)
