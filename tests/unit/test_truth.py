"""The verifier's order of a user's events is that in which they count."""

from __future__ import annotations

from tests.verifier.recount import Happened, acts_at
from tests.verifier.truth import Walk


def happened(identity: str, kind: str, arrived: float, time: float) -> Happened:
    return Happened(identity, acts_at(arrived, time), time, kind, "", 0.0, 0.0, False)


def test_an_event_that_was_ahead_counts_behind_what_arrived_before_its_time() -> None:
    walk = Walk(
        [
            happened("c", "click", 100.0, 100.0),
            happened("p", "purchase", 101.0, 130.0),
            happened("v", "view", 105.0, 105.0),
        ],
        {},
    )
    walk.follow_time(110.0)  # the timer of an absence
    assert set(walk._facts.latest) == {("click", ""), ("view", "")}
    walk.follow_time(140.0)
    assert ("purchase", "") in walk._facts.latest


def test_a_second_ahead_is_no_wait() -> None:
    assert acts_at(100.0, 101.0) == 100.0
    assert acts_at(100.0, 101.5) == 101.5
    assert acts_at(100.0, 50.0) == 100.0
