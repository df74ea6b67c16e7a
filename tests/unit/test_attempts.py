"""Turns that Kafka refuses: waited for, told, taken in pieces, given up; never retried silently for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from streams.kafka.attempts import Attempts
from streams.kafka.errors import AbortedError, NoMemoryError, PermanentError, TooMuchError
from streams.kafka.pieces import Pieces, Size, split, units
from streams.kafka.work import Done, Work
from streams.ops.metrics import Metrics
from streams.steps.effects import Effects
from tests.small_partition import Sent


def events(*offsets: int) -> Work:
    return Work(sources=[("t", [Sent(offset, b"{}") for offset in offsets])])


def offsets(work: Work) -> list[int]:
    return [record.offset for _, records in work.sources for record in records]


@dataclass
class Bench:
    """Time passes only in pauses; ``refuse`` raises for pieces that are not taken."""

    refuse: Callable[[Work], None]
    now: float = 0.0
    taken: list[Work] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    give_up: float = 60.0
    stopping: bool = False
    on_pause: Callable[[], object] = bool

    def __post_init__(self) -> None:
        self.attempts = Attempts(
            0, self.metrics, lambda: self.stopping, self.give_up, clock=lambda: self.now, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self.on_pause()

    def commit(self, work: Work) -> None:
        async def once(piece: Work) -> Done:
            self.refuse(piece)
            self.taken.append(piece)
            return Done(Effects(), 0, [], 0.0)

        asyncio.run(self.attempts.commit(work, once, lambda _done: None))


def too_much_from(most: int, culprits: set[int] = frozenset()) -> Callable[[Work], None]:  # type: ignore[assignment]
    def refuse(work: Work) -> None:
        if units(work) > most or (work.refused is None and culprits & set(offsets(work))):
            raise TooMuchError("too much")

    return refuse


def test_work_that_one_transaction_cannot_hold_is_done_in_several_in_order() -> None:
    bench = Bench(too_much_from(300))
    bench.commit(events(*range(1_000)))
    assert [offset for piece in bench.taken for offset in offsets(piece)] == list(range(1_000))
    assert all(units(piece) <= 300 for piece in bench.taken)
    assert len(bench.taken) < 10
    tried = bench.metrics.halved_turns._value.get()
    bench.commit(events(*range(1_000, 1_250)))  # what is possible is remembered
    assert bench.metrics.halved_turns._value.get() == tried
    assert bench.pauses == []


def test_a_turn_in_pieces_moves_the_watchdogs_mark_with_each_and_a_whole_one_does_not() -> None:
    bench = Bench(too_much_from(100))
    bench.commit(events(1))
    assert bench.attempts.steps == 0
    bench.commit(events(*range(800)))
    assert bench.attempts.steps >= len(bench.taken) - 1 > 5


def test_a_partition_that_stops_ends_with_the_piece_under_way_and_does_not_try_again_after_a_pause() -> None:
    def hundred(work: Work) -> None:
        too_much_from(100)(work)
        bench.stopping = len(bench.taken) == 2

    bench = Bench(hundred)
    with pytest.raises(AbortedError, match="stops within a turn"):
        bench.commit(events(*range(1_000)))
    assert len(bench.taken) == 3

    def away(_work: Work) -> None:
        tried.append(bench.now)
        raise AbortedError("Kafka is away")

    tried: list[float] = []
    bench = Bench(away)
    bench.on_pause = lambda: setattr(bench, "stopping", len(bench.pauses) == 3)
    with pytest.raises(AbortedError, match="Kafka is away"):
        bench.commit(events(1))
    assert len(tried) == 3


def test_a_record_that_cannot_be_taken_alone_is_refused_and_all_others_are_taken() -> None:
    bench = Bench(too_much_from(10**9, {17, 400}))
    bench.commit(events(*range(500)))
    assert sorted(offset for piece in bench.taken for offset in offsets(piece)) == list(range(500))
    refused = [piece for piece in bench.taken if piece.refused is not None]
    assert [offsets(piece) for piece in refused] == [[17], [400]]
    assert str(refused[0].refused) == "what follows from it cannot be written: too much"
    assert [piece.cut for piece in refused] == [0, 0]


def test_what_finds_no_memory_is_taken_in_pieces_and_alone_it_is_waited_for_as_for_a_kafka_that_is_away() -> None:
    def none_for_a_while(work: Work) -> None:
        if units(work) > 3 or (bench.now < 2.0 and 5 in offsets(work)):
            raise NoMemoryError("there is no memory")

    bench = Bench(none_for_a_while)
    bench.commit(events(*range(8)))
    assert [offset for piece in bench.taken for offset in offsets(piece)] == list(range(8))
    assert not any(piece.refused for piece in bench.taken)
    assert bench.pauses == [0.1, 0.5, 2.0]

    def never(_work: Work) -> None:
        raise NoMemoryError("there is no memory")

    with pytest.raises(PermanentError, match="is given up: there is no memory"):
        Bench(never).commit(events(1))


def test_a_dead_letter_that_cannot_be_written_is_cut_and_then_the_worker_ends() -> None:
    def nothing_but_cut(work: Work) -> None:
        if not work.cut:
            raise TooMuchError("too much")

    bench = Bench(nothing_but_cut)
    bench.commit(events(1))
    assert [piece.cut for piece in bench.taken] == [1_024]

    def nothing(_work: Work) -> None:
        raise TooMuchError("too much")

    with pytest.raises(PermanentError, match="cannot be, however little it is: too much"):
        Bench(nothing).commit(events(1))


def test_a_refused_transaction_is_tried_again_after_growing_pauses_and_given_up_in_words() -> None:
    def never(_work: Work) -> None:
        raise AbortedError("Kafka is away")

    bench = Bench(never)
    with pytest.raises(PermanentError, match=r"the same turn was tried \d+ times in \d+ s and is given up: Kafka is"):
        bench.commit(events(1))
    assert bench.pauses == sorted(bench.pauses)
    assert 20.0 < bench.now <= bench.give_up
    assert bench.metrics.aborted_turns._value.get() == len(bench.pauses) + 1


def test_readiness_knows_of_a_turn_that_was_refused_several_times_and_of_its_end() -> None:
    seen: list[str] = []

    def for_a_while(_work: Work) -> None:
        seen.append(bench.attempts.failing)
        if len(seen) <= 5:
            raise AbortedError("not enough replicas")

    bench = Bench(for_a_while)
    bench.commit(events(1))
    assert seen[:3] == ["", "", ""]
    assert seen[3] == "partition 0: not enough replicas (3 times in a row)"
    assert bench.attempts.failing == ""


def test_a_turn_that_is_refused_for_long_becomes_smaller_and_nothing_of_it_a_dead_letter() -> None:
    def slow(work: Work) -> None:
        if units(work) > 100:
            raise AbortedError("timed out")

    bench = Bench(slow, give_up=600.0)
    bench.commit(events(*range(800)))
    assert [offset for piece in bench.taken for offset in offsets(piece)] == list(range(800))
    assert not any(piece.refused for piece in bench.taken)


@pytest.mark.parametrize("most", range(1, 22))
def test_the_parts_of_a_turn_are_all_of_it_in_the_order_in_which_it_does_them(most: int) -> None:
    work = Work(
        sources=[("a", [Sent(1, b""), Sent(2, b"")]), ("b", [Sent(3, b"")])],
        jobs=["j1", "j2"],  # type: ignore[list-item]
        refreshed=["r"], sweep=["s1", "s2"], guards=[b"g1", b"g2"], idle=["i1", "i2", "i3"], timers=True, most_timers=8,
        complete=True,
    )  # fmt: skip
    found: list[object] = []
    pieces = Pieces(work, size := Size())
    size.now = most
    while (piece := pieces.next()) is not None:
        assert units(piece) <= most
        found += [*offsets(piece), *piece.jobs, *piece.refreshed, *(piece.sweep or ()), *piece.guards, *piece.idle]
        found += ["timers"] * piece.timers + ["complete"] * piece.complete
        size.now = most
        pieces.done()
        size.now = most
    assert found == [1, 2, 3, "j1", "j2", "r", "s1", "s2", b"g1", b"g2", "i1", "i2", "i3", "timers", "complete"]


def test_the_end_of_a_sweep_is_not_told_by_a_part_of_it() -> None:
    first, rest = split(Work(sweep=["a"], guards=[b"g"]), 1)
    assert (first.sweep, rest.sweep, rest.guards) == (["a"], None, [b"g"])
    first, rest = split(Work(sweep=[], guards=[b"g"]), 1)
    assert (first.sweep, rest.sweep) == ([], None)
