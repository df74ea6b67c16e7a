"""A worker goes by the newest version of the topic that it can use, and says what keeps it from going further."""

from __future__ import annotations

from typing import Any

import pytest

from encoders.heads import make_head
from streams.kafka import definitions
from streams.kafka.definitions import DefinitionsError, DefinitionsFollower, Present, Proposal
from streams.steps.in_force import InForce
from streams.steps.models import make_models
from streams.steps.segments import Plan, parse_plan
from streams.steps.versions import Ledger, encode
from tests.small_partition import encoders

NOW = 1_700_000_000.0
ONE = '[[segment]]\nid = "one"\nrule = \'count("view", within="1h") >= 1\'\n'
TWO = ONE.replace("one", "two").replace("view", "click")
LEARNED = '[[segment]]\nid = "warm"\nlearned = "taste"\n'


class Message:
    """A record of the topic."""

    def __init__(self, value: bytes, recorded: float) -> None:
        self._value, self._recorded = value, recorded

    def key(self) -> bytes:
        return b"1"

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, int(self._recorded * 1_000)

    def offset(self) -> int:
        return 0


class Bench:
    def __init__(self, file: str = "", reached: int = 0, doubt: str = "") -> None:
        nothing = parse_plan("")
        self.present = Present(InForce(0, nothing, make_models(encoders(), nothing)))
        self.now = NOW
        proposal = Proposal(parse_plan(file), "my.toml", "one") if file else None
        self.follower = DefinitionsFollower(
            {}, "t", self.present, self._models, 7 * 86_400.0, proposal, lambda: self.now, reached,
            lambda _plan: doubt,
        )  # fmt: skip
        self.models_fail = False

    def _models(self, plan: Plan) -> Any:
        if self.models_fail:
            raise RuntimeError("out of memory")
        return make_models(encoders(), plan)

    def publish(self, text: str, number: int, break_it: bool = False, look: bool = True) -> None:
        value = encode(parse_plan(text), number, self.now, "ada", "")[1]
        if break_it:
            value = value.replace(b"count(", b"sequence(")
        self.follower.receive([Message(value, self.now)])  # type: ignore[list-item]  # as much as is read of one
        if look:
            self.follower.look()


def test_without_any_version_it_says_what_to_do() -> None:
    bench = Bench()
    bench.follower.look()
    assert bench.present.problem == "no segment definitions are in force yet: segments apply FILE"
    assert bench.present.now.version == 0


def test_the_newest_version_is_in_force_with_heads_that_are_known_already() -> None:
    bench = Bench()
    bench.publish(LEARNED, 1)
    head = make_head("rls", ["warm"], 4, True).published()
    from encoders.heads import PublishedHead  # noqa: PLC0415

    bench.present.take_heads({"taste": PublishedHead.from_bytes(head)})
    before = bench.present.now
    bench.publish(LEARNED + ONE, 2)
    now = bench.present.now
    assert (before.version, now.version) == (1, 2)
    assert set(before.plan.segments) == {"warm"}  # what a turn has in hand does not change
    assert set(now.plan.segments) == {"warm", "one"}
    assert set(now.models.heads) == {"taste"}
    assert bench.present.problem == ""


def test_a_version_that_this_release_cannot_use_is_not_gone_over_to() -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    bench.publish(TWO, 2, break_it=True)
    assert bench.present.now.version == 1
    assert "cannot use version 2 (published by ada" in bench.present.problem
    assert "stays at version 1" in bench.present.problem
    bench.publish(TWO, 3)
    assert (bench.present.now.version, bench.present.problem) == (3, "")


