"""A followed topic that goes away or is made anew is told once, and once that it is there again."""

from __future__ import annotations

import pytest

from streams.kafka.followed import ASK_SECONDS, FollowedTopics

START = 1_767_261_600.0  # 2026-01-01 10:00:00


class Bench:
    def __init__(self) -> None:
        self.ids: dict[str, str | None] = {"t": "a"}
        self.asked = 0
        self.problem = ""
        self.followed = FollowedTopics(self._ask)
        self.followed.add("t", lambda: "make it", self._note)
        self.now = START

    def _ask(self, names: list[str]) -> dict[str, str | None]:
        assert names == ["t"]
        self.asked += 1
        return self.ids

    def _note(self, problem: str) -> None:
        self.problem = problem

    def look(self, seconds: float = 0.0, **ids: str | None) -> None:
        """What the brokers say from now on, looked at for so long, once a second."""
        self.ids = dict(ids)
        for _ in range(int(seconds) + 1):
            self.followed.look(self.now)
            self.now += 1.0


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_topic_that_went_away_is_told_once_and_once_when_it_is_there_again(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.look(9, t="a")
    bench.look(300, t=None)
    assert bench.problem == "the topic t is not there any more, since 2026-01-01 10:00:10 UTC: make it"
    bench.look(30)  # the brokers do not say
    assert bench.problem
    bench.look(30, t="a")
    assert bench.problem == ""
    assert told(caplog) == [
        "the topic t is not there any more, since 2026-01-01 10:00:10 UTC: make it",
        "the topic t is there again",
    ]
    assert bench.asked <= 375 / ASK_SECONDS + 1


def test_a_topic_that_was_made_anew_is_told_however_short_it_was_away(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.look(9, t="a")
    bench.look(9, t=None)
    bench.look(60, t="b")
    assert told(caplog) == ["the topic t was made anew while this worker ran: make it"]
    assert bench.problem == told(caplog)[0]
    bench.look(60, t=None)
    bench.look(60, t="c")
    assert [line.partition(",")[0] for line in told(caplog)[1:]] == [
        "the topic t is not there any more",
        "the topic t was made anew while this worker ran: make it",
    ]


def test_a_topic_that_never_was_there_is_left_to_those_who_read_it_and_without_ids_only_absence_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.look(60, t=None)
    bench.look(60, t="")
    bench.look(60, t="a")
    bench.look(60, t="")
    assert told(caplog) == []
    bench.look(60, t=None)
    assert len(told(caplog)) == 1
