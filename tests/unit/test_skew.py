"""A worker whose clock is off does not let timers fire before their time (ADR 0031)."""

from __future__ import annotations

import logging

import pytest

from streams.kafka.skew import Skew

NOW = 1_800_000_000.0


def look(skew: Skew, ahead: float, took: float = 0.1, noticed: float = 0.2, at: float = NOW) -> None:
    """A report of a worker whose clock is ``ahead``, which the broker stamped ``took`` seconds after it was sent."""
    skew.stamped(at + ahead, at + took, at + took + noticed + ahead)


def test_clocks_that_may_be_the_same_are_left_alone() -> None:
    skew = Skew(lambda: NOW)
    for ahead, took in ((0.0, 0.001), (0.05, 0.1), (0.0, 20.0), (-0.1, 0.3)):
        look(skew, ahead, took)
        assert (skew.difference, skew.now()) == (0.0, NOW)


def test_a_clock_that_is_ahead_is_corrected_as_far_as_the_quickest_report_proves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    skew = Skew(lambda: NOW + 30.0)
    look(skew, 30.0, took=2.0)
    assert skew.difference == pytest.approx(-28.0)
    look(skew, 30.0, took=0.1)
    look(skew, 30.0, took=5.0)
    assert skew.now() == pytest.approx(NOW + 0.1)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the clock of this machine is 28.0 s ahead of that of Kafka; timers go by Kafka's, but set it right"
    ]


def test_a_clock_that_is_behind_is_corrected_never_beyond_kafkas() -> None:
    skew = Skew(lambda: NOW - 30.0)
    look(skew, -30.0, took=0.1, noticed=0.25)
    assert NOW - 0.3 < skew.now() <= NOW


def test_a_clock_that_somebody_sets_right_is_believed_at_once() -> None:
    skew = Skew(lambda: NOW)
    look(skew, 30.0)
    look(skew, 0.0)
    assert skew.difference == 0.0