def test_a_worker_that_starts_where_the_newest_cannot_be_used_stays_where_the_partitions_are() -> None:
    """A restart of all workers at a version that nobody can use must not end the work of all."""
    for reached, version in ((1, 1), (0, 1), (2, 0)):
        bench = Bench(reached=reached)
        bench.publish(ONE, 1, look=False)
        bench.publish(TWO, 2, break_it=True, look=False)
        bench.follower.look()
        assert bench.present.now.version == version
        assert "cannot use version 2 (published by ada" in bench.present.problem
        assert bench.present.problem.endswith(f"stays at version {version}")
        bench.publish(TWO, 3)
        assert (bench.present.now.version, bench.present.problem) == (3, "")


def test_a_version_whose_models_failed_is_tried_again() -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    bench.models_fail = True
    bench.publish(TWO, 2)
    bench.models_fail = False
    bench.follower.look()
    assert (bench.present.now.version, "out of memory" in bench.present.problem) == (1, True)
    bench.now += 61.0
    bench.follower.look()
    assert (bench.present.now.version, bench.present.problem) == (2, "")


def test_terms_of_a_version_before_are_counted_until_their_time_is_over() -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    bench.publish(TWO, 2)
    one, two = parse_plan(ONE).asked, parse_plan(TWO).asked
    assert bench.present.now.plan.counted == one | two
    assert bench.present.now.plan.asked == two
    bench.now += 7 * 86_400.0
    bench.follower.look()
    assert bench.present.now.plan.counted == two


def test_a_file_that_differs_is_told_and_decides_nothing() -> None:
    bench = Bench(TWO)
    bench.publish(ONE, 1)
    assert set(bench.present.now.plan.segments) == {"one"}
    assert bench.present.note.startswith("this worker's file my.toml differs from version 1 (published by ada at 2023-")
    assert "`segments apply my.toml`" in bench.present.note
    bench.publish(TWO, 2)
    assert bench.present.note == ""


def test_a_partition_of_a_version_that_is_not_there_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    monkeypatch.setattr(definitions, "read_ledger", lambda _conf, _topic: bench.follower.ledger)
    bench.follower.reach(1, lambda: False)
    with pytest.raises(DefinitionsError, match=r"goes by version 2 .* the topic ends with version 1"):
        bench.follower.reach(2, lambda: False)
    monkeypatch.setattr(definitions, "read_ledger", lambda _conf, _topic: Ledger())
    with pytest.raises(DefinitionsError, match="there is none in the topic"):
        bench.follower.reach(2, lambda: False)


def test_a_partition_of_a_version_that_this_release_cannot_use_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    bench.publish(TWO, 2, break_it=True)
    monkeypatch.setattr(definitions, "read_ledger", lambda _conf, _topic: bench.follower.ledger)
    with pytest.raises(DefinitionsError, match="cannot use version 2"):
        bench.follower.reach(2, lambda: False)


def test_what_is_doubtful_about_a_set_is_told_once_when_it_comes_into_force(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(doubt="the window is too long")
    bench.publish(ONE, 1)
    bench.publish(TWO, 2)
    bench.now += 7 * 86_400.0  # the same version again, without what was kept
    bench.follower.look()
    told = [record.getMessage() for record in caplog.records if "too long" in record.getMessage()]
    assert [line.partition(" (")[0] for line in told] == ["version 1", "version 2"]


def test_a_topic_that_was_made_anew_is_all_right_again_with_the_next_version_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.publish(ONE, 1)
    monkeypatch.setattr(definitions, "read_ledger", lambda *_: Ledger())
    bench.follower.note_topic(f"the topic was made anew: {bench.follower.without_topic()}")
    assert bench.present.trouble.endswith("apply definitions until version 2 is reached")
    bench.publish(TWO, 1)
    assert "made anew" in bench.present.trouble
    assert bench.present.now.version == 1
    bench.publish(TWO, 2)
    assert (bench.present.trouble, bench.present.now.version) == ("", 2)
    monkeypatch.setattr(definitions, "read_ledger", lambda *_: bench.follower.ledger)  # all there before it was noticed
    bench.follower.note_topic("the topic was made anew")
    assert bench.present.trouble == ""
