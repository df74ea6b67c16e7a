"""A slot commits its partitions' turns together, and what Kafka refuses comes back to those whom it concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import pytest

from streams.kafka.claim import REFRESH_SECONDS, SLOT_SECONDS
from streams.kafka.errors import AbortedError, FencedError, PermanentError, TooMuchError
from streams.kafka.rounds import Rounds
from streams.kafka.slots import Offered, Slot, boot_seconds
from streams.kafka.transactions import Transactions
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from tests.small_turns import PATIENCE, Kafka, SmallWriter, slot_on


class Bench:
    """A slot of three partitions whose turns come together: while an earlier one waits for Kafka."""

    def __init__(
        self, refuse: Callable[[object], object] = lambda _what: None, boot_clock: Callable[[], float] = boot_seconds
    ) -> None:
        self.kafka = Kafka(refuse)
        self.writers = [SmallWriter(number) for number in range(4)]
        self.finishing = ThreadPoolExecutor(1)
        self.slot = slot_on(self.kafka, self.finishing, boot_clock)

    def offer(self, number: int) -> Future[Done]:
        writer, taken = self.writers[number], Future[Done]()
        self.slot.offer(Offered(cast(PartitionWriter, writer), writer.fold(Work()), taken))
        return taken

    def together(self) -> list[Future[Done]]:
        """The turns of partitions 0 to 2, in one round."""
        self.kafka.answer.clear()
        self.kafka.waits.clear()
        first = self.offer(3)
        assert self.kafka.waits.wait(PATIENCE)
        taken = [self.offer(number) for number in range(3)]
        self.kafka.answer.set()
        first.result(PATIENCE)
        return taken

    def close(self) -> None:
        self.slot.stop()
        self.slot.join()
        self.finishing.shutdown()


@pytest.fixture
def opened() -> Iterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for each in benches:
        each.close()


@pytest.fixture
def bench(opened: list[Bench]) -> Callable[..., Bench]:
    def make(
        refuse: Callable[[object], object] = lambda _what: None, boot_clock: Callable[[], float] = boot_seconds
    ) -> Bench:
        opened.append(Bench(refuse, boot_clock))
        return opened[-1]

    return make


def cannot_be_made() -> Transactions:
    raise PermanentError("not allowed")


def refusing(wanted: object, error: Exception) -> Callable[[object], None]:
    def refuse(what: object) -> None:
        if what == wanted:
            raise error

    return refuse


def error_of(taken: Future[Done]) -> BaseException:
    error = taken.exception(PATIENCE)
    assert error is not None
    return error


@pytest.mark.parametrize("error", [AbortedError("not enough replicas"), TooMuchError("too large")])
def test_whose_turn_is_refused_when_it_is_handed_over_is_told_so_and_the_others_may_come_again_at_once(
    bench: Callable[..., Bench], error: Exception
) -> None:
    on = bench(refusing(1, error))
    zero, one, two = on.together()
    assert error_of(one) is error
    for other in (zero, two):
        found = error_of(other)
        assert isinstance(found, AbortedError)
        assert found.with_others
    assert [writer.steps for writer in on.writers[:3]] == [["fold", "drop"]] * 3
    assert on.kafka.committed == [[3]]
    assert [on.offer(number).result(PATIENCE).records for number in (0, 2)] == [100, 102]


@pytest.mark.parametrize("error", [AbortedError("not enough replicas"), TooMuchError("too large")])
def test_when_a_round_is_refused_as_a_whole_nobody_is_to_blame(bench: Callable[..., Bench], error: Exception) -> None:
    on = bench(refusing([0, 1, 2], error))
    for taken in on.together():
        found = error_of(taken)
        assert isinstance(found, AbortedError)
        assert found.with_others
    assert [writer.steps for writer in on.writers[:3]] == [["fold", "3.produced", "drop"]] * 3


@pytest.mark.parametrize("error", [FencedError("taken over"), PermanentError("not allowed"), RuntimeError("a mistake")])
def test_an_error_that_ends_the_producer_ends_all_of_its_partitions(
    bench: Callable[..., Bench], error: Exception
) -> None:
    on = bench(refusing([0, 1, 2], error))
    assert [error_of(taken) for taken in on.together()] == [error] * 3
    assert error_of(on.offer(3)) is error
    on.slot.join()
    assert on.writers[3].steps == ["fold", "3.produced", "finish", "fold", "drop"]


def test_who_offers_while_the_round_is_under_way_that_ends_the_producer_is_told_as_well(
    bench: Callable[..., Bench],
) -> None:
    on = bench(refusing([0], FencedError("taken over")))
    on.kafka.answer.clear()
    taken = [on.offer(0)]
    assert on.kafka.waits.wait(PATIENCE)
    taken.append(on.offer(1))
    on.kafka.answer.set()
    assert [str(error_of(each)) for each in taken] == ["taken over"] * 2


def test_a_partition_whose_store_fails_after_the_commit_ends_alone(bench: Callable[..., Bench]) -> None:
    on = bench()

    def fail(step: str) -> None:
        if step == "finish":
            raise OSError("disk full")

    on.writers[1] = SmallWriter(1, fail)
    zero, one, two = on.together()
    assert [zero.result(PATIENCE).records, two.result(PATIENCE).records] == [100, 102]
    assert str(error_of(one)) == "disk full"
    assert on.kafka.committed == [[3], [0, 1, 2]]


def test_a_producer_that_cannot_be_made_is_told_to_whoever_waits_for_it() -> None:
    with ThreadPoolExecutor(1) as finishing:
        slot = Slot(cannot_be_made, finishing, Rounds())
        with pytest.raises(PermanentError, match="not allowed"):
            slot.writer()
        slot.join()


def test_a_producer_that_kafka_does_not_answer_is_made_when_it_does() -> None:
    now, kafka = [0.0], Kafka()
    answers: list[Exception | None] = [AbortedError("no answer"), AbortedError("no coordinator"), None]

    def make() -> Transactions:
        if error := answers.pop(0):
            raise error
        return cast(Transactions, kafka)

    with ThreadPoolExecutor(1) as finishing:
        slot = Slot(make, finishing, Rounds(), clock=lambda: now[0])
        assert slot.writer() == "writer"
        assert answers == []
        slot.stop()
        slot.join()


def test_who_waits_for_a_producer_leaves_when_the_partition_stops_and_the_slot_when_it_is_not_wanted() -> None:
    def make() -> Transactions:
        raise AbortedError("no answer")

    with ThreadPoolExecutor(1) as finishing:
        slot = Slot(make, finishing, Rounds())
        with pytest.raises(AbortedError, match="stops"):
            slot.writer(lambda: True)
        slot.stop()
        slot.join()
        with pytest.raises(AbortedError, match="no answer"):
            slot.writer()


def test_a_slot_is_refreshed_while_it_is_quiet_and_not_used_after_a_long_sleep(bench: Callable[..., Bench]) -> None:
    now = [1_000.0]
    on = bench(boot_clock=lambda: now[0])
    assert on.slot.writer() == "writer"
    wanted = [on.slot.wants_refresh]
    now[0] += REFRESH_SECONDS + 1
    wanted.append(on.slot.wants_refresh)
    on.offer(0).result(PATIENCE)
    assert [*wanted, on.slot.wants_refresh] == [False, True, False]
    now[0] += SLOT_SECONDS + 1
    assert isinstance(error_of(on.offer(0)), FencedError)
    assert on.kafka.committed == [[0]]
