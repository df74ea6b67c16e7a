"""The threads of turns: who waits for a commit keeps nobody from folding or reading, and errors reach who waits."""

from __future__ import annotations

import asyncio
import gc
import weakref
from concurrent.futures import Executor, Future
from typing import cast

import pytest

from streams.kafka.errors import AbortedError, FencedError
from streams.kafka.rounds import space
from streams.kafka.slots import Slot
from streams.kafka.turns import Turns
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from tests.small_turns import PATIENCE, Kafka, SmallWriter, slot_on, small_turns

WHOLE = ["fold", "3.produced", "finish"]


def take(turns: Turns, writer: SmallWriter, work: Work | None = None) -> Future[Done]:
    return turns.take(cast(PartitionWriter, writer), Work() if work is None else work)


def test_a_turn_is_folded_committed_and_finished_with_the_offset_of_its_commit() -> None:
    kafka, writer = Kafka(), SmallWriter(2)
    with small_turns(3, kafka=kafka) as turns:
        assert take(turns, writer).result(PATIENCE).records == 102
    assert writer.steps == WHOLE
    assert kafka.committed == [[2]]


def test_while_a_commit_waits_for_kafka_others_fold_and_are_read_and_share_the_next_one() -> None:
    kafka = Kafka()
    kafka.answer.clear()
    writers = [SmallWriter(number) for number in range(4)]
    with small_turns(4, kafka=kafka) as turns:
        first = take(turns, writers[0])
        assert kafka.waits.wait(PATIENCE)
        others = [take(turns, writer) for writer in writers[1:]]
        assert turns.folding.submit(lambda: [writer.steps for writer in writers[1:]]).result(PATIENCE) == [["fold"]] * 3
        kafka.answer.set()
        assert [each.result(PATIENCE).records for each in (first, *others)] == [100, 101, 102, 103]
    assert kafka.committed == [[0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("step", "reached"),
    [
        ("fold", ["fold"]),
        ("begin", ["fold", "drop"]),
        ("commit", ["fold", "3.produced", "drop"]),
        ("finish", WHOLE),
    ],
)
def test_what_ends_a_step_ends_the_turn_and_is_freed_with_it(step: str, reached: list[str]) -> None:
    def refuse(what: object) -> None:
        if what == step or (what == [0] and step == "commit"):
            raise AbortedError(step)

    kafka, writer, work = Kafka(refuse), SmallWriter(0, refuse), Work()
    gc.collect()
    gc.disable()
    try:
        with small_turns(2, kafka=kafka) as turns:
            with pytest.raises(AbortedError, match=step):
                take(turns, writer, work).result(PATIENCE)
            assert writer.steps == reached
            kafka.refuse = lambda _what: None
            freed = weakref.ref(work)
            take(turns, SmallWriter(1)).result(PATIENCE)  # the threads have let go of what they did before
            del work
            assert freed() is None
    finally:
        gc.enable()


def test_a_turn_ends_also_when_nobody_waits_for_it_any_more(caplog: pytest.LogCaptureFixture) -> None:
    kafka, writer = Kafka(), SmallWriter()
    kafka.answer.clear()

    async def give_up(turns: Turns) -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(take(turns, writer)))
        await asyncio.get_running_loop().run_in_executor(None, kafka.waits.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with small_turns(kafka=kafka) as turns:
        asyncio.run(give_up(turns))
    assert writer.steps == WHOLE
    assert caplog.text == ""


def test_each_assignment_has_slots_of_its_own_which_share_it_by_rank() -> None:
    made: list[Slot] = []

    def make(folding: Executor) -> Slot:
        made.append(slot_on(Kafka(), folding))
        return made[-1]

    turns = Turns(1, make, 2)
    turns.assign({7})
    (alone,) = made
    assert turns.slot(7) is alone
    turns.assign({4, 2, 6})
    _, even, odd = made
    assert [turns.slot(number) for number in (2, 4, 6)] == [even, odd, even]
    alone.join()  # what nobody goes by any more has ended
    turns.assign(())
    turns.shutdown()


def test_a_turn_that_comes_to_a_slot_that_has_ended_is_dropped_and_hangs_nobody() -> None:
    writer = SmallWriter()
    with small_turns() as turns:
        turns.slot(0).stop()
        turns.slot(0).join()
        with pytest.raises(FencedError, match="has ended"):
            take(turns, writer).result(PATIENCE)
    assert writer.steps == ["fold", "drop"]


def test_how_far_apart_turns_are_goes_by_who_is_busy_in_all_slots() -> None:
    turns = Turns(1, lambda folding: slot_on(Kafka(), folding), 2)
    turns.assign(range(40))
    assert turns.space == 0.0
    for slot in turns._slots:
        slot._rounds.busy = 15
    assert turns.space == space(30) > space(15) > 0.0
    turns.shutdown()
